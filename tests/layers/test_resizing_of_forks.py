"""Resizing layers of forks against loops as in their sources."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg


def interpolated(x, height, width, aligned):
    """inisis/caffe, src/caffe/layers/bilinear_interpolate_layer.cpp (BilinearInterpolate)."""
    n, c, h, w = x.shape
    top = np.empty((n, c, height, width), np.float64)

    def position(i, size, out):
        at = (size - 1) / (out - 1) * i if aligned else size / out * (i + 0.5) - 0.5
        at = min(max(at, 0), size - 1)
        return at, min(max(math.floor(at), 0), size - 2)

    for i in range(height):
        y, low = position(i, h, height)
        for j in range(width):
            z, left = position(j, w, width)
            rows = [
                (left + 1 - z) * x[:, :, row, left] + (z - left) * x[:, :, row, left + 1]
                for row in (low, low + 1)
            ]
            top[:, :, i, j] = (low + 1 - y) * rows[0] + (y - low) * rows[1]
    return top


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(2, 9)] * 2),
    st.tuples(*[st.integers(2, 17)] * 2),
    st.booleans(),
    st.booleans(),
)
def test_bilinear_interpolate(size, out, aligned, by_factor):
    x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    fields = f"dst_h: {out[0]} dst_w: {out[1]}"
    if by_factor:
        factor = out[0] / size[0] if size[0] < out[0] else 1.5
        fields = f"scale_factor: {factor!r}"
        out = tuple(int(np.float32(n) * np.float32(factor)) for n in size)
    net = net_with(
        {"data": x.shape},
        'layer { name: "y" type: "BilinearInterpolate" bottom: "data" top: "y" '
        f"bilinear_interpolate_param {{ {fields} align_corners: {str(aligned).lower()} }} }}",
    )
    actual = pg.run(net, {"data": x})["y"]
    expected = interpolated(x, *out, aligned)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 2e-5 * np.abs(x).max()


@pytest.mark.parametrize(
    ("size", "fields", "problem"),
    [
        ((4, 4), "", "either dst_h or dst_w, or scale_factor"),
        ((4, 4), "dst_h: 8 scale_factor: 2", "either dst_h or dst_w, or scale_factor"),
        ((1, 4), "scale_factor: 2", "height or width is 1"),
        ((4, 4), "dst_h: 1", "divides by 0"),
    ],
)
def test_sizes_that_the_fork_does_not_define_are_refused(size, fields, problem):
    text = (
        'layer { name: "y" type: "BilinearInterpolate" bottom: "data" top: "y" '
        f"bilinear_interpolate_param {{ {fields} }} }}"
    )
    with pytest.raises(pg.InputError, match=problem):
        net_with({"data": (1, 1, *size)}, text)
