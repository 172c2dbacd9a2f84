"""Optimization passes: fewer operators, same numbers.

``tidy`` removes Identity operators that only name a value. ``fold`` removes operators without effect
(Dropout, copies, pairs of Reshape or Transpose), operators on constants and copies of operators, and
merges nested operators, and a product or sum by channel with the weights of the operator before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from protogen.onnx.passes.constants import computed
from protogen.onnx.passes.duplicates import merge_duplicates
from protogen.onnx.passes.moves import merge_moves
from protogen.onnx.passes.nested import merge_concats, merge_reductions
from protogen.onnx.program import Node, Program, Tensor, free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.program import Lengths


def tidy(program: Program) -> Program:
    """Remove Identity operators that only rename an inner value of a layer to the layer's blob."""
    readers, fixed = program.readers(), program.interface
    producer = {write: node for node in program.nodes for write in node.writes}
    renamed: dict[str, str] = {}
    nodes = []
    for node in program.nodes:
        if node.op_type == "Identity":
            read, write = node.reads[0], node.writes[0]
            inner = read in producer and producer[read].layer == node.layer and readers[read] == 1
            if inner and read not in fixed and read not in renamed:
                renamed[read] = write
                continue
        nodes.append(node)
    return program.with_nodes((_renamed(node, renamed) for node in nodes), program.tensors)


def fold(program: Program, lengths: Mapping[str, Lengths]) -> tuple[Program, dict[str, Tensor]]:
    """Apply all optimizations. The numbers stay the same up to rounding.

    Args:
        program: the program.
        lengths: the lengths of the axes of values; values without an entry have unknown lengths.

    Returns:
        The program, and the values that do not depend on inputs, also those that no operator reads
        any more.
    """
    program, constants = computed(_without_identities(program))
    program = _without_identities(merge_moves(program, lengths))
    program = merge_reductions(merge_concats(program, lengths))
    # Two equal BatchNorms before different Scales are not duplicates once these are merged into them.
    return merge_duplicates(_fold_affine(program)), constants


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    if not any(name in names for name in (*node.reads, *node.writes)):
        return node
    return replace(
        node,
        reads=tuple(names.get(name, name) for name in node.reads),
        writes=tuple(names.get(name, name) for name in node.writes),
    )


def _without_identities(program: Program) -> Program:
    fixed = program.interface
    computed = {write for node in program.nodes for write in node.writes}
    originals: dict[str, str] = {}  # name of a copy: name that its readers use instead
    renamed: dict[str, str] = {}  # name of a value: name of its copy, which the value takes over
    readers = program.readers()
    tensors = dict(program.tensors)
    nodes = []
    for source_node in program.nodes:
        node = _renamed(source_node, originals)
        if node.op_type != "Identity" and not (node.op_type == "Concat" and len(node.reads) == 1):
            nodes.append(node)
            continue
        read, write = node.reads[0], node.writes[0]
        # The last value of a blob has the blob's name. Earlier values, which in-place layers read,
        # are named NAME@LAYER.
        takes_name = write in fixed or read.startswith(f"{write}@")
        if takes_name and read in computed and read not in fixed and read not in renamed:
            renamed[read] = write
            originals[write] = read
        elif read in tensors and readers[read] == 1 and write not in fixed:
            tensors[write] = tensors.pop(read)  # the constant gets the name of its blob
        elif write not in fixed:
            originals[write] = read
        else:
            nodes.append(node)
    return program.with_nodes((_renamed(node, renamed) for node in nodes), tensors)


# products and sums by channel


@dataclass(slots=True)
class _Affine:
    """A product and a sum by channel: y = x * scale + shift, in float64."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")


def _fold_affine(program: Program) -> Program:
    """Merge Mul, Add and BatchNormalization by channel into the weights of the operator before."""
    readers, fixed = program.readers(), program.interface
    nodes: list[Node] = []
    producers: dict[str, int] = {}  # name of a value: index in nodes of its operator
    pending: dict[int, _Affine] = {}
    for node in program.nodes:
        index = producers.get(node.reads[0]) if node.reads else None
        if index is not None and readers[node.reads[0]] == 1 and node.reads[0] not in fixed:
            before = nodes[index]
            channels = _channels(program, before)
            step = channels and _affine(program, node, channels, _rank(program, before))
            if step:
                first = pending.get(index)
                if first is not None:
                    step = _Affine(first.scale * step.scale, first.shift * step.scale + step.shift)
                pending[index] = step
                nodes[index] = replace(before, writes=(node.writes[0], *before.writes[1:]))
                producers[node.writes[0]] = index
                continue
        producers.update(dict.fromkeys(node.writes, len(nodes)))
        nodes.append(node)
    tensors = dict(program.tensors)
    used_names = set(tensors) | {name for node in nodes for name in (*node.reads, *node.writes)}
    for index, affine in pending.items():
        nodes[index] = _weighted(nodes[index], affine, tensors, readers, used_names)
    return program.with_nodes(nodes, tensors)


def _channels(program: Program, node: Node) -> int:
    """Return the number of output channels of an operator with constant weights; 0 for any other."""
    if node.op_type not in _WEIGHTED or any(r not in program.tensors for r in node.reads[1:]):
        return 0
    shape = program.tensors[node.reads[1]].shape
    if node.op_type == "ConvTranspose":
        return int(shape[1] * node.attributes["group"])
    if node.op_type == "Gemm" and not node.attributes["transB"]:
        return shape[1]
    return shape[0]


def _rank(program: Program, node: Node) -> int:
    """Return the number of axes of an operator's output."""
    if node.op_type == "Gemm":
        return 2
    if node.op_type == "BatchNormalization":
        # After a product was merged into it, its output is an inner value without a recorded shape.
        return len(program.shapes.get(node.reads[0]) or program.shapes.get(node.writes[0], ()))
    return len(node.attributes["kernel_shape"]) + 2


def _affine(program: Program, node: Node, channels: int, rank: int) -> _Affine | None:
    """Return the operator as a scale and a shift by channel; None if it is neither."""
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
    used_names: set[str],
) -> Node:
    """Return the operator with scale and shift in its weights, which are computed when written."""

    def replaced(name: str, shape: tuple[int, ...], source: Any) -> str:
        """Set the constant; under a new name if other operators read it too."""
        name = name if name not in tensors or readers[name] == 1 else free_name(name, used_names)
        tensors[name] = Tensor(shape, "float32", source)
        return name

    _, weight, *bias = node.reads
    kernel = tensors[weight]
    if node.op_type == "BatchNormalization":
        gamma, beta = tensors[weight].array(), tensors[bias[0]].array()
        scale = (gamma * affine.scale).astype(np.float32)
        shift = (beta * affine.scale + affine.shift).astype(np.float32)
        names = [replaced(weight, scale.shape, scale), replaced(bias[0], shift.shape, shift)]
        return replace(node, reads=(node.reads[0], *names, *bias[1:]))
    base = tensors[bias[0]].array().reshape(-1) if bias else np.zeros(len(affine.scale))
    shift = (base * affine.scale + affine.shift).astype(np.float32)
    bias_name = bias[0] if bias else free_name(f"{node.layer}.bias", used_names)
    group = node.attributes.get("group", 1)
    by_columns = node.op_type == "Gemm" and not node.attributes["transB"]

    def scaled_kernel() -> NDArray[np.float32]:
        array = kernel.array()
        if node.op_type == "ConvTranspose":  # kernel (C, num_output / group, ...)
            parts = array.reshape(group, array.shape[0] // group, array.shape[1], -1)
            scaled = parts * affine.scale.reshape(group, 1, -1, 1)
        elif by_columns:
            scaled = array * affine.scale
        else:
            scaled = array.reshape(array.shape[0], -1) * affine.scale[:, None]
        return scaled.reshape(array.shape).astype(np.float32)

    names = [replaced(weight, kernel.shape, scaled_kernel), replaced(bias_name, shift.shape, shift)]
    return replace(node, reads=(node.reads[0], *names))
