"""Merges and removes operators that only move values: Reshape, Flatten, Transpose and Slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from protogen.onnx.program import Node, Program, Tensor, free_name

if TYPE_CHECKING:
    from protogen.onnx.program import Lengths

_MOVES = ("Reshape", "Flatten", "Transpose", "Slice")


def merge_moves(program: Program, lengths: Mapping[str, Lengths]) -> Program:
    """Merge operators that move values with those before them, and remove those without effect.

    An operator without effect whose result is an output becomes an Identity.
    """
    moves = _Moves(program, lengths)
    nodes = [moves.merged(node) for node in program.nodes]
    needed, alive = program.interface, []
    for node in reversed(nodes):
        if node is not None and not needed.isdisjoint(node.writes):
            needed.update(node.reads)
            alive.append(node)
    return program.with_nodes(reversed(alive), moves.tensors)


class _Moves:
    """The state of ``merge_moves``: what the operators before the current one became."""

    def __init__(self, program: Program, lengths: Mapping[str, Lengths]) -> None:
        self.tensors = dict(program.tensors)
        self._lengths = dict(lengths)
        self._fixed = program.interface
        self._readers = program.readers()
        self._producers: dict[str, Node] = {}
        self._same: dict[str, str] = {}  # names of values that equal another, and its name
        self._used_names = set(self.tensors)

    def merged(self, node: Node) -> Node | None:
        """Return what the operator becomes; None if it has no effect."""
        if any(read in self._same for read in node.reads):
            node = replace(node, reads=tuple(self._same.get(read, read) for read in node.reads))
        if node.op_type not in _MOVES:
            return node
        read, write = node.reads[0], node.writes[0]
        before = self._producers.get(read)
        if before is not None and self._readers[read] == 1 and read not in self._fixed:
            node = self._joined(before, node)
        result = self._lengths_after(node)
        if result is not None:
            self._lengths.setdefault(write, result)
        if not self._has_effect(node, result):
            if write in self._fixed:
                return Node("Identity", node.reads[:1], node.writes, {}, node.layer)
            self._same[write] = node.reads[0]
            self._readers[node.reads[0]] += self._readers[write] - 1
            return None
        self._producers[write] = node
        return node

    def _joined(self, first: Node, second: Node) -> Node:
        """Return one operator that does the work of both; ``second`` itself if there is none."""
        kinds = (first.op_type, second.op_type)
        if kinds == ("Transpose", "Transpose"):
            order = [first.attributes["perm"][axis] for axis in second.attributes["perm"]]
            return replace(second, reads=first.reads, attributes={"perm": order})
        dims = self._dims(first if first.op_type == "Reshape" else second)
        if dims is None:
            return second
        if kinds == ("Reshape", "Flatten"):
            axis = second.attributes.get("axis", 1)
            is_same = axis >= 0 and not any(dims[:axis]) and len(dims) >= axis
            return replace(second, reads=first.reads[:1]) if is_same else second
        if second.op_type != "Reshape":
            return second
        target: list[int] | None = None
        if kinds == ("Reshape", "Reshape"):
            target = _target_of_both(dims, self._dims(second))
        elif kinds == ("Flatten", "Reshape"):
            is_same = first.attributes.get("axis", 1) == 1 and 0 not in dims[1:]
            target = dims if is_same else None
        elif kinds == ("Transpose", "Reshape"):
            target = self._target_after(first, dims)
        if target is None:
            return second
        name = second.reads[1] if target == dims else self._constant(second.reads[1], target)
        return replace(second, reads=(first.reads[0], name))

    def _target_after(self, transpose: Node, dims: Sequence[int]) -> list[int] | None:
        """Return the dims of a Reshape that replaces a Transpose and a Reshape; None if the Transpose
        changes the order of values."""
        order, before = transpose.attributes["perm"], self._lengths.get(transpose.reads[0])
        if before is None or not _moves_only_ones(order, before):
            return None
        target = list(dims)
        for i, dim in enumerate(dims):
            if dim == 0 and order[i] != i:
                length = before[order[i]]
                if length is None:
                    return None
                target[i] = length
        return target

    def _constant(self, name: str, values: Sequence[int]) -> str:
        name = free_name(f"{name}.merged", self._used_names)
        self.tensors[name] = Tensor((len(values),), "int64", np.array(values, np.int64))
        return name

    def _dims(self, reshape: Node) -> list[int] | None:
        """Return the constant target of a Reshape: 0 copies the length of an axis, -1 is the rest."""
        if reshape.op_type != "Reshape":
            return None
        tensor = self.tensors.get(reshape.reads[1])
        dims: list[int] | None = None if tensor is None else tensor.array().tolist()
        return dims if not reshape.attributes.get("allowzero") else None

    def _lengths_after(self, node: Node) -> Lengths | None:
        """Return the lengths of the axes of the result, as far as they are known."""
        before, after = self._lengths.get(node.reads[0]), self._lengths.get(node.writes[0])
        if after is not None or before is None:
            return after
        if node.op_type == "Transpose":
            return tuple(before[axis] for axis in node.attributes["perm"])
        dims = self._dims(node)
        if dims is None:
            return None
        copied = [before[i] if dim == 0 else dim for i, dim in enumerate(dims)]
        return tuple(None if n == -1 else n for n in copied)

    def _has_effect(self, node: Node, after: Lengths | None) -> bool:
        before = self._lengths.get(node.reads[0])
        if node.op_type == "Transpose":
            order = list(node.attributes["perm"])
            return order != sorted(order)
        if before is None:
            return True
        if node.op_type == "Slice":
            return self._cuts(node, before)
        dims = self._dims(node)
        if dims is None or len(dims) != len(before):
            return True
        others = [i for i, dim in enumerate(dims) if dim not in (0, before[i])]
        # -1 is the length of the axis, if the lengths of all other axes stay.
        return bool(others) and (len(others) > 1 or dims[others[0]] != -1 or 0 in before)

    def _cuts(self, node: Node, before: Lengths) -> bool:
        """Whether a Slice leaves out or turns any values."""
        parts = [self.tensors.get(read) for read in node.reads[1:]]
        values = [part.array().tolist() for part in parts if part is not None]
        if len(values) != len(node.reads) - 1 or len(values) < 3:
            return True
        starts, ends, axes, *steps = values
        for start, end, axis in zip(starts, ends, axes, strict=True):
            length = before[axis]
            if start or length is None or end < length:
                return True
        return any(step != 1 for step in steps[0]) if steps else False


def _moves_only_ones(order: Sequence[int], lengths: Lengths) -> bool:
    """Whether a Transpose leaves the order of the axes that are longer than 1, and thus of the values."""
    longer = [axis for axis in order if lengths[axis] != 1]
    return longer == sorted(longer)


def _target_of_both(first: Sequence[int], second: Sequence[int] | None) -> list[int] | None:
    """Return the dims of a Reshape that replaces two; None if there is none."""
    # A 0 copies the length of an axis of the first Reshape's output. It can stay if that is a copy
    # itself. Otherwise the length that it copies replaces it.
    if second is None or any(
        dim == 0 and (i >= len(first) or first[i] < 0) for i, dim in enumerate(second)
    ):
        return None
    return [first[i] if dim == 0 else dim for i, dim in enumerate(second)]
