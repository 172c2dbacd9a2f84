"""Pooling over regions agrees with NumPy readings of the forks' code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_proposals import run

import protogen as pg

F = np.float32
LOWEST = F(-3.4028234663852886e38)


def nearest(x):
    """C's round: halves away from 0."""
    whole = np.floor(np.abs(x))
    return float(np.copysign(whole + (np.abs(x) - whole >= 0.5), x))


def regions(rng, count, images, height, width, scale):
    """Regions, some beyond the map, some turned around, some with halves at the map's scale."""
    corners = rng.uniform(-4, max(height, width) / scale + 4, (count, 4))
    if count > 1:
        corners[0] = np.round(corners[0]) + 0.5
    corners[count // 2 :, 2:] = corners[count // 2 :, :2] + rng.uniform(
        0, 20, (count - count // 2, 2)
    )
    images = rng.integers(0, images, (count, 1))
    return np.concatenate([images, corners], 1).astype(F)


def close(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))


def of_fast_rcnn(x, rois, pooled, scale, pad_ratio=0.0):
    """src/caffe/layers/roi_pooling_layer.cpp of rbgirshick/caffe-fast-rcnn; pad_ratio: that of
    zhaoweicai/mscnn."""
    _, channels, height, width = x.shape
    top = np.full((len(rois), channels, *pooled), LOWEST)
    scale, pad_ratio = F(scale), F(pad_ratio)
    for r, (image, x0, y0, x1, y1) in enumerate(rois):
        px, py = (x1 - x0 + F(1)) * pad_ratio, (y1 - y0 + F(1)) * pad_ratio
        ws, hs = int(nearest((x0 - px) * scale)), int(nearest((y0 - py) * scale))
        we, he = int(nearest((x1 + px) * scale)), int(nearest((y1 + py) * scale))
        bh, bw = F(max(he - hs + 1, 1)) / F(pooled[0]), F(max(we - ws + 1, 1)) / F(pooled[1])
        for i in range(pooled[0]):
            for j in range(pooled[1]):
                h0, h1 = int(np.floor(F(i) * bh)) + hs, int(np.ceil(F(i + 1) * bh)) + hs
                w0, w1 = int(np.floor(F(j) * bw)) + ws, int(np.ceil(F(j + 1) * bw)) + ws
                h0, h1 = (min(max(v, 0), height) for v in (h0, h1))
                w0, w1 = (min(max(v, 0), width) for v in (w0, w1))
                empty = h1 <= h0 or w1 <= w0
                bin_ = x[int(image), :, h0:h1, w0:w1]
                top[r, :, i, j] = 0 if empty else bin_.reshape(channels, -1).max(1)
    return top


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_region_pooling(seed):
    rng = np.random.default_rng(seed)
    n, c, h, w = (int(v) for v in rng.integers(1, (4, 4, 10, 10)))
    pooled, scale = tuple(int(v) for v in rng.integers(1, 5, 2)), rng.choice([1, 0.5, 0.25, 0.0625])
    pad = rng.choice([0, 0, 0.25])
    x = rng.normal(size=(n, c, h, w)).astype(F)
    rois = regions(rng, int(rng.integers(1, 6)), n, h, w, scale)
    text = (
        'layer { name: "p" type: "ROIPooling" bottom: "x" bottom: "r" top: "y" roi_pooling_param { '
        f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} pad_ratio: {pad} }} }}"
    )
    expected = of_fast_rcnn(x, rois, pooled, scale, pad)
    shapes = [rois.shape, (*rois.shape, 1, 1), (1, 1, *rois.shape)]
    for shape in shapes if len(rois) > 1 else shapes[:1]:
        actual = run(text, {"x": x, "r": rois.reshape(shape)})["y"]
        np.testing.assert_array_equal(actual, expected)


def of_rfcn(x, rois, scale, outputs, group):
    """src/caffe/layers/psroi_pooling_layer.cu of daijifeng001/caffe-rfcn (Forward)."""
    height, width = x.shape[2:]
    top = np.zeros((len(rois), outputs, group, group), F)
    scale = F(scale)
    for r, (image, *corners) in enumerate(rois):
        ws, hs = (F(nearest(v)) * scale for v in corners[:2])
        we, he = (F(nearest(v) + 1.0) * scale for v in corners[2:])
        bh, bw = (max(v, F(0.1)) / F(group) for v in (he - hs, we - ws))
        for c in range(outputs):
            for i in range(group):
                for j in range(group):
                    h0, h1 = math.floor(F(i) * bh + hs), math.ceil(F(i + 1) * bh + hs)
                    w0, w1 = math.floor(F(j) * bw + ws), math.ceil(F(j + 1) * bw + ws)
                    h0, h1 = (min(max(v, 0), height) for v in (h0, h1))
                    w0, w1 = (min(max(v, 0), width) for v in (w0, w1))
                    if h1 > h0 and w1 > w0:
                        total = F(0)
                        for v in x[int(image), (c * group + i) * group + j, h0:h1, w0:w1].ravel():
                            total += v
                        top[r, c, i, j] = total / F((h1 - h0) * (w1 - w0))
    return top


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_position_sensitive_pooling(seed):
    rng = np.random.default_rng(seed)
    n, h, w, outputs, group = (int(v) for v in rng.integers(1, (4, 12, 12, 4, 5)))
    scale = rng.choice([1, 0.5, 0.0625])
    x = rng.normal(size=(n, outputs * group * group, h, w)).astype(F)
    rois = regions(rng, int(rng.integers(1, 6)), n, h, w, scale)
    text = (
        'layer { name: "p" type: "PSROIPooling" bottom: "x" bottom: "r" top: "y" psroi_pooling_param '
        f"{{ spatial_scale: {scale} output_dim: {outputs} group_size: {group} }} }}"
    )
    expected = of_rfcn(x, rois, scale, outputs, group)
    close(run(text, {"x": x, "r": rois})["y"], expected)
    close(run(text, {"x": x, "r": rois.reshape(-1, 5, 1, 1)})["y"], expected)


def bilinear(plane, y, x):
    """The value between pixels, of Cambricon's pre_calc_for_bilinear_interpolate."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return F(0)
    y, x = max(y, F(0)), max(x, F(0))
    y0, x0 = int(y), int(x)
    if y0 >= height - 1:
        y0 = y1 = height - 1
        y = F(y0)
    else:
        y1 = math.ceil(y)
    if x0 >= width - 1:
        x0 = x1 = width - 1
        x = F(x0)
    else:
        x1 = math.ceil(x)
    ly, lx = y - F(y0), x - F(x0)
    hy, hx = F(1) - ly, F(1) - lx
    return (
        hy * hx * plane[y0, x0]
        + hy * lx * plane[y0, x1]
        + ly * hx * plane[y1, x0]
        + ly * lx * plane[y1, x1]
    )


def of_cambricon(x, rois, pooled, scale, ratio):
    """src/caffe/layers/roi_align_layer.cpp of Cambricon/caffe."""
    top = np.zeros((len(rois), x.shape[1], *pooled), F)
    scale = F(scale)
    for r, (image, *corners) in enumerate(rois):
        x0, y0, x1, y1 = (v * scale for v in corners)
        width, height = max(x1 - x0, F(1)), max(y1 - y0, F(1))
        bh, bw = height / F(pooled[0]), width / F(pooled[1])
        gh, gw = (ratio or math.ceil(v) for v in (bh, bw))
        for c in range(x.shape[1]):
            for i in range(pooled[0]):
                for j in range(pooled[1]):
                    total = F(0)
                    for a in range(gh):
                        for b in range(gw):
                            y = y0 + F(i) * bh + (F(a) + F(0.5)) * bh / F(gh)
                            z = x0 + F(j) * bw + (F(b) + F(0.5)) * bw / F(gw)
                            total += bilinear(x[int(image), c], y, z)
                    top[r, c, i, j] = total / F(gh * gw)
    return top


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_region_align_of_cambricon(seed):
    rng = np.random.default_rng(seed)
    n, c, h, w = (int(v) for v in rng.integers(1, (3, 3, 9, 9)))
    pooled, scale, ratio = (
        tuple(int(v) for v in rng.integers(1, 4, 2)),
        rng.choice([1, 0.5]),
        int(rng.integers(0, 3)),
    )
    x = rng.normal(size=(n, c, h, w)).astype(F)
    rois = regions(rng, int(rng.integers(1, 5)), n, h, w, scale)
    text = (
        'layer { name: "p" type: "ROIAlign" bottom: "x" bottom: "r" top: "y" roi_align_param { '
        f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} sampling_ratio: {ratio} }} }}"
    )
    expected = of_cambricon(x, rois, pooled, scale, ratio)
    close(run(text, {"x": x, "r": rois})["y"], expected)
    close(run(text, {"x": x, "r": rois.reshape(1, -1, 1, 5)})["y"], expected)


def of_mscnn(x, rois, pooled, scale, pad_ratio):
    """src/caffe/layers/roi_align_layer.cpp of zhaoweicai/mscnn."""
    _, channels, height, width = x.shape
    top = np.zeros((len(rois), channels, pooled[0] + 1, pooled[1] + 1), F)
    scale, pad_ratio, half = F(scale), F(pad_ratio), F(0.5)
    for r, (image, x0, y0, x1, y1) in enumerate(rois):
        px, py = (x1 - x0 + F(1)) * pad_ratio, (y1 - y0 + F(1)) * pad_ratio
        ws, hs = (x0 - px) * scale - half, (y0 - py) * scale - half
        we, he = (x1 + px) * scale - half, (y1 + py) * scale - half
        if he - hs <= 0 or we - ws <= 0:
            continue
        bh, bw = (he - hs) / F(pooled[0]), (we - ws) / F(pooled[1])
        for i in range(pooled[0] + 1):
            for j in range(pooled[1] + 1):
                y, z = hs + F(i) * bh, ws + F(j) * bw
                if y < -0.5 or y > height - 0.5 or z < -0.5 or z > width - 0.5:
                    continue
                h0, w0 = math.floor(y), math.floor(z)
                h1, w1 = h0 + 1, w0 + 1
                y, z = min(max(y, F(0)), F(height - 1)), min(max(z, F(0)), F(width - 1))
                h0, h1 = (min(max(v, 0), height - 1) for v in (h0, h1))
                w0, w1 = (min(max(v, 0), width - 1) for v in (w0, w1))
                lh, lw = y - F(h0), z - F(w0)
                plane = x[int(image)]
                top[r, :, i, j] = (
                    (1 - lw) * (1 - lh) * plane[:, h0, w0] + lw * (1 - lh) * plane[:, h0, w1]
                    + (1 - lw) * lh * plane[:, h1, w0] + lw * lh * plane[:, h1, w1]
                )  # fmt: skip
    return top


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_region_align_of_mscnn(seed):
    rng = np.random.default_rng(seed)
    n, c, h, w = (int(v) for v in rng.integers(1, (4, 4, 10, 10)))
    pooled, scale = tuple(int(v) for v in rng.integers(1, 5, 2)), rng.choice([1, 0.5, 0.125])
    pad = rng.choice([0, 0.25])
    x = rng.normal(size=(n, c, h, w)).astype(F)
    rois = regions(rng, int(rng.integers(1, 6)), n, h, w, scale)
    text = (
        'layer { name: "p" type: "ROIAlign" bottom: "x" bottom: "r" top: "y" roi_pooling_param { '
        f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} pad_ratio: {pad} }} }}"
    )
    close(run(text, {"x": x, "r": rois})["y"], of_mscnn(x, rois, pooled, scale, pad))


def test_tpu_mlir_computes_one_region_of_each_image():
    """Its code counts regions along the third axis, and their images along the first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 5)).astype(F)
    rois = np.array([[1, 0, 0, 3, 3], [0, 1, 1, 4, 4], [1, 0, 0, 4, 4]], F)
    text = (
        'layer { name: "p" type: "ROIPooling" bottom: "x" bottom: "r" top: "y" '
        "roi_pooling_param { pooled_h: 2 pooled_w: 2 } }"
    )
    actual = run(text, {"x": x, "r": rois.reshape(3, 5, 1, 1)}, dialect="tpumlir")["y"]
    expected = of_fast_rcnn(x, rois, (2, 2), 1)
    np.testing.assert_array_equal(actual[:2], expected[:2])
    assert (actual[2] == LOWEST).all()
    actual = run(text, {"x": x, "r": rois.reshape(3, 5, 1, 1)})["y"]
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("layer", "dialect", "kind", "message"),
    [
        ('"ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', "tpumlir", pg.InputError,
         'tpumlir: "r" must have 4 axes and an entry for each of the 2 images, got shape 3x5'),
        ('"ROIPooling" bottom: "q" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', "", pg.InputError,
         "expected 2 bottoms, got 3"),
        ('"ROIAlign" roi_align_param { pooled_h: 1 pooled_w: 1 }', "", pg.UnsupportedError,
         "forks compute it differently: Cambricon averages points of each bin, Synopsys takes the maximum"),
        ('"ROIAlign" roi_align_param { pooled_h: 1 pooled_w: 1 }', "synopsys", pg.UnsupportedError,
         "Synopsys' ROIAlign takes the maximum of four points"),
        ('"ROIAlign" roi_align_param { pooled_h: 1 pooled_w: 1 } roi_pooling_param { pooled_h: 1 pooled_w: 1 }', "",
         pg.UnsupportedError, "roi_align_param and roi_pooling_param are both set"),
        ('"ROIAlign" roi_align_param { pooled_h: 1 }', "", pg.InputError, "pooled_h and pooled_w must be at least 1, got 1x0"),
        ('"PSROIAlign" psroi_align_param { spatial_scale: 1 output_dim: 1 group_size: 2 }', "", pg.UnsupportedError,
         "forks interpolate at different points"),
        ('"DeformablePSROIPooling" deformable_psroi_pooling_param { output_dim: 1 group_size: 2 }', "", pg.UnsupportedError,
         "its code runs on GPUs only"),
    ],
)  # fmt: skip
def test_regions_that_are_refused(layer, dialect, kind, message):
    feeds = {"x": np.zeros((2, 4, 5, 5), F), "r": np.zeros((3, 5), F), "q": np.zeros((3, 6), F)}
    type_, _, rest = layer.partition(" ")
    text = f'layer {{ name: "p" type: {type_} bottom: "x" bottom: "r" top: "y" {rest} }}'
    with pytest.raises(kind) as caught:
        run(text, feeds, dialect=dialect)
    assert message in str(caught.value)


def test_regions_of_six_values_are_refused():
    feeds = {"x": np.zeros((2, 4, 5, 5), F), "q": np.zeros((3, 6), F)}
    text = (
        'layer { name: "p" type: "PSROIPooling" bottom: "x" bottom: "q" top: "y" '
        "psroi_pooling_param { output_dim: 1 group_size: 2 } }"
    )
    with pytest.raises(pg.InputError, match="must hold rows of 5 values"):
        run(text, feeds)


def test_auto_crop_has_the_size_of_its_second_bottom():
    """src/caffe/layers/auto_crop_layer.cpp of yun-liu/RCF: the offset depends on the whole net."""
    text = 'layer { name: "c" type: "AutoCrop" bottom: "x" bottom: "r" top: "y" }'
    feeds = {"x": np.zeros((2, 3, 9, 8), F), "r": np.zeros((2, 1, 7, 7), F)}
    with pytest.raises(pg.UnsupportedError, match="its offset follows from the layers before it"):
        run(text, feeds)
    feeds["r"] = np.zeros((2, 1, 10, 7), F)
    with pytest.raises(
        pg.InputError, match="9x8 pixels, must not be smaller than its second, 10x7"
    ):
        run(text, feeds)
