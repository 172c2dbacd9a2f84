"""Regions of MS-CNN and Cascade R-CNN agree with NumPy readings of their code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_proposals import run

import protogen as pg

F = np.float32


def regression(norm):
    """The bbox_reg_param with these means and standard deviations."""
    means = " ".join(f"bbox_mean: {v}" for v in norm[0])
    return f"bbox_reg_param {{ {means} {' '.join(f'bbox_std: {v}' for v in norm[1])} }}"


def iou(a, b):
    """BoxIOU of zhaoweicai/mscnn: boxes x, y, w, h."""
    if min(a[2], a[3], b[2], b[3]) <= 0:
        return F(0)
    x0, y0 = max(a[0], b[0]), max(a[1], b[1])
    x1, y1 = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    over = F(0) if x0 >= x1 or y0 >= y1 else (x1 - x0) * (y1 - y0)
    return over / (a[2] * a[3] + b[2] * b[3] - over)


def jaccard(a, b):
    """JaccardOverlap of zhaoweicai/cascade-rcnn: boxes x0, y0, x1, y1, with their last pixel."""
    if a[2] < a[0] or a[3] < a[1] or b[2] < b[0] or b[3] < b[1]:
        return F(0)
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    over = F(0) if x0 > x1 or y0 >= y1 else (x1 - x0 + F(1)) * (y1 - y0 + F(1))
    area = [(c[2] - c[0] + F(1)) * (c[3] - c[1] + F(1)) for c in (a, b)]
    return over / (area[0] + area[1] - over)


def suppressed(candidates, overlap, threshold, before, after):
    candidates = sorted(candidates, key=lambda pair: -pair[0])
    candidates = candidates[:before] if before else candidates
    selected = []
    for score, box in candidates:
        if all(overlap(other, box) <= threshold for _, other in selected):
            selected.append((score, box))
    return selected[:after] if after else selected


def delta(values, bound, norm):
    """De-normalization and bounds."""
    values = [v * s + m for v, m, s in zip(values, *norm, strict=True)] if norm else values
    xy, wh = F(1) / F(bound[0]), np.log(F(bound[1]))
    x, y = (min(xy, max(-xy, v)) for v in values[:2])
    w, h = (min(wh, max(np.log(F(1) / F(bound[1])), v)) for v in values[2:])
    return x, y, w, h


def check(actual, rows, scores):
    """Compare the tops with rows (image, corners) and scores; without a row Caffe writes others."""
    if not rows:
        np.testing.assert_array_equal(actual["y"].reshape(-1), [0, 1, 1, 10, 10])
        np.testing.assert_array_equal(actual["z"].reshape(-1), np.zeros(6))
        return
    assert actual["y"].shape == (len(rows), 5, 1, 1)
    assert actual["z"].shape == (len(rows), 6, 1, 1)
    np.testing.assert_allclose(actual["y"][:, :, 0, 0], rows, rtol=0, atol=2e-5 * 200)
    np.testing.assert_allclose(actual["z"][:, 5, 0, 0], scores, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(actual["z"][:, :5], actual["y"])


@pytest.mark.parametrize("seed", range(12))
def test_box_output(seed):
    """src/caffe/layers/box_output_layer.cpp of zhaoweicai/mscnn."""
    rng = np.random.default_rng(seed)
    images, classes, count = (int(v) for v in rng.integers((1, 2, 1), (3, 5, 4)))
    sizes = [tuple(int(v) for v in rng.integers(1, 7, 2)) for _ in range(count)]
    fields = [
        (int(a), int(b), int(c)) for a, b, c in rng.integers((20, 20, 4), (90, 90, 17), (count, 3))
    ]
    before, after = [(0, 0), (30, 0), (25, 6)][seed % 3]
    thr, iou_thr, least = (
        (-9 if seed != 7 else 50),
        F(rng.choice([0.2, 0.5])),
        int(rng.integers(1, 30)),
    )
    norm = (F([0.1, 0, -0.1, 0]), F([0.2, 0.3, 0.2, 0.1])) if seed % 2 else None
    bound = (F(2), F(3)) if seed % 4 else (F(2), F(2))
    feeds = {
        f"m{i}": rng.normal(size=(images, classes + 4, *size)).astype(F)
        for i, size in enumerate(sizes)
    }
    param = f"fg_thr: {thr} iou_thr: {iou_thr} min_size: {least} max_nms_num: {before} max_post_nms_num: {after} "
    param += f"field_xyr: {bound[0]} field_whr: {bound[1]} "
    param += " ".join(f"field_h: {h} field_w: {w} downsample_rate: {r}" for h, w, r in fields)
    reg = ""
    if norm:
        reg = regression(norm)
    bottoms = " ".join(f'bottom: "{name}"' for name in feeds)
    text = f'layer {{ name: "b" type: "BoxOutput" {bottoms} top: "y" top: "z" box_output_param {{ {param} }} {reg} }}'
    rows, scores = [], []
    for n in range(images):
        candidates = []
        for i, (fh, fw, rate) in enumerate(fields):
            data = feeds[f"m{i}"][n]
            height, width = sizes[i]
            for h in range(height):
                for w in range(width):
                    score = data[1:classes, h, w].max() - data[0, h, w]
                    if score < thr:
                        continue
                    x, y, bw, bh = delta(list(data[classes:, h, w]), bound, norm)
                    x, y = x * F(fw) + F((w + 0.5) * rate), y * F(fh) + F((h + 0.5) * rate)
                    bw, bh = F(fw) * np.exp(bw), F(fh) * np.exp(bh)
                    x, y = max(x - bw / F(2), F(0)), max(y - bh / F(2), F(0))
                    bw, bh = min(bw, F(width * rate) - x), min(bh, F(height * rate) - y)
                    if bw >= least and bh >= least:
                        candidates.append((score, (x, y, bw, bh)))
        for score, (x, y, w, h) in suppressed(candidates, iou, iou_thr, before, after):
            rows.append([n, x, y, x + w, y + h])
            scores.append(score)
    check(run(text, feeds), rows, scores)


@pytest.mark.parametrize("seed", range(12))
def test_box_group_output(seed):
    """src/caffe/layers/box_group_output_layer.cpp and src/caffe/util/bbox_util.cpp of
    zhaoweicai/cascade-rcnn."""
    rng = np.random.default_rng(seed)
    images, count = (int(v) for v in rng.integers(1, 3, 2))
    groups = []
    for _ in range(count):
        fields = rng.integers(16, 90, (int(rng.integers(1, 4)), 2))
        groups.append(
            (fields, int(rng.choice([4, 8, 16])), tuple(int(v) for v in rng.integers(1, 6, 2)))
        )
    before, after = [(0, 0), (30, 0), (25, 6)][seed % 3]
    thr, iou_thr = (0.2 if seed != 7 else 2), F(rng.choice([0.3, 0.6]))
    least = int(rng.integers(5, 20))
    norm = (F([0.1, 0, -0.1, 0]), F([0.2, 0.3, 0.2, 0.1])) if seed % 2 else None
    bound = (F(1), F(8))
    feeds, param = {}, ""
    for i, (fields, stride, size) in enumerate(groups):
        entries = images * len(fields)
        feeds[f"p{i}"] = rng.random((entries, 2, *size)).astype(F)
        feeds[f"d{i}"] = rng.normal(0, 1, (entries, 4, *size)).astype(F)
        sizes = " ".join(f"field_w: {w} field_h: {h}" for w, h in fields)
        param += f"box_group_param {{ {sizes} stride: {stride} }} "
    param += f"fg_thr: {thr} iou_thr: {iou_thr} min_size: {least} max_nms_num: {before} max_post_nms_num: {after} "
    param += "field_xyr: 1 field_whr: 8"
    reg = ""
    if norm:
        reg = regression(norm)
    bottoms = " ".join(f'bottom: "{name}"' for name in feeds)
    text = (
        f'layer {{ name: "b" type: "BoxGroupOutput" {bottoms} top: "y" top: "z" box_group_output_param '
        f"{{ {param} }} {reg} }}"
    )
    rows, scores = [], []
    for n in range(images):
        candidates = []
        for i, (fields, stride, (height, width)) in enumerate(groups):
            for k, (fw, fh) in enumerate(fields):
                entry = n * len(fields) + k
                for h in range(height):
                    for w in range(width):
                        score = F(1) - feeds[f"p{i}"][entry, 0, h, w]
                        if score < F(thr):
                            continue
                        x, y, bw, bh = delta(list(feeds[f"d{i}"][entry, :, h, w]), bound, norm)
                        x, y = x * F(fw) + F((w + 0.5) * stride), y * F(fh) + F((h + 0.5) * stride)
                        bw, bh = F(fw) * np.exp(bw), F(fh) * np.exp(bh)
                        x, y = x - bw / F(2), y - bh / F(2)
                        box = (max(F(0), x), max(F(0), y), min(F(width * stride), x + bw - F(1)),
                               min(F(height * stride), y + bh - F(1)))  # fmt: skip
                        if box[2] - box[0] + 1 >= least and box[3] - box[1] + 1 >= least:
                            candidates.append((score, box))
        for score, box in suppressed(candidates, jaccard, iou_thr, before, after):
            rows.append([n, *box])
            scores.append(score)
    check(run(text, feeds), rows, scores)


def decoded(deltas, rois, norm):
    """DecodeBBoxesWithPrior of src/caffe/util/bbox_util.cpp, class 1."""
    rows = []
    for d, roi in zip(deltas[:, 4:].reshape(-1, 4), rois, strict=True):
        d = [v * s + m for v, m, s in zip(d, *norm, strict=True)] if norm else d
        w, h = roi[3] - roi[1] + F(1), roi[4] - roi[2] + F(1)
        x, y = F(0.5) * (roi[3] + roi[1]), F(0.5) * (roi[4] + roi[2])
        x, y = d[0] * w + x, d[1] * h + y
        w, h = w * np.exp(d[2]), h * np.exp(d[3])
        x, y = x - (w - F(1)) / F(2), y - (h - F(1)) / F(2)
        rows.append([roi[0], x, y, x + w - F(1), y + h - F(1)])
    return np.array(rows, F)


@pytest.mark.parametrize("seed", range(8))
def test_decode_bbox(seed):
    """src/caffe/layers/decode_bbox_layer.cpp of zhaoweicai/cascade-rcnn, in both phases."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 9))
    rois = np.concatenate(
        [rng.integers(0, 2, (count, 1)), rng.uniform(0, 90, (count, 4))], 1
    ).astype(F)
    rois[0, 3:] = rois[0, 1:3] + 20  # at least one region is selected
    deltas = rng.normal(0, 0.3, (count, 8)).astype(F)
    norm = (F([0, 0.1, 0, 0]), F([0.1, 0.1, 0.2, 0.2])) if seed % 2 else None
    reg = ""
    if norm:
        reg = regression(norm)
    text = f'layer {{ name: "b" type: "DecodeBBox" bottom: "d" bottom: "r" top: "y" {reg} }}'
    expected = decoded(deltas, rois, norm)
    feeds = {"d": deltas, "r": rois.reshape(-1, 5, 1, 1) if seed % 3 else rois}
    actual = run(text, feeds)["y"]
    assert actual.shape == (count, 5, 1, 1)
    np.testing.assert_allclose(
        actual[:, :, 0, 0], expected, rtol=0, atol=2e-5 * np.abs(expected).max()
    )
    valid = (expected[:, 1] <= expected[:, 3]) & (expected[:, 2] <= expected[:, 4])
    actual = run(text, feeds, "TRAIN")["y"]
    np.testing.assert_allclose(
        actual[:, :, 0, 0], expected[valid], rtol=0, atol=2e-5 * np.abs(expected).max()
    )
    feeds["g"] = rng.random((count, 6)).astype(F)
    feeds["g"][0, 5] = 0.1
    text = text.replace('"r"', '"r" bottom: "g"').replace(
        "top:", "decode_bbox_param { gt_iou_thr: 0.6 } top:"
    )
    valid &= feeds["g"][:, 5] < F(0.6)
    actual = run(text, feeds, "TRAIN")["y"]
    np.testing.assert_allclose(
        actual[:, :, 0, 0], expected[valid], rtol=0, atol=2e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("seed", range(8))
def test_scale_route(seed):
    """src/caffe/layers/scale_route_layer.cpp of zhaoweicai/cascade-rcnn."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    low, high = [
        (None, None),
        (30, None),
        (None, 60),
        (30, 60),
        (400, 500),
        (1, 2),
        (None, 3),
        (20, 90),
    ][seed]
    rois = np.concatenate([np.zeros((count, 1)), rng.uniform(0, 99, (count, 4))], 1).astype(F)
    rois[0, 3:] = rois[0, 1:3] + 20
    feeds = {
        "r": rois,
        "f": rng.normal(size=(count, 3, 2, 2)).astype(F),
        "v": rng.normal(size=(count, 4)).astype(F),
    }
    param = (f"low_scale: {low} " if low else "") + (f"high_scale: {high}" if high else "")
    text = (
        'layer { name: "s" type: "ScaleRoute" bottom: "r" bottom: "f" bottom: "v" top: "a" top: "b" top: "c" '
        f"scale_route_param {{ {param} }} }}"
    )
    middle = math.sqrt(low * high) if low and high else low or high or 256
    scales = []
    for roi in rois:
        turned = roi[3] < roi[1] or roi[4] < roi[2]
        scales.append(0 if turned else math.sqrt((roi[3] - roi[1] + 1) * (roi[4] - roi[2] + 1)))
    chosen = [i for i, s in enumerate(scales) if s >= (low or 0) and (high is None or s < high)]
    if not chosen:
        far = [abs(math.log2(s / middle)) if s else math.inf for s in scales]
        chosen = [int(np.argmin(far))]
    actual = run(text, feeds)
    np.testing.assert_array_equal(actual["a"], rois[chosen].reshape(-1, 5, 1, 1))
    np.testing.assert_array_equal(actual["b"], feeds["f"][chosen])
    np.testing.assert_array_equal(actual["c"], feeds["v"][chosen].reshape(-1, 4, 1, 1))


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        ('"BoxOutput" bottom: "m" top: "y" box_output_param { field_h: 9 field_w: 9 }', pg.InputError,
         "expected one downsample_rate for each of 1 bottoms, got 0"),
        ('"BoxOutput" bottom: "m" top: "y" box_output_param { field_h: 9 field_w: 9 downsample_rate: 4 } '
         "bbox_reg_param { bbox_mean: 1 bbox_std: 1 }", pg.InputError, "bbox_mean and bbox_std must have 4 values, got 1 and 1"),
        ('"BoxOutput" bottom: "m" top: "y" box_output_param { field_h: 9 field_w: 9 downsample_rate: 4 min_size: 0 }',
         pg.UnsupportedError, "min_size 0 is unsupported"),
        ('"BoxOutput" bottom: "m" top: "y" box_output_param { field_h: 9 field_w: 9 downsample_rate: 4 nms_type: "IOMU" }',
         pg.UnsupportedError, 'nms_type "IOMU" is unsupported'),
        ('"BoxGroupOutput" bottom: "m" bottom: "d" top: "y" box_group_output_param { }', pg.InputError,
         "expected two bottoms for each of 0 box_group_param, got 2"),
        ('"BoxGroupOutput" bottom: "m" bottom: "d" top: "y" box_group_output_param { box_group_param { field_h: 9 stride: 4 } }',
         pg.InputError, "box_group_param 0 must have as many field_w as field_h, got 0 and 1"),
        ('"BoxGroupOutput" bottom: "m" bottom: "d" top: "y" box_group_output_param { box_group_param { field_h: 9 field_w: 9 '
         "stride: 4 } iou_thr: 0.01 }", pg.UnsupportedError, "iou_thr 0.01 with min_size 15 is unsupported"),
        ('"DecodeBBox" bottom: "d" bottom: "d" top: "y"', pg.InputError, '"d" must have 1 regions of 8 values, got shape 1x4x3x3'),
        ('"DecodeBBox" bottom: "e" bottom: "r" bottom: "r" top: "y"', pg.InputError, "a third bottom is valid in phase TRAIN only"),
        ('"ScaleRoute" bottom: "r" top: "y" scale_route_param { low_scale: 9 high_scale: 3 }', pg.InputError,
         "low_scale must be above 0 and at most high_scale, got 9 and 3"),
        ('"ScaleRoute" bottom: "r" bottom: "r" top: "y"', pg.InputError, "expected 2 tops, got 1"),
        ('"BboxAccuracy" bottom: "e" bottom: "r" bottom: "r" top: "y"', pg.UnsupportedError,
         "it compares boxes with labels, for training or testing"),
    ],
)  # fmt: skip
def test_refused(layer, kind, message):
    shapes = {"m": (1, 6, 3, 3), "d": (1, 4, 3, 3), "e": (1, 8), "r": (1, 5)}
    feeds = {name: np.zeros(shape, F) for name, shape in shapes.items()}
    with pytest.raises(kind) as caught:
        run(f'layer {{ name: "l" type: {layer} }}', feeds)
    assert message in str(caught.value)
