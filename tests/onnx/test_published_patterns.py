"""Patterns of published nets that other tools reject, in small nets."""

from __future__ import annotations

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.net.upgrade import upgrade

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
RELU = 'layer { name: "r" type: "ReLU" bottom: "data" top: "y" }\n'


def read(text: str) -> Net:
    return Net(upgrade(prototxt.parse(text, "net.prototxt")))


@pytest.mark.parametrize(
    "text",
    [
        'input: "data"\n' + INPUT + RELU,
        'input: "gone"\n' + INPUT + RELU,
        'input: "data"\n' + INPUT.replace("Input", "DummyData").replace("input_param", "dummy_data_param") + RELU,
        "input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9\n" + INPUT + RELU,
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 input_dim: 7 input_dim: 7 input_dim: 7 input_dim: 7\n' + RELU,
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } input_shape { dim: 7 }\n' + RELU,
    ],
)  # fmt: skip
def test_legacy_inputs_are_read_as_in_caffe(text):
    """An input without a shape is dropped if a layer produces it; shapes beyond the inputs are not
    read (Caffe: UpgradeNetInput)."""
    net = read(text)
    assert net.shapes["y"] == (1, 3, 8, 8)
    assert {name for name, shape in net.shapes.items() if shape} == {"data", "y"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n' + INPUT + RELU,
         'another layer already produces its top "data"'),
        ('input: "data"\n' + RELU + INPUT, 'but layer "in" (Input) produces it only later'),
        ('input: "data" input: "b" input_shape { dim: 1 }\n' + RELU, "expected 2 input_shape (one for each input), got 1"),
    ],
)  # fmt: skip
def test_invalid_legacy_inputs_are_rejected(text, problem):
    with pytest.raises(pg.InputError) as caught:
        read(text)
    assert problem in str(caught.value)


def test_upgrade_reports_a_dropped_input():
    changes: list[str] = []
    upgrade(prototxt.parse('input: "data"\n' + INPUT + RELU), changes)
    assert changes == ["removed input data without a shape: a layer produces this blob"]


FORK = """layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 1 stride: 2 %s} }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 1 stride: 2 } }
layer { name: "e" type: "%s" bottom: "p" bottom: "c" top: "e" }"""
ADVICE = (
    "If the net was written for a Caffe fork, that fork may round sizes differently: set round_mode: "
    "FLOOR in the Pooling before this layer, or height and width in the Interp. In nets of OpenVINO, "
    "zoom_factor multiplies the size: set --dialect openvino."
)


@pytest.mark.parametrize("type_", ["Eltwise", "Concat"])
def test_size_mismatch_error_suggests_the_rounding_of_forks(type_):
    """For a kernel of 1, Intel's Caffe drops the window beyond the border, and BVLC Caffe keeps it."""
    with pytest.raises(pg.InputError) as caught:
        _ = net_with({"x": (1, 4, 8, 8)}, FORK % ("", type_)).graph
    assert str(caught.value).endswith(ADVICE)
    net = net_with({"x": (1, 4, 8, 8)}, FORK % ("round_mode: FLOOR ", type_))
    assert net.shapes["e"] == (1, 4 if type_ == "Eltwise" else 8, 4, 4)


def test_no_advice_about_rounding_if_it_cannot_be_the_cause():
    for other in ((1, 4, 2, 8), (2, 4, 8, 8), (1, 4, 8)):
        with pytest.raises(pg.InputError) as caught:
            _ = net_with({"x": (1, 4, 8, 8), "y": other},
                         'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "e" }').graph  # fmt: skip
        assert "fork" not in str(caught.value)


CONCAT = 'layer {{ name: "n" type: "Concat" bottom: "a" bottom: "b" top: "y" concat_param {{ per_fla_fuse: true {} }} }}'


def test_per_fla_fuse_of_concat():
    """Intel Caffe, for int8 SSD: each bottom is permuted to N, H, W, C and flattened before the Concat.

    This replaces the Permute and Flatten layers of SSD.
    """
    random = np.random.default_rng(0)
    a, b = (random.normal(size=s).astype(np.float32) for s in ((2, 8, 4, 4), (2, 12, 2, 3)))
    net = net_with({"a": a.shape, "b": b.shape}, CONCAT.format(""))
    assert net.shapes["y"] == (2, 8 * 16 + 12 * 6, 1, 1)
    flat = [x.transpose(0, 2, 3, 1).reshape(2, -1) for x in (a, b)]
    expected = np.concatenate(flat, axis=1).reshape(2, -1, 1, 1)
    np.testing.assert_array_equal(pg.run(net, {"a": a, "b": b})["y"], expected)


@pytest.mark.parametrize(("b", "param"), [((1, 12, 2, 3), ""), ((2, 12, 2, 3), "axis: 2")])
def test_invalid_per_fla_fuse_is_rejected(b, param):
    with pytest.raises(
        pg.InputError, match="per_fla_fuse requires axis 1 and bottoms with the same batch size"
    ):
        _ = net_with({"a": (2, 8, 4, 4), "b": b}, CONCAT.format(param)).graph
