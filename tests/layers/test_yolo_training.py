"""Layers of YOLO's forks that have shapes only, and SegmentationEvaluate."""

import numpy as np
import pytest
from nets import net_with

import protogen as pg

F = np.float32


def net(text, *shapes):
    named = {f"x{i}": shape for i, shape in enumerate(shapes)}
    bottoms = " ".join(f'bottom: "{name}"' for name in named)
    return net_with(named, f'layer {{ name: "y" {bottoms} top: "y" {text} }}')


def segmentation_evaluate(predicted, labelled, threshold):
    """``SegmentationEvaluateLayer::Forward_cpu`` of eric612/MobileNet-YOLO,
    src/caffe/layers/segmentation_evaluate_layer.cpp, for bottoms of equal sizes."""
    channels, height, width = predicted.shape[1:]
    top = np.zeros((1, 1, 1, channels), F)
    seg, gt, length = predicted.ravel(), labelled.ravel(), height * width
    for c in range(channels):
        labels = matches = predictions = 0
        for i in range(height):
            for j in range(width):
                index = c * length + i * width + j
                if gt[index] > threshold:
                    labels += 1
                    if seg[index] > threshold:
                        matches += 1
                if seg[index] > threshold:
                    predictions += 1
        top[0, 0, 0, c] = F(matches) / F(labels + predictions - matches) if matches else 0
    return top


@pytest.mark.parametrize("seed", range(10))
def test_segmentation_evaluate(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 4))
    threshold = float(rng.choice([0, 0.3, 0.5, 0.9]))
    arrays = [rng.random(shape, F) for _ in range(2)]
    text = (
        'type: "SegmentationEvaluate" segmentation_evaluate_param '
        f"{{ num_classes: {shape[1]} threshold: {threshold} }}"
    )
    actual = pg.run(net(text, shape, shape), {"x0": arrays[0], "x1": arrays[1]})["y"]
    np.testing.assert_allclose(actual, segmentation_evaluate(*arrays, F(threshold)), rtol=1e-6)


def test_segmentation_evaluate_of_different_sizes_is_refused():
    text = 'type: "SegmentationEvaluate" segmentation_evaluate_param { num_classes: 3 }'
    built = net(text, (2, 3, 4, 5), (2, 3, 8, 10))
    assert built.shapes["y"] == (1, 1, 1, 3)
    with pytest.raises(pg.UnsupportedError, match="OpenCV resizes the predictions"):
        pg.to_onnx(built)


# type and parameters, shapes of the bottoms, shape of the top
SHAPES = [
    ('type: "RegionLoss"', [(2, 125, 13, 13), (2, 150)], ()),
    ('type: "Yolov3" yolov3_param { num_class: 20 num: 3 }', [(2, 75, 4, 6), (2, 1, 300, 5)], ()),
    ('type: "GaussianYolov3" yolov3_param { num_class: 20 num: 3 }',
     [(2, 87, 4, 6), (2, 1, 300, 5)], ()),
    ('type: "YoloSeg"', [(2, 3, 4, 6), (2, 3, 4, 6), (2, 3)], ()),
    ('type: "YoloV2Loss" yolo_v2_loss_param { side: 4 num_classes: 3 num_object: 1 anchors: 1 '
     "anchors: 2 }", [(2, 8, 4, 4), (2, 4, 4, 7)], ()),
    ('type: "YoloV3Loss" yolo_v3_loss_param { side: 4 num_classes: 3 num_object: 1 }',
     [(2, 8, 4, 4), (2, 112)], ()),
    ('type: "Yolov3Detection" yolov3_param { num_classes: 2 anchor_num: 1 num_box: 5 biases: 1 '
     "biases: 2 biases: 3 biases: 4 biases: 5 biases: 6 }",
     [(2, 7, 4, 4), (2, 7, 2, 2), (2, 7, 1, 1)], (1, 198, 1, 1)),
    ('type: "AssistedExcitation"', [(2, 3, 4, 6), (2, 1, 300, 5), (2, 1, 4, 6)], (2, 3, 4, 6)),
    ('type: "EvalDetection" eval_detection_param { side: 4 num_class: 3 num_object: 2 }',
     [(2, 16, 4, 4), (2, 150)], (2, 131)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shapes", "top"), SHAPES)
def test_shapes(text, shapes, top):
    built = net(text, *shapes)
    assert built.shapes["y"] == top
    with pytest.raises(pg.UnsupportedError):
        pg.to_onnx(built)


@pytest.mark.parametrize(("text", "shapes", "problem"), [
    ('type: "RegionLoss"', [(2, 125, 13, 13)], "expected 2 bottoms, got 1"),
    ('type: "Yolov3" yolov3_param { num_class: 20 num: 3 }', [(2, 74, 4, 6), (2, 1, 300, 5)],
     "must have 1800 values per sample for num 3 and num_class 20, got 1776"),
    ('type: "GaussianYolov3" yolov3_param { num_class: 20 num: 3 }',
     [(2, 75, 4, 6), (2, 1, 300, 5)], "must have 2088 values per sample"),
    ('type: "YoloSeg"', [(2, 3, 4, 6), (2, 3, 4, 5), (2, 3)], "same number of values"),
    ('type: "YoloV2Loss" yolo_v2_loss_param { side: 4 num_classes: 3 num_object: 1 }',
     [(2, 8, 4, 4), (2, 4, 4, 7)], "num_object 1 requires 2 anchors, got 0"),
    ('type: "YoloV3Loss" yolo_v3_loss_param { side: 4 num_classes: 3 num_object: 1 }',
     [(2, 8, 4, 4), (2, 111)], "must have 112 values per sample for side 4"),
    ('type: "Yolov3Detection"', [(2, 255, 4, 4)] * 3, "requires 18 biases, got 0"),
    ('type: "AssistedExcitation"', [(2, 3, 4, 6), (2, 1, 300, 5), (2, 3, 4, 6)],
     "must have shape 2x1x4x6, got 2x3x4x6"),
    ('type: "EvalDetection" eval_detection_param { side: 4 }', [(2, 16, 4, 4), (2, 150)],
     "must have 800 values per sample for side 4"),
])  # fmt: skip
def test_mistakes(text, shapes, problem):
    with pytest.raises(pg.InputError, match=problem):
        net(text, *shapes)
