"""Region proposals agree with NumPy readings of the forks' code: the same boxes in the same order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from comparing import parsed

import protogen as pg
from protogen.layers.base import LayerType
from protogen.layers.forks.detection import anchors
from protogen.onnx.session import run_model

F = np.float32


def run(text, feeds, phase="TEST", dialect=""):
    """Return the outputs of a net whose inputs have the names and shapes of the feeds."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in array.shape)} }} }} }}\n"
        for name, array in feeds.items()
    )
    net = parsed(inputs + text, phase, dialect)
    return run_model(pg.to_onnx(net).SerializeToString(), feeds)


def maps(rng, count, height, width, stride, grow=0.4):
    """Distinct scores, deltas and im_info of an image that the map covers, or almost."""
    scores = rng.permutation(2 * count * height * width).reshape(1, 2 * count, height, width)
    deltas = rng.normal(0, grow, (1, 4 * count, height, width))
    info = [height * stride - int(rng.integers(0, stride)), width * stride, 1]
    return {
        "s": (scores / scores.size).astype(F),
        "d": deltas.astype(F),
        "i": np.array([info], F),
    }


def overlap(a, b):
    w = max(F(0), min(a[2], b[2]) - max(a[0], b[0]) + F(1))
    h = max(F(0), min(a[3], b[3]) - max(a[1], b[1]) + F(1))
    area = [(c[2] - c[0] + F(1)) * (c[3] - c[1] + F(1)) for c in (a, b)]
    return w * h / (area[0] + area[1] - w * h)


def suppress(boxes, threshold):
    """Indices of boxes, in order of score, that overlap no earlier selected one too much."""
    selected = []
    for i in range(len(boxes)):
        if all(overlap(boxes[j], boxes[i]) <= threshold for j in selected):
            selected.append(i)
    return selected


def moved(anchor, delta):
    """bbox_transform_inv of one box, in float32."""
    w, h = anchor[2] - anchor[0] + F(1), anchor[3] - anchor[1] + F(1)
    x, y = anchor[0] + F(0.5) * w, anchor[1] + F(0.5) * h
    px, py = delta[0] * w + x, delta[1] * h + y
    pw, ph = np.exp(delta[2]) * w, np.exp(delta[3]) * h
    half = F(0.5)
    return np.array([px - half * pw, py - half * ph, px + half * pw, py + half * ph], F)


def clipped(box, height, width):
    ends = (width - F(1), height - F(1), width - F(1), height - F(1))
    return np.array([max(min(c, e), F(0)) for c, e in zip(box, ends, strict=True)], F)


def python_anchors(ratios, scales, base=16):
    """generate_anchors.py of py-faster-rcnn."""
    rows = []
    for ratio in ratios:
        w = np.round(np.sqrt(base * base / ratio))
        h = np.round(w * ratio)
        c = 0.5 * (base - 1)
        for scale in scales:
            ws, hs = w * scale, h * scale
            rows.append(
                [c - 0.5 * (ws - 1), c - 0.5 * (hs - 1), c + 0.5 * (ws - 1), c + 0.5 * (hs - 1)]
            )
    return np.array(rows)


def of_python(feeds, base, stride, before=6000, after=300, threshold=0.7, least=16):
    """lib/rpn/proposal_layer.py of rbgirshick/py-faster-rcnn."""
    count, (height, width) = len(base), feeds["s"].shape[2:]
    info = feeds["i"].ravel()
    candidates = []
    for h in range(height):
        for w in range(width):
            for k in range(count):
                anchor = (base[k] + np.array([w, h, w, h]) * stride).astype(F)
                box = moved(anchor, feeds["d"][0, 4 * k : 4 * k + 4, h, w])
                box = clipped(box, info[0], info[1])
                size = F(least) * info[2]
                if box[2] - box[0] + F(1) >= size and box[3] - box[1] + F(1) >= size:
                    candidates.append((feeds["s"][0, count + k, h, w], box))
    candidates.sort(key=lambda pair: -pair[0])
    candidates = candidates[:before]
    selected = suppress([box for _, box in candidates], threshold)[:after]
    rows = [[0, *candidates[i][1]] for i in selected]
    return np.array(rows, F).reshape(-1, 5), np.array([candidates[i][0] for i in selected], F)


def test_anchors_of_faster_rcnn_are_the_published_ones():
    """The nine boxes in the comment of generate_anchors.py, and those that Cambricon's code lists."""
    boxes = anchors.anchors(16, anchors.RATIOS, anchors.SCALES, halves_to_even=True)
    np.testing.assert_array_equal(boxes, python_anchors((0.5, 1, 2), (8, 16, 32)))
    np.testing.assert_array_equal(boxes[0], [-84, -40, 99, 55])
    np.testing.assert_array_equal(boxes, anchors.cambricon_defaults())
    np.testing.assert_array_equal(
        anchors.rounded(np.array([0.5, 1.5, -0.5, 0.49999997], F)), [1, 2, -1, 0]
    )


PYTHON = (
    'layer {{ name: "p" type: "Python" bottom: "s" bottom: "d" bottom: "i" top: "rois" top: "scores" '
    'python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{}" }} }}'
)


@pytest.mark.parametrize(
    ("text", "scales", "ratios", "stride"),
    [
        ("'feat_stride': 16", (8, 16, 32), (0.5, 1, 2), 16),
        (r"'feat_stride': 16 \n'scales': !!python/tuple [4, 8, 16, 32]", (4, 8, 16, 32), (0.5, 1, 2), 16),
        ("{'feat_stride': 4, 'scales': [2, 4, 8]}", (2, 4, 8), (0.5, 1, 2), 4),
        ("feat_stride: 8", (8, 16, 32), (0.5, 1, 2), 8),
        ("{'feat_stride': 16, 'ratios': [0.333, 0.5, 0.667, 1], 'scales': [2, 3]}", (2, 3), (0.333, 0.5, 0.667, 1), 16),
    ],
)  # fmt: skip
def test_python_proposal_layer(text, scales, ratios, stride):
    base = python_anchors(ratios, scales)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(1, 9, 2)
        feeds = maps(rng, len(base), height, width, stride)
        feeds["i"][0, 2] = rng.choice([0.5, 1, 1.6])
        actual = run(PYTHON.format(text), feeds)
        rows, scores = of_python(feeds, base, stride)
        assert actual["rois"].shape == rows.shape
        assert actual["scores"].shape == (len(rows), 1)
        np.testing.assert_array_equal(actual["scores"].ravel(), scores)
        np.testing.assert_allclose(actual["rois"], rows, rtol=0, atol=2e-5 * 16 * 9)


def test_python_proposal_layer_with_more_boxes_than_it_takes():
    """3 x 40 x 52 x 3 anchors: suppression reads 6000 of them, and 300 remain; TRAIN takes 2000."""
    rng = np.random.default_rng(5)
    text = "{'feat_stride': 16, 'scales': [1]}"
    base = python_anchors((0.5, 1, 2), (1,))
    feeds = maps(rng, 3, 40, 52, 16, grow=0.1)
    actual = run(PYTHON.format(text), feeds)["scores"].ravel()
    scores = of_python(feeds, base, 16, before=2 * 300)[1]
    assert len(scores) == 300 or len(scores) < len(actual)
    np.testing.assert_array_equal(actual[: len(scores)], scores)
    assert len(actual) == 300
    assert len(run(PYTHON.format(text), feeds, "TRAIN")["scores"]) > 300


def test_python_proposal_layer_without_a_region():
    """All boxes are too small: no rows."""
    feeds = maps(np.random.default_rng(0), 9, 2, 3, 16)
    feeds["i"][0] = [8, 8, 1]
    actual = run(PYTHON.format("'feat_stride': 16"), feeds)
    assert actual["rois"].shape == (0, 5)
    assert actual["scores"].shape == (0, 1)


PLAIN = (
    'layer { name: "p" type: "Proposal" bottom: "s" bottom: "d" bottom: "i" top: "rois" top: "scores" '
    "proposal_param { %s } }"
)


@pytest.mark.parametrize("seed", range(12))
def test_proposal_of_mini_caffe_and_pvanet(seed):
    """src/layers/proposal_layer.cpp of luoyetx/mini-caffe: boxes that are too small get score 0. Their
    order is not defined, so they are not compared. A fourth value of im_info is PVANet's."""
    rng = np.random.default_rng(seed)
    ratios = [[1.0], [0.5, 1, 2], [2.669]][seed % 3]
    scales = [[8.0, 16], [2.0], [1, 3.5, 4]][seed // 3 % 3]
    stride, base, least = [(16, 16, 16), (8, 8, 5), (32, 16, 40)][seed % 3]
    before, after, threshold = int(rng.integers(20, 300)), int(rng.integers(3, 60)), 0.6
    height, width = rng.integers(2, 8, 2)
    feeds = maps(rng, len(ratios) * len(scales), height, width, stride)
    if seed % 2:
        feeds["i"] = np.array([[*feeds["i"][0, :2], 1.25, 1.25]], F)
    param = (
        f"feat_stride: {stride} base_size: {base} min_size: {least} pre_nms_topn: {before} "
        f"post_nms_topn: {after} nms_thresh: {threshold} "
        + " ".join(f"ratio: {x}" for x in ratios)
        + " ".join(f" scale: {x}" for x in scales)
    )
    actual = run(PLAIN % param, feeds)
    boxes = []
    for ratio in ratios:
        ratio_w = F(math.floor(np.sqrt(F(base * base) / F(ratio)) + F(0.5)))
        ratio_h = F(math.floor(ratio_w * F(ratio) + F(0.5)))
        for scale in scales:
            w, h = F(0.5) * (ratio_w * F(scale) - F(1)), F(0.5) * (ratio_h * F(scale) - F(1))
            c = F(0.5 * (base - 1))
            boxes.append([c - w, c - h, c + w, c + h])
    rows, scores = of_python(feeds, np.array(boxes), stride, before, after, threshold, least)
    candidates = actual["scores"] > 0
    np.testing.assert_array_equal(
        actual["scores"][candidates][: len(scores)], scores[: candidates.sum()]
    )
    np.testing.assert_allclose(
        actual["rois"][candidates], rows[: candidates.sum()], rtol=0, atol=2e-3
    )
    assert len(actual["rois"]) <= after
    assert actual["scores"].ndim == 1


@pytest.mark.parametrize("seed", range(6))
def test_proposal_of_happynear(seed):
    """src/caffe/layers/proposal_layer.cpp of happynear/caffe-windows: scale is a size in pixels, and
    im_info has a scale for each axis."""
    rng = np.random.default_rng(seed)
    ratios, scales = [0.5, 1.0, 2.0], [[32.0, 64], [128.0], [20, 33.5]][seed % 3]
    feeds = maps(rng, len(ratios) * len(scales), 4, 5, 16)
    feeds["i"] = np.array([[64, 80, 1.5, 1.5]], F)
    param = "min_size: 4 nms_thresh: 0.5 post_nms_topn: 20" + "".join(
        f" ratio: {x}" for x in ratios
    )
    param += "".join(f" scale: {x}" for x in scales)
    actual = run(PLAIN % param, feeds, dialect="happynear")
    boxes = []
    for ratio in ratios:
        ratio_w = np.sqrt(F(256) / F(ratio))
        ratio_h = F(ratio_w * F(ratio))
        for scale in scales:
            w, h = (
                0.5 * int(float(F(side * F(scale))) / 16 - 1 + 0.5) for side in (ratio_w, ratio_h)
            )
            boxes.append([7.5 - w, 7.5 - h, 7.5 + w, 7.5 + h])
    rows, scores = of_python(feeds, np.array(boxes), 16, 6000, 20, 0.5, 4)
    candidates = actual["scores"] > 0
    np.testing.assert_array_equal(actual["scores"][candidates], scores[: candidates.sum()])
    np.testing.assert_allclose(
        actual["rois"][candidates], rows[: candidates.sum()], rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("seed", range(6))
def test_proposal_of_synopsys(seed):
    """src/caffe/layers/proposal_layer.cpp of synopsys-caffe: boxes that are too small are left out,
    except the last one; suppression reads all boxes."""
    rng = np.random.default_rng(seed)
    single = seed % 2
    base = python_anchors((1,) if single else (0.5, 1, 2), (32,) if single else (8, 16, 32))
    height, width = rng.integers(2, 6, 2)
    feeds = maps(rng, len(base), height, width, 16)
    least = 40 if seed < 3 else 16
    param = f"feat_stride: 16 rpn_min_size: {least} max_rois: 25 rpn_nms_thresh: 0.65"
    if single:
        param += " anchor_scale: 1 anchor_ratio: 1"
    feeds["d"][0, -4:, -1, -1] = [0, 0, -5, -5]  # the last box is too small
    actual = run(PLAIN % param, feeds)
    count, info = len(base), feeds["i"].ravel()
    candidates = []
    for k in range(count):
        for h in range(height):
            for w in range(width):
                anchor = (base[k] + np.array([w, h, w, h]) * 16).astype(F)
                box = clipped(moved(anchor, feeds["d"][0, 4 * k : 4 * k + 4, h, w]), *info[:2])
                is_last = (k, h, w) == (count - 1, height - 1, width - 1)
                if is_last or min(box[2] - box[0], box[3] - box[1]) + 1 >= least:
                    candidates.append((feeds["s"][0, count + k, h, w], box))
    candidates.sort(key=lambda pair: -pair[0])
    selected = suppress([box for _, box in candidates], 0.65)[:25]
    np.testing.assert_array_equal(actual["scores"].ravel(), [candidates[i][0] for i in selected])
    np.testing.assert_allclose(
        actual["rois"][:, 1:], [candidates[i][1] for i in selected], rtol=0, atol=2e-3
    )
    assert actual["scores"].shape == (len(selected), 1)


@pytest.mark.parametrize("seed", range(8))
def test_proposal_of_cambricon(seed):
    """src/caffe/layers/proposal_layer.cpp of Cambricon/caffe: a fixed number of regions, clipped on
    one side only; im_info of height 0 stands for the layer's own sizes."""
    rng = np.random.default_rng(seed)
    ratios, scales = [0.5, 1.0, 2.0], [8.0, 16.0]
    kind = seed % 3
    if kind == 0:
        base, param = anchors.cambricon_defaults(), ""
    else:
        param = f"anchor_num: 6 base_size: 16 pvanet_mode: {'true' if kind == 1 else 'false'}"
        param += "".join(f" anchor_ratio: {x}" for x in ratios)
        param += "".join(f" anchor_scale: {x}" for x in scales)
        rows = []
        if kind == 1:
            for ratio in ratios:
                root = np.sqrt(F(ratio))
                w = int(F(16) / root + F(0.5))
                h = int(w * root * root + F(0.5))
                for scale in scales:
                    rows.append([7.5 - 0.5 * (w * scale - 1), 7.5 - 0.5 * (h * scale - 1),
                                 7.5 + 0.5 * (w * scale - 1), 7.5 + 0.5 * (h * scale - 1)])  # fmt: skip
        else:
            for scale in scales:
                for ratio in ratios:
                    root = np.sqrt(F(ratio))
                    w, h = F(8) / root * F(scale), F(8) * root * F(scale)
                    rows.append([7.5 - w, 7.5 - h, 7.5 + w, 7.5 + h])
        base = np.array(rows, F)
    height, width = rng.integers(2, 6, 2)
    feeds = maps(rng, len(base), height, width, 16)
    if seed % 2:
        feeds["i"][0, 0] = 0
    size = (60, 70, 1.5) if seed % 2 else feeds["i"].ravel()
    param += f" im_min_w: 20 im_min_h: 12 im_h: 60 im_w: 70 scale: 1.5 nms_num: 30 top_num: 90 nms_thresh: 0.5"  # noqa: F541
    text = PLAIN.replace(' top: "scores"', "") % param
    actual = run(text, feeds)["rois"]
    candidates = []
    for k in range(len(base)):
        for h in range(height):
            for w in range(width):
                a = np.array([F(w * 16) + F(base[k][0]), F(h * 16) + F(base[k][1]),
                              F(w * 16) + F(base[k][2]), F(h * 16) + F(base[k][3])], F)  # fmt: skip
                d = feeds["d"][0, 4 * k : 4 * k + 4, h, w]
                cx, cy = (a[0] + a[2] + F(1)) / F(2), (a[1] + a[3] + F(1)) / F(2)
                bw, bh = a[2] - a[0] + F(1), a[3] - a[1] + F(1)
                nx, ny, nw, nh = (
                    cx + d[0] * bw,
                    cy + d[1] * bh,
                    np.exp(d[2]) * bw,
                    np.exp(d[3]) * bh,
                )
                box = np.array([max(nx - nw / 2, 0), max(ny - nh / 2, 0),
                                min(nx + nw / 2, size[1] - 1), min(ny + nh / 2, size[0] - 1)], F)  # fmt: skip
                if box[2] - box[0] + 1 >= 20 * size[2] and box[3] - box[1] + 1 >= 12 * size[2]:
                    candidates.append((feeds["s"][0, len(base) + k, h, w], box))
    candidates.sort(key=lambda pair: -pair[0])
    candidates = candidates[:90]
    selected = suppress([box for _, box in candidates], 0.5)[:30]
    expected = np.zeros((30, 5), F)
    expected[: len(selected), 1:] = [candidates[i][1] for i in selected]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-3)


def in_order(feeds, threshold, overlap_above, after, size):
    """src/caffe/layers/proposal_layer.cpp of sophgo/caffe: erases boxes while it walks over them."""
    base = python_anchors((0.5, 1, 2), (8, 16, 32))
    images, _, height, width = feeds["s"].shape
    top = np.zeros((images, 1, after, 5), F)
    for n in range(images):
        boxes, scores = [], []
        for k in range(9):
            for h in range(height):
                for w in range(width):
                    score = feeds["s"][n, 9 + k, h, w]
                    if score < F(threshold):
                        continue
                    a, d = base[k].astype(F), feeds["d"][n, 4 * k : 4 * k + 4, h, w]
                    bw, bh = a[2] - a[0] + F(1), a[3] - a[1] + F(1)
                    cx, cy = F(w * 16 + a[0] + 0.5 * (bw - 1)), F(h * 16 + a[1] + 0.5 * (bh - 1))
                    cx, cy = cx + bw * d[0], cy + bh * d[1]
                    pw, ph = bw * np.exp(d[2]), bh * np.exp(d[3])
                    half = F(0.5)
                    box = [cx - half * pw, cy - half * ph, cx + half * pw, cy + half * ph]
                    boxes.append(clipped(np.array(box, F), F(size[0]), F(size[1])))
                    scores.append(score)
        i = 0
        while i < len(boxes) - 1:
            j = i + 1
            while j < len(boxes):
                w = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
                h = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
                area = [(b[2] - b[0] + F(1)) * (b[3] - b[1] + F(1)) for b in (boxes[i], boxes[j])]
                if w > 0 and h > 0 and w * h / (area[0] + area[1] - w * h) > overlap_above:
                    if scores[i] >= scores[j]:
                        del boxes[j], scores[j]
                        continue
                    del boxes[i], scores[i]
                    i -= 1
                    break
                j += 1
            i += 1
        for row, box in enumerate(boxes[:after]):
            top[n, 0, row] = [n, *box]
    return top


@pytest.mark.parametrize("seed", range(10))
def test_proposal_of_tpu_mlir(seed):
    """The suppression in order of boxes, for several images and settings."""
    rng = np.random.default_rng(seed)
    images, height, width = rng.integers(1, 4), *rng.integers(1, 6, 2)
    threshold, above = rng.choice([0.1, 0.5, 0.9]), rng.choice([0.2, 0.5, 0.7])
    after = int(rng.integers(1, 40))
    scores = rng.permutation(images * 18 * height * width).astype(F) / (
        images * 18 * height * width
    )
    feeds = {
        "s": scores.reshape(images, 18, height, width).astype(F),
        "d": rng.normal(0, 0.5, (images, 36, height, width)).astype(F),
    }
    if seed == 3:  # equal scores
        feeds["s"] = np.round(feeds["s"] * 4) / F(4)
    size = (16 * height, 16 * width)
    text = (
        'layer { name: "p" type: "Proposal" bottom: "s" bottom: "d" top: "rois" proposal_param { '
        f"rpn_obj_threshold: {threshold} rpn_nms_threshold: {above} rpn_nms_post_top_n: {after} "
        f"net_input_h: {size[0]} net_input_w: {size[1]} }} }}"
    )
    expected = in_order(feeds, threshold, F(above), after, size)
    np.testing.assert_allclose(run(text, feeds)["rois"], expected, rtol=0, atol=2e-3)


def test_proposal_of_tpu_mlir_without_a_box():
    feeds = maps(np.random.default_rng(0), 9, 2, 3, 16)
    del feeds["i"]
    text = (
        'layer { name: "p" type: "Proposal" bottom: "s" bottom: "d" top: "rois" proposal_param { '
        "rpn_obj_threshold: 2 rpn_nms_post_top_n: 4 net_input_h: 32 net_input_w: 48 } }"
    )
    np.testing.assert_array_equal(run(text, feeds)["rois"], np.zeros((1, 1, 4, 5)))


@pytest.mark.parametrize("seed", range(4))
def test_text_proposals(seed):
    """src/layers/text_proposal_layer.py and src/anchor.py of tianzhi0549/CTPN."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2)
    feeds = {
        "s": rng.random((1, 20, height, width)).astype(F),
        "d": rng.normal(0, 0.4, (1, 20, height, width)).astype(F),
        "i": np.array([[16 * height - 3, 16 * width - 5]], F),
    }
    text = PYTHON.format("'feat_stride': 16").replace("rpn.proposal", "layers.text_proposal")
    actual = run(text, feeds)
    boxes, scores = [], []
    for y in range(height):
        for x in range(width):
            for k, tall in enumerate([11, 16, 23, 33, 48, 68, 97, 139, 198, 283]):
                y0, y1 = int(7.5 - tall // 2) + 16 * y, int(7.5 + tall // 2) + 16 * y
                d = feeds["d"][0, 2 * k : 2 * k + 2, y, x]
                size = np.exp(d[1]) * (y1 - y0 + 1.0)
                low = d[0] * (y1 - y0 + 1.0) + (y0 + y1) / 2.0 - size / 2
                box = [16 * x, low, 16 * x + 15, low + size]
                boxes.append(clipped(np.array(box, F), *feeds["i"][0]))
                scores.append([feeds["s"][0, 10 + k, y, x]])
    np.testing.assert_array_equal(actual["scores"], np.array(scores, F))
    np.testing.assert_allclose(actual["rois"], boxes, rtol=0, atol=2e-5 * 300)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (PYTHON.format("'feat_stride': 16"), (1, 6, 4, 4), '"s" must have 4 axes and 18 channels for 9 anchors, got shape 1x6x4x4'),
        (PYTHON.format("'scales': [1]"), (1, 6, 4, 4), "param_str must have 'feat_stride', an integer above 0, which is missing"),
        (PYTHON.format("'feat_stride': 0"), (1, 6, 4, 4), "param_str must have 'feat_stride', an integer above 0, got 0"),
        (PYTHON.format("{'feat_stride': 16, 'scales': 8}"), (1, 6, 4, 4), "'scales' in param_str must be numbers above 0, got 8"),
        (PYTHON.format("feat_stride 16"), (1, 6, 4, 4), "param_str 'feat_stride 16' holds no names and values. Write it like \"{'feat_stride': 16}\""),
        (PLAIN % "feat_stride: 16 scale: 8", (1, 6, 4, 4), "missing ratio. Set one or more"),
        (PLAIN % "ratio: 1 scale: 8", (1, 6, 4, 4), '"s" must have 4 axes and 2 channels for 1 anchors, got shape 1x6x4x4'),
        (PLAIN % "ratio: 1 scale: 8", (2, 2, 4, 4), "it takes one image, got a batch of 2. Use a batch of 1"),
    ],
)  # fmt: skip
def test_wrong_proposals(layer, shape, message):
    n, c, h, w = shape
    with pytest.raises(pg.InputError) as caught:
        run(
            layer,
            {"s": np.zeros(shape, F), "d": np.zeros((n, 2 * c, h, w), F), "i": np.ones((1, 3), F)},
        )
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("ratio: 1 scale: 128", "scale 128 can be a factor of base_size (mini-caffe, PVANet) or a size in pixels (happynear)"),
        ("pre_nms_topn: 100", "its fields do not tell which fork's Proposal it is"),
        ("top_num: 5 max_rois: 3", "its fields do not tell which fork's Proposal it is"),
        ("nms_iou_th: 0.5 stride_h: 16", "the code of Vitis AI's Proposal is not public"),
        ("nproposal_mode: true nms_num: 5", "nproposal_mode is unsupported"),
    ],
)  # fmt: skip
def test_unclear_proposals_are_refused(param, message):
    feeds = {
        "s": np.zeros((1, 2, 3, 3), F),
        "d": np.zeros((1, 4, 3, 3), F),
        "i": np.ones((1, 3), F),
    }
    text = PLAIN.replace(' top: "scores"', "") % param
    with pytest.raises(pg.UnsupportedError) as caught:
        run(text, feeds)
    assert message in str(caught.value)


def test_a_plugin_comes_before_a_known_python_layer():
    """pg.layer of the class's name replaces protogen's own reading of it."""
    feeds = maps(np.random.default_rng(0), 9, 2, 3, 16)

    def identity(layer, e):
        e.op("Identity", [layer.reads[0]], [layer.writes[0]])
        e.op("Identity", [layer.reads[1]], [layer.writes[1]])

    try:
        pg.layer("ProposalLayer", shapes=lambda layer, bottoms: list(bottoms[:2]))(identity)
        actual = run(PYTHON.format("'feat_stride': 16"), feeds)
        np.testing.assert_array_equal(actual["rois"], feeds["s"])
    finally:
        LayerType.registry.pop("ProposalLayer", None)
