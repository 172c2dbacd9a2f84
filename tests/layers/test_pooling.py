"""Pooling in onnxruntime agrees with a NumPy copy of Caffe's loops; errors of invalid poolings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg
from protogen.layers import LayerType
from protogen.layers.base import Mistake
from protogen.net.net import Net
from protogen.onnx.session import run_model

LOWEST = np.float32(-3.4028234663852886e38)


@dataclass
class Pool:
    """Caffe's pooling_layer.cpp in NumPy, for one image of shape (channels, height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    ceil: bool = True

    def count(self, n: int, axis: int) -> int:
        k, s, p = self.kernel[axis], self.stride[axis], self.pad[axis]
        whole = (n + 2 * p - k) / s
        out = (math.ceil(whole) if self.ceil else math.floor(whole)) + 1
        if any(self.pad) and (out - 1) * s >= n + p:  # the last window begins in the padding
            out -= 1
        return out

    def windows(self, n: int, axis: int) -> list[tuple[int, int]]:
        """Begin and end of each window, including padding."""
        k, s, p = self.kernel[axis], self.stride[axis], self.pad[axis]
        starts = [i * s - p for i in range(self.count(n, axis))]
        return [(start, min(start + k, n + p)) for start in starts]

    def maximum(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The maxima and the index of each in its plane (-1: the window has no pixel)."""
        _, height, width = x.shape
        rows, columns = self.windows(height, 0), self.windows(width, 1)
        best = np.full((len(x), len(rows), len(columns)), LOWEST)
        place = np.full(best.shape, -1, np.float32)
        for c, i, j in np.ndindex(best.shape):
            for h in range(max(rows[i][0], 0), min(rows[i][1], height)):
                for w in range(max(columns[j][0], 0), min(columns[j][1], width)):
                    if x[c, h, w] > best[c, i, j]:
                        best[c, i, j], place[c, i, j] = x[c, h, w], h * width + w
        return best, place

    def average(self, x: np.ndarray) -> np.ndarray:
        _, height, width = x.shape
        rows, columns = self.windows(height, 0), self.windows(width, 1)
        averages = np.zeros((len(x), len(rows), len(columns)), np.float32)
        for c, i, j in np.ndindex(averages.shape):
            (top, bottom), (left, right) = rows[i], columns[j]
            size = (bottom - top) * (right - left)
            inside = x[c, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            with np.errstate(invalid="ignore"):  # 0 / 0 for a window that begins at the end
                averages[c, i, j] = inside.sum(dtype=np.float64) / np.float64(size)
        return averages


def net_of(layer: str, *shapes: tuple[int, ...]) -> Net:
    """One layer called "p" that reads x0, x1, ..."""
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    return net_with(inputs, f'layer {{ name: "p" {layer} }}')


def run(layer: str, x: np.ndarray) -> dict[str, np.ndarray]:
    model = pg.to_onnx(net_of(layer, x.shape)).SerializeToString()
    return run_model(model, {"x0": x})


@st.composite
def cases(draw):
    """An image of distinct values, and windows of any form that Caffe accepts."""
    shape = (2, draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    pool = Pool(
        kernel,
        tuple(draw(st.integers(1, 5)) for _ in range(2)),
        tuple(draw(st.integers(0, k - 1)) for k in kernel),
        draw(st.booleans()),
    )
    assume(all(n + 2 * p >= k for n, p, k in zip(shape[2:], pool.pad, pool.kernel, strict=True)))
    assume(min(pool.count(n, axis) for axis, n in enumerate(shape[2:])) >= 1)
    values = np.random.default_rng(draw(st.integers(0, 99))).permutation(math.prod(shape))
    # Values of both signs, so that padding treated as 0 would be noticed.
    return pool, (values.reshape(shape) - draw(st.sampled_from([0, 40, 400]))).astype(np.float32)


def text_of(pool: Pool, kind: str) -> str:
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.pad
    return (
        f"pooling_param {{ pool: {kind} kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw} "
        f"pad_h: {ph} pad_w: {pw} round_mode: {'CEIL' if pool.ceil else 'FLOOR'} }}"
    )


@settings(max_examples=300)
@given(cases())
def test_maximum_and_mask_agree_with_caffe(case):
    pool, x = case
    best, place = (np.stack(part) for part in zip(*map(pool.maximum, x), strict=True))
    layer = 'type: "Pooling" bottom: "x0" top: "y" ' + text_of(pool, "MAX")
    np.testing.assert_array_equal(run(layer, x)["y"], best)
    masked = layer.replace('top: "y"', 'top: "y" top: "m"')
    outputs = run(masked, x)
    np.testing.assert_array_equal(outputs["y"], best)
    np.testing.assert_array_equal(outputs["m"], place)
    assert outputs["m"].dtype == np.float32


@settings(max_examples=300)
@given(cases())
def test_average_agrees_with_caffe(case):
    """Within 1e-6 of the largest value: a sum has at most 16 float32 values."""
    pool, x = case
    layer = 'type: "Pooling" bottom: "x0" top: "y" ' + text_of(pool, "AVE")
    expected = np.stack([pool.average(image) for image in x])
    np.testing.assert_allclose(run(layer, x)["y"], expected, rtol=0, atol=1e-6 * np.abs(x).max())


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (4, 1)])
def test_global_pooling_covers_the_whole_image(size):
    x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    pool = Pool(size)
    expected = {
        "MAX": [pool.maximum(image)[0] for image in x],
        "AVE": [pool.average(image) for image in x],
    }
    for kind, arrays in expected.items():
        layer = f'type: "Pooling" bottom: "x0" top: "y" pooling_param {{ pool: {kind} global_pooling: true }}'
        np.testing.assert_allclose(run(layer, x)["y"], np.stack(arrays), rtol=0, atol=1e-6)
    outputs = run('type: "Pooling" bottom: "x0" top: "y" top: "m" pooling_param { global_pooling: true }', x)  # fmt: skip
    np.testing.assert_array_equal(outputs["m"].reshape(6), x.reshape(6, -1).argmax(1))


def test_global_pooling_with_one_top_is_one_node():
    for kind, op in (("MAX", "GlobalMaxPool"), ("AVE", "GlobalAveragePool")):
        net = net_of(f'type: "Pooling" bottom: "x0" top: "y" pooling_param {{ pool: {kind} global_pooling: true }}', (1, 2, 4, 4))  # fmt: skip
        assert [node.op_type for node in pg.to_onnx(net).graph.node] == [op]


def test_average_is_one_node_if_no_window_is_clipped():
    """If no window reaches beyond the padded border, the divisors of ONNX and Caffe are equal."""
    for size, param, ops in (
        (4, "kernel_size: 3 pad: 1", ["AveragePool"]),
        (4, "kernel_size: 2 stride: 2", ["AveragePool"]),
        (5, "kernel_size: 2 stride: 2", ["AveragePool", "Mul"]),
    ):
        net = net_of(f'type: "Pooling" bottom: "x0" top: "y" pooling_param {{ pool: AVE {param} }}', (1, 2, size, size))  # fmt: skip
        assert [node.op_type for node in pg.to_onnx(net).graph.node] == ops


def test_shapes_of_the_highest_pyramid_and_the_smallest_group():
    """SPP with 15 levels, PSROIPooling with one bin per class."""
    net = net_of(
        'type: "SPP" bottom: "x0" top: "y" spp_param { pyramid_height: 15 }',
        (1, 2, 1 << 14, 1 << 14),
    )
    assert net.graph.shapes["y"] == (1, 2 * (4**15 - 1) // 3)
    layer = 'type: "PSROIPooling" bottom: "x0" bottom: "x1" top: "y" psroi_pooling_param { output_dim: 1 group_size: 1 }'
    assert net_of(layer, (1, 1, 9, 9), (3, 5)).graph.shapes["y"] == (3, 1, 1, 1)


def pyramid(x: np.ndarray, height: int, kind: str) -> np.ndarray:
    """Caffe's spp_layer.cpp in NumPy."""
    flat = []
    for level in range(height):
        bins = 2**level
        kernel = tuple(math.ceil(n / bins) for n in x.shape[2:])
        pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:], strict=True))
        pool = Pool(kernel, kernel, pad)
        level_tops = [
            pool.maximum(image)[0] if kind == "MAX" else pool.average(image) for image in x
        ]
        flat.append(np.stack(level_tops).reshape(len(x), -1))
    return np.concatenate(flat, axis=1)


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("height", "size"),
    [(1, (5, 3)), (2, (2, 2)), (3, (4, 7)), (2, (6, 4)), (3, (9, 11)), (2, (7, 7)), (3, (8, 8))],
)
def test_pyramid_agrees_with_caffe(height, size, kind):  # fmt: skip
    x = np.random.default_rng(1).normal(size=(2, 3, *size)).astype(np.float32) - 3
    layer = (
        f'type: "SPP" bottom: "x0" top: "y" spp_param {{ pyramid_height: {height} pool: {kind} }}'
    )
    output, expected = run(layer, x)["y"], pyramid(x, height, kind)
    assert output.shape == ((2, 3, 1, 1) if height == 1 else expected.shape)
    np.testing.assert_allclose(output.reshape(2, -1), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("pooled_size: 3", (5, 4, 3, 3)),
        ("pooled_size: 3 pooled_size: 2", (5, 4, 3, 2)),
        ("pooled_h: 2 pooled_w: 6", (5, 4, 2, 6)),
    ],
)
def test_shape_of_region_pooling(param, shape):
    layer = f'type: "ROIPooling" bottom: "x0" bottom: "x1" top: "y" roi_pooling_param {{ {param} }}'
    assert net_of(layer, (1, 4, 9, 9), (5, 5)).graph.shapes["y"] == shape


def test_region_pooling_returns_the_maximum_of_each_bin():
    """Two regions on a map of half the size of the image."""
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    layer = 'type: "ROIPooling" bottom: "x0" bottom: "x1" top: "y" roi_pooling_param { pooled_h: 2 pooled_w: 1 spatial_scale: 0.5 }'
    model = pg.to_onnx(net_of(layer, x.shape, (2, 5))).SerializeToString()
    rois = np.array([[0, 0, 0, 6, 6], [0, 8, 4, 14, 10]], np.float32)
    output = run_model(model, {"x0": x, "x1": rois})["y"]
    np.testing.assert_array_equal(output.reshape(2, 2), [[11, 27], [31, 47]])


def test_pyramid_that_is_too_high_is_refused():
    with pytest.raises(pg.InputError) as caught:
        _ = net_of(
            'type: "SPP" bottom: "x0" top: "y" spp_param { pyramid_height: 3 }', (1, 2, 4, 5)
        ).graph
    assert str(caught.value) == (
        'net.prototxt:2:1: layer "p" (SPP): 4 windows over 5 pixels need pad 2, but pad must be '
        "smaller than the window size 2. Use a smaller pyramid_height."
    )


KERNEL = "pooling_param { kernel_size: 3 "


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('"Pooling" bottom: "x0" top: "y"', "kernel_size is missing or 0. Set it, or kernel_h and kernel_w."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { kernel_h: 3 kernel_w: 0 }',
         "kernel_size is missing or 0. Set it, or kernel_h and kernel_w."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true kernel_size: 3 }',
         "global_pooling and a kernel are both set. Keep one."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true kernel_h: 3 }',
         "global_pooling and a kernel are both set. Keep one."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true kernel_w: 3 }',
         "global_pooling and a kernel are both set. Keep one."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true stride: 2 }',
         "global_pooling requires pad 0 and stride 1. Remove both."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true pad_h: 0 pad_w: 1 }',
         "global_pooling requires pad 0 and stride 1. Remove both."),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "pad_h: 1 }", "pad_h and pad_w must both be set"),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "kernel_h: 3 kernel_w: 3 }",
         "kernel_size and kernel_h or kernel_w are both set. Keep one form."),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "stride: 2 stride_h: 2 }",
         "stride and stride_h or stride_w are both set. Keep one form."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { kernel_h: 3 }', "kernel_h and kernel_w must both be set"),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "stride_w: 2 }", "stride_h and stride_w must both be set"),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "stride: 0 }", "stride must be at least 1, got 0"),
        ('"Pooling" bottom: "x0" top: "y" ' + KERNEL + "pad: 3 }", "pad 3 must be smaller than kernel_size 3. Use a smaller pad."),
        ('"Pooling" bottom: "x0" top: "y" pooling_param { kernel_h: 1 kernel_w: 12 }',
         "the output size would be 6x-2 for input 6x9 and kernel 1x12. Use a smaller kernel."),
        ('"Pooling" bottom: "x1" top: "y" ' + KERNEL + "}", "its bottom must have 4 axes, got shape 5x5"),
        ('"Pooling" bottom: "x0" bottom: "x0" top: "y" ' + KERNEL + "}", "expected 1 bottom, got 2"),
        ('"SPP" bottom: "x1" top: "y" spp_param { pyramid_height: 2 }', "its bottom must have 4 axes, got shape 5x5"),
        ('"SPP" bottom: "x0" top: "y" spp_param { pyramid_height: 0 }', "pyramid_height must be from 1 to 15, got 0"),
        ('"SPP" bottom: "x0" top: "y" spp_param { pyramid_height: 16 }', "pyramid_height must be from 1 to 15, got 16"),
        ('"SPP" bottom: "x0" bottom: "x0" top: "y" spp_param { pyramid_height: 2 }', "expected 1 bottom, got 2"),
        ('"ROIPooling" bottom: "x0" bottom: "x1" top: "y" roi_pooling_param { pooled_h: 0 pooled_w: 2 }',
         "pooled_h and pooled_w must be at least 1, got 0x2"),
        ('"ROIPooling" bottom: "x0" bottom: "x1" bottom: "x1" top: "y" roi_pooling_param { pooled_h: 1 pooled_w: 2 }',
         "expected 2 bottoms, got 3"),
        ('"PSROIPooling" bottom: "x0" bottom: "x1" top: "y" psroi_pooling_param { output_dim: 0 group_size: 2 }',
         "output_dim and group_size must be at least 1, got 0 and 2"),
        ('"PSROIPooling" bottom: "x0" bottom: "x1" top: "y" psroi_pooling_param { output_dim: 2 group_size: 0 }',
         "output_dim and group_size must be at least 1, got 2 and 0"),
        ('"PSROIPooling" bottom: "x0" bottom: "x1" top: "y" psroi_pooling_param { output_dim: 3 group_size: 2 }',
         "its bottom must have 12 channels for output_dim 3 and group_size 2, got 4"),
        ('"PSROIPooling" bottom: "x0" bottom: "x1" bottom: "x1" top: "y" psroi_pooling_param { output_dim: 1 group_size: 2 }',
         "expected 2 bottoms, got 3"),
    ],
)  # fmt: skip
def test_invalid_pooling_is_refused(layer, message):
    with pytest.raises(pg.InputError) as caught:
        _ = net_of(f"type: {layer}", (1, 4, 6, 9), (5, 5)).graph
    kind = layer.split('"')[1]
    assert str(caught.value) == f'net.prototxt:3:1: layer "p" ({kind}): {message.rstrip(".")}.'


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('"Pooling" bottom: "x0" top: "y" pooling_param { pool: STOCHASTIC kernel_size: 2 }',
         "ONNX has no STOCHASTIC pooling. Use MAX or AVE."),
        ('"SPP" bottom: "x0" top: "y" spp_param { pool: STOCHASTIC pyramid_height: 2 }',
         "ONNX has no STOCHASTIC pooling. Use MAX or AVE."),
    ],
)  # fmt: skip
def test_pooling_without_onnx_equivalent_is_refused(layer, message):
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.to_onnx(net_of(f"type: {layer}", (1, 4, 6, 9), (5, 5)))
    assert str(caught.value).endswith(f": {message.rstrip('.')}.")


def test_window_and_mistakes_of_pooling():
    """The window that summary prints, and the mistakes that verify recognises."""
    net = net_of(
        'type: "Pooling" bottom: "x0" top: "y" ' + KERNEL + "stride: 2 pool: AVE }", (1, 4, 9, 9)
    )
    (layer,) = (one for one in net.graph.layers if one.type == "Pooling")
    pooling = LayerType.registry["Pooling"]
    window = pooling.window(layer, [(1, 4, 9, 9)])
    assert (window.kernel, window.stride, window.pad, window.dilation) == (
        (3, 3),
        (2, 2),
        (0, 0),
        (1, 1),
    )
    rounding = Mistake(
        "the number of windows is rounded down; Caffe rounds it up",
        {"pooling_param.round_mode": "FLOOR"},
    )
    divisor = "the divisor of AVE {}; Caffe counts padding up to the padded border"
    assert pooling.mistakes(layer) == [
        rounding,
        Mistake(
            divisor.format("excludes padding"),
            attributes={"AveragePool": {"count_include_pad": 0}}, without=("Mul",),
        ),
        Mistake(
            divisor.format("is the whole window"),
            attributes={"AveragePool": {"count_include_pad": 1}}, without=("Mul",),
        ),
    ]  # fmt: skip
    whole = net_of(
        'type: "Pooling" bottom: "x0" top: "y" pooling_param { global_pooling: true }', (1, 4, 9, 9)
    )
    (layer,) = (one for one in whole.graph.layers if one.type == "Pooling")
    assert pooling.window(layer, [(1, 4, 9, 9)]) is None
    assert pooling.mistakes(layer) == [rounding]
