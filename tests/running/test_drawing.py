"""Random inputs are within the range that the layers which read them require."""

from __future__ import annotations

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.running.drawing import random_feeds, random_inputs


def random_arrays(inputs, layers, seed=0):
    return random_feeds(net_with(inputs, layers), seed)


def is_integer_below(array, end):
    return (array == np.floor(array)).all() and (array >= 0).all() and (array < end).all()


def layer_text(kind, bottoms, param="", tops="t"):
    reads = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    writes = " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "l_{kind}" type: "{kind}" {reads} {writes} {param} }}\n'


SCORES = {"x": (40, 5), "label": (40,)}


@pytest.mark.parametrize(
    ("inputs", "layers", "name", "end"),
    [
        (SCORES, layer_text("SoftmaxWithLoss", "x label"), "label", 5),
        (SCORES, layer_text("Accuracy", "x label"), "label", 5),
        (SCORES, layer_text("HingeLoss", "x label"), "label", 5),
        (SCORES, layer_text("MultinomialLogisticLoss", "x label"), "label", 5),
        (
            {"x": (40, 5), "label": (40,), "h": (1, 1, 5, 5)},
            layer_text("InfogainLoss", "x label h"),
            "label",
            5,
        ),
        (
            {"x": (6, 9, 4), "label": (6, 9)},
            layer_text("SoftmaxWithLoss", "x label", "softmax_param { axis: 2 }"),
            "label",
            4,
        ),
        (
            {"x": (9, 3), "t": (9, 3)},
            layer_text("SigmoidCrossEntropyLoss", "x t", tops="l"),
            "t",
            2,
        ),
        (
            {"a": (9, 3), "b": (9, 3), "same": (9,)},
            layer_text("ContrastiveLoss", "a b same"),
            "same",
            2,
        ),
        (
            {"i": (30,)},
            layer_text("Embed", "i", "embed_param { input_dim: 7 num_output: 2 }"),
            "i",
            7,
        ),
        ({"x": (4, 3), "i": (30,)}, layer_text("BatchReindex", "x i"), "i", 4),
        ({"x": (9, 3), "s": (9,)}, layer_text("Filter", "x s"), "s", 2),
        (
            {"x": (5, 3, 2), "cont": (5, 3)},
            layer_text("LSTM", "x cont", "recurrent_param { num_output: 2 }"),
            "cont",
            2,
        ),
        (
            {"x": (5, 3, 2), "cont": (5, 3)},
            layer_text("RNN", "x cont", "recurrent_param { num_output: 2 }"),
            "cont",
            2,
        ),
        (
            {"c": (1, 9, 2), "g": (1, 9, 8), "cont": (1, 9)},
            layer_text("LSTMUnit", "c g cont", tops="t u"),
            "cont",
            2,
        ),
    ],
)
def test_integer_inputs_are_in_range(inputs, layers, name, end):
    for seed in range(5):
        array = random_arrays(inputs, layers, seed)[name]
        assert array.shape == inputs[name]
        assert array.dtype == np.float32
        assert is_integer_below(array, end)
    many = np.concatenate([random_arrays(inputs, layers, seed)[name].ravel() for seed in range(20)])
    assert set(many) == set(range(end))


def test_labels_include_the_ignored_label():
    layers = layer_text("SoftmaxWithLoss", "x label", "loss_param { ignore_label: 255 }")
    assert set(random_arrays(SCORES, layers)["label"]) == {0, 1, 2, 3, 4, 255}


def test_unrestricted_inputs_are_standard_normal():
    arrays = random_arrays(
        {"a": (2, 3), "b": (4,)},
        layer_text("ReLU", "a", tops="c") + layer_text("TanH", "b", tops="d"),
    )
    generator = np.random.default_rng(0)
    assert np.array_equal(arrays["a"], generator.standard_normal((2, 3), np.float32))
    assert np.array_equal(arrays["b"], generator.standard_normal((4,), np.float32))


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
def test_regions_are_inside_the_image(kind, param, shape):
    inputs = {"x": (3, 2, 14, 10), "rois": shape}
    image, x0, y0, x1, y1 = (
        random_arrays(inputs, layer_text(kind, "x rois", param))["rois"].reshape(-1, 5).T
    )
    assert is_integer_below(image, 3)
    assert set(image) == {0, 1, 2}
    assert (x0 <= x1).all()
    assert (y0 <= y1).all()
    assert x0.min() >= 0
    assert y0.min() >= 0
    assert x1.max() <= 9 * 16
    assert y1.max() <= 13 * 16
    assert x1.max() > 100


@pytest.mark.parametrize("size", [(3, 4), (5, 4)])
def test_unpooling_indices_are_unique_and_in_order(size):
    """Each index is in a separate window, so no index occurs twice."""
    inputs = {"x": (2, 3, *size), "mask": (2, 3, *size)}
    param = "upsample_param { upsample_h: 7 upsample_w: 9 }"
    mask = random_arrays(inputs, layer_text("Upsample", "x mask", param))["mask"]
    assert is_integer_below(mask, 63)
    for plane in mask.reshape(6, -1):
        assert len(set(plane)) == plane.size
    rows = mask // 9
    assert (np.diff(rows, axis=2) > 0).all()


def test_filter_selector_has_zeros_and_ones():
    for seed in range(20):
        assert set(
            random_arrays({"x": (2, 3), "s": (2,)}, layer_text("Filter", "x s"), seed)["s"]
        ) == {0, 1}
    assert random_arrays({"x": (1, 3), "s": (1,)}, layer_text("Filter", "x s"))["s"] == 1


def test_prior_boxes_are_valid():
    inputs = {"loc": (1, 24), "conf": (1, 12), "prior": (1, 2, 24)}
    param = "detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.4 } }"
    arrays = random_arrays(inputs, layer_text("DetectionOutput", "loc conf prior", param))
    boxes, variances = arrays["prior"].reshape(2, 6, 4)
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert variances.min() > 0
    assert arrays["conf"].min() > 0


def test_log_and_power_outputs_are_finite():
    layers = layer_text("Log", "x", "log_param { scale: -2 shift: 3 }", "a") + layer_text(
        "Power", "y", "power_param { power: 0.5 scale: 2 shift: -1 }", "b"
    )
    net = net_with({"x": (2, 30), "y": (2, 30)}, layers)
    for array in pg.run(net, random_feeds(net, 0)).values():
        assert np.isfinite(array).all()


# ranges through layers that move values


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((6, 1, 1), layer_text("Flatten", "i", "flatten_param { axis: 0 }", "j")),
        ((2, 3), layer_text("Reshape", "i", "reshape_param { shape { dim: -1 } }", "j")),
        ((6,), layer_text("Split", "i", "", "k j")),
        ((12,), layer_text("Slice", "i", "slice_param { axis: 0 slice_point: 4 slice_point: 10 }", "a j b")),
        ((2, 3), layer_text("Permute", "i", "permute_param { order: 1 order: 0 }", "p")
            + layer_text("Flatten", "p", "flatten_param { axis: 0 }", "j")),
    ],
)  # fmt: skip
def test_range_passes_through_layers_that_move_values(shape, layers):
    embed = layer_text("Embed", "j", "embed_param { input_dim: 7 num_output: 2 }", "e")
    net = net_with({"i": shape}, layers + embed)
    net.weights["l_Embed"] = [np.ones((7, 2), np.float32), np.zeros(2, np.float32)]
    feeds = random_feeds(net, 0)
    indices = pg.run(net, feeds, ["j"])["j"]
    assert is_integer_below(indices, 7)
    if shape == (12,):
        assert not is_integer_below(
            feeds["i"], 1e9
        )  # the other slices of the input are not restricted


def test_range_passes_through_concat():
    layers = layer_text("Concat", "a b", "concat_param { axis: 0 }", "j") + layer_text(
        "Embed", "j", "embed_param { input_dim: 7 num_output: 2 }"
    )
    arrays = random_arrays({"a": (3,), "b": (4,)}, layers)
    assert is_integer_below(arrays["a"], 7)
    assert is_integer_below(arrays["b"], 7)


def test_label_with_two_readers_gets_the_narrower_range():
    """The narrower range holds for both readers, also if a third layer reads the label as data."""
    layers = (
        layer_text("SoftmaxWithLoss", "x label", tops="a")
        + layer_text("Accuracy", "y label", tops="b")
        + layer_text("Power", "label", "power_param { scale: 3 }", "c")
    )
    inputs = {"x": (40, 9), "y": (40, 4), "label": (40,)}
    assert is_integer_below(random_arrays(inputs, layers)["label"], 4)


def test_bottoms_with_too_few_axes_raise_input_error():
    param = "roi_pooling_param { pooled_h: 1 pooled_w: 1 }"
    with pytest.raises(pg.InputError, match='"x" must have 4 axes'):
        random_arrays({"x": (1, 2), "rois": (3, 5)}, layer_text("ROIPooling", "x rois", param))


def test_inputs_larger_than_memory_raise_unsupported_error():
    with pytest.raises(
        pg.UnsupportedError, match=r'input "b": the inputs need 215 TB of memory, but'
    ):
        random_inputs({"a": (3,), "b": (1, 2147483648, 5, 5, 1000)}, 0)
