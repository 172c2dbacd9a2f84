"""Detectors of TPU-MLIR's Caffe, against loops as in the source, sophgo/caffe.

tests/truth compares them with that Caffe itself.
"""

import numpy as np
import pytest
from nets import net_with

import protogen as pg

F = np.float32


def sigmoid(x):
    return F(1) / (F(1) + np.exp(-x))


def suppress_in_turn(boxes, threshold, ratio):
    """``nms`` of yolo_detection_layer.cpp and frcn_detection_layer.cpp; a box is [corners or centre and
    size, class, score]."""
    for i in range(len(boxes)):
        if boxes[i][2] == 0:
            continue
        for j in range(i + 1, len(boxes)):
            if boxes[j][2] == 0 or boxes[i][1] != boxes[j][1]:
                continue
            if ratio(boxes[i][0], boxes[j][0]) > threshold:
                worse = i if boxes[i][2] < boxes[j][2] else j
                boxes[worse][2] = F(0)
    return [one for one in boxes if one[2] > 0]


def top_of(images, keep, width):
    """The rows of all images; ``keep_topk_`` stays as low as an earlier image made it."""
    top, count = np.zeros((len(images), 1, keep, width), F), keep
    for b, rows in enumerate(images):
        count = min(count, len(rows))
        top[b, 0, :count] = np.array(rows[:count], F).reshape(count, width)
    return top


def yolo_ratio(a, b):
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
        - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
        for i in (0, 1)
    ]
    common = F(0) if min(sides) < 0 else sides[0] * sides[1]
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def largest_share(logits):
    """``_softmax`` of yolo_detection_layer.cpp."""
    x = logits - logits.max()
    if logits.min() < -100:
        x = x / logits.min() * F(-100)
    powers = np.exp(x)
    shares = powers / powers.sum(dtype=F)
    return shares.max(), int(shares.argmax())


def yolo_detection(bottoms, p, anchors):
    """``YoloDetectionLayer::Forward_cpu`` of src/caffe/layers/yolo_detection_layer.cpp."""
    limit, images = F(p["obj_threshold"]), []
    for b in range(bottoms[0].shape[0]):
        boxes = []
        for t, bottom in enumerate(bottoms):
            _, _, h, w = bottom.shape
            x = bottom[b].reshape(3, -1, h * w)
            for i in range(h * w):
                for j in range(3):
                    tx, ty, tw, th, to = x[j, :5, i]
                    share, label = largest_share(x[j, 5 : 5 + p["class_num"], i])
                    score = sigmoid(to) * share
                    if sigmoid(to) < limit or score < limit:
                        continue
                    box = (
                        (sigmoid(tx) + F(i % w)) / F(w),
                        (sigmoid(ty) + F(i // w)) / F(h),
                        np.exp(tw) * F(anchors[t * 6 + j * 2]) / F(p["net_input_w"]),
                        np.exp(th) * F(anchors[t * 6 + j * 2 + 1]) / F(p["net_input_h"]),
                    )
                    boxes.append([box, label, score])
        left = suppress_in_turn(boxes, F(p["nms_threshold"]), yolo_ratio)
        images.append([[*box, label, score] for box, label, score in left])
    return top_of(images, p["keep_topk"], 6)


def frcn_ratio(a, b):
    areas = [(c[2] - c[0] + F(1)) * (c[3] - c[1] + F(1)) for c in (a, b)]
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    if width <= 0 or height <= 0:
        return F(-1)
    return width * height / (areas[0] + areas[1] - width * height)


def frcn_detection(bottoms, p):
    """``FrcnDetectionLayer::Forward_cpu`` of src/caffe/layers/frcn_detection_layer.cpp."""
    regions, classes, images = bottoms[2], p["class_num"], []
    n, _, r, _ = regions.shape
    deltas = bottoms[0].reshape(n, r, classes, 4)
    scores = bottoms[1].reshape(n, r, classes)
    for b in range(n):
        boxes = []
        for i in range(r):
            x1, y1, x2, y2 = regions[b, 0, i, 1:]
            width, height = x2 - x1 + F(1), y2 - y1 + F(1)
            centre = x1 + width * F(0.5), y1 + height * F(0.5)
            for j in range(1, classes):
                if scores[b, i, j] > F(p["obj_threshold"]):
                    dx, dy, dw, dh = deltas[b, i, j]
                    cx, cy = dx * width + centre[0], dy * height + centre[1]
                    w, h = np.exp(dw) * width, np.exp(dh) * height
                    box = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
                    boxes.append([box, j, scores[b, i, j]])
        left = suppress_in_turn(boxes, F(p["nms_threshold"]), frcn_ratio)
        images.append([[*box, label, score] for box, label, score in left])
    return top_of(images, p["keep_topk"], 6)


def face_anchors(h, w, stride, scales):
    """``generate_anchors`` and ``anchors_plane`` of include/caffe/layers/retinaface_detection_layer.hpp."""

    def centre_of(x1, x2):
        width = x2 - x1 + 1
        return x1 + 0.5 * (width - 1), width

    def ends_of(centre, width):
        return centre - 0.5 * (width - 1), centre + 0.5 * (width + 1)

    centre, width = centre_of(0, 15)
    base = ends_of(centre, round(np.sqrt(width * width)))
    anchors = []
    for scale in scales:
        centre, width = centre_of(*base)
        low, high = ends_of(centre, width * scale)
        anchors += [
            (low + x * stride, low + y * stride, high + x * stride, high + y * stride)
            for y in range(h)
            for x in range(w)
        ]
    return np.array(anchors, F)


def retinaface_detection(bottoms, p):
    """``RetinaFaceDetectionLayer::Forward_cpu`` of src/caffe/layers/retinaface_detection_layer.cpp."""
    images = []
    for b in range(bottoms[0].shape[0]):
        infos = []
        for level, (stride, scales) in enumerate(((32, (32, 16)), (16, (8, 4)), (8, (2, 1)))):
            score, box, landmark = (bottoms[9 - 3 * level - k][b] for k in (3, 2, 1))
            h, w = score.shape[1:]
            score, box, landmark = (a.reshape(-1) for a in (score, box, landmark))
            score, count = score[len(score) // 2 :], h * w
            anchors = face_anchors(h, w, stride, scales)
            for num in range(2):
                for j in range(count):
                    if score[j + count * num] < F(p["confidence_threshold"]):
                        continue
                    x1, y1, x2, y2 = anchors[j + count * num]
                    width, height = x2 - x1 + F(1), y2 - y1 + F(1)
                    cx, cy = x1 + F(0.5) * (width - F(1)), y1 + F(0.5) * (height - F(1))
                    dx, dy, dw, dh = (box[j + count * (k + num * 4)] for k in range(4))
                    px, py = dx * width + cx, dy * height + cy
                    pw, ph = np.exp(dw) * width - F(1), np.exp(dh) * height - F(1)
                    row = [px - pw / 2, py - ph / 2, px + pw / 2, py + ph / 2]
                    row.append(score[j + count * num])
                    for k in range(5):
                        row.append(cx + landmark[j + count * (num * 10 + k * 2)] * width)
                        row.append(cy + landmark[j + count * (num * 10 + k * 2 + 1)] * height)
                    infos.append(row)
        infos.sort(key=lambda row: -row[4])
        images.append(selected_faces(infos, F(p["nms_threshold"])))
    return top_of(images, p["keep_topk"], 15)


def selected_faces(infos, threshold):
    """``nms`` of retinaface_detection_layer.hpp: it compares later boxes with the box after the selected
    one, but with the area of the selected one."""

    def area(row):
        return (row[2] - row[0] + F(1)) * (row[3] - row[1] + F(1))

    rows, masked, selected = [], [False] * len(infos), 0
    while True:
        while selected < len(infos) and masked[selected]:
            selected += 1
        if selected == len(infos):
            return rows
        rows.append(infos[selected])
        masked[selected] = True
        own = area(infos[selected])
        selected += 1
        for i in range(selected, len(infos)):
            if masked[i]:
                continue
            a, b = infos[selected], infos[i]
            w = min(a[2], b[2]) - max(a[0], b[0]) + F(1)
            h = min(a[3], b[3]) - max(a[1], b[1]) + F(1)
            if w > 0 and h > 0 and w * h / (own + area(b) - w * h) > threshold:
                masked[i] = True


def net(type_, block, p, shapes):
    named = {f"x{i}": shape for i, shape in enumerate(shapes)}
    bottoms = " ".join(f'bottom: "{name}"' for name in named)
    fields = " ".join(f"{name}: {value}" for name, value in p.items())
    return net_with(
        named, f'layer {{ name: "y" {bottoms} top: "y" type: "{type_}" {block} {{ {fields} }} }}'
    )


def check(type_, block, p, bottoms, expected):
    built = net(type_, block, p, [bottom.shape for bottom in bottoms])
    assert built.shapes["y"] == expected.shape
    actual = pg.run(built, {f"x{i}": bottom for i, bottom in enumerate(bottoms)})["y"]
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def thresholds(rng):
    return {
        "nms_threshold": float(rng.choice([0, 0.1, 0.45, 0.8])),
        "keep_topk": int(rng.choice([1, 3, 40])),
    }


ANCHORS = {  # the defaults of yolo_detection_layer.cpp
    "": [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326],
    "yolo_v4": [142, 110, 192, 243, 459, 401, 36, 75, 76, 55, 72, 146, 12, 16, 19, 36, 40, 28],
    "tiny": [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319],
}


@pytest.mark.parametrize("seed", range(24))
def test_yolo_detection(seed):
    rng = np.random.default_rng(seed)
    classes, images = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    kind = str(rng.choice(["", "yolo_v4", "tiny", "own"]))
    count = int(rng.integers(1, 3))
    p = thresholds(rng) | {
        "obj_threshold": float(rng.choice([0.05, 0.3, 0.6])),
        "class_num": classes, "net_input_h": 64, "net_input_w": 96,
    }  # fmt: skip
    anchors = ANCHORS.get(kind) or [int(n) for n in rng.integers(4, 60, 6 * count)]
    if kind == "own":
        p["anchors"] = '"' + ", ".join(map(str, anchors)) + '"'
    elif kind:
        p[kind] = "true"
    bottoms = []
    for _ in range(count):
        h, w = (int(n) for n in rng.integers(1, 5, 2))
        bottom = rng.normal(0, 2, (images, 3, 5 + classes, h, w)).astype(F)
        if seed % 3 == 0:  # logits below -100, which the code scales
            bottom[:, :, 5:] *= 60
        bottoms.append(bottom.reshape(images, -1, h, w))
    expected = yolo_detection(bottoms, p, anchors)
    check("YoloDetection", "yolo_detection_param", p, bottoms, expected)


@pytest.mark.parametrize("seed", range(24))
def test_frcn_detection(seed):
    rng = np.random.default_rng(seed)
    n, r, classes = (int(rng.integers(1, end)) for end in (4, 9, 5))
    p = thresholds(rng) | {
        "obj_threshold": float(rng.choice([0.5, 0.6])), "class_num": classes,
    }  # fmt: skip
    regions = np.zeros((n, 1, r, 5), F)
    regions[..., 1:3] = rng.uniform(0, 40, (n, 1, r, 2))
    regions[..., 3:] = regions[..., 1:3] + rng.uniform(0, 40, (n, 1, r, 2))
    deltas = rng.normal(0, 0.3, (n * r, 4 * classes)).astype(F)
    # One likely class for each region: the code has no room for more candidates than regions.
    scores = rng.uniform(0, 0.5, (n * r, classes)).astype(F)
    scores[np.arange(n * r), rng.integers(0, classes, n * r)] += F(0.4)
    bottoms = [deltas, scores, regions]
    check("FrcnDetection", "frcn_detection_param", p, bottoms, frcn_detection(bottoms, p))


@pytest.mark.parametrize("seed", range(24))
def test_retinaface_detection(seed):
    rng = np.random.default_rng(seed)
    p = thresholds(rng) | {"confidence_threshold": float(rng.choice([0.05, 0.3, 0.8]))}
    images, bottoms = int(rng.integers(1, 4)), []
    for _ in range(3):
        h, w = (int(n) for n in rng.integers(1, 4, 2))
        bottoms.append(rng.random((images, 4, h, w), F))
        bottoms.append(rng.normal(0, 0.5, (images, 8, h, w)).astype(F))
        bottoms.append(rng.normal(0, 1, (images, 20, h, w)).astype(F))
    expected = retinaface_detection(bottoms, p)
    check("RetinaFaceDetection", "retinaface_detection_param", p, bottoms, expected)


PARAMS = {
    "nms_threshold": 0.3, "keep_topk": 9, "obj_threshold": 0.1, "class_num": 2,
    "net_input_h": 64, "net_input_w": 64,
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 16, 18, 21])
def test_operator_sets(opset):
    bottom = np.random.default_rng(1).normal(0, 2, (2, 21, 4, 4)).astype(F)
    built = net("YoloDetection", "yolo_detection_param", PARAMS, [bottom.shape])
    actual = pg.run(pg.to_onnx(built, opset=opset), {"x0": bottom})["y"]
    expected = yolo_detection([bottom], PARAMS, ANCHORS[""])
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)
    assert np.count_nonzero(expected[..., 5]) > 6


def test_the_model_converts_back():
    built = net("YoloDetection", "yolo_detection_param", PARAMS, [(2, 21, 4, 4)])
    back = pg.from_onnx(pg.to_onnx(built), dialect="tpumlir")
    layer = back.layers[-1]
    assert (layer.type, layer.params.yolo_detection_param.keep_topk) == ("YoloDetection", 9)


def test_a_box_that_is_suppressed_late_has_suppressed_others():
    """The rule is not the usual one: the first box suppresses the second, then the third suppresses the
    first, and the second stays left out although it does not overlap the third."""
    logits = np.full((1, 18, 1, 1), 9, F)
    bottom = logits.reshape(3, 6)
    bottom[:, :2] = 0  # in the middle
    bottom[:, 2:4] = 0  # as large as the anchor
    bottom[:, 4] = [1, 0.5, 2]
    p = {
        "nms_threshold": 0.22, "obj_threshold": 0.1, "keep_topk": 3, "class_num": 1,
        "net_input_h": 100, "net_input_w": 100, "anchors": '"80,40,40,20,40,80"',
    }  # fmt: skip
    # Overlaps: of 1 and 2 0.25, of 1 and 3 1/3, of 2 and 3 0.25.
    expected = np.zeros((1, 1, 3, 6), F)
    expected[0, 0, 0] = [0.5, 0.5, 0.4, 0.8, 0, sigmoid(F(2))]
    np.testing.assert_allclose(
        yolo_detection([logits], p, [80, 40, 40, 20, 40, 80]), expected, rtol=1e-6
    )
    check("YoloDetection", "yolo_detection_param", p, [logits], expected)


def test_yolo_detection_leaves_out_candidates_without_room():
    """The code has room for 500 candidates of an image."""
    bottom = np.zeros((1, 18, 13, 14), F)  # 546 boxes
    bottom[0, 4::6] = 5
    bottom[0, 2:4] = bottom[0, 8:10] = bottom[0, 14:16] = -20  # too small to overlap
    p = PARAMS | {"class_num": 1, "keep_topk": 600}
    built = net("YoloDetection", "yolo_detection_param", p, [bottom.shape])
    top = pg.run(built, {"x0": bottom})["y"]
    assert np.count_nonzero(top[0, 0, :, 5]) == 500


FACE = [(1, c, 2, 2) for c in (4, 8, 20)] * 3
YOLO, FRCN, FACES = (
    (f"{name}Detection", f"{name.lower()}_detection_param")
    for name in ("Yolo", "Frcn", "RetinaFace")
)
SIZED = {"class_num": 2, "keep_topk": 1, "net_input_h": 8, "net_input_w": 8}


@pytest.mark.parametrize(("type_", "p", "shapes", "problem"), [
    (YOLO, {"class_num": 81, "keep_topk": 1}, [(1, 258, 1, 1)],
     "class_num must be from 1 to 80, got 81"),
    (YOLO, SIZED, [(1, 20, 1, 1)], "must have 21 channels"),
    (YOLO, SIZED | {"tiny": "true"}, [(1, 21, 1, 1)] * 3, "3 bottoms require 18 anchors, got 12"),
    (YOLO, SIZED | {"anchors": '"1,x"'}, [(1, 21, 1, 1)],
     "anchors must be numbers separated by commas"),
    (YOLO, {"class_num": 2, "keep_topk": 1}, [(1, 21, 1, 1)],
     "net_input_h and net_input_w must be above 0"),
    (FRCN, {"class_num": 2}, [(3, 8), (3, 2), (1, 1, 3, 5)], "keep_topk must be at least 1, got 0"),
    (FRCN, {"class_num": 2, "keep_topk": 1}, [(3, 8), (3, 3), (1, 1, 3, 5)],
     "must have 6 values for 3 regions and class_num 2, got 9"),
    (FRCN, {"class_num": 2, "keep_topk": 1}, [(3, 8), (3, 2), (3, 5)],
     "must have shape Nx1xRx5, got 3x5"),
    (FACES, {"keep_topk": 1}, FACE[:8], "expected 9 bottoms, got 8"),
    (FACES, {"keep_topk": 1}, [*FACE[:8], (1, 10, 2, 2)],
     "must have shape 1x20x2x2, got 1x10x2x2"),
])  # fmt: skip
def test_mistakes(type_, p, shapes, problem):
    with pytest.raises(pg.InputError, match=problem):
        net(*type_, p, shapes)
