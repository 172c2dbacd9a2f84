"""Whether onnx may propagate values through a graph when it infers shapes.

The values of a shape are few, but onnx also propagates those of other vectors, one by one in memory: a chain of
20 Concats that read their input twice would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from onnx import GraphProto, NodeProto, TensorProto

from protogen.onnx.constants import constant
from protogen.onnx.passes.sorting import inner_graphs

MOST = 1 << 22  # values; onnx needs a second or two for them
# Operators through which onnx propagates values, besides Concat and Gather.
_AS_LONG = frozenset(
    ("Add", "Cast", "Mul", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze")
)


def has_short_vectors(graph: GraphProto) -> bool:
    """Return whether the vectors of a graph are so short that onnx can propagate their values."""
    return _propagated(graph, {}) <= MOST


def _propagated(graph: GraphProto, lengths: dict[str, int]) -> int:
    """Return how many values onnx would propagate through the operators of a graph, at most.

    Args:
        lengths: lengths of vectors by name, of the graphs around this one; its own are added.
    """
    lengths |= dict(_declared(graph))
    small = {one.name: one for one in graph.initializer if prod(one.dims) == 1}
    total = 0
    for node in graph.node:
        if total > MOST:
            break
        total += sum(_propagated(inner, dict(lengths)) for inner in inner_graphs(node))
        read = [lengths.get(name, 1) for name in node.input]
        if node.op_type == "Concat":
            length = sum(read)
        elif node.op_type == "Gather":
            length = read[-1] if read else 1
        elif node.op_type in _AS_LONG:
            length = max(read, default=1)
        else:  # no values pass, but the next operator sees the length
            lengths |= dict.fromkeys(node.output[:1], _created(node, small))
            continue
        total += length
        lengths |= dict.fromkeys(node.output, length)
    return total


def _declared(graph: GraphProto) -> Iterator[tuple[str, int]]:
    """Yield the vectors whose lengths the graph states: name and length."""
    for tensor in graph.initializer:
        if len(tensor.dims) == 1:
            yield tensor.name, tensor.dims[0]
    for value in (*graph.input, *graph.value_info):
        dims: Any = value.type.tensor_type.shape.dim
        if len(dims) == 1:
            yield value.name, dims[0].dim_value


def _created(node: NodeProto, small: dict[str, TensorProto]) -> int:
    """Return the length of a vector that an operator creates; 1 if it is not known.

    Args:
        small: constants of one number by name.
    """
    if node.op_type == "Constant":
        return max((prod(one.t.dims) for one in node.attribute if one.name == "value"), default=1)
    if node.op_type == "ConstantOfShape" and node.input and node.input[0] in small:
        return int(constant(small[node.input[0]], "").reshape(()))
    return 1
