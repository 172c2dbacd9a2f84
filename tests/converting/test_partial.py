"""``--to-blob`` and ``--dry-run`` in both directions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from places import EXAMPLES

import protogen as pg

NET = EXAMPLES / "tiny.prototxt"
WEIGHTS = EXAMPLES / "tiny.caffemodel"


def model(*nodes, inputs, outputs):
    """A model of these nodes; inputs have shapes, and outputs have none."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


TWO = model(
    helper.make_node("Relu", ["x"], ["a"]),
    helper.make_node("Tan", ["a"], ["b"]),
    helper.make_node("Add", ["b", "z"], ["c"]),
    helper.make_node("Sigmoid", ["a"], ["d"]),
    inputs={"x": (1, 3), "z": (1, 3)},
    outputs=["c", "d"],
)


def test_import_ends_at_the_named_values():
    with pytest.raises(pg.UnsupportedError, match="Tan"):
        pg.from_onnx(TWO)
    net = pg.from_onnx(TWO, outputs=["d"])
    assert (net.inputs, net.outputs) == (("x",), ("d",))
    assert [layer.type for layer in net.layers] == ["Input", "ReLU", "Sigmoid"]
    inner = pg.from_onnx(TWO, outputs=["a", "d"])
    x = np.array([[-1, 0, 2]], np.float32)
    run = pg.run(inner, {"x": x})
    np.testing.assert_allclose(run["a"], np.maximum(x, 0))
    with pytest.raises(pg.InputError, match='"e": unknown value'):
        pg.from_onnx(TWO, outputs=["e"])


def test_convert_to_blob_proves_the_part(protogen, tmp_path):
    done = protogen(
        "convert", EXAMPLES / "squeeze_excite.onnx", "-o", "n.prototxt", "--caffemodel",
        "n.caffemodel", "--to-blob", "/se/gate/Sigmoid_output_0", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "out /se/gate/Sigmoid_output_0  1x16x1x1" in done.stdout
    assert pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel").outputs == (
        "/se/gate/Sigmoid_output_0",
    )


def test_verified_part_of_a_model_with_two_inputs(protogen, tmp_path):
    onnx.save(TWO, tmp_path / "two.onnx")
    done = protogen("convert", "two.onnx", "-o", "n.prototxt", "--to-blob", "d", "--verify")
    assert done.returncode == 0, done.stderr


def test_dry_run_of_a_model_lists_operators(tmp_path, protogen):
    kinds = {one.output: one.kind for one in pg.check_onnx(TWO)}
    assert kinds == {"a": "converts", "b": "refused", "c": "converts", "d": "converts"}
    assert {one.kind for one in pg.check_onnx(TWO, outputs=["d"])} == {"converts"}
    onnx.save(TWO, tmp_path / "two.onnx")
    assert protogen("convert", "two.onnx", "--dry-run").returncode == 1
    assert protogen("convert", "two.onnx", "--dry-run", "--to-blob", "d").returncode == 0


FORK = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 3 width_group: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "r" }
layer { name: "s" type: "Unheard" bottom: "r" top: "s" }
"""


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_dry_run_of_a_net_lists_layers(tmp_path, protogen):
    (tmp_path / "fork.prototxt").write_text(FORK)
    verdicts = {one.name: one for one in pg.check_caffe(tmp_path / "fork.prototxt")}
    assert {name: one.kind for name, one in verdicts.items()} == {
        "data": "converts", "c": "refused", "r": "converts", "s": "refused",
    }  # fmt: skip
    assert "width_group" in verdicts["c"].text
    assert verdicts["r"].text == "Relu"
    done = protogen("convert", "fork.prototxt", "--dry-run")
    assert done.returncode == 1
    assert done.stdout.endswith("4 layers: 2 convert, 2 do not convert\n")
    accepted = protogen(
        "convert", "fork.prototxt", "--dry-run", "--to-blob", "r",
        "--ignore-field", "convolution_param.width_group",
    )  # fmt: skip
    assert accepted.stdout == "3 layers: 3 convert\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fork.prototxt"]


def test_dry_run_agrees_with_the_conversion(tmp_path):
    """Each example net: the dry run refuses it exactly if the conversion does."""
    for path in sorted(EXAMPLES.glob("*.prototxt")):
        try:
            refused = any(one.kind == "refused" for one in pg.check_caffe(path))
        except pg.InputError:
            continue
        weights = path.with_suffix(".caffemodel")
        if not weights.exists() and not refused:
            continue
        if refused:
            with pytest.raises(pg.UnsupportedError):
                pg.convert(path, weights if weights.exists() else None, tmp_path / "n.onnx")
        else:
            pg.convert(path, weights, tmp_path / "n.onnx")


@pytest.mark.parametrize("seed", [0, 5])
def test_seed_of_convert_is_in_the_receipt(seed, tmp_path):
    converted = pg.convert(NET, WEIGHTS, tmp_path / "a.onnx", verify=True, seed=seed)
    assert converted.receipt["checked"]["onnxruntime"]["seeds"][0] == seed
