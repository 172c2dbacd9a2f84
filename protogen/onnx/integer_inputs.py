"""Constants of a floating-point type where an ONNX operator requires integers."""

from __future__ import annotations

from functools import cache

import onnx
from onnx import ModelProto, NodeProto, TensorProto


def float_constants(model: ModelProto) -> set[str]:
    """Return the names of constants of a floating-point type."""
    kinds = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    names = {one.name for one in model.graph.initializer if one.data_type in kinds}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute:
            value = node.attribute[0]
            if value.name in ("value_float", "value_floats") or value.t.data_type in kinds:
                names.update(node.output)
    return names


@cache
def _integer_inputs(op_type: str, opset: int) -> dict[int, str]:
    """Return the inputs of an operator that must be integers, by their position."""
    if not onnx.defs.has(op_type, opset, ""):
        return {}
    inputs = onnx.defs.get_schema(op_type, opset, "").inputs
    return {
        i: formal.name
        for i, formal in enumerate(inputs)
        if all(text.startswith(("tensor(int", "tensor(uint")) for text in formal.types)
    }


def integers_missing(node: NodeProto, floats: set[str], opset: int) -> str:
    """Return which input of an operator must be integers and is a constant of a floating-point type; empty
    if there is none."""
    for i, name in _integer_inputs(node.op_type, opset).items():
        if i < len(node.input) and node.input[i] in floats:
            return f'{name} must be integers, but the constant "{node.input[i]}" is not'
    return ""
