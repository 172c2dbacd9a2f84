"""``convert``: options, errors, and the written file."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import onnx
import onnxruntime
import pytest

import protogen as pg
from protogen.layers.base import LayerType
from protogen.onnx import lower, to_model
from protogen.preprocessing import meanfiles

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 6 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "drop" }
layer { name: "pool" type: "Pooling" bottom: "drop" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 40 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def weights_for(net, seed=0):
    generator = np.random.default_rng(seed)
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            net.weights[layer.name] = [
                np.abs(generator.standard_normal(s, np.float32)) + np.float32(0.1) for s in shapes
            ]
    return net


@pytest.fixture
def pair(tmp_path):
    return make(tmp_path, NET)


def make(folder, text, seed=0):
    path = folder / "net.prototxt"
    path.write_text(text)
    net = weights_for(pg.load(path), seed)
    caffemodel = folder / "net.caffemodel"
    net.save(folder / "saved.prototxt", caffemodel)
    return path, caffemodel


def feeds(net, seed=1):
    generator = np.random.default_rng(seed)
    return {n: generator.standard_normal(net.shapes[n], np.float32) for n in net.inputs}


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_file(path, inputs):
    loaded = session(path)
    names = [o.name for o in loaded.get_outputs()]
    return dict(zip(names, loaded.run(names, inputs), strict=True))


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    assert np.abs(a.astype(np.float64) - b).max(initial=0) <= tolerance * np.abs(b).max(initial=0)


# The file


def test_written_file_equals_model_in_memory(pair, tmp_path):
    """The streamed file equals the file that the onnx package writes."""
    converted = pg.convert(*pair, tmp_path / "a.onnx")
    streamed, built = onnx.load(tmp_path / "a.onnx"), to_model(converted.program)
    assert streamed == built
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)


def test_fold_removes_layers_and_keeps_outputs(pair, tmp_path):
    net = pg.load(*pair)
    x = feeds(net)
    pg.convert(*pair, tmp_path / "a.onnx")
    pg.convert(*pair, tmp_path / "b.onnx", fold=False)
    types = {
        name: [node.op_type for node in onnx.load(tmp_path / name).graph.node]
        for name in ("a.onnx", "b.onnx")
    }
    assert types["a.onnx"] == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"]
    assert "BatchNormalization" in types["b.onnx"]
    assert "Identity" in types["b.onnx"]
    close(run_file(tmp_path / "a.onnx", x)["prob"], run_file(tmp_path / "b.onnx", x)["prob"])


def test_blobs_keep_their_names(pair, tmp_path):
    net = pg.load(*pair)
    pg.convert(*pair, tmp_path / "a.onnx", outputs=["conv1", "pool", "prob"])
    blobs = run_file(tmp_path / "a.onnx", feeds(net))
    close(blobs["conv1"], pg.run(net, feeds(net), ["conv1"])["conv1"])
    assert list(blobs) == ["conv1", "pool", "prob"]


def test_outputs_cut_the_net(pair, tmp_path):
    converted = pg.convert(*pair, tmp_path / "a.onnx", outputs=["pool"])
    assert [value.name for value in converted.program.outputs] == ["pool"]
    assert not any("fc" in name for name in converted.program.tensors)


def test_dynamic_batch_runs_at_any_batch_size(pair, tmp_path):
    net = pg.load(*pair)
    pg.convert(*pair, tmp_path / "a.onnx", dynamic_batch=True)
    loaded = session(tmp_path / "a.onnx")
    assert loaded.get_inputs()[0].shape == ["batch", 3, 8, 6]
    assert loaded.get_outputs()[0].shape == ["batch", 40]
    x = feeds(net)["data"]
    whole = pg.run(net, {"data": x})["prob"]
    for count in (1, 2, 5):
        images = np.concatenate([x, x, x])[:count]
        close(
            run_file(tmp_path / "a.onnx", {"data": images})["prob"],
            np.concatenate([whole] * 3)[:count],
        )


def test_dynamic_batch_is_refused_for_layer_with_fixed_batch(tmp_path):
    text = (
        NET
        + 'layer { name: "r" type: "Reshape" bottom: "prob" top: "r" reshape_param { shape { dim: 4 dim: -1 } } }'
    )
    pair = make(tmp_path, text)
    with pytest.raises(
        pg.UnsupportedError, match=r'layer "r" \(Reshape\): its ONNX operators contain'
    ):
        pg.convert(*pair, tmp_path / "a.onnx", dynamic_batch=True)
    assert not (tmp_path / "a.onnx").exists()


def test_input_shape_option(pair, tmp_path):
    converted = pg.convert(*pair, tmp_path / "a.onnx", input_shapes={"data": (1, 3, 8, 6)})
    assert converted.program.inputs[0].shape == (1, 3, 8, 6)


def test_half_stores_float16_weights(pair, tmp_path):
    net = pg.load(*pair)
    pg.convert(*pair, tmp_path / "a.onnx", half=True)
    pg.convert(*pair, tmp_path / "b.onnx")
    types = {t.name: t.data_type for t in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert types["fc.weight.half"] == onnx.TensorProto.FLOAT16
    sizes = [(tmp_path / name).stat().st_size for name in ("a.onnx", "b.onnx")]
    assert sizes[0] < 0.75 * sizes[1]
    x = feeds(net)
    close(run_file(tmp_path / "a.onnx", x)["prob"], run_file(tmp_path / "b.onnx", x)["prob"], 1e-2)


def test_half_keeps_weights_beyond_float16_range(pair, tmp_path):
    net = pg.load(*pair)
    net.weights["fc"][0] = net.weights["fc"][0].copy()
    net.weights["fc"][0][0, 0] = 70000
    with pytest.warns(pg.ProtogenWarning, match="fc.weight: stays float32: its largest value 7e"):
        program = lower(net, half=True)
    assert program.tensors["fc.weight"].dtype == "float32"


def test_external_data_option(pair, tmp_path):
    net = pg.load(*pair)
    converted = pg.convert(*pair, tmp_path / "a.onnx", external_data=True)
    assert converted.external == tmp_path / "a.onnx.data"
    assert converted.external.stat().st_size > 5000
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    close(run_file(tmp_path / "a.onnx", feeds(net))["prob"], pg.run(net, feeds(net))["prob"])
    offsets = [
        int(entry.value)
        for t in onnx.load(tmp_path / "a.onnx", load_external_data=False).graph.initializer
        for entry in t.external_data
        if entry.key == "offset"
    ]
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)


def test_float64_and_legacy_weights_become_float32(tmp_path):
    """float64 values at unaligned offsets with a legacy shape are written as float32."""
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 300 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
      inner_product_param { num_output: 2 bias_term: false } }
    """
    (tmp_path / "n.prototxt").write_text(text)
    values = np.arange(600.0)
    data = b"\x42" + varint(600 * 8) + values.tobytes()  # double_data
    legacy = b"\x08\x01\x10\x01\x18\x02\x20\xac\x02"  # num, channels, height, width
    blob = legacy + data
    layer = b"\x0a\x02fc" + b"\x3a" + varint(len(blob)) + blob
    model = b"\xa2\x06" + varint(len(layer)) + layer
    (tmp_path / "n.caffemodel").write_bytes(model)
    pg.convert(tmp_path / "n.prototxt", tmp_path / "n.caffemodel", tmp_path / "n.onnx")
    x = np.random.default_rng(0).standard_normal((1, 300), np.float32)
    close(run_file(tmp_path / "n.onnx", {"data": x})["fc"], x @ values.reshape(2, 300).T)


def varint(value):
    data = b""
    while value > 127:
        data += struct.pack("B", value & 127 | 128)
        value >>= 7
    return data + struct.pack("B", value)


def test_shared_weights_are_written_once(tmp_path):
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 30 } } }
    layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" }
      inner_product_param { num_output: 30 bias_term: false } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
      inner_product_param { num_output: 30 bias_term: false } }
    """
    (tmp_path / "n.prototxt").write_text(text)
    net = pg.load(tmp_path / "n.prototxt")
    w = np.random.default_rng(0).standard_normal((30, 30), np.float32)
    net.weights["a"] = [w]
    program = lower(net)
    assert sum(t.shape == (30, 30) for t in program.tensors.values()) == 1
    x = np.random.default_rng(1).standard_normal((1, 30), np.float32)
    close(pg.run(net, {"data": x})["b"], x @ w.T @ w.T)


# Preprocessing, data layers, user-defined layers


@pytest.mark.parametrize("mean", ["values", "file", "large file"])
def test_preprocessing_is_part_of_the_model(pair, tmp_path, mean):
    net = pg.load(*pair)
    generator = np.random.default_rng(3)
    if mean == "values":
        array = np.float32([104, 117, 123])
    else:
        size = (8, 6) if mean == "file" else (12, 11)
        array = generator.uniform(90, 130, (3, *size)).astype(np.float32)
        with (tmp_path / "mean.binaryproto").open("wb") as file:
            meanfiles.write(file, array, ".binaryproto")
        array = meanfiles.read(tmp_path / "mean.binaryproto")
    preprocessing = pg.Preprocessing(
        mean=array, scale=0.017, swap_channels=True, nhwc=True, uint8=True
    )
    pg.convert(*pair, tmp_path / "a.onnx", preprocessing=preprocessing, verify=True)
    model_input = session(tmp_path / "a.onnx").get_inputs()[0]
    assert (model_input.name, model_input.type, model_input.shape) == (
        "data",
        "tensor(uint8)",
        [2, 8, 6, 3],
    )
    rgb = generator.integers(0, 256, (2, 8, 6, 3)).astype(np.uint8)
    x = rgb.transpose(0, 3, 1, 2)[:, ::-1].astype(np.float64)
    if array.ndim == 1:
        x -= array[:, None, None]
    elif mean == "file":
        x -= array
    else:
        x -= array[:, 2:10, 2:8]  # the central part of the mean image
    x = np.ascontiguousarray(x * 0.017, np.float32)
    close(run_file(tmp_path / "a.onnx", {"data": rgb})["prob"], pg.run(net, {"data": x})["prob"])


TRAIN = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "silence" type: "Silence" bottom: "label" }
"""


def test_data_layers_become_inputs(tmp_path):
    pair = make_data(tmp_path, TRAIN)
    converted = pg.convert(*pair, tmp_path / "a.onnx", input_shapes={"data": (2, 3, 4, 4)})
    assert [(v.name, v.shape) for v in converted.program.inputs] == [("data", (2, 3, 4, 4))]
    assert [v.name for v in converted.program.outputs] == ["fc"]


def test_labels_follow_the_data(tmp_path):
    text = TRAIN + 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }'
    pair = make_data(tmp_path, text)
    converted = pg.convert(*pair, tmp_path / "a.onnx", input_shapes={"data": (2, 3, 4, 4)})
    assert [(v.name, v.shape) for v in converted.program.inputs] == [
        ("data", (2, 3, 4, 4)), ("label", (2,)),
    ]  # fmt: skip


def make_data(folder, text):
    path = folder / "net.prototxt"
    path.write_text(text)
    net = weights_for(pg.load(path, input_shapes={"data": (2, 3, 4, 4)}))
    net.save(folder / "saved.prototxt", folder / "net.caffemodel")
    return path, folder / "net.caffemodel"


def test_data_layer_without_a_shape_is_rejected(tmp_path):
    path, caffemodel = make_data(tmp_path, TRAIN)
    with pytest.raises(
        pg.InputError,
        match=r'does not define the shape of its top "data"\. Give it with --input-shape data=',
    ):
        pg.convert(path, caffemodel, tmp_path / "a.onnx")


PYTHON = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "m" layer: "Twice" } }
layer { name: "r" type: "ReLU" bottom: "p" top: "r" }
"""


def test_python_layer_is_rejected_unless_treated_as_identity(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(PYTHON)
    with pytest.raises(
        pg.UnsupportedError,
        match=r'layer "p" \(Python\): it runs the Python class \'Twice\'.*--layer-as-identity',
    ):
        pg.convert(path, None, tmp_path / "a.onnx")
    pg.convert(path, None, tmp_path / "a.onnx", identities=["p"])
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4), np.float32)
    assert np.array_equal(run_file(tmp_path / "a.onnx", {"data": x})["r"], x.clip(0))
    with pytest.raises(pg.InputError, match="no layer has this name or type"):
        pg.load(path, identities=["unknown"])


@pytest.fixture
def registry():
    before = dict(LayerType.registry)
    yield
    LayerType.registry.clear()
    LayerType.registry.update(before)


@pytest.mark.usefixtures("registry")
def test_user_defined_layer_is_converted(tmp_path):
    @pg.layer("Twice")
    def twice(layer, e):
        e.op("Mul", [layer.reads[0], e.array(2.0)], [layer.writes[0]])

    path = tmp_path / "net.prototxt"
    path.write_text(PYTHON)
    pg.convert(path, None, tmp_path / "a.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4), np.float32)
    assert np.array_equal(run_file(tmp_path / "a.onnx", {"data": x})["r"], 2 * x.clip(0))


@pytest.mark.usefixtures("registry")
def test_user_defined_layer_with_shapes_and_blobs(tmp_path):
    @pg.layer("Half", shapes=lambda x, b: [(*b[0][:-1], b[0][-1] // 2)], blobs=lambda x, b: [(1,)])
    def half(layer, e):
        first = e.value("Slice", layer.reads[0], e.array([0]), e.array([2]), e.array([3]))
        e.op("Mul", [first, e.blob(layer, 0)], [layer.writes[0]])

    (tmp_path / "net.prototxt").write_text(PYTHON.replace('"Python"', '"Half"'))
    net = pg.load(tmp_path / "net.prototxt")
    assert net.shapes["r"] == (1, 3, 4, 2)
    net.weights["p"] = [np.float32([3])]
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4), np.float32)
    assert np.array_equal(pg.run(net, {"data": x})["r"], 3 * x[..., :2].clip(0))


@pytest.mark.usefixtures("registry")
def test_user_defined_layer_declares_its_fields(tmp_path):
    """User-defined layers can declare what built-in classes declare; other fields are refused."""

    def register(**declarations):
        @pg.layer("Thrice", **declarations)
        def thrice(layer, e):
            e.op("Mul", [layer.reads[0], e.array(3.0)], [layer.writes[0]])

    text = PYTHON.replace('"Python"', '"Thrice"').replace("python_param", "dropout_param")
    text = re.sub(r"dropout_param \{[^}]*\}", "dropout_param { scale_train: false }", text)
    (tmp_path / "net.prototxt").write_text(text)
    register(stock=False)
    with pytest.raises(
        pg.UnsupportedError,
        match=r"dropout_param.scale_train is set .*Declare the fields that your layer reads",
    ):
        pg.convert(tmp_path / "net.prototxt", None, tmp_path / "a.onnx")
    register(stock=False, reads={"dropout_param": "dropout_ratio"})
    with pytest.raises(pg.UnsupportedError, match=r'reads=\{"dropout_param": "scale_train"\}'):
        pg.convert(tmp_path / "net.prototxt", None, tmp_path / "a.onnx")
    register(
        reads={"dropout_param": "scale_train"}, activation="rectifier", in_place=lambda _: False
    )
    pg.convert(tmp_path / "net.prototxt", None, tmp_path / "a.onnx")
    assert LayerType.registry["Thrice"].activation == "rectifier"
    assert LayerType.registry["Thrice"].in_place(None) is False
    with pytest.raises(pg.InputError, match="activaton: unknown attribute of a layer type"):
        register(activaton="rectifier")


# Errors: one sentence with the layer, the expected and the actual value; no file is written


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda w: w.pop("fc"), pg.InputError,
         r'net\.prototxt:11:1: layer "fc" \(InnerProduct\): has no weights, expected blobs of the shapes 40x48, 40\. '
         r"The caffemodel has no weights for a layer of this name"),
        (lambda w: w["fc"].__setitem__(0, w["fc"][0][:39]), pg.InputError,
         r'layer "fc" \(InnerProduct\): blob 0 of the weights has shape 39x48, expected 40x48'),
        (lambda w: w["fc"].pop(), pg.InputError,
         r'layer "fc" \(InnerProduct\): the weights have 1 blob, but the layer has 2'),
        (lambda w: w["conv1"][0].__setitem__((1, 2, 0, 0), np.nan), pg.InputError,
         r'layer "conv1" \(Convolution\): blob 0 of the weights contains NaN \(at index 45\)'),
    ],
)  # fmt: skip
def test_invalid_weights_are_rejected(pair, tmp_path, change, error, sentence):
    net = pg.load(*pair)
    net.weights = {name: [a.copy() for a in arrays] for name, arrays in net.weights.items()}
    change(net.weights)
    net.save(tmp_path / "saved.prototxt", tmp_path / "bad.caffemodel")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=sentence):
        pg.convert(pair[0], tmp_path / "bad.caffemodel", tmp_path / "a.onnx")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        ('bottom: "drop"', 'bottom: "drp"', pg.InputError,
         'layer "pool" (Pooling): reads "drp", but no layer produces it'),
        ('"ReLU"', '"Foo"', pg.UnsupportedError,
         'layer "relu1" (Foo): unknown layer type'),
        ("pooling_param {", "pooling_param { pool: STOCHASTIC", pg.UnsupportedError,
         'layer "pool" (Pooling): ONNX has no STOCHASTIC pooling. Use MAX or AVE.'),
        ("num_output: 4 ", "num_output: 5 ", pg.InputError,
         'layer "conv1" (Convolution): blob 0 of the weights has shape 4x3x3x3, expected 5x3x3x3'),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_invalid_nets_are_rejected(pair, tmp_path, old, new, error, sentence):
    path = tmp_path / "bad.prototxt"
    path.write_text(NET.replace(old, new, 1))
    with pytest.raises(error) as caught:
        pg.convert(path, pair[1], tmp_path / "a.onnx")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"outputs": ["porb"]}, '"porb": unknown blob. Did you mean prob?'),
        ({"opset": 12}, "opset: must be 13 to "),
        ({"input_shapes": {"dta": (1, 3, 8, 6)}}, '"dta": unknown input (inputs: data). Did you mean data?'),
        ({"preprocessing": pg.Preprocessing(mean=np.zeros(2, np.float32))}, "a mean of 2x1x1 does not fit 3 channels"),
        ({"preprocessing": pg.Preprocessing(mean=np.zeros((3, 4, 4), np.float32))}, "a mean of 4x4 is smaller than 8x6"),
        ({"preprocessing": pg.Preprocessing(blob="prob")}, 'unknown input "prob" (inputs: data)'),
    ],
)  # fmt: skip
def test_invalid_options_are_rejected(pair, tmp_path, options, sentence):
    with pytest.raises(pg.InputError) as caught:
        pg.convert(*pair, tmp_path / "a.onnx", **options)
    assert sentence in str(caught.value)


def test_all_unsupported_layers_are_named(tmp_path):
    text = (
        PYTHON
        + 'layer { name: "y" type: "PassThrough" bottom: "data" top: "y" reorg_param { stride: 2 } }'
    )
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.convert(tmp_path / "net.prototxt", None, tmp_path / "a.onnx")
    assert 'layer "p" (Python)' in str(caught.value)
    assert 'layer "y" (PassThrough)' in str(caught.value)


def test_output_path_equal_to_input_is_refused(pair, tmp_path):
    with pytest.raises(pg.InputError, match="is an input, and --output would overwrite it"):
        pg.convert(*pair, pair[1])
    assert pair[1].stat().st_size > 100


# Metadata, receipt and command line


def test_metadata_and_receipt_describe_the_conversion(pair, tmp_path):
    import hashlib

    progress = []
    converted = pg.convert(
        *pair, tmp_path / "a.onnx", receipt=tmp_path / "r.json", dynamic_batch=True,
        progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert progress[-1][0] <= progress[-1][1]
    props = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert props["caffe_prototxt"] == "net.prototxt"
    assert props["caffe_caffemodel"] == "net.caffemodel"
    assert json.loads(props["protogen_options"])["dynamic_batch"] is True
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt == json.loads(json.dumps(converted.receipt))
    for path, entry in zip(pair, receipt["inputs"], strict=True):
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    checked = receipt["checked"]["onnxruntime"]
    assert checked["passed"]
    assert {row["blob"] for row in checked["blobs"]} >= {"prob", "fc", "pool"}


def test_convert_command(protogen, pair, tmp_path):
    done = protogen(
        "convert", *pair, "-o", "a.onnx", "--mean", "104,117,123", "--swap-channels",
        "--nhwc-input", "--uint8-input", "--scale", "0.5", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["in  data  2x8x6x3", "out prob  2x40"]
    assert lines[-2:] == ["9 layers, 11 operators, 8.1 KiB of weights", "wrote a.onnx"]
    assert "onnxruntime: 5 blobs agree, largest relative error" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["net.prototxt", "-o", "a.onnx"], 2, 'layer "conv1" (Convolution): has no weights'),
        (["net.prototxt", "none.caffemodel", "-o", "a.onnx"], 2, "none.caffemodel: cannot be read"),
        (["net.prototxt", "net.caffemodel", "a.onnx"], 2, "a.onnx: cannot be read (No such file or directory). To write a file of this name: -o a.onnx."),
        (["net.prototxt", "net.caffemodel", "-o", "a.onnx", "--mean", "m.jpg"], 2, "unsupported mean file extension"),
        (["net.caffemodel", "-o", "a.onnx"], 2, "net.caffemodel"),
        (["net.prototxt", "net.caffemodel", "-o", "no/a.onnx"], 2, "no/a.onnx: cannot be written"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("pair")
def test_convert_command_rejects_invalid_arguments(protogen, tmp_path, arguments, code, sentence):
    done = protogen("convert", *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert not list(tmp_path.glob("*.onnx*"))


def test_plugin_option(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(PYTHON)
    (tmp_path / "plugin.py").write_text(
        "import protogen as pg\n"
        '@pg.layer("Twice")\n'
        "def twice(layer, e):\n"
        '    e.op("Add", [layer.reads[0]] * 2, [layer.writes[0]])\n'
    )
    done = protogen("convert", "net.prototxt", "-o", "a.onnx", "--plugin", "plugin.py")
    assert done.returncode == 0, done.stderr
    done = protogen("convert", "net.prototxt", "-o", "a.onnx", "--plugin", "none.py")
    assert done.returncode == 2
    assert "none.py: cannot be run" in done.stderr


@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
def test_accuracy_of_each_class(ignore):
    """Caffe: hits of each class over its samples; 0 for a class without samples."""
    from protogen.formats import prototxt
    from protogen.net.net import Net

    net = Net(prototxt.parse(f"""
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 6 dim: 4 }} }} }}
    layer {{ name: "l" type: "Input" top: "l" input_param {{ shape {{ dim: 6 }} }} }}
    layer {{ name: "a" type: "Accuracy" bottom: "x" bottom: "l" top: "a" top: "c" accuracy_param {{ {ignore} }} }}
    """, "net"))  # fmt: skip
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 2, 1]]
    labels = np.float32([0, 1, 1, 2, 0, 1])
    blobs = pg.run(net, {"x": x, "l": labels})
    assert np.allclose(blobs["c"], [1 / 2, 0 if ignore else 2 / 3, 1, 0])
    assert np.isclose(blobs["a"], 2 / 3)
