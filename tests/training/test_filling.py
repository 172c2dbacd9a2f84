"""``init`` warns of blobs that start at 0, and ``--fill`` chooses suitable fillers."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.training.filling import StartsDead, with_fillers
from protogen.training.initialisation import blobs_of

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
FILL = "Use --fill (fill=True) to choose suitable fillers."
ZERO_WEIGHTS = "weights without a filler start at 0, so that no signal and no gradient passes: "
WEIGHTS = f"{ZERO_WEIGHTS}c1.weight, up.weight, fc.weight. {FILL}"
VARIANCE = (
    "blobs without a filler start at 0, so that phase TEST has no variance, or the scale blocks the "
    f"signal: bn.variance. {FILL}"
)


def sample_net(body: str = BODY) -> Net:
    return net_with({"x": (2, 3, 8, 8)}, body)


def warnings_of(net: Net, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pg.initialise(net, **options)
    assert all(issubclass(one.category, StartsDead) for one in caught)
    return [str(one.message) for one in caught]


def test_blobs_that_start_at_0_are_reported():
    net = sample_net()
    assert warnings_of(net) == [WEIGHTS, VARIANCE]
    assert not net.weights["c1"][0].any()  # Caffe's default


def test_rules_and_recommendations_count_as_fillers():
    assert warnings_of(sample_net(), rules={"*": "xavier"}) == [VARIANCE]
    assert warnings_of(sample_net(), recommend=True) == [VARIANCE]
    assert warnings_of(sample_net(), rules={"c1": "xavier", "up": "bilinear"}) == [
        f"{ZERO_WEIGHTS}fc.weight. {FILL}",
        VARIANCE,
    ]


def test_long_list_of_blobs_is_shortened():
    body = "".join(
        f'layer {{ name: "c{i}" type: "Convolution" bottom: "x" top: "c{i}" '
        "convolution_param { num_output: 1 kernel_size: 1 } }\n"
        for i in range(30)
    )
    (sentence,) = warnings_of(sample_net(body))
    names = ", ".join(f"c{i}.weight" for i in range(8))
    assert sentence == f"{ZERO_WEIGHTS}{names} and 22 more. {FILL}"


@pytest.mark.parametrize(
    ("layer", "shape", "names"),
    [
        ('type: "Embed" embed_param { num_output: 2 input_dim: 5 bias_term: false }', (4,), "l.weight"),
        ('type: "InnerProduct" inner_product_param { num_output: 2 }', (4, 3), "l.weight"),
        ('type: "LSTM" bottom: "x2" recurrent_param { num_output: 2 }', (4, 1, 3), "l.weight, l.2"),
        ('type: "BN" bn_param { momentum: 0.9 }', (4, 3, 2, 2), "l.scale"),
        ('type: "BN"', (4, 3, 2, 2), "l.scale"),
    ],
)  # fmt: skip
def test_other_layer_types_are_reported_and_filled(layer, shape, names):
    inputs = {"x": shape, **({"x2": (4, 1)} if "x2" in layer else {})}
    net = net_with(inputs, f'layer {{ name: "l" bottom: "x" top: "y" {layer} }}')
    (sentence,) = warnings_of(net)
    assert sentence.endswith(f": {names}. {FILL}")
    assert not warnings_of(net, fill=True)
    assert any(array.any() for array in net.weights["l"])


def test_blobs_with_filler_cause_no_warning():
    body = """
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 1
      kernel_size: 1 weight_filler { type: "constant" value: 0 } } }
    layer { name: "p" type: "PReLU" bottom: "c" top: "p" }
    layer { name: "s" type: "Scale" bottom: "p" top: "s" }
    layer { name: "b" type: "Bias" bottom: "s" top: "b" }
    """
    net = sample_net(body)
    assert not warnings_of(net, fill=True)
    assert not net.weights["c"][0].any()  # the net's filler is retained


def test_fill_chooses_suitable_fillers():
    net = sample_net()
    assert not warnings_of(net, fill=True)
    blobs = {f"{b.layer.name}.{b.name}": b for b in blobs_of(net, fill=True)}
    assert {name: (b.filler.type, b.filler.value, b.why) for name, b in blobs.items()} == {
        "c1.weight": ("msra", 0, "no filler: ReLU follows"),
        "c1.bias": ("constant", 0, "no filler: Caffe's default"),
        "bn.mean": ("constant", 0, "no filler: neutral value"),
        "bn.variance": ("constant", 1, "no filler: neutral value"),
        "bn.factor": ("constant", 1, "no filler: neutral value"),
        "sc.weight": ("constant", 1, "no filler: Caffe's default"),
        "sc.bias": ("constant", 0, "no filler: Caffe's default"),
        "c2.weight": ("gaussian", 0, "the net's filler"),
        "c2.bias": ("constant", 0, "no filler: Caffe's default"),
        "up.weight": ("bilinear", 0, "no filler: the layer upsamples"),
        "fc.weight": ("xavier", 0, "no filler: no rectifier follows"),
        "fc.bias": ("constant", 0, "no filler: Caffe's default"),
    }
    line = np.float32([0.25, 0.75, 0.75, 0.25])
    wanted = np.broadcast_to(np.outer(line, line), (4, 1, 4, 4))
    np.testing.assert_array_equal(net.weights["up"][0], wanted)


def test_fill_equals_explicit_fillers():
    """--fill uses each blob's own random stream, and does not change the other blobs."""
    plain, filled = sample_net(), sample_net()
    warnings_of(plain)
    warnings_of(filled, fill=True)
    np.testing.assert_array_equal(plain.weights["c2"][0], filled.weights["c2"][0])
    written = Net(with_fillers(filled, blobs_of(filled, fill=True)))
    assert warnings_of(written) == [VARIANCE]  # Caffe has no filler for BatchNorm
    for name in ("c1", "c2", "up", "fc"):
        np.testing.assert_array_equal(written.weights[name][0], filled.weights[name][0])


def test_filled_batch_norm_has_no_effect():
    net = sample_net('layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }')
    warnings_of(net, fill=True)
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
def test_filler_of_deconvolution(params, filler):
    net = sample_net(
        f'layer {{ name: "d" type: "Deconvolution" bottom: "x" top: "y" convolution_param {{ {params} }} }}'
    )
    assert blobs_of(net, fill=True)[0].filler.type == filler


def test_recommend_takes_precedence_over_fill():
    blobs = blobs_of(sample_net(), recommend=True, fill=True)
    kinds = {f"{b.layer.name}.{b.name}": b.filler.type for b in blobs}
    assert kinds["fc.weight"] == "gaussian"  # recommended for the last layer
    assert kinds["bn.variance"] == "constant"


# The command line


def test_command_warns_and_fills(protogen, tmp_path):
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }'
        + BODY
    )
    (tmp_path / "net.prototxt").write_text(text)
    completed = protogen("init", "net.prototxt", "-o", "net.caffemodel")
    assert completed.stderr == f"protogen: warning: {WEIGHTS}\nprotogen: warning: {VARIANCE}\n"
    completed = protogen(
        "init", "net.prototxt", "-o", "net.caffemodel", "--fill", "--write-net", "full.prototxt"
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    rows = [line.split() for line in completed.stdout.splitlines()]
    assert [
        "up.weight",
        "4x1x4x4",
        "bilinear",
        "no",
        "filler:",
        "the",
        "layer",
        "upsamples",
    ] in rows
    assert (tmp_path / "full.prototxt").read_text().count("weight_filler") == 4
    loaded = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    assert loaded.weights["bn"][1].tolist() == [1, 1, 1, 1]
    plain = json.loads(protogen("init", "net.prototxt", "--fill", "--json").stdout)["blobs"]
    assert plain[0]["why"] == "no filler: ReLU follows"


def test_filler_without_type_is_constant_0():
    """``weight_filler { std: 0.01 }`` alone: Caffe fills with its default, the constant 0."""
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }\n'
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" '
        "inner_product_param { num_output: 2 weight_filler { std: 0.01 } } }"
    )
    net = pg.Net(prototxt.parse(text, "net"))
    with pytest.warns(
        pg.ProtogenWarning, match=r"weights without a filler start at 0.*: i\.weight\."
    ):
        pg.initialise(net, seed=0)
    assert not net.weights["i"][0].any()
