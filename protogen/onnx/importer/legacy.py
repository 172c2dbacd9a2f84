"""Models with old operator sets: negative axes, and conversion by ONNX's own converter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import onnx
import onnx.version_converter
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from protogen.errors import UnsupportedError
from protogen.onnx.passes.sorting import set_operators

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 64  # values: more than a shape has
# Operators with an attribute ``axis`` or ``axes``. Operator set 11 defines negative numbers for them.
_WITH_AXES = frozenset(
    ("ArgMax", "ArgMin", "Concat", "Flatten", "Gather", "Hardmax", "LogSoftmax", "LpNormalization",
     "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
     "ReduceProd", "ReduceSum", "ReduceSumSquare", "Slice", "Softmax", "Split", "Squeeze", "Unsqueeze")
)  # fmt: skip
NEGATIVE_AXES = 11  # the operator set from which on all operators take negative axes
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


def resolve_axes(graph: GraphProto, opset: int, constants: Mapping[str, NDArray[Any]]) -> None:
    """Replace negative axes by the axes that they mean, in place. Exporters write them, and onnxruntime
    takes most of them, but ONNX's shape inference gives wrong shapes for them before operator set 11.

    The rank of each value is inferred operator by operator, because it depends on the axes before. The
    shapes that the model states for its outputs are removed: exporters infer them with the same mistake.

    Args:
        constants: the constants of the graph, as far as they are known.
    """
    nodes = graph.node
    if opset >= NEGATIVE_AXES or not any(
        node.op_type in _WITH_AXES and _negative(node) for node in nodes
    ):
        return
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    known = {value.name: value.type for value in graph.input}
    small = {}
    for tensor in (*graph.initializer, *_constant_tensors(nodes)):
        known[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        small[tensor.name] = tensor
    for name, array in constants.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        known[name] = helper.make_tensor_type_proto(kind, array.shape)
        if array.size <= SMALL:
            small[name] = numpy_helper.from_array(array, name)
    imports = [helper.make_opsetid("", opset)]
    for node in nodes:
        types = {name: known[name] for name in node.input if name in known}
        if node.op_type in _WITH_AXES and node.input and node.input[0] in types:
            rank = len(types[node.input[0]].tensor_type.shape.dim)
            for item in _negative(node):
                if item.name == "axis":
                    item.i %= rank
                else:
                    _set_axes(node, item, rank)
        known_all = len(types) == len(set(filter(None, node.input)))
        if (
            node.op_type == "Constant"
            or not known_all
            or not onnx.defs.has(node.op_type, opset, "")
        ):
            continue
        data = {name: small[name] for name in node.input if name in small}
        try:
            schema = onnx.defs.get_schema(node.op_type, opset, "")
            inferred = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=imports
            )
        except (
            onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError,
            RuntimeError,
            ValueError,
        ):
            continue  # the shapes of what it writes are unknown
        known |= {
            name: one
            for name, one in inferred.items()
            if one.HasField("tensor_type") and one.tensor_type.HasField("shape")
        }


def _constant_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yield the tensors of Constant operators, with the names of their outputs."""
    for node in nodes:
        for item in node.attribute if node.op_type == "Constant" else ():
            if item.name == "value":
                tensor = TensorProto()
                tensor.CopyFrom(item.t)
                tensor.name = node.output[0]
                yield tensor


def _set_axes(node: NodeProto, item: AttributeProto, rank: int) -> None:
    """Write the axes without negative numbers, in rising order, which ONNX's shape inference expects."""
    rank += len(item.ints) if node.op_type == "Unsqueeze" else 0
    axes = [axis % rank for axis in item.ints]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    item.ints[:] = [axes[i] for i in order]
    if node.op_type == "Slice":
        for other in node.attribute:
            if other.name in ("starts", "ends") and len(other.ints) == len(axes):
                other.ints[:] = [other.ints[i] for i in order]


def _negative(node: NodeProto) -> list[AttributeProto]:
    """Return the operator's attributes with a negative axis."""
    return [
        item
        for item in node.attribute
        if (item.name == "axis" and item.i < 0)
        or (item.name == "axes" and min(item.ints, default=0) < 0)
    ]


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
        set_operators(model.graph, nodes)
