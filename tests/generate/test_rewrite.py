"""Forks' layers as stock layers: against the forks' own numbers, and on published nets."""

from __future__ import annotations

import re

import numpy as np
import pytest
from places import CORPUS, GOLDEN, TESTS

import protogen as pg
from protogen.layers import kind_of
from protogen.layers.base import LayerType
from protogen.layers.fillers import bilinear

CASES = sorted((TESTS / "cases" / "fork_layers").glob("*"))
NO_STOCK_FORM = {"PriorBox", "SmoothL1Loss"}
TOLERANCE = 1e-5  # of the largest value, or of 1

RESIZING = ("Upsample", "Interp", "Resize", "BilinearInterpolate", "PixelShuffle")
NETS = [
    path.relative_to(CORPUS)
    for path in sorted((CORPUS).glob("*/*"))
    if path.suffix in (".prototxt", ".pt")
    and re.search(rf'type: *"({"|".join(RESIZING)})"', path.read_text(errors="replace"))
]


def weights_of(golden) -> dict[str, list]:
    found: dict[str, list] = {}
    for key in sorted(k for k in golden if k.startswith("param:")):
        found.setdefault(key.split(":")[1], []).append(golden[key])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_forks_own_numbers(case, tmp_path):
    golden = np.load(case / "golden.npz")
    weights = weights_of(golden)
    caffemodel = None
    if weights:
        net = pg.load(case / "net.prototxt")
        net.take_weights(weights)
        caffemodel = tmp_path / "fork.caffemodel"
        net.save(tmp_path / "fork.prototxt", caffemodel)
    result = pg.rewrite(case / "net.prototxt", caffemodel)
    if case.name.partition("_")[0] in NO_STOCK_FORM:
        assert [one.reason for one in result.kept] == ["no stock layers compute it."]
        return
    assert not result.kept
    assert all(kind_of(layer).stock for layer in result.net.layers)
    result.save(
        tmp_path / "net.prototxt", tmp_path / "net.caffemodel" if result.net.weights else None
    )
    net = pg.load(
        tmp_path / "net.prototxt",
        tmp_path / "net.caffemodel" if result.net.weights else None,
        strict=True,
    )
    found = pg.run(net, {name: golden[f"in:{name}"] for name in net.inputs})
    for name, values in found.items():
        wanted = golden[f"out:{name}"]
        limit = TOLERANCE * max(1.0, np.abs(wanted).max(initial=0))
        assert values.shape == wanted.shape
        assert np.abs(values - wanted).max(initial=0) <= limit


NET = """\
name: "n"  # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }
# before
%s
layer { name: "last" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }  # behind
"""
LAYERS = {
    "HardSwish": 'layer { name: "op" type: "HardSwish" bottom: "data" top: "x" }',
    "Mish": 'layer { name: "op" type: "Mish" bottom: "data" top: "x" }',
    "ReLU6": 'layer { name: "op" type: "ReLU6" bottom: "data" top: "x" relu6_param { threshold: 3 } }',
    "ShuffleChannel": 'layer { name: "op" type: "ShuffleChannel" bottom: "data" top: "x" '
    "shuffle_channel_param { group: 2 } }",
    "Upsample": 'layer { name: "op" type: "Upsample" bottom: "data" top: "x" upsample_param { scale: 3 } }',
    "Interp": 'layer { name: "op" type: "Interp" bottom: "data" top: "x" '
    "interp_param { height: 9 width: 13 } }",
    "Interp, cut": 'layer { name: "op" type: "Interp" bottom: "data" top: "x" '
    "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -1 } }",
    "Interp, shrunk": 'layer { name: "op" type: "Interp" bottom: "data" top: "x" '
    "interp_param { shrink_factor: 2 } }",
    "BilinearInterpolate": 'layer { name: "op" type: "BilinearInterpolate" bottom: "data" top: "x" '
    "bilinear_interpolate_param { dst_h: 9 dst_w: 3 } }",
    "BilinearInterpolate, half": 'layer { name: "op" type: "BilinearInterpolate" bottom: "data" '
    'top: "x" bilinear_interpolate_param { scale_factor: 2 align_corners: false } }',
    "PixelShuffle": 'layer { name: "op" type: "PixelShuffle" bottom: "data" top: "x" '
    "pixelshuffle_param { upscale_factor: 2 } }",
    "Permute": 'layer { name: "op" type: "Permute" bottom: "data" top: "x" '
    "permute_param { order: 0 order: 3 order: 1 order: 2 } }",
    "DepthwiseConvolution": 'layer { name: "op" type: "DepthwiseConvolution" bottom: "data" top: "x" '
    "convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }",
    "BN": 'layer { name: "op" type: "BN" bottom: "data" top: "x" param { lr_mult: 3 } '
    'bn_param { slope_filler { type: "constant" value: 1 } } }',
    "BN, SegNet": 'layer { name: "op" type: "BN" bottom: "data" top: "x" '
    "bn_param { bn_mode: INFERENCE } }",
    "Normalize": 'layer { name: "op" type: "Normalize" bottom: "data" top: "x" '
    "norm_param { across_spatial: false channel_shared: false } }",
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_type(kind, tmp_path):
    """The whole net as before, weights included; text around the layer stays as it is."""
    path = tmp_path / "net.prototxt"
    path.write_text(NET % LAYERS[kind])
    net = pg.load(path)
    random = np.random.default_rng(0)
    for layer in net.layers:
        if shapes := net.parameter_shapes[layer.name]:
            net.weights[layer.name] = [
                random.uniform(0.5, 1.5, s).astype(np.float32) for s in shapes
            ]
    caffemodel = None
    if net.weights:
        caffemodel = tmp_path / "net.caffemodel"
        net.save(tmp_path / "written.prototxt", caffemodel)
    result = pg.rewrite(path, caffemodel)
    assert [one.layer for one in result.replaced] == ["op"]
    assert not result.kept
    before, _, behind = (NET % "|").partition("|")
    assert result.text.startswith(before)
    assert result.text.endswith(behind)
    x = 3 * random.standard_normal((1, 4, 6, 5)).astype(np.float32)
    wanted, found = (pg.run(one, {"data": x})["y"] for one in (net, result.net))
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("size", ["14x18", "21x22", "5x6", "4x17"])
@pytest.mark.parametrize("software", ["torch", "torch-align"])
def test_bilinear_interpolate_is_torchs(software, size, tmp_path):
    """The layer was made for nets from PyTorch: the layer itself, and what replaces it."""
    with np.load(GOLDEN / "resize" / "numbers.npz") as stored:
        x, wanted = stored["x"][None, None], stored[f"{software}:bilinear::{size}"]
    height, width = size.split("x")
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param '
        "{ shape { dim: 1 dim: 1 dim: 7 dim: 9 } } }\n"
        'layer { name: "up" type: "BilinearInterpolate" bottom: "data" top: "up" '
        f"bilinear_interpolate_param {{ dst_h: {height} dst_w: {width} "
        f"align_corners: {str(software == 'torch-align').lower()} }} }}\n"
    )
    for net in (pg.load(path), pg.rewrite(path).net):
        np.testing.assert_allclose(pg.run(net, {"data": x})["up"][0, 0], wanted, atol=1e-5)


def test_every_fork_layer_is_tried():
    """A fork's type that can be rewritten has a net here or numbers of its fork."""
    rewritable = {
        name
        for name, kind in LayerType.registry.items()
        if not kind.stock and type(kind).rewrite is not LayerType.rewrite
    }
    tried = {kind.partition(",")[0] for kind in LAYERS} | {
        case.name.partition("_")[0] for case in CASES
    }
    assert rewritable - tried == {"Axpy", "ConvolutionDepthwise"}  # below, and as its twin


def test_axpy(tmp_path):
    path = tmp_path / "net.prototxt"
    shapes = {"a": (2, 3, 1, 1), "x": (2, 3, 4, 5), "y": (2, 3, 4, 5)}
    text = "".join(
        f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ '
        + " ".join(f"dim: {d}" for d in s) + " } } }\n"
        for n, s in shapes.items()
    )  # fmt: skip
    path.write_text(
        text + 'layer { name: "op" type: "Axpy" bottom: "a" bottom: "x" bottom: "y" top: "z" }\n'
    )
    result = pg.rewrite(path)
    random = np.random.default_rng(0)
    feeds = {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    found = pg.run(result.net, feeds)["z"]
    np.testing.assert_allclose(found, feeds["a"] * feeds["x"] + feeds["y"], atol=1e-6)


CHAIN = """\
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Power" bottom: "data" top: "x" power_param { scale: 2 } }
layer { name: "shift" type: "Power" bottom: "x" top: 'x' power_param { shift: 0.5 } }
layer { name: "a" type: "HardSwish" bottom: "x" top: "x" }
layer { name: "b" type: "Mish" bottom: "x" top: "x" }
layer { name: "c" type: "ReLU6" bottom: "x" top: "x" }
layer { name: "out" type: "Power" bottom: "x" top: "y" }
"""


def test_in_place(tmp_path):
    """Caffe cannot write a blob in place that it has split: the blob has another name before."""
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN)
    result = pg.rewrite(path)
    assert [one.type for one in result.replaced] == ["HardSwish", "Mish", "ReLU6"]
    for layer in result.net.layers:
        readers = [one for one in result.net.layers if set(one.bottoms) & set(layer.tops)]
        if len(layer.bottoms) > 1:
            assert not set(layer.tops) & set(layer.bottoms), layer.name
        assert readers or layer.name == "out"
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    wanted, found = (pg.run(one, {"data": x}) for one in (pg.load(path), result.net))
    np.testing.assert_allclose(found["y"], wanted["y"], atol=1e-6)


def test_in_place_on_an_input_is_kept(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET % 'layer { name: "op" type: "Mish" bottom: "data" top: "data" }'
                    .replace("\n", "").replace("x", "data"))  # fmt: skip
    path.write_text(path.read_text().replace('bottom: "x"', 'bottom: "data"'))
    result = pg.rewrite(path)
    assert "works in place on an input" in result.kept[0].reason


def test_what_stays(tmp_path, protogen):
    path = tmp_path / "net.prototxt"
    path.write_text(
        NET % 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" top: "m" pooling_param '
        '{ kernel_size: 2 stride: 2 } }\nlayer { name: "u" type: "Upsample" bottom: "p" bottom: "m" '
        'top: "q" }\nlayer { name: "op" type: "ReLU6" bottom: "data" top: "x" }\n'
        'layer { name: "r" type: "Resize" bottom: "x" top: "r" resize_param { height: 3 width: 3 } }'
    )
    done = protogen("rewrite", path, "-o", "stock.prototxt")
    assert done.returncode == 0
    assert "1 x ReLU6 -> Clip" in done.stdout
    assert "kept: Upsample (u): no stock layer places values by a mask of indices." in done.stderr
    assert "kept: Resize (r): forks use different interpolation rules for this type" in done.stderr
    done = protogen("rewrite", path, "--strict", "-o", "none.prototxt")
    assert done.returncode == 3
    assert "2 layers cannot be rewritten" in done.stderr
    assert not (tmp_path / "none.prototxt").exists()


def test_command(tmp_path, protogen):
    path = tmp_path / "net.prototxt"
    path.write_text(NET % LAYERS["Interp"])
    done = protogen("rewrite", path)
    assert done.returncode == 0
    assert "Interp" not in done.stdout
    assert "1 x Interp -> " in done.stderr
    assert "write them with --caffemodel" in done.stderr
    done = protogen(
        "rewrite", path, "-o", "s.prototxt", "--caffemodel", "s.caffemodel", "--limit", "no-axis"
    )
    assert done.returncode == 0, done.stderr
    net = pg.load(tmp_path / "s.prototxt", tmp_path / "s.caffemodel")
    assert all(not layer.params.convolution_param.has("axis") for layer in net.layers)
    assert protogen("rewrite", path, "--type", "Mish").returncode == 2
    assert "no layer of this type" in protogen("rewrite", path, "--type", "Mish").stderr


def test_old_nets(tmp_path):
    """A V1 net with its input as fields: layers are found in the text that upgrading makes."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 5\n'
        'layer { name: "op" type: "Permute" bottom: "data" top: "x" permute_param { order: 0 order: 2 } }\n'
    )
    result = pg.rewrite(path)
    assert not result.kept
    assert result.net.shapes["x"] == (1, 6, 4, 5)


# Published nets


@pytest.mark.skipif(not NETS, reason="no ../shared beside this checkout: it holds the nets")
@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("name", NETS, ids=str)
def test_published_nets(name, made):
    """Resizing layers of forks in published nets: stock layers in those places, equal outputs."""
    path = CORPUS / name
    data = None
    phase = "TEST"
    try:
        net = pg.load(path)
    except pg.InputError:  # of a training net, the other phase has the data
        phase = "TRAIN"
    net = pg.load(path, phase=phase, tolerant=True)
    if any(net.shapes.get(blob) is None for blob in net.shapes):
        crop = re.search(r"crop_size: *(\d+)", path.read_text(errors="replace"))
        n = int(crop[1]) if crop else 416
        data = {"data": (1, 3, n, n), "label": (1, 1, n, n), "im_info": (1, 3), "gt_boxes": (1, 5)}
        data = {blob: shape for blob, shape in data.items() if blob in net.shapes}
    types = sorted({layer.type for layer in net.layers} & set(RESIZING))
    inner = {layer.type for layer in net.layers if kind_of(layer) is None and layer.bottoms}
    identities = sorted(inner & {"SeLu", "SeLuDropout"})
    result = pg.rewrite(path, types=types, input_shapes=data, phase=phase, identities=identities)
    assert not result.kept
    assert not {layer.type for layer in result.net.layers} & set(RESIZING)
    if data or phase == "TRAIN":
        return  # what reads the data is unknown, but each replacement was run on its own
    for one in (net, result.net):
        for layer in one.layers:
            shapes = one.parameter_shapes[layer.name]
            if shapes and layer.name not in one.weights:
                arrays = [
                    made.parameter(layer.name, layer.type, i, s) for i, s in enumerate(shapes)
                ]
                if layer.params.convolution_param.weight_filler.type == "bilinear":
                    arrays[0] = np.broadcast_to(bilinear(shapes[0][-1]), shapes[0])
                if layer.type == "BN":  # its variance is made as any other number
                    arrays[-1] = np.abs(arrays[-1]) + np.float32(0.5)
                one.weights[layer.name] = arrays
    feeds = {n: made.network_input(n, net.shapes[n]) for n in net.inputs}
    refused = [layer for layer in net.layers if kind_of(layer).refusal != LayerType.refusal]
    # Before a Softmax, which multiplies the rounding of large scores.
    refused += [layer for layer in net.layers if layer.type == "Softmax"]
    blobs = {b for layer in refused for b in layer.bottoms} or set(net.outputs)
    wanted = pg.run(net, feeds, sorted(blobs))
    found = pg.run(result.net, feeds, sorted(blobs))
    for blob, values in wanted.items():
        assert np.abs(values - found[blob]).max() <= TOLERANCE * max(1, np.abs(values).max())


def test_a_name_inside_of_a_replaced_layer(tmp_path):
    """The blob's older name stands in a layer that is replaced as well."""
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN.replace('"Power" bottom: "data" top: "x" power_param { scale: 2 }',
                                  '"ReLU6" bottom: "data" top: "x"'))  # fmt: skip
    result = pg.rewrite(path)
    assert [one.type for one in result.replaced] == ["ReLU6", "HardSwish", "Mish", "ReLU6"]
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    wanted, found = (pg.run(one, {"data": x}) for one in (pg.load(path), result.net))
    np.testing.assert_allclose(found["y"], wanted["y"], atol=1e-6)
