"""Inputs are drawn within the range of the layers that read them."""

from __future__ import annotations

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.running.drawing import random_feeds, random_inputs


def drawn(inputs, layers, seed=0):
    return random_feeds(net_with(inputs, layers), seed)


def is_whole(array, end):
    return (array == np.floor(array)).all() and (array >= 0).all() and (array < end).all()


def one(kind, bottoms, param="", tops="t"):
    reads = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    writes = " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "l_{kind}" type: "{kind}" {reads} {writes} {param} }}\n'


SCORES = {"x": (40, 5), "label": (40,)}


@pytest.mark.parametrize(
    ("inputs", "layers", "name", "end"),
    [
        (SCORES, one("SoftmaxWithLoss", "x label"), "label", 5),
        (SCORES, one("Accuracy", "x label"), "label", 5),
        (SCORES, one("HingeLoss", "x label"), "label", 5),
        (SCORES, one("MultinomialLogisticLoss", "x label"), "label", 5),
        (
            {"x": (40, 5), "label": (40,), "h": (1, 1, 5, 5)},
            one("InfogainLoss", "x label h"),
            "label",
            5,
        ),
        (
            {"x": (6, 9, 4), "label": (6, 9)},
            one("SoftmaxWithLoss", "x label", "softmax_param { axis: 2 }"),
            "label",
            4,
        ),
        ({"x": (9, 3), "t": (9, 3)}, one("SigmoidCrossEntropyLoss", "x t", tops="l"), "t", 2),
        (
            {"a": (9, 3), "b": (9, 3), "same": (9,)},
            one("ContrastiveLoss", "a b same"),
            "same",
            2,
        ),
        ({"i": (30,)}, one("Embed", "i", "embed_param { input_dim: 7 num_output: 2 }"), "i", 7),
        ({"x": (4, 3), "i": (30,)}, one("BatchReindex", "x i"), "i", 4),
        ({"x": (9, 3), "s": (9,)}, one("Filter", "x s"), "s", 2),
        (
            {"x": (5, 3, 2), "cont": (5, 3)},
            one("LSTM", "x cont", "recurrent_param { num_output: 2 }"),
            "cont",
            2,
        ),
        (
            {"x": (5, 3, 2), "cont": (5, 3)},
            one("RNN", "x cont", "recurrent_param { num_output: 2 }"),
            "cont",
            2,
        ),
        (
            {"c": (1, 9, 2), "g": (1, 9, 8), "cont": (1, 9)},
            one("LSTMUnit", "c g cont", tops="t u"),
            "cont",
            2,
        ),
    ],
)
def test_whole_numbers_in_range(inputs, layers, name, end):
    for seed in range(5):
        array = drawn(inputs, layers, seed)[name]
        assert array.shape == inputs[name]
        assert array.dtype == np.float32
        assert is_whole(array, end)
    many = np.concatenate([drawn(inputs, layers, seed)[name].ravel() for seed in range(20)])
    assert set(many) == set(range(end))


def test_ignored_labels_are_among_them():
    layers = one("SoftmaxWithLoss", "x label", "loss_param { ignore_label: 255 }")
    assert set(drawn(SCORES, layers)["label"]) == {0, 1, 2, 3, 4, 255}


def test_any_numbers_stay_as_they_were():
    found = drawn({"a": (2, 3), "b": (4,)}, one("ReLU", "a", tops="c") + one("TanH", "b", tops="d"))
    generator = np.random.default_rng(0)
    assert np.array_equal(found["a"], generator.standard_normal((2, 3), np.float32))
    assert np.array_equal(found["b"], generator.standard_normal((4,), np.float32))


@pytest.mark.parametrize("shape", [(300, 5), (300, 5, 1, 1)])
@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 }"),
        (
            "PSROIPooling",
            "psroi_pooling_param { output_dim: 2 group_size: 1 spatial_scale: 0.0625 }",
        ),
    ],
)
def test_regions(kind, param, shape):
    inputs = {"x": (3, 2, 14, 10), "rois": shape}
    image, x0, y0, x1, y1 = drawn(inputs, one(kind, "x rois", param))["rois"].reshape(-1, 5).T
    assert is_whole(image, 3)
    assert set(image) == {0, 1, 2}
    assert (x0 <= x1).all()
    assert (y0 <= y1).all()
    assert x0.min() >= 0
    assert y0.min() >= 0
    assert x1.max() <= 9 * 16
    assert y1.max() <= 13 * 16
    assert x1.max() > 100


@pytest.mark.parametrize("size", [(3, 4), (5, 4)])
def test_winners(size):
    """Each in a window of its own, so that no place is named twice."""
    inputs = {"x": (2, 3, *size), "mask": (2, 3, *size)}
    param = "upsample_param { upsample_h: 7 upsample_w: 9 }"
    mask = drawn(inputs, one("Upsample", "x mask", param))["mask"]
    assert is_whole(mask, 63)
    for plane in mask.reshape(6, -1):
        assert len(set(plane)) == plane.size
    rows = mask // 9
    assert (np.diff(rows, axis=2) > 0).all()


def test_a_selector_keeps_and_drops():
    for seed in range(20):
        assert set(drawn({"x": (2, 3), "s": (2,)}, one("Filter", "x s"), seed)["s"]) == {0, 1}
    assert drawn({"x": (1, 3), "s": (1,)}, one("Filter", "x s"))["s"] == 1


def test_boxes():
    inputs = {"loc": (1, 24), "conf": (1, 12), "prior": (1, 2, 24)}
    param = "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } }"
    found = drawn(inputs, one("DetectionOutput", "loc conf prior", param))
    boxes, variances = found["prior"].reshape(2, 6, 4)
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert variances.min() > 0
    assert found["conf"].min() > 0


def test_roots_and_logarithms_are_of_positive_numbers():
    layers = one("Log", "x", "log_param { scale: -2 shift: 3 }", "a") + one(
        "Power", "y", "power_param { power: 0.5 scale: 2 shift: -1 }", "b"
    )
    net = net_with({"x": (2, 30), "y": (2, 30)}, layers)
    for array in pg.run(net, random_feeds(net, 0)).values():
        assert np.isfinite(array).all()


# Through layers that hand values on


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((6, 1, 1), one("Flatten", "i", "flatten_param { axis: 0 }", "j")),
        ((2, 3), one("Reshape", "i", "reshape_param { shape { dim: -1 } }", "j")),
        ((6,), one("Split", "i", "", "k j")),
        ((12,), one("Slice", "i", "slice_param { axis: 0 slice_point: 4 slice_point: 10 }", "a j b")),
        ((2, 3), one("Permute", "i", "permute_param { order: 1 order: 0 }", "p")
            + one("Flatten", "p", "flatten_param { axis: 0 }", "j")),
    ],
)  # fmt: skip
def test_through_layers_that_move_values(shape, layers):
    embed = one("Embed", "j", "embed_param { input_dim: 7 num_output: 2 }", "e")
    net = net_with({"i": shape}, layers + embed)
    net.weights["l_Embed"] = [np.ones((7, 2), np.float32), np.zeros(2, np.float32)]
    fed = random_feeds(net, 0)
    inner = pg.run(net, fed, ["j"])["j"]
    assert is_whole(inner, 7)
    if shape == (12,):
        assert not is_whole(fed["i"], 1e9)  # its other parts may be any numbers


def test_through_a_concat():
    layers = one("Concat", "a b", "concat_param { axis: 0 }", "j") + one(
        "Embed", "j", "embed_param { input_dim: 7 num_output: 2 }"
    )
    found = drawn({"a": (3,), "b": (4,)}, layers)
    assert is_whole(found["a"], 7)
    assert is_whole(found["b"], 7)


def test_two_readers_of_one_label():
    """The narrower range holds for both; what a layer reads as data is a label all the same."""
    layers = (
        one("SoftmaxWithLoss", "x label", tops="a")
        + one("Accuracy", "y label", tops="b")
        + one("Power", "label", "power_param { scale: 3 }", "c")
    )
    inputs = {"x": (40, 9), "y": (40, 4), "label": (40,)}
    assert is_whole(drawn(inputs, layers)["label"], 4)


def test_bottoms_that_do_not_fit_are_refused():
    param = "roi_pooling_param { pooled_h: 1 pooled_w: 1 }"
    with pytest.raises(pg.InputError, match="its bottoms have too few axes"):
        drawn({"x": (1, 2, 9, 9), "rois": (3, 4)}, one("ROIPooling", "x rois", param))


def test_inputs_that_no_memory_holds():
    with pytest.raises(
        pg.UnsupportedError, match=r'input "b": the inputs need 215 TB of memory, but'
    ):
        random_inputs({"a": (3,), "b": (1, 2147483648, 5, 5, 1000)}, 0)
