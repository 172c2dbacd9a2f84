"""Fork layers rewritten to stock layers: output of the forks, and published nets."""

from __future__ import annotations

import re

import numpy as np
import pytest
from places import CORPUS, GOLDEN, TESTS
from rewritable import TYPES

import protogen as pg
from protogen.layers import kind_of
from protogen.layers.base import LayerType
from protogen.layers.fillers import bilinear
from protogen.net.cost import costs

CASES = sorted((TESTS / "cases" / "fork_layers").glob("*"))
NO_STOCK_FORM = {
    "PriorBox", "SmoothL1Loss", "YoloDetection", "FrcnDetection", "RetinaFaceDetection",
    "CtcLoss", "LabelsequenceAccuracy",
}  # fmt: skip
DIFFERS = {"Lstm_1": "the GPU code uses the state of each stream"}  # its fork has two results
TOLERANCE = 1e-5  # relative to the largest value, or to 1 if that is larger
MOST_MULTIPLY_ADDS = 4e11  # of a whole net that is run twice

RESIZING = ("Upsample", "Interp", "Resize", "BilinearInterpolate", "PixelShuffle")
NETS = [
    path.relative_to(CORPUS)
    for path in sorted((CORPUS).glob("*/*"))
    if path.suffix in (".prototxt", ".pt")
    and re.search(rf'type: *"({"|".join(RESIZING)})"', path.read_text(errors="replace"))
]


def weights_of(golden) -> dict[str, list]:
    weights: dict[str, list] = {}
    for key in sorted(k for k in golden if k.startswith("param:")):
        weights.setdefault(key.split(":")[1], []).append(golden[key])
    return weights


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_replacement_reproduces_output_of_fork(case, tmp_path):
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
        assert [one.reason for one in result.retained] == ["no stock layers compute it."]
        return
    if case.name in DIFFERS:
        assert DIFFERS[case.name] in result.retained[0].reason
        return
    assert not result.retained
    assert all(kind_of(layer).stock for layer in result.net.layers)
    result.save(
        tmp_path / "net.prototxt", tmp_path / "net.caffemodel" if result.net.weights else None
    )
    net = pg.load(
        tmp_path / "net.prototxt",
        tmp_path / "net.caffemodel" if result.net.weights else None,
        strict=True,
    )
    outputs = pg.run(net, {name: golden[f"in:{name}"] for name in net.inputs})
    for name, values in outputs.items():
        expected = golden[f"out:{name}"]
        limit = TOLERANCE * max(1.0, np.abs(expected).max(initial=0))
        assert values.shape == expected.shape
        assert np.abs(values - expected).max(initial=0) <= limit


NET = """\
name: "n"  # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }
# before
%s
layer { name: "last" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }  # after
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
    "PeriodicShuffle": 'layer { name: "op" type: "PeriodicShuffle" bottom: "data" top: "x" '
    "periodic_shuffle_param { num_output: 1 } }",
    "DepthToSpace": 'layer { name: "op" type: "DepthToSpace" bottom: "data" top: "x" '
    'depth_to_space_param { block_size: 2 data_format: "NCHW" } }',
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
def test_each_layer_type_is_replaced(kind, tmp_path):
    """The net computes the same with its weights, and the text around the layer is unchanged."""
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
    assert not result.retained
    before, _, after = (NET % "|").partition("|")
    assert result.text.startswith(before)
    assert result.text.endswith(after)
    x = 3 * random.standard_normal((1, 4, 6, 5)).astype(np.float32)
    expected, actual = (pg.run(one, {"data": x})["y"] for one in (net, result.net))
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("size", ["14x18", "21x22", "5x6", "4x17"])
@pytest.mark.parametrize("software", ["torch", "torch-align"])
def test_bilinear_interpolate_equals_torch(software, size, tmp_path):
    """The layer and its replacement equal PyTorch, from which nets with this layer come."""
    with np.load(GOLDEN / "resize" / "numbers.npz") as stored:
        x, expected = stored["x"][None, None], stored[f"{software}:bilinear::{size}"]
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
        np.testing.assert_allclose(pg.run(net, {"data": x})["up"][0, 0], expected, atol=1e-5)


def test_every_rewritable_type_has_a_test():
    """Every rewritable fork layer has a net in this file, output of its fork, or a net in
    tests/layers/test_rewritten_forks.py."""
    rewritable = {
        name
        for name, kind in LayerType.registry.items()
        if not kind.stock and type(kind).rewrite is not LayerType.rewrite
    }
    tried = {kind.partition(",")[0] for kind in LAYERS} | {
        case.name.partition("_")[0] for case in CASES
    }
    assert rewritable - tried - TYPES == {
        "Axpy",  # see test_axpy_is_replaced
        "ConvolutionDepthwise",  # the same base class as DepthwiseConvolution
        "ExactResize",  # protogen's own; see tests/legalization
        "Reorg",  # needs a dialect; see tests/layers/test_reorg.py
        "SpaceToDepth",  # see tests/layers/test_reorg.py
    }


def test_axpy_is_replaced(tmp_path):
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
    output = pg.run(result.net, feeds)["z"]
    np.testing.assert_allclose(output, feeds["a"] * feeds["x"] + feeds["y"], atol=1e-6)


CHAIN = """\
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Power" bottom: "data" top: "x" power_param { scale: 2 } }
layer { name: "shift" type: "Power" bottom: "x" top: 'x' power_param { shift: 0.5 } }
layer { name: "a" type: "HardSwish" bottom: "x" top: "x" }
layer { name: "b" type: "Mish" bottom: "x" top: "x" }
layer { name: "c" type: "ReLU6" bottom: "x" top: "x" }
layer { name: "out" type: "Power" bottom: "x" top: "y" }
"""


def test_in_place_layers_are_replaced(tmp_path):
    """Caffe cannot write a split blob in place. The blob gets another name before the layer."""
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN)
    result = pg.rewrite(path)
    assert [one.type for one in result.replaced] == ["HardSwish", "Mish", "ReLU6"]
    for layer in result.net.layers:
        consumers = [one for one in result.net.layers if set(one.bottoms) & set(layer.tops)]
        if len(layer.bottoms) > 1:
            assert not set(layer.tops) & set(layer.bottoms), layer.name
        assert consumers or layer.name == "out"
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    expected, actual = (pg.run(one, {"data": x}) for one in (pg.load(path), result.net))
    np.testing.assert_allclose(actual["y"], expected["y"], atol=1e-6)


def test_in_place_layer_on_an_input_is_not_replaced(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET % 'layer { name: "op" type: "Mish" bottom: "data" top: "data" }'
                    .replace("\n", "").replace("x", "data"))  # fmt: skip
    path.write_text(path.read_text().replace('bottom: "x"', 'bottom: "data"'))
    result = pg.rewrite(path)
    assert "works in place on an input" in result.retained[0].reason


def test_layers_without_stock_equivalent_are_reported(tmp_path, protogen):
    path = tmp_path / "net.prototxt"
    path.write_text(
        NET % 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" top: "m" pooling_param '
        '{ kernel_size: 2 stride: 2 } }\nlayer { name: "u" type: "Upsample" bottom: "p" bottom: "m" '
        'top: "q" }\nlayer { name: "op" type: "ReLU6" bottom: "data" top: "x" }\n'
        'layer { name: "r" type: "Resize" bottom: "x" top: "r" resize_param { height: 3 width: 3 } }'
    )
    result = protogen("rewrite", path, "-o", "stock.prototxt")
    assert result.returncode == 0
    assert "1 x ReLU6 -> Clip" in result.stdout
    assert (
        "not replaced: Upsample (u): no stock layer places values by a mask of indices."
        in result.stderr
    )
    reason = "forks use different interpolation rules for this type"
    assert f"not replaced: Resize (r): {reason}" in result.stderr
    result = protogen("rewrite", path, "--require-all", "-o", "none.prototxt")
    assert result.returncode == 3
    assert "2 layers cannot be replaced" in result.stderr
    assert not (tmp_path / "none.prototxt").exists()


def test_rewrite_command_writes_net_and_weights(tmp_path, protogen):
    path = tmp_path / "net.prototxt"
    path.write_text(NET % LAYERS["Interp"])
    result = protogen("rewrite", path)
    assert result.returncode == 0
    assert "Interp" not in result.stdout
    assert "1 x Interp -> " in result.stderr
    assert "write them with --caffemodel" in result.stderr
    result = protogen(
        "rewrite", path, "-o", "s.prototxt", "--caffemodel", "s.caffemodel", "--limit", "no-axis"
    )
    assert result.returncode == 0, result.stderr
    net = pg.load(tmp_path / "s.prototxt", tmp_path / "s.caffemodel")
    assert all(not layer.params.convolution_param.has("axis") for layer in net.layers)
    assert protogen("rewrite", path, "--type", "Mish").returncode == 2
    assert "no layer has this type" in protogen("rewrite", path, "--type", "Mish").stderr


def test_nets_of_old_format_are_rewritten(tmp_path):
    """A net with an input field: the edits apply to the text of the upgraded net."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 5\n'
        'layer { name: "op" type: "Permute" bottom: "data" top: "x" permute_param { order: 0 order: 2 } }\n'
    )
    result = pg.rewrite(path)
    assert not result.retained
    assert result.net.shapes["x"] == (1, 6, 4, 5)


# Published nets


@pytest.mark.skipif(not NETS, reason="no ../shared beside this checkout: it holds the nets")
@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("name", NETS, ids=str)
def test_published_nets_are_rewritten(name, golden_script):
    """Resizing layers of forks in published nets are replaced, and the outputs are equal."""
    path = CORPUS / name
    data = None
    phase = "TEST"
    try:
        net = pg.load(path)
    except pg.InputError:  # a training net may have data only in phase TRAIN
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
    assert not result.retained
    assert not {layer.type for layer in result.net.layers} & set(RESIZING)
    if data or phase == "TRAIN":
        return  # the net cannot run, but each replacement was compared
    if sum(cost.multiply_adds or 0 for cost in costs(net.graph)) > MOST_MULTIPLY_ADDS:
        return  # pspnet101_cityscapes_713: pspnet101_VOC2012_473 is the same net at a smaller size
    for one in (net, result.net):
        for layer in one.layers:
            shapes = one.parameter_shapes[layer.name]
            if shapes and layer.name not in one.weights:
                arrays = [
                    golden_script.parameter(layer.name, layer.type, i, s)
                    for i, s in enumerate(shapes)
                ]
                if layer.params.convolution_param.weight_filler.type == "bilinear":
                    arrays[0] = np.broadcast_to(bilinear(shapes[0][-1]), shapes[0])
                if layer.type == "BN":  # the last blob is the variance, and must be positive
                    arrays[-1] = np.abs(arrays[-1]) + np.float32(0.5)
                one.weights[layer.name] = arrays
    feeds = {n: golden_script.network_input(n, net.shapes[n]) for n in net.inputs}
    # Compare before boxes are selected: random scores give so many that it takes minutes, and rounding
    # errors change which ones. Also before a Softmax, which amplifies those of large scores.
    refused = []
    for layer in net.layers:
        kind = kind_of(layer)
        if (
            kind.refusal != LayerType.refusal
            or layer.type == "Softmax"
            or kind.data_axis is not None
        ):
            refused.append(layer)
        if kind.data_axis is not None:
            break
    blobs = {b for layer in refused for b in layer.bottoms} or set(net.outputs)
    expected = pg.run(net, feeds, sorted(blobs))
    actual = pg.run(result.net, feeds, sorted(blobs))
    for blob, values in expected.items():
        assert np.abs(values - actual[blob]).max() <= TOLERANCE * max(1, np.abs(values).max())


def test_blob_renamed_inside_a_replaced_layer_is_not_used_elsewhere(tmp_path):
    """The renamed blob is the top of a layer that is replaced too."""
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN.replace('"Power" bottom: "data" top: "x" power_param { scale: 2 }',
                                  '"ReLU6" bottom: "data" top: "x"'))  # fmt: skip
    result = pg.rewrite(path)
    assert [one.type for one in result.replaced] == ["ReLU6", "HardSwish", "Mish", "ReLU6"]
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    expected, actual = (pg.run(one, {"data": x}) for one in (pg.load(path), result.net))
    np.testing.assert_allclose(actual["y"], expected["y"], atol=1e-6)
