"""Restoring layers from metadata takes linear time, whatever the metadata says."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import TensorProto, helper

import protogen as pg
from protogen.onnx import metadata


def overlapping(count: int) -> onnx.ModelProto:
    """A chain whose metadata says that each operator ends a group that begins at the input."""
    nodes = [helper.make_node("Relu", [f"a{i}"], [f"a{i + 1}"]) for i in range(count)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("a0", TensorProto.FLOAT, [1, 4])],
        [value(f"a{count}", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entry = {
        "layer": 'layer { type: "ReLU" }',
        "bottoms": ["a0"],
        "shapes": [[1, 4]],
        "digest": "0",
    }
    helper.set_model_props(
        model, {f"{metadata.KEY}a{i + 1}": json.dumps(entry) for i in range(count)}
    )
    return model


@pytest.mark.parametrize("count", [200, 400])
def test_operators_of_overlapping_groups_are_read_a_few_times(monkeypatch, count):
    read = 0
    digest_of = metadata.digest_of

    def counting(group, *rest):
        nonlocal read
        read += len(group)
        return digest_of(group, *rest)

    monkeypatch.setattr(metadata, "digest_of", counting)
    net = pg.from_onnx(overlapping(count))
    assert sum(layer.type == "ReLU" for layer in net.layers) == count
    assert read <= 4 * count
