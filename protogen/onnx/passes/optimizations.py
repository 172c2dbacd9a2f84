"""Programs with fewer operators and the same numbers.

``tidy`` removes operators that only name a value. ``fold`` removes what does nothing (Dropout, copies,
pairs of Reshape or Transpose) and merges a product or sum by channel into the weights before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from protogen.onnx.program import Node, Program, Tensor, free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tidy(program: Program) -> Program:
    """Without Identity operators that give a layer's own inner value its blob's name."""
    readers = program.readers()
    maker = {write: node for node in program.nodes for write in node.writes}
    renamed: dict[str, str] = {}
    nodes = []
    for node in program.nodes:
        if node.op_type == "Identity":
            read, write = node.reads[0], node.writes[0]
            inner = read in maker and maker[read].layer == node.layer and readers[read] == 1
            if inner and read not in program.kept and read not in renamed:
                renamed[read] = write
                continue
        nodes.append(node)
    return program.with_nodes((_renamed(node, renamed) for node in nodes), program.tensors)


def fold(program: Program) -> Program:
    """Fewer operators, the same numbers to rounding."""
    return _fold_affine(_merge_moves(_without_identities(program)))


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    if not any(name in names for name in (*node.reads, *node.writes)):
        return node
    return replace(
        node,
        reads=tuple(names.get(name, name) for name in node.reads),
        writes=tuple(names.get(name, name) for name in node.writes),
    )


def _without_identities(program: Program) -> Program:
    kept = program.kept
    made = {write for node in program.nodes for write in node.writes}
    same: dict[str, str] = {}  # a copy's name to the name that readers use instead
    renamed: dict[str, str] = {}  # a value that takes over the name of its copy
    readers = program.readers()
    tensors = dict(program.tensors)
    nodes = []
    for original in program.nodes:
        node = _renamed(original, same)
        if node.op_type != "Identity" and not (node.op_type == "Concat" and len(node.reads) == 1):
            nodes.append(node)
            continue
        read, write = node.reads[0], node.writes[0]
        # A blob's last value has the blob's name; what layers in place read is NAME@LAYER.
        take_over = write in kept or read.startswith(f"{write}@")
        if take_over and read in made and read not in kept and read not in renamed:
            renamed[read] = write
            same[write] = read
        elif read in tensors and readers[read] == 1 and write not in kept:
            tensors[write] = tensors.pop(read)  # a constant under the name of its blob
        elif write not in kept:
            same[write] = read
        else:
            nodes.append(node)
    return program.with_nodes((_renamed(node, renamed) for node in nodes), tensors)


def _merge_moves(program: Program) -> Program:
    """Reshape of a Reshape, Transpose of a Transpose: the second alone."""
    readers, kept = program.readers(), program.kept
    maker: dict[str, Node] = {}
    merged = []
    tensors = dict(program.tensors)
    for node in program.nodes:
        before = maker.get(node.reads[0]) if node.reads else None
        if (
            before is not None
            and before.op_type == node.op_type
            and readers[node.reads[0]] == 1
            and node.reads[0] not in kept
        ):
            node = _merged(tensors, before, node)
        maker.update(dict.fromkeys(node.writes, node))
        merged.append(node)
    # What only a merged operator read is now read by nobody.
    read = kept | {name for node in merged for name in node.reads}
    alive = [node for node in merged if any(write in read for write in node.writes)]
    return program.with_nodes(alive, tensors)


def _merged(tensors: dict[str, Tensor], first: Node, second: Node) -> Node:
    if first.op_type == "Transpose":
        order = [first.attributes["perm"][axis] for axis in second.attributes["perm"]]
        return replace(second, reads=first.reads, attributes={"perm": order})
    if first.op_type == "Reshape":
        shapes = [tensors.get(node.reads[1]) for node in (first, second)]
        if shapes[0] is not None and shapes[1] is not None:
            a, b = (shape.array().tolist() for shape in shapes if shape is not None)
            # A 0 copies an axis of the first's result: good where that was a copy itself, and
            # else as the number that it copies.
            if all(dim != 0 or (i < len(a) and a[i] >= 0) for i, dim in enumerate(b)):
                given = [a[i] if dim == 0 else dim for i, dim in enumerate(b)]
                name = second.reads[1]
                if given != b:
                    name = free_name(f"{second.reads[1]}.merged", set(tensors))
                    tensors[name] = Tensor((len(b),), "int64", np.array(given, np.int64))
                return replace(second, reads=(first.reads[0], name))
    return second


# Products and sums by channel


@dataclass(slots=True)
class _Affine:
    """What follows an operator with weights: times scale, plus shift, by channel (float64)."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")


def _fold_affine(program: Program) -> Program:
    readers, kept = program.readers(), program.kept
    nodes: list[Node] = []
    at: dict[str, int] = {}  # where in nodes a value is made
    pending: dict[int, _Affine] = {}
    for node in program.nodes:
        index = at.get(node.reads[0]) if node.reads else None
        if index is not None and readers[node.reads[0]] == 1 and node.reads[0] not in kept:
            before = nodes[index]
            channels = _channels(program, before)
            found = channels and _affine(program, node, channels, _rank(program, before))
            if found:
                have = pending.get(index)
                if have is not None:
                    found = _Affine(
                        have.scale * found.scale, have.shift * found.scale + found.shift
                    )
                pending[index] = found
                nodes[index] = replace(before, writes=(node.writes[0], *before.writes[1:]))
                at[node.writes[0]] = index
                continue
        at.update(dict.fromkeys(node.writes, len(nodes)))
        nodes.append(node)
    tensors = dict(program.tensors)
    taken = set(tensors) | {name for node in nodes for name in (*node.reads, *node.writes)}
    for index, affine in pending.items():
        nodes[index] = _weighted(nodes[index], affine, tensors, readers, taken)
    return program.with_nodes(nodes, tensors)


def _channels(program: Program, node: Node) -> int:
    """Output channels of an operator with constant weights; 0 for all others."""
    if node.op_type not in _WEIGHTED or any(r not in program.tensors for r in node.reads[1:]):
        return 0
    shape = program.tensors[node.reads[1]].shape
    if node.op_type == "ConvTranspose":
        return int(shape[1] * node.attributes["group"])
    if node.op_type == "Gemm" and not node.attributes["transB"]:
        return shape[1]
    return shape[0]


def _rank(program: Program, node: Node) -> int:
    if node.op_type == "Gemm":
        return 2
    if node.op_type == "BatchNormalization":
        # What it writes is a value inside the group once a product was merged into it.
        return len(program.shapes.get(node.reads[0]) or program.shapes.get(node.writes[0], ()))
    return len(node.attributes["kernel_shape"]) + 2


def _affine(program: Program, node: Node, channels: int, rank: int) -> _Affine | None:
    """The node as a scale and a shift by channel; None where it is no such thing."""
    operands = [program.tensors.get(name) for name in node.reads[1:]]
    if node.op_type == "BatchNormalization":
        arrays = [operand.array().astype(np.float64) for operand in operands if operand]
        if len(arrays) < 4:
            return None
        gamma, beta, mean, variance = arrays
        scale = gamma / np.sqrt(variance + node.attributes["epsilon"])
        return _Affine(scale, beta - mean * scale)
    if node.op_type not in ("Mul", "Add") or operands[0] is None or not rank:
        return None
    shape = operands[0].shape
    full = (1,) * (rank - len(shape)) + shape
    if len(full) != rank or any(n != 1 for i, n in enumerate(full) if i != 1):
        return None
    values = np.broadcast_to(operands[0].array().reshape(-1).astype(np.float64), (channels,))
    if node.op_type == "Mul":
        return _Affine(values, np.zeros(channels))
    return _Affine(np.ones(channels), values)


def _weighted(
    node: Node,
    affine: _Affine,
    tensors: dict[str, Tensor],
    readers: Mapping[str, int],
    taken: set[str],
) -> Node:
    """The operator with the scale and the shift in its weights, which are made when written."""

    def changed(name: str, shape: tuple[int, ...], source: Any) -> str:
        name = name if name not in tensors or readers[name] == 1 else free_name(name, taken)
        tensors[name] = Tensor(shape, "float32", source)
        return name

    _, weight, *bias = node.reads
    kernel = tensors[weight]
    if node.op_type == "BatchNormalization":
        gamma, beta = tensors[weight].array(), tensors[bias[0]].array()
        scale = (gamma * affine.scale).astype(np.float32)
        shift = (beta * affine.scale + affine.shift).astype(np.float32)
        names = [changed(weight, scale.shape, scale), changed(bias[0], shift.shape, shift)]
        return replace(node, reads=(node.reads[0], *names, *bias[1:]))
    base = tensors[bias[0]].array().reshape(-1) if bias else np.zeros(len(affine.scale))
    shift = (base * affine.scale + affine.shift).astype(np.float32)
    bias_name = bias[0] if bias else free_name(f"{node.layer}.bias", taken)
    group = node.attributes.get("group", 1)
    by_columns = node.op_type == "Gemm" and not node.attributes["transB"]

    def scaled() -> NDArray[np.float32]:
        array = kernel.array()
        if node.op_type == "ConvTranspose":  # (C, num_output / group, ...): channels by group
            parts = array.reshape(group, array.shape[0] // group, array.shape[1], -1)
            made = parts * affine.scale.reshape(group, 1, -1, 1)
        elif by_columns:
            made = array * affine.scale
        else:
            made = array.reshape(array.shape[0], -1) * affine.scale[:, None]
        return made.reshape(array.shape).astype(np.float32)

    names = [changed(weight, kernel.shape, scaled), changed(bias_name, shift.shape, shift)]
    return replace(node, reads=(node.reads[0], *names))
