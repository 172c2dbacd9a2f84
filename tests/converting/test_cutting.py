"""Cutting of files: the part and the rest, their weights, and the proof that both compute the whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from places import CORPUS, EXAMPLES, ROOT, SHARED

import protogen as pg
from protogen.converting import cutting
from protogen.formats.caffemodel import read_weights
from protogen.formats.mapped import locate
from protogen.net.cutting import cut_net
from protogen.onnx.session import run_model

NET, WEIGHTS = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
MODELS = sorted((ROOT / "benchmarks" / "nets").glob("*.onnx"))
YOLO = SHARED / "cases" / "onnx" / "yolo640.onnx"
X = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def out(tmp_path):
    """Return the paths of a part and a rest: a prototxt and a caffemodel of each."""
    return {
        "output": tmp_path / "part.prototxt",
        "caffemodel": tmp_path / "part.caffemodel",
        "rest": tmp_path / "rest.prototxt",
        "rest_caffemodel": tmp_path / "rest.caffemodel",
    }


def written(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Caffe nets


def test_part_and_rest_of_a_net(out):
    cut = pg.cut_file(NET, WEIGHTS, outputs=["conv1"], verify=True, **out)
    assert cut.part.inputs == (("data", (1, 3, 32, 32)),)
    assert cut.part.outputs == (("conv1", (1, 8, 16, 16)),)
    assert cut.rest.inputs == (("conv1", (1, 8, 16, 16)),)
    assert cut.rest.outputs == (("prob", (1, 4)),)
    assert cut.part.layers == ("data", "conv1", "bn1", "scale1", "relu1")
    assert (cut.layers, len(cut.rest.layers), cut.shared, cut.twice) == (10, 5, (), ())
    assert cut.part.multiply_adds + cut.rest.multiply_adds == cut.multiply_adds
    assert cut.part.weight_bytes + cut.rest.weight_bytes == 4 * sum(
        blob.size for one in pg.load(NET, WEIGHTS).weights.values() for blob in one
    )
    assert [row.blob for row in cut.checked.rows] == ["conv1", "prob"]
    assert cut.checked.proved
    whole = pg.load(NET, WEIGHTS)
    part = pg.load(out["output"], out["caffemodel"])
    rest = pg.load(out["rest"], out["rest_caffemodel"])
    features = pg.run(part, {"data": X})
    np.testing.assert_allclose(
        pg.run(rest, features)["prob"], pg.run(whole, {"data": X})["prob"], 1e-5
    )


def test_weights_are_copied_bit_by_bit_with_their_layers(out):
    pg.cut_file(NET, WEIGHTS, outputs=["conv1"], **out)
    whole = read_weights(WEIGHTS).weights()
    parts = [read_weights(out[key]) for key in ("caffemodel", "rest_caffemodel")]
    copied = {name: arrays for part in parts for name, arrays in part.weights().items()}
    assert copied.keys() == whole.keys()
    for name, arrays in whole.items():
        for a, b in zip(arrays, copied[name], strict=True):
            assert a.tobytes() == b.tobytes()
    assert [layer.name for layer in parts[0].layers] == ["data", "conv1", "bn1", "scale1", "relu1"]
    assert all(layer.has_parameters or layer.type == "BatchNorm" for layer in parts[0].layers[:1])


def test_weights_of_parts_are_views_of_the_file():
    """They are copied from file to file by the writer, as those of every net of a file."""
    net = pg.load(NET, WEIGHTS)
    for part in (pg.cut(net, outputs=["conv1"]), pg.rest_of(net, outputs=["conv1"])):
        assert part.weights
        for arrays in part.weights.values():
            for array in arrays:
                place = locate(array)
                assert place is not None
                assert place.map.path == str(WEIGHTS)


@pytest.mark.parametrize("name", ["lenet_2013", "old_net"])
def test_old_nets_and_caffemodels(name, out, protogen, tmp_path):
    """Weights of the V1 format too."""
    path = EXAMPLES / f"{name}.prototxt"
    assert protogen("init", path, "--fill", "-o", "net.caffemodel").returncode == 0
    assert (
        protogen("upgrade", "net.caffemodel", "--to", "v1", "-o", "v1.caffemodel").returncode == 0
    )
    cut = pg.cut_file(path, tmp_path / "v1.caffemodel", outputs=["pool1"], verify=True, **out)
    assert cut.checked.proved
    assert {layer.form for layer in read_weights(out["caffemodel"]).layers} == {"V2"}


def test_detector_whose_boxes_are_selected_elsewhere(out, protogen, tmp_path):
    """The rest of an SSD net computes the prior boxes from the shape of the features, and the boxes."""
    path = EXAMPLES / "ssd_head.prototxt"
    assert protogen("init", path, "-o", "ssd.caffemodel").returncode == 0
    weights = tmp_path / "ssd.caffemodel"
    blobs = ["loc_flat", "conf_flat"]
    cut = pg.cut_file(path, weights, outputs=blobs, verify=True, **out)
    assert [name for name, _ in cut.rest.inputs] == ["data", *blobs]
    assert [row.blob for row in cut.checked.rows] == [*blobs, "boxes"]
    assert cut.shared == ("data", "conv1", "relu1", "norm1")
    assert cut.twice == ("norm1",)
    cut = pg.cut_file(path, weights, outputs=[*blobs, *cut.twice], verify=True, **out)
    assert [name for name, _ in cut.rest.inputs] == ["data", *blobs, "norm1"]
    assert (cut.rest.layers, cut.twice) == (("data", "prior", "boxes"), ())
    assert cut.rest.weight_bytes == 0


@pytest.mark.parametrize(
    ("path", "blob"),
    [
        ("forresti__SqueezeNet/SqueezeNet_v1.1__deploy.prototxt", "fire4/concat"),
        ("chuanqi305__MobileNet-SSD/deploy.prototxt", "conv11"),
        ("BVLC__caffe/models__bvlc_googlenet__deploy.prototxt", "inception_3b/output"),
    ],
)
@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_published_nets(path, blob, shared, out, tmp_path):
    assert shared
    net = pg.load(CORPUS / path)
    random = np.random.default_rng(0)
    net.weights = {
        name: [
            (random.normal(size=s) / np.sqrt(np.prod(s[1:])) if len(s) > 1 else random.uniform(0, 1, s))
            .astype(np.float32) for s in shapes
        ]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }  # fmt: skip
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    cut = pg.cut_file(
        CORPUS / path,
        tmp_path / "net.caffemodel",
        outputs=[blob],
        verify=True,
        tolerance=1e-5,
        **out,
    )
    assert cut.checked.proved
    assert len(cut.part.layers) + len(cut.rest.layers) >= cut.layers


# ONNX models


def before_first_move(model) -> list[str]:
    """Return what the first Reshape or Transpose of each path reads, without constants and inputs; the
    value in the middle if there is none."""
    inputs = {value.name for value in model.graph.input}
    fed, moved = set(inputs), set()
    moving: dict[str, None] = {}
    for node in model.graph.node:
        if fed.isdisjoint(node.input) or node.op_type == "Shape":
            continue
        fed.update(node.output)
        if moved.intersection(node.input):
            moved.update(node.output)
        elif node.op_type in ("Reshape", "Transpose"):
            moving[node.input[0]] = None
            moved.update(node.output)
    ends = {value.name for value in model.graph.output}
    computed = [n.output[0] for n in model.graph.node if n.output[0] in fed - inputs - ends]
    return [name for name in moving if name not in inputs] or [computed[len(computed) // 2]]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_models_cut_before_they_move_axes(path, tmp_path):
    """The part and then the rest compute every output; both are valid."""
    model = onnx.load(path)
    blobs = before_first_move(model)
    files = tmp_path / "part.onnx", tmp_path / "rest.onnx"
    cut = pg.cut_file(path, None, files[0], outputs=blobs, rest=files[1], verify=True)
    assert cut.checked.proved
    outputs = [value.name for value in model.graph.output]
    assert {row.blob for row in cut.checked.rows} == {*blobs, *outputs}
    for one in files:
        onnx.checker.check_model(onnx.load(one), full_check=True)
    feeds = {
        value.name: np.random.default_rng(1)
        .normal(size=[dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim])
        .astype(np.float32)
        for value in model.graph.input
    }
    expected = run_model(str(path), feeds)
    known = feeds | run_model(str(files[0]), {name: feeds[name] for name, _ in cut.part.inputs})
    known |= run_model(str(files[1]), {name: known[name] for name, _ in cut.rest.inputs})
    for name in outputs:
        largest = np.abs(expected[name]).max()
        np.testing.assert_allclose(known[name], expected[name], 0, 1e-5 * max(largest, 1e-20))


def test_backbone_of_a_yolo_model_converts(tmp_path):
    if not YOLO.exists():
        pytest.skip("../shared is missing, which has the model")
    model = onnx.load(YOLO)
    blobs = before_first_move(model)
    assert blobs
    cut = pg.cut_file(
        YOLO, None, tmp_path / "part.onnx", outputs=blobs, rest=tmp_path / "rest.onnx", verify=True
    )
    assert cut.checked.proved
    net = pg.from_onnx(tmp_path / "part.onnx")
    assert list(net.outputs) == blobs


def large_model(folder, external: bool):
    """A model of three matrices of 4 MB, in one file or with external data."""
    random = np.random.default_rng(2)
    weights = [random.normal(size=(1000, 1000)).astype(np.float32) / 30 for _ in range(3)]
    nodes = [
        helper.make_node("MatMul", [a, f"w{i}"], [b])
        for i, (a, b) in enumerate(zip("xab", "aby", strict=True))
    ]
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [value("x", TensorProto.FLOAT, (1, 1000))],
            [value("y", TensorProto.FLOAT, (1, 1000))],
            [numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(weights)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    path = folder / "large.onnx"
    onnx.save(model, path, save_as_external_data=external, location="large.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("source_external", [False, True])
@pytest.mark.parametrize("external", [False, True])
def test_weights_of_models_are_copied_from_file_to_file(source_external, external, tmp_path):
    source = large_model(tmp_path, source_external)
    files = tmp_path / "part.onnx", tmp_path / "rest.onnx"
    pg.cut_file(source, None, tmp_path / "first.onnx", outputs=["a"])  # imports all modules
    tracemalloc.start()
    cut = pg.cut_file(source, None, files[0], outputs=["a"], rest=files[1], external_data=external)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6
    assert (cut.part.weight_bytes, cut.rest.weight_bytes) == (4_000_000, 8_000_000)
    assert (cut.part.weights is not None) == external
    if external:
        assert files[0].stat().st_size < 1000
        assert cut.rest.weights == tmp_path / "rest.onnx.data"
    x = {"x": np.random.default_rng(3).normal(size=(1, 1000)).astype(np.float32)}
    for path in files:
        onnx.checker.check_model(str(path))
    a = run_model(str(files[0]), x)
    np.testing.assert_allclose(
        run_model(str(files[1]), a)["y"], run_model(str(source), x)["y"], 1e-4, 1e-4
    )
    checked = pg.cut_file(source, None, files[0], outputs=["a"], rest=files[1], verify=True)
    assert checked.checked.proved


def test_external_data_of_the_source_is_not_overwritten(tmp_path):
    source = large_model(tmp_path, True)
    (tmp_path / "large.bin").rename(tmp_path / "part.onnx.data")
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "part.onnx.data" if entry.key == "location" else entry.value
    onnx.save(model, source)
    before = hashlib.sha256((tmp_path / "part.onnx.data").read_bytes()).hexdigest()
    with pytest.raises(pg.InputError, match="the weights file would overwrite it"):
        pg.cut_file(source, None, tmp_path / "part.onnx", outputs=["a"], external_data=True)
    assert hashlib.sha256((tmp_path / "part.onnx.data").read_bytes()).hexdigest() == before


def test_model_without_its_suffix(tmp_path):
    shutil.copy(EXAMPLES / "squeeze_excite.onnx", tmp_path / "model")
    cut = pg.cut_file(tmp_path / "model", None, tmp_path / "part", inputs=["/se/Mul_output_0"])
    assert cut.is_model
    inputs = [one.name for one in onnx.load(tmp_path / "part").graph.input]
    assert inputs == ["data", "/se/Mul_output_0"]  # a sum reads what comes before the block, too


def test_input_shapes_of_a_model(tmp_path):
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Tanh", ["a"], ["y"])],
            "g",
            [value("x", TensorProto.FLOAT, ("n", None, 4))],
            [value("y", TensorProto.FLOAT, ("n", None, 4))],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "m.onnx")
    files = {"output": tmp_path / "part.onnx", "rest": tmp_path / "rest.onnx"}
    cut = pg.cut_file(tmp_path / "m.onnx", None, outputs=["a"], verify=True, **files)
    assert cut.rest.inputs == (("a", ("n", "?", 4)),)
    cut = pg.cut_file(
        tmp_path / "m.onnx", None, outputs=["a"], input_shapes={"x": (2, 3, 4)}, **files
    )
    assert cut.part.inputs == (("x", (2, 3, 4)),)
    assert cut.rest.inputs == (("a", (2, 3, 4)),)
    cut = pg.cut_file(
        tmp_path / "m.onnx", None, outputs=["a"], input_shapes={"a": (2, 3, 4)}, **files
    )
    assert cut.rest.inputs == (("a", (2, 3, 4)),)
    with pytest.raises(pg.InputError, match=r'"xx": unknown input \(inputs: x\)'):
        pg.cut_file(tmp_path / "m.onnx", None, outputs=["a"], input_shapes={"xx": (1,)}, **files)


# What is refused, and that nothing is written then


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": []}, "nothing to cut. Name a blob with --from-blob or --to-blob."),
        ({"outputs": [], "inputs": ["conv1"]}, "--rest needs --to-blob: it is what comes after these blobs. "
         "To write what comes before a blob, name it with --to-blob."),
        ({"rest": None}, "--rest-caffemodel needs --rest."),
        ({"output": "<stdout>", "caffemodel": None}, "the part has 3 layers with weights, but no file for them. "
         "Name it: --caffemodel part.caffemodel."),
        ({"rest": "<stdout>", "rest_caffemodel": None}, "the part has 2 layers with weights, but no file for "
         "them. Name it: --rest-caffemodel part.caffemodel."),
        ({"weights": None}, "{caffemodel}: --caffemodel needs the weights of the net. Give its caffemodel as "
         "the second argument."),
        ({"output": NET}, "{output}: is an input, and --output would overwrite it. Choose another output file."),
        ({"rest": "part.prototxt"}, "part.prototxt: --output and --rest write the same file. Choose a "
         "different file for each output."),
        ({"external_data": True}, "--external-data does not apply to a net: its weights are in a caffemodel."),
        ({"output": "part.onnx"}, "part.onnx: a part of a Caffe net is written in the same format. To convert "
         "the part, use protogen convert with --from-blob and --to-blob."),
        ({"rest_caffemodel": "missing/rest.caffemodel"}, "missing/rest.caffemodel: cannot be written (No such "
         "file or directory). Choose another path."),
    ],
)  # fmt: skip
def test_refused_options_write_nothing(changes, message, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"weights": WEIGHTS, "outputs": ["conv1"], **out, **changes}
    for key, value in arguments.items():
        if key in out and value is not None and value != NET:
            arguments[key] = str(value).removeprefix(f"{tmp_path}/")
    with pytest.raises(pg.InputError) as error:
        pg.cut_file(NET, **arguments)
    assert str(error.value) == message.format(**arguments)
    assert written(tmp_path) == []


def test_weights_are_written_beside_each_part(tmp_path):
    paths = {"output": tmp_path / "a.prototxt", "rest": tmp_path / "b.prototxt"}
    pg.cut_file(NET, WEIGHTS, outputs=["conv1"], **paths)
    assert written(tmp_path) == ["a.caffemodel", "a.prototxt", "b.caffemodel", "b.prototxt"]


def test_weights_of_another_net_are_not_replaced(tmp_path):
    (tmp_path / "a.caffemodel").write_text("other")
    with pytest.raises(pg.InputError, match=r"a\.caffemodel: the file exists, and does not belong"):
        pg.cut_file(NET, WEIGHTS, tmp_path / "a.prototxt", outputs=["conv1"])
    assert (tmp_path / "a.caffemodel").read_text() == "other"
    assert written(tmp_path) == ["a.caffemodel"]


def test_existing_files_stay_if_the_last_one_cannot_be_written(out, tmp_path):
    for path in out.values():
        path.write_text("old")
    out["rest_caffemodel"].chmod(0o444)
    with pytest.raises(pg.InputError, match="read-only"):
        pg.cut_file(NET, WEIGHTS, outputs=["conv1"], **out)
    assert [path.read_text() for path in out.values()] == ["old"] * 4
    assert len(written(tmp_path)) == 4


def test_model_with_a_caffemodel_is_refused(tmp_path):
    with pytest.raises(
        pg.InputError, match="an ONNX model needs no caffemodel: it has its weights"
    ):
        pg.cut_file(EXAMPLES / "squeeze_excite.onnx", WEIGHTS, tmp_path / "a.onnx", outputs=["x"])
    with pytest.raises(
        pg.InputError, match="a part of an ONNX model is written in the same format"
    ):
        pg.cut_file(EXAMPLES / "squeeze_excite.onnx", None, tmp_path / "a.prototxt", outputs=["x"])
    assert written(tmp_path) == []


def test_difference_is_found_and_nothing_is_written(out, tmp_path, monkeypatch):
    """A part whose weights are not those of the net."""

    def wrong(net, **blobs):
        part = cut_net(net, **blobs)
        part.net.weights["conv1"] = [1.5 * blob for blob in part.net.weights["conv1"]]
        return part

    monkeypatch.setattr(cutting, "cut_net", wrong)
    with pytest.raises(pg.MismatchError, match='blob "conv1": differs by'):
        pg.cut_file(NET, WEIGHTS, outputs=["conv1"], verify=True, **out)
    assert written(tmp_path) == []


def test_unproved_parts_are_reported(out, tmp_path, protogen):
    assert protogen("init", NET, "-o", "zero.caffemodel").returncode == 0
    with pytest.raises(pg.MismatchError, match="nothing is proved"):
        pg.cut_file(NET, tmp_path / "zero.caffemodel", outputs=["conv1"], verify=True, **out)
    assert written(tmp_path) == ["zero.caffemodel"]


# Conversions from a blob on


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("blob", ["conv1", "conv1@bn1", "pool1"])
def test_net_converts_from_a_blob_on(blob, dynamic, tmp_path):
    converted = pg.convert(
        NET, WEIGHTS, tmp_path / "a.onnx", inputs=[blob], dynamic_batch=dynamic,
        verify=True, receipt=tmp_path / "r.json",
    )  # fmt: skip
    whole = pg.load(NET, WEIGHTS)
    value = pg.run(whole, {"data": X}, [blob])[blob]
    name = converted.program.inputs[0].name
    assert name == blob.partition("@")[0]
    assert converted.program.inputs[0].shape == ("batch" if dynamic else 1, *value.shape[1:])
    actual = run_model(str(tmp_path / "a.onnx"), {name: value})
    np.testing.assert_allclose(actual["prob"], pg.run(whole, {"data": X})["prob"], 1e-5)
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt["options"]["inputs"] == [blob]
    assert receipt["checked"]["opencv"] == "not run: OpenCV reads only whole nets"
    model = pg.to_onnx(whole, inputs=[blob])
    assert [one.name for one in model.graph.input] == [name]


@pytest.mark.parametrize("target", [None, "rknn2"])
def test_model_converts_from_a_value_on(target, tmp_path):
    converted = pg.convert_onnx(
        EXAMPLES / "squeeze_excite.onnx", tmp_path / "a.prototxt", tmp_path / "a.caffemodel",
        inputs=["/expand/expand.1/expand.1.2/Mul_output_0", "/stem/stem.2/Mul_output_0"],
        target=target, verify=True,
    )  # fmt: skip
    assert converted.checked.proved
    assert converted.imported.net.inputs == (
        "/expand/expand.1/expand.1.2/Mul_output_0",
        "/stem/stem.2/Mul_output_0",
    )


def test_net_for_a_toolchain_from_a_blob_on():
    written = pg.rewrite_for("mnn", NET, WEIGHTS, inputs=["pool1"], outputs=["fc"])
    assert written.net.inputs == ("pool1",)
    assert written.net.outputs == ("fc",)
    assert written.checked is not None


def test_dry_run_from_a_blob_on():
    verdicts = pg.check_caffe(NET, inputs=["pool1"])
    assert [one.name for one in verdicts] == ["pool1_input", "conv2", "relu2", "fc", "prob"]
    model = pg.check_onnx(EXAMPLES / "squeeze_excite.onnx", inputs=["/se/Mul_output_0"])
    assert "GlobalAveragePool" not in [one.type for one in model]
