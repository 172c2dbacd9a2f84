"""Output layers of MobileNet-YOLO, against loops as in its source."""

import numpy as np
import pytest
from nets import net_with
from places import CORPUS

import protogen as pg

F = np.float32


def sigmoid(x):
    return F(1) / (F(1) + np.exp(-x))


def overlap(x1, w1, x2, w2):
    return min(x1 + w1 / 2, x2 + w2 / 2) - max(x1 - w1 / 2, x2 - w2 / 2)


def box_iou(a, b):
    w, h = overlap(a[0], a[2], b[0], b[2]), overlap(a[1], a[3], b[1], b[3])
    common = F(0) if w < 0 or h < 0 else w * h
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def rows_of(predictions, threshold, images):
    """Sort, ``ApplyNms`` and the rows of the top. A prediction is (box, label, confidence)."""
    predictions = sorted(predictions, key=lambda one: -one[2])
    suppressed = set()
    for i in range(len(predictions)):
        if i in suppressed:
            continue
        for j in range(i + 1, len(predictions)):
            if j in suppressed:
                continue
            if box_iou(predictions[i][0], predictions[j][0]) >= threshold:
                suppressed.add(j)
    selected = [one for i, one in enumerate(predictions) if i not in suppressed]
    if not selected:
        return np.array([[[[i, *[-1] * 6] for i in range(images)]]], F)
    rows = [
        [0, label + 1, score, x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        for (x, y, w, h), label, score in selected
    ]
    return np.array([[rows]], F)


def yolo_v2(bottoms, p):
    """``YoloDetectionOutputLayer::Forward_cpu`` of eric612/MobileNet-YOLO,
    src/caffe/layers/yolo_detection_output_layer.cpp."""
    predictions = []
    for bottom in bottoms[:2]:
        images, channels, height, width = bottom.shape
        side = width
        swap = bottom.transpose(0, 2, 3, 1).reshape(
            images, height * width, p["num_box"], channels // p["num_box"]
        )
        for b in range(images):
            for j in range(side):
                for i in range(side):
                    for n in range(p["num_box"]):
                        x = swap[b, j * side + i, n]
                        box = (
                            (i + sigmoid(x[0])) / F(side),
                            (j + sigmoid(x[1])) / F(side),
                            np.exp(x[2]) * F(p["biases"][2 * n]) / F(side),
                            np.exp(x[3]) * F(p["biases"][2 * n + 1]) / F(side),
                        )
                        classes = x[5 : 5 + p["num_classes"]]
                        powers = np.exp(classes - classes.max())
                        shares = powers / powers.sum(dtype=F)
                        score = sigmoid(x[4]) * shares.max()
                        if score >= F(p["confidence_threshold"]):
                            predictions.append((box, int(shares.argmax()), score))
    return rows_of(predictions, F(p["nms_threshold"]), len(bottoms[0]))


def yolo_v3(bottoms, p):
    """``Yolov3DetectionOutputLayer::Forward_cpu`` of eric612/MobileNet-YOLO,
    src/caffe/layers/yolov3_detection_output_layer.cpp, and ``get_region_box`` of its bbox_util.cpp."""
    predictions, offset = [], 0
    values = 5 + p["num_classes"]
    for t, bottom in enumerate(bottoms):
        images, _, height, width = bottom.shape
        w, h = width * p["anchors_scale"][t], height * p["anchors_scale"][t]
        for b in range(images):
            for s in range(height * width):
                for n in range(p["num_box"]):
                    x = bottom[b].reshape(-1, height * width)[n * values : (n + 1) * values, s]
                    anchor = p["mask"][n + offset]
                    box = (
                        (s % width + sigmoid(x[0])) / F(width),
                        (s // width + sigmoid(x[1])) / F(height),
                        np.exp(x[2]) * F(p["biases"][2 * anchor]) / F(w),
                        np.exp(x[3]) * F(p["biases"][2 * anchor + 1]) / F(h),
                    )
                    for c in range(p["num_classes"]):
                        score = sigmoid(x[5 + c]) * sigmoid(x[4])
                        if score > F(p["confidence_threshold"]):
                            predictions.append((box, c, score))
        offset += len(p["mask"]) // len(bottoms)
    return rows_of(predictions, F(p["nms_threshold"]), len(bottoms[0]))


def text_of(block, p):
    lines = [
        f"{name}: {value}"
        for name, values in p.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return f"{block} {{ {' '.join(lines)} }}"


def net(type_, block, p, shapes):
    named = {f"x{i}": shape for i, shape in enumerate(shapes)}
    bottoms = " ".join(f'bottom: "{name}"' for name in named)
    return net_with(
        named, f'layer {{ name: "y" {bottoms} top: "y" type: "{type_}" {text_of(block, p)} }}'
    )


def check(type_, block, p, bottoms, reading):
    built = net(type_, block, p, [bottom.shape for bottom in bottoms])
    actual = pg.run(built, {f"x{i}": bottom for i, bottom in enumerate(bottoms)})["y"]
    expected = reading(bottoms, p)
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual[..., :2], expected[..., :2])
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    return actual


def drawn_v2(rng):
    boxes, classes = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    p = {
        "num_classes": classes,
        "num_box": boxes,
        "confidence_threshold": float(rng.choice([0.01, 0.2, 0.5, 0.999])),
        "nms_threshold": float(rng.choice([0.0, 0.1, 0.45, 0.9, 1.5])),
        "biases": [round(float(v), 3) for v in rng.uniform(0.5, 4, 2 * boxes)],
    }
    images, more = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    bottoms = []
    for _ in range(int(rng.integers(1, 3))):
        side = int(rng.integers(1, 6))
        shape = (images, boxes * (5 + classes + more), side + int(rng.integers(0, 2)), side)
        bottoms.append(rng.normal(0, 2, shape).astype(F))
    return p, bottoms


def drawn_v3(rng):
    boxes, classes = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    groups = int(rng.integers(1, 4))
    p = {
        "num_classes": classes,
        "num_box": boxes,
        "confidence_threshold": float(rng.choice([0.01, 0.2, 0.5, 0.999])),
        "nms_threshold": float(rng.choice([0.0, 0.1, 0.45, 0.9, 1.5])),
        "biases": [round(float(v), 2) for v in rng.uniform(5, 90, 2 * boxes * groups)],
        "anchors_scale": [int(v) for v in rng.choice([8, 16, 32], groups)],
        "mask_group_num": groups,
        "mask": [int(v) for v in rng.permutation(boxes * groups)],
    }
    images, more = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    bottoms = []
    for _ in range(groups):
        h, w = (int(v) for v in rng.integers(1, 5, 2))
        bottoms.append(rng.normal(0, 2, (images, boxes * (5 + classes) + more, h, w)).astype(F))
    return p, bottoms


@pytest.mark.parametrize("seed", range(40))
def test_yolo_v2(seed):
    p, bottoms = drawn_v2(np.random.default_rng(seed))
    check("YoloDetectionOutput", "yolo_detection_output_param", p, bottoms, yolo_v2)


@pytest.mark.parametrize("seed", range(40))
def test_yolo_v3(seed):
    p, bottoms = drawn_v3(np.random.default_rng(seed))
    check("Yolov3DetectionOutput", "yolov3_detection_output_param", p, bottoms, yolo_v3)


def examples(kind):
    """Return parameters and bottoms of a type, for the tests below."""
    rng = np.random.default_rng(3)
    if kind == "v2":
        p, bottoms = drawn_v2(rng)
        return "YoloDetectionOutput", "yolo_detection_output_param", p, bottoms
    p, bottoms = drawn_v3(rng)
    return "Yolov3DetectionOutput", "yolov3_detection_output_param", p, bottoms


@pytest.mark.parametrize("kind", ["v2", "v3"])
def test_without_a_box_there_is_a_row_for_each_image(kind):
    type_, block, p, bottoms = examples(kind)
    p["confidence_threshold"] = 0.5
    bottoms = [np.repeat(-9 - np.abs(bottom[:1]), 3, 0) for bottom in bottoms]
    top = check(type_, block, p, bottoms, {"v2": yolo_v2, "v3": yolo_v3}[kind])
    np.testing.assert_array_equal(top[0, 0, :, 0], [0, 1, 2])
    np.testing.assert_array_equal(top[0, 0, :, 1:], np.full((3, 6), -1))


def test_boxes_of_other_images_and_classes_suppress_each_other():
    """A box in both images with two likely classes gives one row."""
    p = {
        "num_classes": 2, "num_box": 1, "confidence_threshold": 0.3, "nms_threshold": 0.5,
        "biases": [16, 16], "anchors_scale": [16], "mask_group_num": 1, "mask": [0],
    }  # fmt: skip
    bottom = np.array([0, 0, 0, 0, 3, 1, 2], F).reshape(1, 7, 1, 1).repeat(2, 0)
    bottom[1, 4] = 4
    top = check("Yolov3DetectionOutput", "yolov3_detection_output_param", p, [bottom], yolo_v3)
    score = 1 / (1 + np.exp(-4)) / (1 + np.exp(-2))
    np.testing.assert_allclose(top.ravel(), [0, 2, score, 0, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["v2", "v3"])
def test_the_batch_may_be_dynamic(kind):
    """A model for one image, exported with a free batch, runs with three images, in each operator set."""
    type_, block, p, bottoms = examples(kind)
    bottoms = [np.concatenate([bottom, bottom + 1, bottom - 1])[:3] for bottom in bottoms]
    built = net(type_, block, p, [(1, *bottom.shape[1:]) for bottom in bottoms])
    for opset in (13, 16, 18, 21):
        model = pg.to_onnx(built, free_axes=(0,), opset=opset)
        actual = pg.run(model, {f"x{i}": bottom for i, bottom in enumerate(bottoms)})["y"]
        expected = {"v2": yolo_v2, "v3": yolo_v3}[kind](bottoms, p)
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["v2", "v3"])
def test_the_model_converts_back(kind):
    type_, block, p, bottoms = examples(kind)
    model = pg.to_onnx(net(type_, block, p, [bottom.shape for bottom in bottoms]))
    layer = pg.from_onnx(model, dialect="yolo").layers[-1]
    assert layer.type == type_
    assert getattr(layer.params, block).num_box == p["num_box"]


@pytest.mark.parametrize(("kind", "changes", "problem"), [
    ("v2", {"num_box": 7}, "num_box 7 requires 14 biases"),
    ("v2", {"num_classes": 50}, "must have 55 channels|must have .* channels for"),
    ("v2", {"num_classes": 0}, "num_box and num_classes must be at least 1"),
    ("v3", {"mask_group_num": 9}, "mask_group_num 9 requires as many bottoms"),
    ("v3", {"mask": [0]}, "require .* mask, got 1"),
    ("v3", {"biases": [1, 2]}, "requires .* biases, got 2"),
    ("v3", {"anchors_scale": [0, 0, 0]}, "anchors_scale of at least 1"),
    ("v3", {"num_classes": 50}, "channels for"),
])  # fmt: skip
def test_mistakes(kind, changes, problem):
    type_, block, p, bottoms = examples(kind)
    with pytest.raises(pg.InputError, match=problem):
        net(type_, block, p | changes, [bottom.shape for bottom in bottoms])


def test_a_wide_bottom_of_yolo_v2_is_refused():
    type_, block, p, bottoms = examples("v2")
    shapes = [(*bottom.shape[:3], bottom.shape[2] + 1) for bottom in bottoms]
    with pytest.raises(pg.InputError, match="must be at least as high as wide"):
        net(type_, block, p, shapes)


def test_num_classes_is_required():
    p = {"num_box": 1, "biases": [2, 2]}
    with pytest.raises(pg.InputError, match="num_classes"):
        pg.to_onnx(net("YoloDetectionOutput", "yolo_detection_output_param", p, [(1, 25, 3, 3)]))


@pytest.mark.parametrize("changes", [{"gaussian_box": "true"}, {"nms_threshold": 1}])
def test_what_has_no_exact_form_is_refused(changes):
    type_, block, p, bottoms = examples("v3")
    n, c = bottoms[0].shape[:2]
    bottoms = [np.zeros((n, c + 4 * p["num_box"], *bottom.shape[2:]), F) for bottom in bottoms]
    built = net(type_, block, p | changes, [bottom.shape for bottom in bottoms])
    assert built.shapes["y"] == (1, 1, 1, 7)
    with pytest.raises(pg.UnsupportedError, match=next(iter(changes))):
        pg.to_onnx(built)


PUBLISHED = CORPUS / "eric612__MobileNet-YOLO"
# Deploy nets, and test nets, whose labels have no known shape. darknet19 is slow: its yolov2 nets
# are tested with MobileNet.
DEPLOY = [
    "benchmark__yolov3_lite_deploy_inference", "models__cityscapes__mobilenet_yolov3_deploy",
    "models__darknet_yolov3__yolov3-spp", "models__darknet_yolov3__yolov3-tiny",
    "models__mobilenetv2_voc__yolo_lite__yolov3_lite_deploy_pruned",
    "models__vehicle__mobilenet_yolov3_deploy", "models__yolov2__mobilenet_yolo_deploy",
    "models__yolov2__mobilenet_yolo_lite_deploy",
    "models__yolov3__mobilenet_yolov3_lite_bn_deploy",
]  # fmt: skip
TEST = [
    "models__cityscapes__mobilenet_yolov3_test", "models__mobilenetv3_voc__test",
    "models__darknet_yolov3__yolov3-test", "models__yolov2__mobilenet_yolo_test",
    "models__yolov3_coco__mobilenet_yolov3_lite_test",
]  # fmt: skip


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs ../shared, which contains the nets")
@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("name", [*DEPLOY, *TEST])
def test_published_nets_run_as_onnx_models(name):
    """The whole net becomes an ONNX model; test nets up to their detections, which labels follow."""
    path = PUBLISHED / f"{name}.prototxt"
    width = 64 if "yolov2" in name else 96
    shapes = {"data": (1, 3, 64, width)}
    net = pg.load(path, dialect="yolo", phase="TEST", input_shapes=shapes)
    rng = np.random.default_rng(0)
    for layer, blobs in net.parameter_shapes.items():
        if blobs:
            net.weights[layer] = [rng.uniform(0.5, 1.5, blob).astype(F) for blob in blobs]
            net.weights[layer][0] = rng.normal(
                0, np.sqrt(2 / max(1, np.prod(blobs[0][1:]))), blobs[0]
            ).astype(F)
    detections = next(layer.tops[0] for layer in net.layers if "DetectionOutput" in layer.type)
    x = rng.normal(size=shapes["data"]).astype(F)
    blobs = [detections] if name in TEST else None
    rows = pg.run(net, {"data": x}, blobs)[detections]
    assert rows.shape[:2] == (1, 1)
    assert rows.shape[3] == 7
    scores = rows[0, 0, :, 2]
    assert np.all(np.diff(scores) <= 0)
    assert np.all((scores > 0.009) & (scores <= 1))
