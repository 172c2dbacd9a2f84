"""Inserting a layer into a net: only the necessary text changes."""

from __future__ import annotations

import pytest

import protogen as pg
from protogen.formats import prototxt

NET = """name: "n"  # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "d" type: "Convolution" bottom: ["c", 'data'] top: "d" top: "e" convolution_param { num_output: 2 kernel_size: 1 } }
"""


@pytest.fixture
def net(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "net.prototxt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_channels_follow_from_the_net(net):
    path = net(NET.replace("'data'", "'c'"))
    assert pg.splice(path, "c", factor=2).upsampling.specs[0].channels == 6
    assert pg.splice(path, "data", factor=2).upsampling.specs[0].channels == 4


def test_rest_of_text_is_unchanged(net):
    text = NET.replace("'data'", "'c'")
    spliced = pg.splice(net(text), "c", factor=2, rewire=True)
    assert spliced.rewired == ("d",)
    layer = spliced.upsampling.prototxt
    assert layer in spliced.text
    rest = spliced.text.replace(layer, "").replace('["upsample", "upsample"]', "[\"c\", 'c']")
    assert rest == text


def test_crlf_and_byte_order_mark_are_unchanged(net):
    raw = (
        b"\xef\xbb\xbf"
        + NET.replace("'data'", "'c'").replace("\n", "\r\n").encode()
        + b"# caf\xe9\r\n"
    )
    spliced = pg.splice(net(raw), "c", factor=2)
    out = spliced.encode()
    assert out.startswith(b"\xef\xbb\xbf")
    assert out.endswith(b"# caf\xe9\r\n")
    assert out.count(b"\n") == out.count(b"\r\n")


def test_insertion_follows_last_in_place_writer(net):
    text = (
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 4\n'
        'layer { name: "a" type: "Deconvolution" bottom: "x" top: "y" convolution_param { num_output: 3 kernel_size: 2 stride: 2 } }\n'
        'layer { name: "r" type: "Unheard" bottom: "y" top: "y" } layer { name: "z" type: "Unheard" bottom: "y" top: "z" }\n'
    )
    path = net(text)
    with pytest.warns(pg.ProtogenWarning, match="unknown layer type"):
        spliced = pg.splice(path, "y", factor=2, rewire=True, channels=3)
    names = [layer.name for layer in prototxt.parse(spliced.text).layer]
    assert names == ["a", "r", "upsample", "z"]
    assert spliced.rewired == ("z",)
    with (
        pytest.warns(pg.ProtogenWarning),
        pytest.raises(pg.InputError, match="Give its channels with --channels"),
    ):
        pg.splice(path, "y", factor=2)


def test_insertion_follows_legacy_input(net):
    text = '# head\ninput: "x"\ninput_shape { dim: 1 dim: 3 dim: 4 dim: 4 }\n# first\nlayer { name: "a" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 3 kernel_size: 1 } }\n'
    spliced = pg.splice(net(text), "x", factor=2, rewire=True)
    assert [layer.name for layer in prototxt.parse(spliced.text).layer] == ["upsample", "a"]
    assert prototxt.parse(spliced.text).layer[1].bottom == ["upsample"]


def test_insertion_after_text_without_final_newline(net):
    spliced = pg.splice(net(NET.replace("'data'", "'c'").rstrip("\n")), "e", factor=2)
    assert spliced.text.endswith("}\n")
    assert prototxt.parse(spliced.text).layer[-1].name == "upsample"


def test_rewiring_that_breaks_the_net_is_refused(net):
    """Layer d reads c and data. After rewiring their sizes differ."""
    with pytest.raises(pg.InputError, match="its bottoms must have the same shape"):
        pg.splice(
            net(
                NET.replace("'data'", "'c'")
                .replace("num_output: 6", "num_output: 4")
                .replace("[\"c\", 'c']", '["c", "data"]')
            ),
            "c",
            factor=2,
            rewire=True,
        )
