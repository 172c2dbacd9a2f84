"""Replaces LRN and PRelu by operators that onnxruntime computes several times as fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from protogen.onnx.program import Node, Program, Tensor, free_name, tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.program import Lengths

# Channels: the convolution takes time in proportion to their number, LRN does not.
MOST_CHANNELS = 512


def expand(program: Program, lengths: Mapping[str, Lengths]) -> Program:
    """Replace each LRN whose number of channels is known, and each PRelu with constant slopes.

    The numbers of LRN stay the same up to rounding, those of PRelu exactly.
    """
    if not any(node.op_type in ("LRN", "PRelu") for node in program.nodes):
        return program
    expansion = _Expansion(program)
    for node in program.nodes:
        channels = _channels(node, lengths)
        if channels:
            expansion.response(node, channels, len(lengths[node.reads[0]]))
        elif node.op_type == "PRelu" and node.reads[1] in program.tensors:
            expansion.rectifier(node, program.tensors[node.reads[1]].array())
        else:
            expansion.nodes.append(node)
    return program.with_nodes(expansion.nodes, expansion.tensors)


def _channels(node: Node, lengths: Mapping[str, Lengths]) -> int:
    """Return the number of channels of an LRN that is replaced; 0 for any other operator."""
    if node.op_type != "LRN":
        return 0
    channels = lengths.get(node.reads[0], (None, None))[1]
    return channels if channels is not None and channels <= MOST_CHANNELS else 0


class _Expansion:
    """The operators and constants that replace those of a program."""

    def __init__(self, program: Program) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = dict(program.tensors)
        self._used_names = set(self.tensors)
        self._used_names.update(write for node in program.nodes for write in node.writes)

    def response(self, node: Node, channels: int, rank: int) -> None:
        """Add the operators of an LRN: y = x (bias + alpha / size * sum of squares) ** -beta.

        The sum over neighbouring channels is a convolution with a constant band matrix. A power of -0.75,
        which almost all nets have, is two square roots.
        """
        x, options = node.reads[0], node.attributes
        place = np.arange(channels)
        near = np.abs(place[:, None] - place) <= options["size"] // 2
        band = (near * np.float32(options["alpha"] / options["size"])).astype(np.float32)
        weight = self._constant(node, "band", band.reshape(channels, channels, *[1] * (rank - 2)))
        bias = self._constant(node, "bias", np.full(channels, options["bias"], np.float32))
        square = self._value(node, "Mul", x, x)
        base = self._value(node, "Conv", square, weight, bias, kernel_shape=(1,) * (rank - 2))
        if options["beta"] == 0.75:
            root = self._value(node, "Sqrt", base)
            power = self._value(node, "Mul", root, self._value(node, "Sqrt", root))
            self._last(node, "Div", x, power)
        else:
            exponent = self._constant(node, "exponent", np.array(-options["beta"], np.float32))
            self._last(node, "Mul", x, self._value(node, "Pow", base, exponent))

    def rectifier(self, node: Node, slopes: NDArray[np.float32]) -> None:
        """Add the operators of a PRelu: the larger of x and slope x, if all slopes are from 0 to 1; else
        max(x, 0) + slope min(x, 0)."""
        x, slope = node.reads
        if ((slopes > 0) & (slopes <= 1)).all():
            self._last(node, "Max", x, self._value(node, "Mul", x, slope))
            return
        zero = self._constant(node, "zero", np.array(0, np.float32))
        below = self._value(node, "Mul", self._value(node, "Min", x, zero), slope)
        self._last(node, "Add", self._value(node, "Max", x, zero), below)

    def _constant(self, node: Node, name: str, array: NDArray[np.float32]) -> str:
        name = free_name(f"{node.layer}.{name}", self._used_names)
        self.tensors[name] = tensor(array)
        return name

    def _value(self, node: Node, op_type: str, *reads: str, **attributes: Any) -> str:
        write = free_name(f"{node.layer}/{op_type}", self._used_names)
        self.nodes.append(Node(op_type, reads, (write,), attributes, node.layer))
        return write

    def _last(self, node: Node, op_type: str, *reads: str) -> None:
        self.nodes.append(Node(op_type, reads, node.writes, {}, node.layer))
