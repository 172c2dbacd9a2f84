"""Models of operator sets before 7, by ONNX's own converter."""

from __future__ import annotations

import onnx
import onnx.version_converter
from onnx import ModelProto, NodeProto, helper

from protogen.errors import UnsupportedError

# Before set 7 their second input went along the first's axes from ``axis`` on.
_BROADCAST = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")


def brought_to(wanted: int, model: ModelProto, opset: int, path: str) -> ModelProto:
    """The model in a newer operator set.

    Raises:
        UnsupportedError: ONNX's converter fails on it.
    """
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:  # which the converter looks for among the inputs
        if tensor.name not in known:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        _spread(model)
        return onnx.version_converter.convert_version(model, wanted)
    except (
        RuntimeError,
        ValueError,
        onnx.version_converter.ConvertError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise UnsupportedError(
            f"its operator set is {opset}, and ONNX's converter to {wanted} fails "
            f"({' '.join(str(error).split())[:200]})",
            where=path,
        ) from None


def _spread(model: ModelProto) -> None:
    """Axes of length 1 behind the second input where ``axis`` says that it has others behind it.
    ONNX's converter puts them elsewhere, so that another axis would be meant."""
    shapes = {
        value.name: len(value.type.tensor_type.shape.dim)
        for part in (model.graph, onnx.shape_inference.infer_shapes(model).graph)
        for value in (*part.input, *part.value_info, *part.output)
        if value.type.tensor_type.HasField("shape")
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        axis = next((one.i for one in node.attribute if one.name == "axis"), None)
        if node.op_type in _BROADCAST and axis is not None:
            if not shapes.keys() >= set(node.input):
                raise RuntimeError(f"no shape is known of what {node.op_type} reads")
            a, b = (shapes[name] for name in node.input)
            behind = a - axis % a - b
            if behind > 0:
                name = f"{node.output[0]}_spread"
                axes = list(range(b, b + behind))
                nodes.append(helper.make_node("Unsqueeze", [node.input[1]], [name], axes=axes))
                node.input[1] = name
            kept = [one for one in node.attribute if one.name != "axis"]
            del node.attribute[:]
            node.attribute.extend(kept)
        nodes.append(node)
    if len(nodes) > len(model.graph.node):
        copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
