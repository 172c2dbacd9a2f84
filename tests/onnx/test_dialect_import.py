"""ONNX models as nets of a dialect: only its layer types, fields and values are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.errors import UnsupportedError
from protogen.formats import prototxt
from protogen.formats.caffemodel import read_weights
from protogen.formats.schema.dialect import dialects, facts
from protogen.onnx.session import run_model
from protogen.running.drawing import random_feeds
from protogen.toolchains.detection import lacked

MODERN = [n for n in dialects() if facts().field(n, "NetParameter", "layer")]
OLD = [n for n in dialects() if n not in MODERN]


def saved(
    nodes: list[onnx.NodeProto], path: Path, weights: dict[str, np.ndarray] | None = None
) -> Path:
    """Save a model with the input x of 1 x 2 x 7 x 8 and the output y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 7, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def new_forms(path: Path) -> Path:
    """A model that the importer writes for BVLC Caffe with round_mode, Clip and Swish."""
    limits = {"low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="a"),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2], name="b"),
        helper.make_node("Clip", ["b", "low", "high"], ["c"], name="c"),
        helper.make_node("Sigmoid", ["c"], ["s"], name="s"),
        helper.make_node("Mul", ["c", "s"], ["y"], name="y"),
    ]
    kernel = np.random.default_rng(0).standard_normal((3, 2, 1, 1)).astype(np.float32)
    return saved(nodes, path, {"w": kernel, **{n: np.asarray(v) for n, v in limits.items()}})


def test_bvlc_gets_the_new_forms(tmp_path: Path):
    """So the test below has something to avoid."""
    net = pg.from_onnx(new_forms(tmp_path / "m.onnx"))
    text = prototxt.write(net.message)
    assert "round_mode: FLOOR" in text
    assert {"Clip", "Swish"} <= {layer.type for layer in net.layers}


@pytest.mark.parametrize("dialect", MODERN)
def test_only_what_the_dialect_has_is_written(dialect: str, tmp_path: Path):
    """The numbers are compared with onnxruntime, value by value."""
    model = new_forms(tmp_path / "m.onnx")
    done = pg.convert_onnx(
        model,
        tmp_path / "n.prototxt",
        caffemodel=tmp_path / "n.caffemodel",
        dialect=dialect,
        verify=True,
    )
    assert done.checked is not None
    document = prototxt.read(tmp_path / "n.prototxt")
    assert [use.text for use in lacked(document, dialect)] == []
    assert dialect in pg.dialects_of(tmp_path / "n.prototxt").possible
    assert dialect in pg.dialects_of(tmp_path / "n.caffemodel").possible


def test_ssd_gets_neither_round_mode_nor_clip(tmp_path: Path):
    """SSD's Caffe is older than both."""
    net = pg.from_onnx(new_forms(tmp_path / "m.onnx"), dialect="ssd")
    assert "round_mode" not in prototxt.write(net.message)
    assert not {"Clip", "Swish"} & {layer.type for layer in net.layers}


@pytest.mark.parametrize("dialect", ["pspnet", "segnet", "hed", "tsn", "ctpn", "frcnn"])
def test_a_caffe_without_input_layers_gets_input_fields(dialect: str, tmp_path: Path):
    model = new_forms(tmp_path / "m.onnx")
    net = pg.from_onnx(model, dialect=dialect)
    net.save(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    document = prototxt.read(tmp_path / "n.prototxt")
    assert document.input == ["x"]
    assert [list(shape.dim) for shape in document.input_shape] == [[1, 2, 7, 8]]
    back = pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    x = np.random.default_rng(1).standard_normal((1, 2, 7, 8)).astype(np.float32)
    np.testing.assert_allclose(
        pg.run(back, {"x": x})["y"], pg.run(pg.from_onnx(model), {"x": x})["y"], atol=1e-5
    )


@pytest.mark.parametrize("dialect", OLD)
def test_a_caffe_of_the_v1_format_is_refused(dialect: str, tmp_path: Path):
    with pytest.raises(
        UnsupportedError, match=f"dialect {dialect}: its Caffe reads only nets in the V1"
    ):
        pg.from_onnx(new_forms(tmp_path / "m.onnx"), dialect=dialect)


def test_what_no_form_expresses_is_refused(tmp_path: Path):
    """A Gather needs the layer type Embed, which SegNet's Caffe does not have."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["k", "i"], ["y"], name="g")],
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, (4,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 3))],
        [numpy_helper.from_array(np.random.default_rng(0).random((50, 3), np.float32), "k")],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    assert "Embed" in [layer.type for layer in pg.from_onnx(path).layers]
    with pytest.raises(UnsupportedError, match="segnet takes no form of 1 layer"):
        pg.from_onnx(path, dialect="segnet")


@pytest.mark.parametrize(("dialect", "type_"), [("ssd", "Permute"), ("bvlc", "Reshape")])
def test_a_type_of_the_dialect_is_used(dialect: str, type_: str, tmp_path: Path):
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1], name="t")]
    net = pg.from_onnx(saved(nodes, tmp_path / "m.onnx"), dialect=dialect)
    assert type_ in [layer.type for layer in net.layers]


def test_the_caffemodel_has_the_numbers_of_the_dialect(tmp_path: Path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="a"),
        helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 3, 1], name="t"),
    ]
    kernel = np.ones((3, 2, 1, 1), np.float32)
    model = saved(nodes, tmp_path / "m.onnx", {"w": kernel})
    for dialect in ("ssd", "cambricon"):
        path = tmp_path / f"{dialect}.caffemodel"
        pg.convert_onnx(model, tmp_path / "n.prototxt", caffemodel=path, dialect=dialect)
        assert pg.load(path, dialect=dialect).layers[-1].params.permute_param.order == [0, 2, 3, 1]
        assert len(read_weights(path).layers) == 3


def test_a_target_may_be_a_dialect(tmp_path: Path):
    """refinedet has no data file of its own."""
    net = pg.from_onnx(new_forms(tmp_path / "m.onnx"))
    net.save(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    report = pg.check_target(tmp_path / "n.prototxt", "refinedet", tmp_path / "n.caffemodel")
    assert not report.usable
    texts = " ".join(one.text for one in report.layers)
    assert "it does not have the type Swish" in texts
    assert "its parser has no field pooling_param.round_mode" in texts
    written = pg.rewrite_for("refinedet", tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    assert written.checked is not None
    assert list(lacked(written.net.message, "refinedet")) == []


def test_a_dry_run_names_a_dialect_with_a_layer_for_the_operator(tmp_path: Path):
    """Too many slices would replace this Transpose in BVLC Caffe."""
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["a"], name="a"),
        helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0], name="t"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64, 64, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([512, 512]), "s")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path
    )
    verdicts = {one.type: one for one in pg.check_onnx(path)}
    assert verdicts["Transpose"].kind in ("dialect", "converts")
    if verdicts["Transpose"].kind == "dialect":
        assert verdicts["Transpose"].text in dialects()


BOXES = """
input: "loc" input_shape { dim: 1 dim: 32 }
input: "conf" input_shape { dim: 1 dim: 32 }
input: "prior" input_shape { dim: 1 dim: 2 dim: 32 }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
  detection_output_param { num_classes: 4 confidence_threshold: 5 nms_param { nms_threshold: 0.4 } } }
"""


def test_layers_have_the_meaning_of_the_dialect(tmp_path: Path):
    """Below the threshold, Intel's DetectionOutput gives the first box, SSD's none. The values are those
    of onnxruntime, and ``verify`` computes the net that it compares in the same dialect."""
    net, model = tmp_path / "boxes.prototxt", tmp_path / "boxes.onnx"
    net.write_text(BOXES)
    values = {}
    for dialect in ("intel", "ssd"):
        pg.convert(net, None, model, dialect=dialect)
        proved = dialect == "intel"  # no box at all proves nothing
        back = pg.convert_onnx(model, tmp_path / "n.prototxt", dialect=dialect, verify=proved)
        assert [layer.dialect for layer in back.imported.net.layers if layer.bottoms] == [dialect]
        imported = pg.from_onnx(model, dialect=dialect)
        feeds = random_feeds(imported, 0)
        values[dialect] = run_model(str(model), feeds)["out"]
        np.testing.assert_allclose(pg.run(imported, feeds)["out"], values[dialect], rtol=1e-5)
    assert values["ssd"].ravel().tolist() == [0, -1, -1, -1, -1, -1, -1]
    assert values["intel"].shape[2] >= 1
    assert values["intel"].ravel()[1] >= 0
    pg.convert(net, None, model, dialect="intel")
    with pytest.raises(pg.MismatchError):  # the numbers of the one are not those of the other
        pg.convert_onnx(model, tmp_path / "n.prototxt", dialect="ssd", verify=True)
