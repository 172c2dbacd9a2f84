"""Replaces sequences of values by the values, where their order is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto, helper

from protogen.onnx.passes.constant_folding import attributes_of
from protogen.onnx.passes.sorting import reads
from protogen.onnx.passes.stacking import Stacking

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from protogen.geometry import Shape

    Constants = dict[str, NDArray[Any]]

MOST_PARTS = 4096  # of a value that is split into a sequence


def take_elements(
    nodes: Iterable[NodeProto],
    constants: Constants,
    shapes: Mapping[str, Shape],
    outputs: Iterable[str],
    opset: int,
) -> tuple[list[NodeProto], int]:
    """Return the nodes without the sequences whose elements are known, and the number of operators that
    this replaces.

    An element is an Identity, a joined sequence a Concat, a split value a Split, and a length a constant.
    A sequence stays where an operator still reads it as one, or it is an output of the model.

    Args:
        constants: constants by name; new ones are added.
        outputs: the outputs of the graph.
    """
    nodes = list(nodes)
    known = _Sequences(Stacking(opset, constants, nodes), shapes)
    result: list[tuple[NodeProto, bool]] = []  # and whether the node only makes a sequence
    replaced = 0
    for node in nodes:
        new = known.replacement(node) if node.domain in ("", "ai.onnx") else None
        if new is None:
            result.append((node, node.output[0] in known.elements))
        else:
            replaced += 1
            result += [(one, False) for one in new]
    needed = set(outputs)
    others: list[NodeProto] = []
    for node, makes_sequence in reversed(result):
        if makes_sequence and not needed.intersection(node.output):
            replaced += 1
            continue
        needed |= reads(node)
        others.append(node)
    return others[::-1], replaced


class _Sequences:
    """The elements of each sequence that is known."""

    def __init__(self, stacking: Stacking, shapes: Mapping[str, Shape]) -> None:
        self.elements: dict[str, list[str]] = {}
        self._stacking, self._shapes = stacking, shapes

    def replacement(self, node: NodeProto) -> list[NodeProto] | None:
        """Return what replaces an operator; None if it stays. An operator that makes a sequence stays, and
        its elements are stored."""
        read = node.input[0] if node.input else ""
        elements = self.elements.get(read)
        if node.op_type == "SequenceConstruct":
            self.elements[node.output[0]] = list(node.input)
        elif node.op_type == "SequenceEmpty":
            self.elements[node.output[0]] = []
        elif node.op_type == "SplitToSequence":
            return self._split(node)
        elif elements is None:
            return None
        elif node.op_type == "Identity":
            self.elements[node.output[0]] = elements
        elif node.op_type in ("SequenceInsert", "SequenceErase"):
            self._change(node, elements)
        elif node.op_type == "SequenceAt":
            place = self._place(node.input[1], len(elements) - 1, len(elements))
            if place is not None:
                return [helper.make_node("Identity", [elements[place]], node.output, node.name)]
        elif node.op_type == "SequenceLength":
            length = len(elements)
            return [helper.make_node("Constant", [], node.output, node.name, value_int=length)]
        elif node.op_type == "ConcatFromSequence" and elements:
            attributes = attributes_of(node)
            axis, out = attributes.get("axis", 0), node.output[0]
            if attributes.get("new_axis", 0):
                return self._stacking.stacked(elements, out, axis, node.name)
            return [self._stacking.joined(elements, out, axis, node.name)]
        return None

    def _change(self, node: NodeProto, elements: Sequence[str]) -> None:
        """Store the sequence of a SequenceInsert or SequenceErase."""
        inserts = node.op_type == "SequenceInsert"
        name = [*node.input, "", ""][2 if inserts else 1]
        last = len(elements) if inserts else len(elements) - 1
        place = self._place(name, last, len(elements)) if name else last
        if place is None or last < 0:
            return
        changed = list(elements)
        if inserts:
            changed.insert(place, node.input[1])
        else:
            del changed[place]
        self.elements[node.output[0]] = changed

    def _place(self, name: str, last: int, count: int) -> int | None:
        """Return a constant position, counted from the beginning; None if it is computed or beyond."""
        constant = self._stacking.constants.get(name)
        if constant is None or constant.size != 1 or constant.dtype.kind not in "iu":
            return None
        place = int(constant.reshape(-1)[0])
        place += count if place < 0 else 0
        return place if 0 <= place <= last else None

    def _split(self, node: NodeProto) -> list[NodeProto] | None:
        """Return the Split of a SplitToSequence, and store its outputs as the sequence."""
        attributes = attributes_of(node)
        shape = self._shapes.get(node.input[0])
        if shape is None or not -len(shape) <= attributes.get("axis", 0) < len(shape):
            return None
        axis = attributes.get("axis", 0) % len(shape)
        name = [*node.input, ""][1]
        split = self._stacking.constants.get(name) if name else None
        if name and (split is None or split.ndim > 1 or split.dtype.kind not in "iu"):
            return None
        keep = bool(name or attributes.get("keepdims", 1))
        if split is not None and split.ndim:
            lengths = [int(n) for n in split]
        else:
            length = int(split) if split is not None else 1
            if length < 1 or shape[axis] > MOST_PARTS * length:
                return None
            lengths = [min(length, shape[axis] - at) for at in range(0, shape[axis], length)]
        out = node.output[0]
        if not lengths or sum(lengths) != shape[axis] or min(lengths) < 0:
            return None
        parts = [self._stacking.new(f"{out}_{i}") for i in range(len(lengths))]
        nodes = self._stacking.parted(node.input[0], parts, lengths, axis, keep)
        return [*nodes, helper.make_node("SequenceConstruct", parts, [out], node.name)]
