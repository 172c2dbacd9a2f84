"""Output lengths of Resize and Upsample, as onnxruntime computes them.

onnxruntime multiplies a length and a scale in float32: 5 pixels by 1.4 are 7, as in PyTorch. ONNX's
shape inference multiplies them exactly and rounds down: the float32 number next to 1.4 is below 1.4,
and it infers 6. With keep_aspect_ratio_policy, both round another product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from protogen.resampling.matrices import keep_aspect
from protogen.resampling.positions import output_length
from protogen.resampling.sampling import POLICIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESIZES = ("Resize", "Upsample")
_PREFIX = "protogen.lengths."
_POLICY = "keep_aspect_ratio_policy"
_SIZES = 3  # the position of the input with the sizes
_FEW = 32  # the most axes of a blob, and values of a small constant


class _Lengths(NamedTuple):
    """Other scales or sizes of an operator. The position of the input is -1 for an attribute."""

    position: int
    values: NDArray[Any]


def with_onnxruntime_lengths(model: ModelProto, graph: GraphProto) -> ModelProto | None:
    """Return a copy of a model for which ONNX infers the lengths of onnxruntime.

    One pass may not be enough, because lengths depend on those before.

    Args:
        graph: the graph of the model with inferred shapes.

    Returns:
        The copy; None if nothing differs.
    """
    nodes = [n for n in model.graph.node if n.op_type in _RESIZES and not n.domain and n.input]
    if not nodes:
        return None
    arrays, shapes = _constants(model.graph), _shapes(graph)
    changed = {
        node.output[0]: lengths
        for node in nodes
        if (lengths := _by_scales(node, arrays, shapes) or _by_policy(node, arrays, shapes))
    }
    if not changed:
        return None
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.output and node.output[0] in changed:
            _set(copy.graph, node, changed[node.output[0]])
    return copy


def with_nodes_of(graph: GraphProto, model: ModelProto) -> GraphProto:
    """Return a graph that was inferred from a copy of a model, with the nodes of the model."""
    del graph.node[:]
    graph.node.extend(model.graph.node)
    tensors = [one for one in graph.initializer if not one.name.startswith(_PREFIX)]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return graph


def _by_scales(
    node: NodeProto, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, list[int]]
) -> _Lengths | None:
    """Return scales that give the lengths of onnxruntime: for a greater length, the next larger
    float32 number is enough."""
    position = 1 if len(node.input) == 2 else 2  # the second of two inputs before opset 11
    scales = _constant(node, position, arrays)
    for attribute in node.attribute:
        if attribute.name == "scales":
            position, scales = -1, np.array(attribute.floats, np.float32)
    axes = _axes(node, shapes)
    if scales is None or axes is None or len(scales) != len(axes):
        return None
    before, after = shapes[node.input[0]], shapes[node.output[0]]
    larger = np.array(scales, np.float32)
    for i, axis in enumerate(axes):
        if output_length(before[axis], float(scales[i]), "onnxruntime") > after[axis]:
            larger[i] = np.nextafter(larger[i], np.float32(np.inf))
    return None if np.array_equal(larger, scales) else _Lengths(position, larger)


def _by_policy(
    node: NodeProto, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, list[int]]
) -> _Lengths | None:
    """Return the sizes that onnxruntime computes from those of an operator with a policy."""
    policy = next((one.s.decode() for one in node.attribute if one.name == _POLICY), POLICIES[0])
    sizes, axes = _constant(node, _SIZES, arrays), _axes(node, shapes)
    if sizes is None or axes is None or len(sizes) != len(axes) or policy not in POLICIES[1:]:
        return None
    before, after = shapes[node.input[0]], shapes[node.output[0]]
    requested = [int(size) for size in sizes]
    lengths, _ = keep_aspect([before[a] for a in axes], requested, policy, "onnxruntime")
    if lengths == [after[axis] for axis in axes]:
        return None
    return _Lengths(_SIZES, np.array(lengths, np.int64))


def _axes(node: NodeProto, shapes: Mapping[str, list[int]]) -> list[int] | None:
    """Return the axes of an operator; None if a shape is unknown, or an axis does not exist."""
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    if before is None or after is None or len(before) != len(after):
        return None
    axes = next((list(one.ints) for one in node.attribute if one.name == "axes"), None)
    axes = list(range(len(before))) if axes is None else axes
    return axes if all(-len(before) <= axis < len(before) for axis in axes) else None


def _constant(
    node: NodeProto, position: int, arrays: Mapping[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Return the array of an input; None if it is not a known constant, or has no values."""
    array = arrays.get(node.input[position]) if position < len(node.input) else None
    return None if array is None or not array.size else array.reshape(-1)


def _set(graph: GraphProto, node: NodeProto, lengths: _Lengths) -> None:
    if lengths.position < 0:
        attribute = next(one for one in node.attribute if one.name == "scales")
        attribute.floats[:] = lengths.values.tolist()
        return
    for attribute in node.attribute:
        if attribute.name == _POLICY:
            attribute.CopyFrom(helper.make_attribute(_POLICY, POLICIES[0]))
    name = _PREFIX + node.output[0]
    node.input[lengths.position] = name
    others = [one for one in graph.initializer if one.name != name]
    del graph.initializer[:]
    graph.initializer.extend([*others, numpy_helper.from_array(lengths.values, name)])


def _constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """Return the arrays of small constants: of initializers, and of Constant operators."""
    tensors = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            for attribute in node.attribute:
                if attribute.name == "value":
                    tensors[node.output[0]] = attribute.t
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if len(tensor.dims) == 1
        and tensor.dims[0] <= _FEW
        and tensor.data_location != TensorProto.EXTERNAL
    }


def _shapes(graph: GraphProto) -> dict[str, list[int]]:
    """Return the shapes that are known, by value."""
    return {
        one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
        for one in (*graph.input, *graph.value_info, *graph.output)
        if one.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in one.type.tensor_type.shape.dim)
    }
