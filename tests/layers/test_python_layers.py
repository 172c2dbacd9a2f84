"""Python layers with a public meaning: values and shapes, as their classes define them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from comparing import parsed
from test_proposals import run

import protogen as pg
from protogen.layers import LayerType, kind_of

F = np.float32


def python(module, layer, bottoms, tops, text=""):
    """A Python layer as prototxt."""
    names = "".join(f' bottom: "{b}"' for b in bottoms) + "".join(f' top: "{t}"' for t in tops)
    return (
        f'layer {{ name: "p" type: "Python"{names} python_param {{ module: "{module}" layer: "{layer}" '
        f'param_str: "{text}" }} }}'
    )


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 5), (4,)])
def test_euclidean_loss_of_the_example(shape):
    """examples/pycaffe/layers/pyloss.py of BVLC/caffe."""
    rng = np.random.default_rng(0)
    feeds = {"a": rng.normal(size=shape).astype(F), "b": rng.normal(size=shape).astype(F)}
    actual = run(python("pyloss", "EuclideanLossLayer", "ab", "y"), feeds)["y"]
    expected = np.sum((feeds["a"] - feeds["b"]) ** 2) / shape[0] / 2.0
    assert actual.shape == (1,)
    np.testing.assert_allclose(actual[0], expected, rtol=2e-5)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad_tensor(mode):
    """pad.py of Synopsys' models: numpy's pad."""
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype(F)
    text = f'{{\\"pad_t\\": 1, \\"pad_b\\": 3, \\"pad_l\\": 0, \\"pad_r\\": 2, \\"pad_mode\\": \\"{mode}\\"}}'
    actual = run(python("pad", "PadTensor", "x", "y", text), {"x": x})["y"]
    np.testing.assert_array_equal(actual, np.pad(x, ((0, 0), (0, 0), (1, 3), (0, 2)), mode))


def test_mean_average_precision():
    """python/caffe/layers/detectnet/mean_ap.py of NVIDIA/caffe, with and without boxes."""
    for kinds in ([1, 1, 2, 3, 3, 3, 0], [0, 0, 0, 0, 0, 0, 0], [2, 2, 3, 0, 0, 0, 0]):
        x = np.zeros((1, 7, 5), F)
        x[0, :, 4] = kinds
        actual = run(python("caffe.layers.detectnet.mean_ap", "mAP", "x", "mpr"), {"x": x})
        candidates, wrong, missed = (kinds.count(kind) for kind in (1, 2, 3))
        precision = 100 * candidates / (candidates + wrong) if candidates + wrong else 0
        recall = 100 * candidates / (candidates + missed) if candidates + missed else 0
        expected = [precision * recall / 100, precision, recall]
        np.testing.assert_allclose([actual[k][0] for k in "mpr"], expected, rtol=1e-6)


RPN = "rpn.anchor_target_layer"
CLUSTERING = "caffe.layers.detectnet.clustering"


@pytest.mark.parametrize(
    ("layer", "shapes", "expected"),
    [
        (python(RPN, "AnchorTargetLayer", "xgid", "abcd", "'feat_stride': 16"),
         {"x": (1, 18, 4, 5), "g": (3, 5), "i": (1, 3), "d": (1, 3, 64, 80)},
         {"a": (1, 1, 36, 5), "b": (1, 36, 4, 5), "c": (1, 36, 4, 5), "d": (1, 36, 4, 5)}),
        (python("rpn.proposal_target_layer", "ProposalTargetLayer", "rg", "abcde", "'num_classes': 21"),
         {"r": (300, 5), "g": (3, 5)}, {"a": (128, 5, 1, 1), "b": (128, 1, 1, 1), "c": (128, 84, 1, 1), "e": (128, 84, 1, 1)}),
        (python("roi_data_layer.layer", "RoIDataLayer", "", "abc", "'num_classes': 21"), {},
         {"a": (1, 3, 600, 1000), "b": (1, 3), "c": (1, 5)}),
        (python("roi_data_layer.layer", "RoIDataLayer", "", "abcdef", "'num_classes': 21"), {},
         {"a": (2, 3, 600, 1000), "b": (128, 5), "c": (128,), "d": None}),
        (python(CLUSTERING, "ClusterDetections", "xg", "ab", "1248, 352, 16, 0.6, 3, 0.02, 22, 2"),
         {"x": (2, 2, 22, 78), "g": (2, 4, 22, 78)}, {"a": (2, 50, 5), "b": (2, 50, 5)}),
        (python(CLUSTERING, "ClusterDetections", "xg", "a", "1248, 352, 16, 0.6, 3, 0.02, 22"),
         {"x": (2, 1, 22, 78), "g": (2, 4, 22, 78)}, {"a": (2, 50, 5)}),
        (python(CLUSTERING, "ClusterGroundtruth", "xg", "a", "1248, 352, 16, 1, 30"),
         {"x": (2, 1, 22, 78), "g": (2, 4, 22, 78)}, {"a": (2, 30, 5)}),
        (python("caffe.layers.detectnet.mean_ap", "ScoreDetections", "xg", "a"),
         {"x": (2, 50, 5), "g": (2, 50, 5)}, {"a": (2, 50, 5)}),
    ],
)  # fmt: skip
def test_shapes(layer, shapes, expected):
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in shape)} }} }} }}\n"
        for name, shape in shapes.items()
        if f'top: "{name}"' not in layer
    )
    if "d" in shapes:
        layer = layer.replace('bottom: "d"', 'bottom: "e"')
        inputs += 'layer { name: "e" type: "Input" top: "e" input_param { shape { dim: 1 dim: 3 dim: 64 dim: 80 } } }'
    net = parsed(inputs + layer)
    assert {name: net.shapes[name] for name in expected} == expected
    kind = kind_of(net.layers[-1])
    if not kind.has_form and not kind.is_source:
        with pytest.raises(pg.UnsupportedError, match="End the net"):
            pg.to_onnx(net)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (python("pad", "PadTensor", "x", "y", "{'pad_t': 1}"), "param_str must have pad_t, pad_b, pad_l and pad_r"),
        (python("pad", "PadTensor", "x", "y", "{'pad_t': 1, 'pad_b': 0, 'pad_l': 0, 'pad_r': 0, 'pad_mode': 'wrap'}"),
         "pad_mode 'wrap' is unsupported"),
        (python("pad", "PadTensor", "x", "y", "{'pad_t': 4, 'pad_b': 0, 'pad_l': 0, 'pad_r': 0, 'pad_mode': 'reflect'}"),
         "reflect pads 4, 0, 0, 0 must be smaller than the size 3x4"),
        (python("pyloss", "EuclideanLossLayer", "xg", "y"), "its bottoms must have equal shapes, got 1x2x3x4 and 2x3"),
        (python("roi_data_layer.layer", "RoIDataLayer", "", "ab", "'num_classes': 21"), "expected 3 or 6 tops, got 2"),
        (python("roi_data_layer.layer", "RoIDataLayer", "", "abc"), "'num_classes', an integer above 0, which is missing"),
        (python(CLUSTERING, "ClusterDetections", "xg", "a", "1248, 352, 16, 0.6, 3, 0.02, 22, many"), "must hold numbers, separated by"),
        (python(CLUSTERING, "ClusterDetections", "xg", "a", "1248, 352, 16, 0.6, 3, 0.02, 22, 1"),
         'param_str has 1 classes, but it has 1 tops, and "x" has shape 1x2x3x4'),
    ],
)  # fmt: skip
def test_wrong_layers(layer, message):
    feeds = {"x": np.zeros((1, 2, 3, 4), F), "g": np.zeros((2, 3), F)}
    with pytest.raises((pg.InputError, pg.UnsupportedError)) as caught:
        run(layer, feeds)
    assert message in str(caught.value)


def test_another_python_class_is_unknown():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        with pytest.raises(pg.UnsupportedError, match="it runs the Python class 'Mine'"):
            run(python("pyloss", "Mine", "x", "y"), {"x": np.zeros((1, 2), F)})


def test_each_python_class_names_its_source():
    for (module, layer), kind in LayerType.python.items():
        assert module, layer
        assert "/" in kind.source
        assert type(kind).__doc__
