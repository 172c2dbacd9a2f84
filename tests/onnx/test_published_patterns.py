"""Patterns of published nets that other tools refuse, in nets of our own."""

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
def test_legacy_inputs_as_caffe_reads_them(text):
    """An input without a shape is dropped if a layer produces it; shapes beyond the inputs are not
    read (Caffe: UpgradeNetInput)."""
    net = read(text)
    assert net.shapes["y"] == (1, 3, 8, 8)
    assert {name for name, shape in net.shapes.items() if shape} == {"data", "y"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n' + INPUT + RELU,
         'another layer already produces its top "data"'),
        ('input: "data"\n' + RELU + INPUT, 'but layer "in" (Input) produces it only later'),
        ('input: "data" input: "b" input_shape { dim: 1 }\n' + RELU, "expected 2 input_shape (one for each input), got 1"),
    ],
)  # fmt: skip
def test_legacy_inputs_that_caffe_refuses(text, said):
    with pytest.raises(pg.InputError) as caught:
        read(text)
    assert said in str(caught.value)


def test_upgrade_says_that_it_drops_an_input():
    changes: list[str] = []
    upgrade(prototxt.parse('input: "data"\n' + INPUT + RELU), changes)
    assert changes == ["removed input data without a shape: a layer produces this blob"]


FORK = """layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 1 stride: 2 %s} }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 1 stride: 2 } }
layer { name: "e" type: "%s" bottom: "p" bottom: "c" top: "e" }"""
ADVICE = (
    "If the net was written for a Caffe fork, that fork may round sizes differently: set round_mode: "
    "FLOOR in the Pooling before this layer, or height and width in the Interp."
)


@pytest.mark.parametrize("type_", ["Eltwise", "Concat"])
def test_a_fork_that_rounds_otherwise(type_):
    """Intel's Caffe drops the window behind the border where the kernel is 1, BVLC's keeps it."""
    with pytest.raises(pg.InputError) as caught:
        _ = net_with({"x": (1, 4, 8, 8)}, FORK % ("", type_)).graph
    assert str(caught.value).endswith(ADVICE)
    net = net_with({"x": (1, 4, 8, 8)}, FORK % ("round_mode: FLOOR ", type_))
    assert net.shapes["e"] == (1, 4 if type_ == "Eltwise" else 8, 4, 4)


def test_no_such_advice_where_rounding_cannot_be_the_cause():
    for other in ((1, 4, 2, 8), (2, 4, 8, 8), (1, 4, 8)):
        with pytest.raises(pg.InputError) as caught:
            _ = net_with({"x": (1, 4, 8, 8), "y": other},
                         'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "e" }').graph  # fmt: skip
        assert "fork" not in str(caught.value)


CONCAT = 'layer {{ name: "n" type: "Concat" bottom: "a" bottom: "b" top: "y" concat_param {{ per_fla_fuse: true {} }} }}'


def test_concat_of_an_int8_ssd():
    """Intel's per_fla_fuse: the boxes of every map, permuted to N, H, W, C and flattened, as SSD's
    Permute and Flatten before a Concat give them."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=s).astype(np.float32) for s in ((2, 8, 4, 4), (2, 12, 2, 3)))
    net = net_with({"a": a.shape, "b": b.shape}, CONCAT.format(""))
    assert net.shapes["y"] == (2, 8 * 16 + 12 * 6, 1, 1)
    flat = [x.transpose(0, 2, 3, 1).reshape(2, -1) for x in (a, b)]
    wanted = np.concatenate(flat, axis=1).reshape(2, -1, 1, 1)
    np.testing.assert_array_equal(pg.run(net, {"a": a, "b": b})["y"], wanted)


@pytest.mark.parametrize(("b", "param"), [((1, 12, 2, 3), ""), ((2, 12, 2, 3), "axis: 2")])
def test_concat_of_an_int8_ssd_that_does_not_fit(b, param):
    with pytest.raises(
        pg.InputError, match="per_fla_fuse requires axis 1 and bottoms with the same batch size"
    ):
        _ = net_with({"a": (2, 8, 4, 4), "b": b}, CONCAT.format(param)).graph
