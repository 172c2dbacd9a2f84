"""Conversion of models with operator sets before 7, by ONNX's own converter."""

from __future__ import annotations

import onnx
import onnx.version_converter
from onnx import ModelProto, NodeProto, helper

from protogen.errors import UnsupportedError

# Before operator set 7, the attribute ``axis`` of these operators is the axis of the first input
# that the first axis of the second input matches.
_BROADCAST = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")


def convert_opset(target: int, model: ModelProto, opset: int, path: str) -> ModelProto:
    """Return the model converted from operator set ``opset`` to operator set ``target``.

    Raises:
        UnsupportedError: ONNX's converter fails on the model.
    """
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:  # the converter expects initializers to be inputs too
        if tensor.name not in known:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        _align_broadcasts(model)
        return onnx.version_converter.convert_version(model, target)
    except (
        RuntimeError,
        ValueError,
        onnx.version_converter.ConvertError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise UnsupportedError(
            f"ONNX's converter from operator set {opset} to {target} failed "
            f"({' '.join(str(error).split())[:200]})",
            where=path,
        ) from None


def _align_broadcasts(model: ModelProto) -> None:
    """Replace the attribute ``axis`` by trailing axes of length 1 on the second input.

    ONNX's converter puts these axes at another position, so that the operator would broadcast along
    the wrong axis.
    """
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for part in (model.graph, onnx.shape_inference.infer_shapes(model).graph)
        for value in (*part.input, *part.value_info, *part.output)
        if value.type.tensor_type.HasField("shape")
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        axis = next((item.i for item in node.attribute if item.name == "axis"), None)
        if node.op_type in _BROADCAST and axis is not None:
            if not ranks.keys() >= set(node.input):
                raise RuntimeError(f"the shape of an input of {node.op_type} is unknown")
            first, second = (ranks[name] for name in node.input)
            trailing = first - axis % first - second
            if trailing > 0:
                name = f"{node.output[0]}_spread"
                axes = list(range(second, second + trailing))
                nodes.append(helper.make_node("Unsqueeze", [node.input[1]], [name], axes=axes))
                node.input[1] = name
            attributes = [item for item in node.attribute if item.name != "axis"]
            del node.attribute[:]
            node.attribute.extend(attributes)
        nodes.append(node)
    if len(nodes) > len(model.graph.node):
        copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
