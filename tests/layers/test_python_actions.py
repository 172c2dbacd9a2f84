"""Python layers of OpenVINO's training toolbox, Synopsys, V-Net and OSVOS, and layers of other files."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import parsed
from test_proposals import run
from test_python_layers import python

import protogen as pg
from protogen.layers import kind_of

F = np.float32
OPENVINO = "caffe.custom_layers."


def inputs(shapes):
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in shape)} }} }} }}\n"
        for name, shape in shapes.items()
    )


def actions(count, text=""):
    return python(
        f"{OPENVINO}actions_detection_output_layer",
        "ActionsDetectionOutputLayer",
        "dabc"[: count + 1],
        "y",
        f"{{'num_anchors': {count}, 'min_iou': 0.4{text}}}",
    )


@pytest.mark.parametrize("seed", range(8))
def test_actions_of_detections(seed):
    """actions_detection_output_layer.py of openvinotoolkit/training_toolbox_caffe, with rows of -1 and
    equal scores."""
    rng = np.random.default_rng(seed)
    count, images, h, w, classes, rows = (int(n) for n in rng.integers(1, 4, 6))
    anchors = [rng.integers(0, 5, (images, h, w, classes + 1)).astype(F) for _ in range(count)]
    detections = rng.random((rows, 10)).astype(F)
    for column, end in ((0, images), (7, count), (8, w), (9, h)):
        detections[:, column] = rng.integers(0, end, rows)
    if seed % 2:
        detections[0, 1:] = -1
    expected = []
    for row in detections:
        item, anchor, x, y = (int(row[i]) for i in (0, 7, 8, 9))
        scores = anchors[anchor][item, y, x, :]
        expected.append([item, np.argmax(scores), row[2], scores.max(), *row[3:7]])
    feeds = {"d": detections.reshape(1, 1, rows, 10), **dict(zip("abc", anchors, strict=False))}
    actual = run(actions(count), feeds)["y"]
    np.testing.assert_array_equal(actual, np.array(expected, F).reshape(1, 1, rows, 8))


def test_votes_of_actions_are_refused():
    feeds = {"d": np.zeros((1, 1, 2, 10), F), "a": np.zeros((1, 2, 2, 3), F)}
    with pytest.raises(pg.UnsupportedError, match="'use_nms' is true"):
        run(actions(1, ", 'use_nms': True, 'num_valid_actions': 3"), feeds)


def schedule(tops, text):
    return python(f"{OPENVINO}schedule_scale_layer", "ScheduledScaleLayer", "x", tops, text)


def test_scale_after_training():
    """schedule_scale_layer.py: the scale of the last iteration; before, it depends on the iteration."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(F)
    actual = run(schedule("ys", "{'target_scale': 3.0, 'use_last': True}"), {"x": x})
    np.testing.assert_array_equal(actual["y"], 3 * x)
    np.testing.assert_array_equal(actual["s"], F([3]))
    np.testing.assert_array_equal(
        run(schedule("y", "{'use_last': True}"), {"x": x})["y"], F(1.5) * x
    )
    with pytest.raises(pg.UnsupportedError, match="its scale depends on the iteration of training"):
        run(schedule("y", "{'target_scale': 3.0}"), {"x": x})


@pytest.mark.parametrize("valid", [None, [0, 2], [7]])
@pytest.mark.parametrize("seed", range(4))
def test_plain_center_loss(valid, seed):
    """plain_center_loss_layer.py, in the loop over labels of its forward."""
    rng = np.random.default_rng(seed)
    centres, vectors = rng.normal(size=(4, 5)).astype(F), rng.normal(size=(9, 5)).astype(F)
    labels = rng.integers(-1, 4, 9).astype(F)
    total, count = 0.0, 0
    for label in np.unique(labels.astype(np.int32)):
        if label < 0 or (valid is not None and label not in valid):
            continue
        mask = labels == label
        total += np.sum(1.0 - vectors[mask].astype(float) @ centres[label])
        count += mask.sum()
    text = "{}" if valid is None else f"{{'valid_class_ids': {valid}}}"
    layer = python(f"{OPENVINO}plain_center_loss_layer", "PlainCenterLossLayer", "cvl", "y", text)
    actual = run(layer, {"c": centres, "v": vectors, "l": labels})["y"]
    assert actual.shape == (1,)
    np.testing.assert_allclose(actual[0], total / count if count else 0, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.5]])
def test_adaptive_weighting_loss(weights):
    """adaptive_weighting_loss_layer.py: losses of 0 or less are left out."""
    p = F([0.3, -0.7, 0.2])
    text = "{'scale': 2.0, 'init': 0.0" + (f", 'weights': {weights}" if weights else "") + "}"
    module = f"{OPENVINO}adaptive_weighting_loss_layer"
    layer = python(module, "AdaptiveWeightingLossLayer", "abc", "yuvw", text)
    net = parsed(
        inputs({"a": (), "b": (1,), "c": (1, 1)}).replace("shape {  }", "shape { }") + layer
    )
    assert net.parameter_shapes["p"] == ((3,),)
    net.weights["p"] = [p]
    for losses in ([1.5, 0.25, 3], [0, -1, 2], [0, 0, 0]):
        feeds = {n: np.full(net.shapes[n], v, F) for n, v in zip("abc", losses, strict=True)}
        actual = pg.run(net, feeds)
        expected = sum(
            w * (q + 2.0 * np.exp(-q) * loss)
            for w, q, loss in zip(weights or [1] * 3, p.astype(float), losses, strict=True)
            if loss > 0
        )
        np.testing.assert_allclose(actual["y"], [expected], rtol=2e-5, atol=1e-7)
        assert [actual[n][0] for n in "uvw"] == losses


def loss_of(module, name, bottoms, tops, more=""):
    return python(f"{OPENVINO}{module}_layer", name, bottoms, tops, f"{{'num_anchors': 2{more}}}")


MAPS = {"a": (1, 6, 3, 4), "b": (1, 6, 3, 4)}
MATCHES = {"m": (1, 1, 1, 11), "c": (5, 6)}


@pytest.mark.parametrize(
    ("layer", "shapes", "expected", "message"),
    [
        (loss_of("center_loss", "CenterLossLayer", "mcab", "yu"), MATCHES | MAPS, {"y": (1,), "u": (1,)}, "depend on the iteration"),
        (loss_of("glob_push_loss", "GlobPushLossLayer", "mcab", "yuv"), MATCHES | MAPS, {"v": (1,)}, "loss of pairs of boxes"),
        (loss_of("local_push_loss", "LocalPushLossLayer", "mcab", "yuvw"), MATCHES | MAPS, {"w": (1,)}, "loss of pairs of boxes"),
        (loss_of("split_loss", "SplitLossLayer", "mcab", "y"), MATCHES | MAPS, {"y": (1,)}, "loss of pairs of boxes"),
        (loss_of("push_loss", "PushLossLayer", "mab", "y"), {"m": (1, 1, 1, 11)} | MAPS, {"y": (1,)}, "at random"),
        (loss_of("sampling_extractor", "SamplingExtractorLayer", "mab", "yu"), {"m": (1, 1, 1, 11)} | MAPS, {"y": (1, 6), "u": (1,)}, "at random"),
        (loss_of("detections_matcher", "DetMatcherLayer", "dlp", "yu"), {"d": (1, 1, 4, 10), "l": (1, 1, 3, 8), "p": (1, 2, 40)},
         {"y": (1, 1, 1, 11), "u": (1,)}, "it matches boxes to labels"),
        (python("pyLayer", "DiceLoss", "ab", "y"), {"a": (2, 2, 30), "b": (2, 1, 30)}, {"y": (1,)}, "public versions of its class differ"),
        (python("reshape", "Reshape", "ab", "y"), {"a": (2, 3), "b": (2,)}, {"y": None}, "the values of its second bottom are the shape"),
        ('layer { name: "t" type: "TRT" bottom: "a" bottom: "b" top: "y" }', {"a": (1, 3, 4, 4), "b": (1,)}, {"y": None}, "with TensorRT"),
        ('layer { name: "t" type: "Atlas" bottom: "a" top: "y" top: "u" }', {"a": (1, 3, 4, 4)}, {"y": None, "u": None}, "Huawei's Atlas"),
    ],
)  # fmt: skip
def test_shapes_and_refusals(layer, shapes, expected, message):
    """Sources: openvinotoolkit/training_toolbox_caffe, faustomilletari/VNet, NVIDIA/caffe,
    wangshankun/Tengine_Atlas, foss-for-synopsys-dwc-arc-processors/synopsys-caffe."""
    net = parsed(inputs(shapes) + layer)
    assert {name: net.shapes.get(name) for name in expected} == expected
    assert not kind_of(net.layers[-1]).has_form
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.to_onnx(net)
    assert message in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (1, 1)])
def test_tensor_shape(shape):
    """python/shape.py of foss-for-synopsys-dwc-arc-processors/synopsys-caffe."""
    actual = run(python("shape", "TensorShape", "x", "y"), {"x": np.zeros(shape, F)})["y"]
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, F(shape))


FORMS = {
    0: lambda a, b: a * b,
    1: lambda a, b: 0.5 * a - 2 * b,
    2: np.maximum,
    3: lambda a, b: a / b,
    4: np.minimum,
}


@pytest.mark.parametrize("operation", FORMS)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4), (2, 3, 4)),
        ((2, 1, 4), (3, 1)),
        ((4,), (2, 3, 4)),
        ((1, 5), (6, 1)),
        ((2, 3), (1,)),
    ],
)
def test_eltwise_in_python(operation, a, b):
    """python/eltwise.py of foss-for-synopsys-dwc-arc-processors/synopsys-caffe: numpy's broadcasting."""
    rng = np.random.default_rng(operation)
    feeds = {"a": rng.normal(size=a).astype(F), "b": rng.uniform(0.5, 2, b).astype(F)}
    text = f"{{'operation': {operation}, 'coeff': [0.5, -2]}}"
    actual = run(python("eltwise", "Eltwise", "ab", "y", text), feeds)["y"]
    np.testing.assert_allclose(
        actual, FORMS[operation](feeds["a"], feeds["b"]), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (python("eltwise", "Eltwise", "ab", "y", "{'operation': 5}"), {"a": (2,), "b": (2,)}, "'operation' from 0 to 4, got 5"),
        (python("eltwise", "Eltwise", "ab", "y", "{'operation': 1}"), {"a": (2,), "b": (2,)}, "'coeff', two numbers, got None"),
        (python("eltwise", "Eltwise", "ab", "y", "{'operation': 0}"), {"a": (2, 3), "b": (2,)}, "2x3 and 2 cannot be broadcast"),
        (python("reshape", "Reshape", "ab", "y"), {"a": (2, 3), "b": (2, 1)}, '"b" must have 1 axis'),
        (actions(1), {"d": (1, 1, 1, 7), "a": (1, 2, 2, 3)}, '"d" must hold rows of 10 values, got 1x1x1x7'),
        (actions(2), {"d": (1, 1, 1, 10), "a": (1, 2, 2, 3), "b": (1, 2, 3, 3)}, '"b" must have the shape of "a"'),
        (loss_of("push_loss", "PushLossLayer", "ma", "y"), {"m": (1, 11), "a": (1, 6, 3, 4)}, "expected 3 bottoms, got 2"),
        (loss_of("split_loss", "SplitLossLayer", "mcab", "yu"), MATCHES | MAPS, "expected 1 or 4 tops, got 2"),
        (python("pyLayer", "DiceLoss", "ab", "y"), {"a": (2, 7), "b": (2, 2)}, "a score of each class for each label"),
    ],
)  # fmt: skip
def test_wrong_layers(layer, shapes, message):
    with pytest.raises(pg.InputError) as caught:
        parsed(inputs(shapes) + layer)
    assert message in str(caught.value)


SOURCES = {
    "osvos": python("osvos_layer", "OSVOSDataLayer", "", "dl", "{'pair_list': 'a.txt', 'data_root_dir': '.'}"),
    "seg": 'layer { name: "p" type: "SegData" top: "d" top: "l" seg_data_param { source: "a.txt" shuffle: true } }',
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_sources_of_one_image(name):
    """osvos_layer.py of kmaninis/OSVOS-caffe, seg_data_layer.cpp of yjxiong/caffe: the size is that of
    the image, and the label map has it too."""
    relu = 'layer { name: "r" type: "ReLU" bottom: "d" top: "y" }'
    net = parsed(SOURCES[name] + relu)
    assert (net.shapes["d"], net.shapes["l"]) == (None, None)
    net = pg.Net(net.message, input_shapes={"d": (1, 3, 40, 50)})
    assert (net.shapes["d"], net.shapes["l"]) == ((1, 3, 40, 50), (1, 1, 40, 50))
    pg.to_onnx(net)


def test_labels_of_cells():
    """annotated_data_layer.cpp of foss-for-synopsys-dwc-arc-processors/synopsys-caffe: 7 values for each
    of side x side cells."""
    layer = (
        'layer { name: "d" type: "AnnotatedData" top: "d" top: "a" top: "b" transform_param { '
        "caffe_yolo: true force_color: true resize_param { width: 608 height: 608 } } "
        "data_param { batch_size: 4 side: 19 side: 38 } }"
    )
    net = parsed(layer)
    assert [net.shapes[n] for n in "dab"] == [(4, 3, 608, 608), (4, 2527), (4, 10108)]
    with pytest.raises(
        pg.InputError, match=r"expected 2 side \(one for each top after the first\), got 1"
    ):
        parsed(layer.replace("side: 38", ""))


def test_net_with_gabor_filler():
    """include/caffe/gabor.hpp of intel/caffe: a net with its weights is converted; without, it is
    refused."""
    net = parsed(
        inputs({"x": (1, 3, 20, 20)})
        + 'layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 32 '
        'kernel_size: 5 bias_term: false weight_filler { type: "gabor" } } }'
    )
    with pytest.raises(
        pg.UnsupportedError, match="the values of Intel's gabor filler are unsupported"
    ):
        pg.initialise(net)
    net.weights["c"] = [np.ones((32, 3, 5, 5), F)]
    np.testing.assert_allclose(pg.run(net, {"x": np.ones((1, 3, 20, 20), F)})["y"], 75)
    with pytest.raises(pg.InputError, match=r"needs a blob of shape 32x3x5x5, .*, got 16x3x5x5"):
        parsed(
            inputs({"x": (1, 3, 20, 20)})
            + 'layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 16 '
            'kernel_size: 5 weight_filler { type: "gabor" } } }'
        )


def test_background_of_extended_detections():
    """detection_output_extended_layer.cpp of openvinotoolkit/training_toolbox_caffe does not read
    background_label_id: class 0 is the background."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((5, 2, 2)), axis=1).reshape(-1)
    feeds = {
        "a": rng.normal(size=(1, 1, 5, 4)).astype(F),
        "b": rng.random((1, 10)).astype(F),
        "c": np.stack([corners, np.full(20, 0.1)]).reshape(1, 2, 20).astype(F),
    }
    layer = (
        'layer { name: "p" type: "DetectionOutputExtended" bottom: "a" bottom: "b" bottom: "c" top: "y" '
        "detection_output_param { num_classes: 2 %s nms_param { nms_threshold: 0.45 } } }"
    )
    plain, same, other = (
        run(layer % text, feeds)["y"]
        for text in ("", "background_label_id: -1", "background_label_id: 1")
    )
    assert plain.shape[3] == 10
    assert (plain[..., 1] == 1).all()
    np.testing.assert_array_equal(plain, same)
    np.testing.assert_array_equal(plain, other)
