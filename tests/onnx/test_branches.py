"""An If whose condition is known from shapes is its branch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.errors import UnsupportedError


def value(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branch(name: str, nodes: list[onnx.NodeProto], output: str, **more) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(output)], **more)


def model(wanted: int, then: onnx.GraphProto, other: onnx.GraphProto) -> onnx.ModelProto:
    """A model that asks whether axis 1 of x has this length."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Equal", ["length", "wanted"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other),
        helper.make_node("Sigmoid", ["y"], ["z"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(1, np.int64), "one"),
        numpy_helper.from_array(np.array(wanted, np.int64), "wanted"),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, 3, 4, 5)], [value("z", 1, 3, 4, 5)], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def tanh() -> onnx.GraphProto:
    return branch("tanh", [helper.make_node("Tanh", ["r"], ["t"])], "t")


def scaled() -> onnx.GraphProto:
    factor = numpy_helper.from_array(np.float32([2.5]), "factor")
    nodes = [helper.make_node("Mul", ["r", "factor"], ["s"])]
    return branch("scaled", nodes, "s", initializer=[factor])


@pytest.mark.parametrize("wanted", [3, 4])
def test_the_branch_of_the_condition_is_imported(wanted: int):
    net = pg.from_onnx(model(wanted, tanh(), scaled()))
    types = [one.type for one in net.layers]
    assert ("TanH" in types) == (wanted == 3)
    pg.verify(model(wanted, tanh(), scaled()), net)


def test_a_branch_may_pass_on_a_value_from_outside():
    outside = branch("outside", [], "r")
    nodes = outside.node
    assert not nodes
    net = pg.from_onnx(model(3, outside, tanh()))
    assert [one.type for one in net.layers] == ["Input", "ReLU", "Sigmoid"]


def test_an_if_inside_of_a_branch():
    inner = branch(
        "inner",
        [helper.make_node("If", ["condition"], ["t"], then_branch=scaled(), else_branch=tanh())],
        "t",
    )
    built = model(3, inner, tanh())
    net = pg.from_onnx(built)
    assert "TanH" not in [one.type for one in net.layers]
    pg.verify(built, net)


def test_a_computed_condition_is_refused():
    built = model(3, tanh(), scaled())
    built.graph.node[4].input[0] = "given"
    built.graph.input.append(value("given", kind=TensorProto.BOOL))
    with pytest.raises(UnsupportedError, match="control flow"):
        pg.from_onnx(built)
