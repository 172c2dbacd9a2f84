"""Removes operators that compute what another operator computes already."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from protogen.onnx.program import Node, Program, Tensor

SMALL = 1024  # bytes: larger constants are the same only if they have the same name

Key = tuple[Hashable, ...]


def merge_duplicates(program: Program) -> Program:
    """Let the readers of an operator read the same operator before it, if there is one.

    An operator that writes an output stays.
    """
    fixed, tensors = program.interface, program.tensors
    same: dict[str, str] = {}
    alone: dict[Key, Node | None] = {}  # by operator and inputs; None: there are several
    exact: dict[Key, Node] = {}
    nodes = []
    for node in program.nodes:
        if any(read in same for read in node.reads):
            node = replace(node, reads=tuple(same.get(read, read) for read in node.reads))
        inputs = (node.op_type, *(read for read in node.reads if read not in tensors))
        if inputs not in alone:  # constants are compared only for operators on the same values
            alone[inputs] = node
            nodes.append(node)
            continue
        for one in filter(None, (alone[inputs], node)):
            twin = exact.setdefault(_key(one, tensors), one)
        alone[inputs] = None
        if twin is not node and fixed.isdisjoint(node.writes):
            same.update(zip(node.writes, twin.writes, strict=True))
        else:
            nodes.append(node)
    return program.with_nodes(nodes, tensors)


def _key(node: Node, tensors: Mapping[str, Tensor]) -> Key:
    """Return what decides the result of an operator."""
    reads = [_value(name, tensors.get(name)) for name in node.reads]
    attributes = sorted((name, _hashable(value)) for name, value in node.attributes.items())
    return (node.op_type, len(node.writes), *reads, *attributes)


def _value(name: str, tensor: Tensor | None) -> Hashable:
    if tensor is None or tensor.size > SMALL:
        return name
    return tensor.dtype, tensor.shape, tensor.array().tobytes()


def _hashable(value: object) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    # An inner graph equals only itself.
    return value if isinstance(value, (int, float, str, bytes)) else id(value)
