"""Merges nested operators of one kind: a Concat of Concats, and a reduction of a reduction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from protogen.onnx.program import Node, Program, Tensor, free_name

if TYPE_CHECKING:
    from protogen.onnx.program import Lengths

# Parts: a Concat that several others read is merged into them up to this length, so that a chain of them
# does not become quadratic.
MOST_SHARED = 64
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def merge_concats(program: Program, lengths: Mapping[str, Lengths]) -> Program:
    """Merge each Concat into those that read it, if no other operator does and the axis is the same."""
    axes = {
        node.writes[0]: _axis(node, lengths) for node in program.nodes if node.op_type == "Concat"
    }
    inner = _inner(program, axes)
    if not inner:
        return program
    parts = {node.writes[0]: node.reads for node in program.nodes if node.writes[0] in axes}
    nodes = [
        replace(node, reads=tuple(_leaves(node.reads, parts, inner)))
        if node.op_type == "Concat"
        else node
        for node in program.nodes
        if node.writes[0] not in inner
    ]
    return program.with_nodes(nodes, program.tensors)


def _axis(node: Node, lengths: Mapping[str, Lengths]) -> int:
    """Return the axis of a Concat: above 0 from the first, below 0 from the last if the rank is unknown."""
    axis: int = node.attributes["axis"]
    if axis >= 0:
        return axis
    rank = next((len(lengths[n]) for n in (*node.writes, *node.reads) if n in lengths), 0)
    return axis + rank


def _inner(program: Program, axes: Mapping[str, int]) -> set[str]:
    """Return the Concats that only Concats of the same axis read."""
    readers, others = program.readers(), program.interface
    for node in program.nodes:
        if node.op_type == "Concat":
            axis = axes[node.writes[0]]
            others.update(name for name in node.reads if axes.get(name, axis) != axis)
        else:
            others.update(name for name in node.reads if name in axes)
    inner: set[str] = set()
    sizes: dict[str, int] = {}
    for node in program.nodes:
        name = node.writes[0]
        if name not in axes:
            continue
        sizes[name] = sum(sizes[read] if read in inner else 1 for read in node.reads)
        is_small = readers[name] == 1 or sizes[name] <= MOST_SHARED
        if is_small and readers[name] and name not in others:
            inner.add(name)
    return inner


def _leaves(
    reads: Iterable[str], parts: Mapping[str, Iterable[str]], inner: set[str]
) -> Iterable[str]:
    """Yield the parts of a Concat, those of inner Concats in their place."""
    stack = [iter(reads)]
    while stack:
        for read in stack[-1]:
            if read in inner:
                stack.append(iter(parts[read]))
                break
            yield read
        else:
            stack.pop()


def merge_reductions(program: Program) -> Program:
    """Merge a reduction of a reduction of the same kind into one. Sums are rounded at other places."""
    readers, fixed = program.readers(), program.interface
    tensors, used_names = dict(program.tensors), set(program.tensors)
    producers: dict[str, Node] = {}
    merged: dict[str, Node] = {}
    for node in program.nodes:
        if node.op_type not in _REDUCTIONS:
            continue
        before = producers.get(node.reads[0])
        if before is not None and readers[node.reads[0]] == 1 and node.reads[0] not in fixed:
            one = _joined(before, node, tensors, used_names)
            if one is not None:
                del merged[before.writes[0]]
                node = one
        merged[node.writes[0]] = producers[node.writes[0]] = node
    if len(merged) == sum(node.op_type in _REDUCTIONS for node in program.nodes):
        return program
    nodes = (
        merged.get(node.writes[0]) if node.op_type in _REDUCTIONS else node
        for node in program.nodes
    )
    return program.with_nodes([node for node in nodes if node is not None], tensors)


def _joined(
    before: Node, node: Node, tensors: dict[str, Tensor], used_names: set[str]
) -> Node | None:
    """Return one reduction over the axes of both; None if they cannot be merged."""
    first, second = (_axes(one, tensors) for one in (before, node))
    keepdims = [one.attributes.get("keepdims", 1) for one in (before, node)]
    if before.op_type != node.op_type or not first or not second or keepdims[0] != keepdims[1]:
        return None
    if min(*first, *second) < 0:
        return None
    if not keepdims[0]:  # the second counts the axes that the first left
        left = (axis for axis in count() if axis not in first)
        numbers = list(islice(left, max(second) + 1))
        second = [numbers[axis] for axis in second]
    axes = sorted({*first, *second})
    if "axes" in node.attributes:
        return replace(node, reads=before.reads, attributes={**node.attributes, "axes": axes})
    name = free_name(f"{node.reads[1]}.merged", used_names)
    tensors[name] = Tensor((len(axes),), "int64", np.array(axes, np.int64))
    return replace(node, reads=(before.reads[0], name))


def _axes(node: Node, tensors: Mapping[str, Tensor]) -> list[int]:
    """Return the axes of a reduction; none if they are not constant."""
    if len(node.reads) < 2:
        return list(node.attributes.get("axes", ()))
    axes = tensors.get(node.reads[1])
    return [] if axes is None else axes.array().tolist()
