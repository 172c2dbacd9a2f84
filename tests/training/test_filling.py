"""``init`` names what starts dead, and ``--fill`` gives what suits."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.training.filling import StartsDead
from protogen.training.initialisation import blobs_of, with_fillers

BODY = """
layer { name: "c1" type: "Convolution" bottom: "x" top: "c1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "c1" top: "c1" }
layer { name: "sc" type: "Scale" bottom: "c1" top: "c1" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "t" type: "TanH" bottom: "c2" top: "c2" }
layer { name: "up" type: "Deconvolution" bottom: "c2" top: "up"
  convolution_param { num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 bias_term: false } }
layer { name: "fc" type: "InnerProduct" bottom: "up" top: "fc"
  inner_product_param { num_output: 5 } }
"""
WEIGHTS = (
    "c1.weight, up.weight, fc.weight are without a filler, and so 0: no signal gets through, and "
    "none back. Give --fill (fill=True) for what suits the net."
)
VARIANCE = (
    "bn.variance is 0 at the start: no variance in phase TEST, and a scale that lets nothing "
    "through. Give --fill (fill=True) for what suits the net."
)


def made(body: str = BODY) -> Net:
    return net_with({"x": (2, 3, 8, 8)}, body)


def told(net: Net, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pg.initialise(net, **options)
    assert all(issubclass(one.category, StartsDead) for one in caught)
    return [str(one.message) for one in caught]


def test_what_starts_dead_is_named():
    net = made()
    assert told(net) == [WEIGHTS, VARIANCE]
    assert not net.weights["c1"][0].any()  # as Caffe begins


def test_rules_and_recommendations_speak_for_weights():
    assert told(made(), rules={"*": "xavier"}) == [VARIANCE]
    assert told(made(), recommend=True) == [VARIANCE]
    assert told(made(), rules={"c1": "xavier", "up": "bilinear"})[0].startswith(
        "fc.weight is without"
    )


def test_a_long_list_is_cut():
    body = "".join(
        f'layer {{ name: "c{i}" type: "Convolution" bottom: "x" top: "c{i}" '
        "convolution_param { num_output: 1 kernel_size: 1 } }\n"
        for i in range(30)
    )
    (sentence,) = told(made(body))
    assert sentence.startswith("c0.weight, c1.weight, c2.weight, c3.weight, c4.weight, c5.weight, ")
    assert "c7.weight and 22 more are without a filler" in sentence


@pytest.mark.parametrize(
    ("layer", "shape", "names"),
    [
        ('type: "Embed" embed_param { num_output: 2 input_dim: 5 bias_term: false }', (4,), "l.weight is"),
        ('type: "InnerProduct" inner_product_param { num_output: 2 }', (4, 3), "l.weight is"),
        ('type: "LSTM" bottom: "x2" recurrent_param { num_output: 2 }', (4, 1, 3), "l.W_xc, l.W_hc are"),
        ('type: "BN" bn_param { momentum: 0.9 }', (4, 3, 2, 2), "l.scale is"),
        ('type: "BN"', (4, 3, 2, 2), "l.scale is"),
    ],
)  # fmt: skip
def test_other_types(layer, shape, names):
    inputs = {"x": shape, **({"x2": (4, 1)} if "x2" in layer else {})}
    net = net_with(inputs, f'layer {{ name: "l" bottom: "x" top: "y" {layer} }}')
    (sentence,) = told(net)
    assert sentence.startswith(names.split(".")[0])
    assert not told(net, fill=True)
    assert any(array.any() for array in net.weights["l"])


def test_what_has_a_filler_or_needs_none_is_quiet():
    body = """
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 1
      kernel_size: 1 weight_filler { type: "constant" value: 0 } } }
    layer { name: "p" type: "PReLU" bottom: "c" top: "p" }
    layer { name: "s" type: "Scale" bottom: "p" top: "s" }
    layer { name: "b" type: "Bias" bottom: "s" top: "b" }
    """
    net = made(body)
    assert not told(net, fill=True)
    assert not net.weights["c"][0].any()  # the net's filler stands


def test_fill_gives_what_suits():
    net = made()
    assert not told(net, fill=True)
    blobs = {f"{b.layer.name}.{b.name}": b for b in blobs_of(net, fill=True)}
    assert {name: (b.filler.type, b.filler.value, b.why) for name, b in blobs.items()} == {
        "c1.weight": ("msra", 0, "no filler: ReLU follows"),
        "c1.bias": ("constant", 0, "no filler, as in Caffe"),
        "bn.mean": ("constant", 0, "no filler: the layer changes nothing so"),
        "bn.variance": ("constant", 1, "no filler: the layer changes nothing so"),
        "bn.factor": ("constant", 1, "no filler: the layer changes nothing so"),
        "sc.weight": ("constant", 1, "no filler, as in Caffe"),
        "sc.bias": ("constant", 0, "no filler, as in Caffe"),
        "c2.weight": ("gaussian", 0, "the net's filler"),
        "c2.bias": ("constant", 0, "no filler, as in Caffe"),
        "up.weight": ("bilinear", 0, "no filler: it upsamples"),
        "fc.weight": ("xavier", 0, "no filler: no rectifier follows"),
        "fc.bias": ("constant", 0, "no filler, as in Caffe"),
    }
    line = np.float32([0.25, 0.75, 0.75, 0.25])
    wanted = np.broadcast_to(np.outer(line, line), (4, 1, 4, 4))
    np.testing.assert_array_equal(net.weights["up"][0], wanted)


def test_the_same_numbers_as_with_the_fillers_written_down():
    """--fill draws from each blob's own stream, and leaves the others as they are."""
    plain, full = made(), made()
    told(plain)
    told(full, fill=True)
    np.testing.assert_array_equal(plain.weights["c2"][0], full.weights["c2"][0])
    written = Net(with_fillers(full, blobs_of(full, fill=True)))
    assert told(written) == [VARIANCE]  # Caffe has no filler for it
    for name in ("c1", "c2", "up", "fc"):
        np.testing.assert_array_equal(written.weights[name][0], full.weights[name][0])


def test_a_filled_batch_norm_changes_nothing():
    net = made('layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }')
    told(net, fill=True)
    x = np.random.default_rng(0).normal(5, 3, (2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(pg.run(net, {"x": x})["y"], x, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "filler"),
    [
        ("num_output: 3 group: 3 kernel_size: 4 stride: 2", "bilinear"),
        ("num_output: 3 group: 3 kernel_size: 3 stride: 1", "xavier"),  # it does not upsample
        ("num_output: 3 kernel_size: 4 stride: 2", "xavier"),  # it mixes channels
        ("num_output: 3 group: 3 kernel_h: 4 kernel_w: 2 stride: 2", "xavier"),  # not square
    ],
)
def test_which_deconvolution_upsamples(params, filler):
    net = made(
        f'layer {{ name: "d" type: "Deconvolution" bottom: "x" top: "y" convolution_param {{ {params} }} }}'
    )
    assert blobs_of(net, fill=True)[0].filler.type == filler


def test_set_and_recommend_go_before_fill():
    found = blobs_of(made(), recommend=True, fill=True)
    kinds = {f"{b.layer.name}.{b.name}": b.filler.type for b in found}
    assert kinds["fc.weight"] == "gaussian"  # recommended for the last layer
    assert kinds["bn.variance"] == "constant"


# The command line


def test_command(protogen, tmp_path):
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }'
        + BODY
    )
    (tmp_path / "net.prototxt").write_text(text)
    done = protogen("init", "net.prototxt", "-o", "net.caffemodel")
    assert done.stderr == f"protogen: warning: {WEIGHTS}\nprotogen: warning: {VARIANCE}\n"
    done = protogen(
        "init", "net.prototxt", "-o", "net.caffemodel", "--fill", "--write-net", "full.prototxt"
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["up.weight", "4x1x4x4", "bilinear", "no", "filler:", "it", "upsamples"] in rows
    assert (tmp_path / "full.prototxt").read_text().count("weight_filler") == 4
    found = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    assert found.weights["bn"][1].tolist() == [1, 1, 1, 1]
    plain = json.loads(protogen("init", "net.prototxt", "--fill", "--json").stdout)["blobs"]
    assert plain[0]["why"] == "no filler: ReLU follows"


def test_a_filler_without_a_type_is_caffes_constant_0():
    """``weight_filler { std: 0.01 }`` alone: Caffe fills with its default, the constant 0."""
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }\n'
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" '
        "inner_product_param { num_output: 2 weight_filler { std: 0.01 } } }"
    )
    net = pg.Net(prototxt.parse(text, "net"))
    with pytest.warns(pg.ProtogenWarning, match=r"i\.weight is without a filler, and so 0"):
        pg.initialise(net, seed=0)
    assert not net.weights["i"][0].any()
