"""Layers whose meaning depends on the fork: the other layers of the net may decide it."""

from __future__ import annotations

import pytest

import protogen as pg
from protogen.errors import UnsupportedError
from protogen.formats import prototxt
from protogen.net.upgrade import upgrade

INPUT = 'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }\n'
FIELDS = 'input: "x" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6\n'
UPSAMPLE = 'layer { name: "u" type: "Upsample" bottom: "x" top: "u" }\n'
REVERSE = 'layer { name: "r" type: "Reverse" bottom: "x" top: "r" }\n'


def net(text: str, **options) -> pg.Net:
    return pg.Net(upgrade(prototxt.parse(text, "net.prototxt")), **options)


def test_a_type_of_one_fork_decides():
    """Only yolo has DepthwiseConvolution and Upsample, and its Upsample has the scale 1 by default."""
    own = (
        'layer { name: "c" type: "DepthwiseConvolution" bottom: "u" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 1 group: 4 bias_term: false } }"
    )
    one = net(INPUT + UPSAMPLE + own)
    assert one.layers[1].dialect == "yolo"
    assert one.layers[0].dialect == one.layers[2].dialect == ""
    assert one.shapes["u"] == (1, 4, 6, 6)


def test_the_dialect_of_the_user_counts():
    assert net(INPUT + UPSAMPLE, dialect="huawei").shapes["u"] == (1, 4, 12, 12)
    assert net(INPUT + UPSAMPLE, dialect="yolo").shapes["u"] == (1, 4, 6, 6)


def test_several_forks_that_disagree_are_named():
    one = net(INPUT + UPSAMPLE, tolerant=True)
    assert one.layers[1].dialect == ""
    assert {"yolo", "huawei"} <= set(one.layers[1].candidates)
    with pytest.raises(UnsupportedError) as caught:
        pg.to_onnx(one)
    assert "By its types and fields the net can be of " in str(caught.value)
    assert "--dialect yolo or --dialect huawei" in str(caught.value)


def test_several_forks_that_agree_decide():
    """Of the forks with Reverse and Lstm, all reverse axis 0: Cambricon, which reverses the channels, has
    no Lstm."""
    own = 'layer { name: "l" type: "Lstm" bottom: "x" top: "l" lstm_param { num_output: 2 } }\n'
    one = net(FIELDS + REVERSE + own, tolerant=True)
    possible = set(pg.dialects_of(one).possible)
    assert {"ctpn", "cc4"} <= possible
    assert not {"cambricon", "synopsys"} & possible
    assert one.layers[1].dialect in possible
    alone = net(FIELDS + REVERSE, tolerant=True)
    assert alone.layers[1].dialect == ""
    assert {"ctpn", "cambricon"} <= set(alone.layers[1].candidates)


def test_a_field_decides_without_the_net():
    one = net(INPUT + UPSAMPLE.replace('top: "u"', 'top: "u" upsample_param { scale: 3 }'))
    assert one.layers[1].dialect == ""
    assert one.layers[1].candidates == ()
    assert one.shapes["u"] == (1, 4, 18, 18)


def test_input_fields_count_as_in_the_file():
    """SegNet's Caffe has no Input layers, but reads input fields."""
    text = FIELDS + 'layer { name: "b" type: "BN" bottom: "x" top: "b" }\n'
    assert "segnet" in net(text, tolerant=True).layers[1].candidates
    text = INPUT + 'layer { name: "b" type: "BN" bottom: "x" top: "b" }\n'
    assert "segnet" not in net(text, tolerant=True).layers[1].candidates
