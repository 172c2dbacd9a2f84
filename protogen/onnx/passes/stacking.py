"""Operators that join values along an axis and take them apart, in each operator set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, helper

from protogen.layers.graph import free_name
from protogen.onnx.passes.inlining import all_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Constants = dict[str, NDArray[Any]]

WITH_INPUTS = 13  # from this operator set on, axes and lengths are inputs


class Stacking:
    """Makes operators for a graph.

    Attributes:
        constants: the graph's constants; the operators add theirs.
        used: names of values that are taken, those of inner graphs too.
    """

    def __init__(self, opset: int, constants: Constants, nodes: Iterable[NodeProto]) -> None:
        self.opset, self.constants = opset, constants
        self.used = {*all_names(nodes), *constants}

    def new(self, name: str) -> str:
        """Return an unused name."""
        return free_name(name, self.used)

    def joined(self, parts: Sequence[str], out: str, axis: int, name: str = "") -> NodeProto:
        """Return the operator that joins values along an axis that they have."""
        return helper.make_node("Concat", list(parts), [out], name, axis=axis)

    def stacked(self, parts: Sequence[str], out: str, axis: int, name: str = "") -> list[NodeProto]:
        """Return the operators that join values along a new axis."""
        rows = [self.new(f"{out}_row{i}") for i in range(len(parts))]
        nodes = [
            self._with_integers("Unsqueeze", part, [row], "axes", [axis])
            for part, row in zip(parts, rows, strict=True)
        ]
        return [*nodes, self.joined(rows, out, axis, name)]

    def parted(
        self, x: str, parts: Sequence[str], lengths: Sequence[int], axis: int, keep: bool = True
    ) -> list[NodeProto]:
        """Return the operators that take a value apart along an axis. Without ``keep`` each part has
        length 1, and the axis is removed."""
        rows = list(parts) if keep else [self.new(f"{part}_row") for part in parts]
        nodes = [self._with_integers("Split", x, rows, "split", lengths, axis=axis)]
        if not keep:
            nodes += [
                self._with_integers("Squeeze", row, [part], "axes", [axis])
                for row, part in zip(rows, parts, strict=True)
            ]
        return nodes

    def _with_integers(
        self,
        type_: str,
        x: str,
        outputs: Sequence[str],
        key: str,
        integers: Sequence[int],
        **attributes: Any,
    ) -> NodeProto:
        """Return an operator whose integers are an attribute, or an input in new operator sets."""
        import numpy as np

        if self.opset < WITH_INPUTS:
            attributes[key] = list(integers)
            return helper.make_node(type_, [x], list(outputs), **attributes)
        name = self.new(f"{outputs[0]}_{key}")
        self.constants[name] = np.array(integers, np.int64)
        return helper.make_node(type_, [x, name], list(outputs), **attributes)
