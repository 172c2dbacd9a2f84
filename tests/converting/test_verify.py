"""``verify`` reports the first layer that differs and the likely cause; ``run`` runs nets."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import protogen as pg
from protogen.converting.mistakes import with_parameters
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower, to_model

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 13 } } }\n'
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
"""


def net_of(text, seed=0):
    net = Net(prototxt.parse(HEAD + text, "net"))
    generator = np.random.default_rng(seed)
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            net.weights[layer.name] = [generator.standard_normal(s, np.float32) for s in shapes]
            if layer.type == "BatchNorm":
                net.weights[layer.name][1] = np.abs(net.weights[layer.name][1]) + 1
                net.weights[layer.name][2] = np.float32([0.75])
    return net


def layer(kind, param="", bottom="conv", name="x"):
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {param} }}\n'


def altered(net, name, **changes):
    """Return the net with other parameters of one layer, as another tool would read it."""
    paths = {key.replace("__", "."): value for key, value in changes.items()}
    return Net(with_parameters(net.message, name, paths), net.weights)


def node(model, op_type):
    return next(n for n in model.graph.node if n.op_type == op_type)


def set_attribute(node, name, value):
    for attribute in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def exported(net):
    return to_model(lower(net, fold=False))


def negative_slope():
    net = net_of(CONV + layer("ReLU", "relu_param { negative_slope: 0.1 }"))
    return net, altered(net, "x", relu_param__negative_slope=0.0)


def rounding():
    net = net_of(CONV + layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }"))
    return net, altered(net, "x", pooling_param__round_mode="FLOOR")


def divisor():
    net = net_of(
        CONV + layer("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }")
    )
    model = exported(net)
    set_attribute(node(model, "AveragePool"), "count_include_pad", 0)
    return net, model


def whole_windows():
    net = net_of(CONV + layer("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"))
    model = exported(net)
    pool, times = node(model, "AveragePool"), node(model, "Mul")
    pool.output[0] = times.output[0]
    model.graph.node.remove(times)
    return net, model


def third_blob():
    net = net_of(CONV + layer("BatchNorm"))
    other = Net(net.message, dict(net.weights))
    other.weights["x"] = [*net.weights["x"][:2], np.float32([1])]
    return net, other


def region():
    net = net_of(CONV + layer("LRN", "lrn_param { local_size: 3 alpha: 1 }"))
    return net, altered(net, "x", lrn_param__norm_region="WITHIN_CHANNEL")


def alpha():
    net = net_of(CONV + layer("LRN", "lrn_param { local_size: 3 alpha: 1 }"))
    return net, altered(net, "x", lrn_param__alpha=3.0)


def coefficients():
    net = net_of(
        CONV + 'layer { name: "x" type: "Eltwise" bottom: "conv" bottom: "conv" top: "x" '
        "eltwise_param { coeff: 1 coeff: -0.5 } }"
    )
    return net, altered(net, "x", eltwise_param__coeff=[])


def transposed():
    net = net_of(CONV + layer("InnerProduct", "inner_product_param { num_output: 5 }"))
    other = Net(net.message, dict(net.weights))
    w, b = net.weights["x"]
    other.weights["x"] = [np.ascontiguousarray(w.reshape(w.shape[::-1]).T), b]
    return net, other


def bias():
    net = net_of(CONV)
    other = Net(net.message, dict(net.weights))
    other.weights["conv"] = [net.weights["conv"][0], 0 * net.weights["conv"][1]]
    return net, other


def colours():
    net = net_of(CONV)
    other = Net(net.message, dict(net.weights))
    w, b = net.weights["conv"]
    other.weights["conv"] = [np.ascontiguousarray(w[:, ::-1]), b]
    return net, other


def corners():
    net = net_of(CONV + layer("Interp", "interp_param { height: 20 width: 31 }"))
    model = exported(net)
    set_attribute(node(model, "Resize"), "coordinate_transformation_mode", "half_pixel")
    return net, model


def border():
    """A tool that exports a bilinear Deconvolution as a Resize."""
    up = pg.upsample(2, channels=4, bottom="conv", top="x", name="x")
    net = net_of(CONV + up.prototxt)
    net.weights["x"] = up.weights["x"]
    model = exported(net)
    old = node(model, "ConvTranspose")
    scales = numpy_helper.from_array(np.float32([1, 1, 2, 2]), "scales")
    model.graph.initializer.append(scales)
    new = helper.make_node(
        "Resize", [old.input[0], "", "scales"], list(old.output), mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    model.graph.node.insert(list(model.graph.node).index(old), new)
    model.graph.node.remove(old)
    return net, model


CAUSES = {
    negative_slope: "negative_slope is left out",
    rounding: "rounded down",
    divisor: "excludes padding",
    whole_windows: "is the whole window",
    third_blob: "third blob",
    region: "region is read as WITHIN_CHANNEL",
    alpha: "not divided by local_size",
    coefficients: "coeff is left out",
    transposed: "read transposed",
    bias: "bias is left out",
    colours: "RGB instead of BGR",
    corners: "corners are not aligned (half_pixel)",
    border: "only along the border",
}


@pytest.mark.parametrize("mistake", CAUSES, ids=lambda f: f.__name__)
def test_likely_cause_of_a_mistake_is_reported(mistake):
    net, other = mistake()
    with pytest.raises(pg.MismatchError) as caught:
        pg.verify(net, other)
    assert CAUSES[mistake] in caught.value.table.cause
    first = "conv" if mistake in (bias, colours) else "x"
    assert caught.value.table.first.blob == first
    assert f'blob "{first}"' in str(caught.value)
    assert "Likely cause: " in str(caught.value)


@pytest.mark.parametrize("mistake", CAUSES, ids=lambda f: f.__name__)
def test_net_agrees_with_its_export(mistake):
    net, _ = mistake()
    assert pg.verify(net, exported(net)).first is None
    assert pg.verify(exported(net), net).first is None


def test_unknown_cause_is_empty():
    net = net_of(CONV + layer("ReLU"))
    other = Net(net.message, dict(net.weights))
    other.weights["conv"] = [net.weights["conv"][0] * 1.5, net.weights["conv"][1]]
    comparison = pg.verify(net, other, check=False)
    assert comparison.first.blob == "conv"
    assert comparison.cause == ""
    with pytest.raises(
        pg.MismatchError,
        match=r'after layer "conv" \(Convolution\), but the tolerance is 0\.0001; 2 of 2 blobs differ',
    ):
        pg.verify(net, other)


def test_cause_is_found_through_folded_layers(tmp_path):
    """The first blob that both models have can come after several layers."""
    text = CONV + layer("BatchNorm", name="bn") + layer("Scale", bottom="bn", name="x")
    net = net_of(text)
    other = Net(net.message, dict(net.weights))
    other.weights["bn"] = [*net.weights["bn"][:2], np.float32([1])]
    comparison = pg.verify(net, to_model(lower(other)), check=False)
    assert comparison.first.blob == "x"
    assert comparison.cause.startswith("BatchNorm's third blob")
    assert 'layer "bn"' in comparison.cause


def test_different_input_shapes_are_rejected():
    net = net_of(CONV)
    other = Net(net.message, net.weights, input_shapes={"data": (1, 3, 5, 5)})
    with pytest.raises(
        pg.InputError, match="the models have different inputs: data 1x3x12x13 and data 1x3x5x5"
    ):
        pg.verify(net, other)


def test_outputs_are_paired_by_name_only():
    net = net_of(CONV)
    model = exported(net)
    node(model, "Conv").output[0] = "out"
    model.graph.output[0].name = "out"
    model.graph.input[0].name = node(model, "Conv").input[0] = "picture"
    with pytest.raises(pg.MismatchError) as caught:
        pg.verify(net, model)
    assert str(caught.value).startswith('output "conv": exists only in the first model.')
    assert [(row.blob, row.only) for row in caught.value.table.rows] == [
        ("conv", "first"), ("out", "second"),
    ]  # fmt: skip
    assert pg.verify(net, model, names={"conv": "out"}).first is None


def test_model_with_a_free_batch_axis_is_compared(tmp_path):
    net = net_of(CONV)
    assert pg.verify(net, to_model(lower(net, free_axes=(0,)))).first is None


# The command


@pytest.fixture
def files(tmp_path):
    net = net_of(
        CONV
        + layer("ReLU", "relu_param { negative_slope: 0.1 }")
        + layer("Softmax", bottom="x", name="prob")
    )
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    altered(net, "x", relu_param__negative_slope=0.0).save(tmp_path / "bad.prototxt")
    onnx.save(to_model(lower(net)), tmp_path / "net.onnx")
    return tmp_path


def test_verify_command_prints_table_and_json(protogen, files):
    done = protogen("verify", "net.prototxt", "net.caffemodel", "net.onnx", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 blobs agree" in done.stdout
    done = protogen(
        "verify", "net.prototxt", "net.caffemodel", "bad.prototxt", "net.caffemodel", "--json"
    )
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["passed"], report["first"]) == (False, "x")
    assert 'Likely cause: negative_slope is left out (layer "x" (ReLU)).' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["net.onnx"], "expected 2 models, got 1"),
        (["net.caffemodel", "net.onnx"], "net.caffemodel: weights must come after their prototxt"),
        (["net.onnx", "none.onnx"], "none.onnx: cannot be read"),
        (
            ["net.onnx", "net.caffemodel.onnx"],
            "net.caffemodel.onnx: weights must come after their prototxt",
        ),
        (["net.prototxt", "net.onnx"], "has no weights"),
        (["net.onnx", "net.onnx", "--input", "x.npy"], "x.npy: cannot be read"),
    ],
)
def test_verify_command_rejects_invalid_arguments(protogen, files, arguments, sentence):
    (files / "net.caffemodel.onnx").write_bytes((files / "net.caffemodel").read_bytes())
    done = protogen("verify", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


# run


def test_run_returns_the_requested_blobs(files):
    net = pg.load(files / "net.prototxt", files / "net.caffemodel")
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 13), np.float32)
    blobs = pg.run(net, {"data": x}, ["data", "x", "conv"])
    assert list(blobs) == ["data", "x", "conv"]
    assert np.array_equal(blobs["data"], x)
    slope = np.where(blobs["conv"] > 0, 1, np.float32(0.1))
    assert np.allclose(blobs["x"], blobs["conv"] * slope)
    again = pg.run(files / "net.onnx", {"data": x})
    assert np.allclose(again["prob"], pg.run(net, {"data": x})["prob"], atol=1e-6)
    assert np.allclose(
        pg.run(files / "net.onnx", {"data": x}, ["conv"])["conv"], blobs["conv"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("feeds", "blobs", "sentence"),
    [
        ({}, None, 'input "data": missing array (inputs: data)'),
        (
            {"data": np.zeros((2, 3, 12, 13))},
            None,
            "expected an array of shape 1x3x12x13, got 2x3x12x13",
        ),
        (
            {"data": np.zeros((1, 3, 12, 13))},
            ["porb"],
            '"porb": unknown blob. Did you mean prob?',
        ),
    ],
)
def test_run_rejects_invalid_feeds_and_blobs(files, feeds, blobs, sentence):
    net = pg.load(files / "net.prototxt", files / "net.caffemodel")
    with pytest.raises(pg.InputError) as caught:
        pg.run(net, feeds, blobs)
    assert sentence in str(caught.value)


def test_run_command_on_a_picture(protogen, files):
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (12, 13, 3)).astype(np.uint8)
    image.fromarray(pixels).save(files / "a.png")
    (files / "labels.txt").write_text("cat\ndog\nfox\nowl\n")
    net = net_of(
        CONV
        + layer("InnerProduct", "inner_product_param { num_output: 4 }")
        + layer("Softmax", bottom="x", name="prob")
    )
    for name in ("conv", "x"):
        net.weights[name] = [w / 1000 for w in net.weights[name]]
    net.save(files / "net.prototxt", files / "net.caffemodel")
    done = protogen(
        "run", "net.prototxt", "net.caffemodel", "--input", "a.png", "--mean", "104,117,123",
        "--labels", "labels.txt", "--top-k", "2", "-o", "b.npz", "--plot", "b.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    x = pixels[None].transpose(0, 3, 1, 2)[:, ::-1] - np.float32([104, 117, 123])[:, None, None]
    expected = pg.run(net, {"data": np.ascontiguousarray(x)})["prob"][0]
    saved = np.load(files / "b.npz")
    assert set(saved.files) == {"conv", "x", "prob"}
    assert np.allclose(saved["prob"][0], expected, atol=1e-6)
    best = ["cat", "dog", "fox", "owl"][int(expected.argmax())]
    assert best in done.stdout.splitlines()[4]
    assert (files / "b.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "missing data for data. Give an image or an array, or use --random."),
        (["--input", "none.png"], "none.png: cannot be read"),
        (
            ["--input", "net.prototxt"],
            "net.prototxt: the file is the text of a net (prototxt), expected a picture",
        ),
        (
            ["--input", "dta=x.npy"],
            '"dta": unknown input (inputs: data). Did you mean data?',
        ),
        (["--random", "--plot", "a.jpg"], "unsupported image extension '.jpg'"),
    ],
)
def test_run_command_rejects_invalid_arguments(protogen, files, arguments, sentence):
    np.save(files / "x.npy", np.zeros((1, 3, 12, 13), np.float32))
    done = protogen("run", "net.prototxt", "net.caffemodel", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
