"""Engine that replaces groups of operators by equivalent single operators.

A pattern gets the last operator of a group and returns the operators that replace it. Operators
whose outputs are then unused are removed. The patterns are in ``patterns``, ``expanded`` and ``fusion``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from protogen.onnx.importer.source import OnnxGraph, Operator

Pattern = Callable[["View", Operator], list[Operator] | None]
PATTERNS: list[Pattern] = []


class View:
    """Producer and readers of each value of a model."""

    def __init__(self, source: OnnxGraph, operators: Sequence[Operator]) -> None:
        self.source = source
        self.producers = {name: op for op in operators for name in op.outputs if name}
        self.readers: dict[str, list[Operator]] = {name: [] for name in source.outputs}
        for operator in operators:
            for name in operator.inputs:
                if name:
                    self.readers.setdefault(name, []).append(operator)

    def producer(self, name: str, *types: str) -> Operator | None:
        """Return the operator that produces a value if it has one of these types, else None."""
        operator = self.producers.get(name)
        if operator is None or operator.type not in types or operator.domain:
            return None
        return operator

    def number(self, name: str) -> float | None:
        """Return the number in a constant of one element, else None."""
        array = self.source.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def with_number(self, operator: Operator | None) -> tuple[str, float] | None:
        """Return (value, number) if one of an operator's two inputs is a constant number."""
        if operator is None or len(operator.inputs) != 2:
            return None
        for name, other in (operator.inputs, operator.inputs[::-1]):
            number = self.number(other)
            if number is not None:
                return name, number
        return None

    def slice_of(self, operator: Operator) -> dict[int, tuple[int, int, int]] | None:
        """Return (begin, end, step) by axis of a Slice, None if it is not constant."""
        names = ("starts", "ends", "axes", "steps")
        arguments: dict[str, Any] = {key: operator.attributes.get(key) for key in names}
        for key, name in zip(names, operator.inputs[1:], strict=False):
            if name:
                constant = self.source.constants.get(name)
                if constant is None:
                    return None
                arguments[key] = constant.reshape(-1).tolist()
        starts, ends = arguments["starts"], arguments["ends"]
        shape = self.source.shapes.get(operator.inputs[0])
        if shape is None or starts is None or ends is None:
            return None
        axes = arguments["axes"] or range(len(starts))
        steps = arguments["steps"] or [1] * len(starts)
        rank = len(shape)
        if 0 in steps or not all(-rank <= axis < rank for axis in axes):
            return None  # the import of the operator raises the error
        axes = [axis % rank for axis in axes]
        return {
            axis: slice(begin, end, step).indices(shape[axis])
            for axis, begin, end, step in zip(axes, starts, ends, steps, strict=True)
        }

    def read_once(self, name: str) -> bool:
        """Return whether exactly one operator reads the value and the value is not an output."""
        return len(self.readers.get(name, ())) == 1 and name not in self.source.outputs


def apply_patterns(source: OnnxGraph, patterns: Sequence[Pattern]) -> tuple[Operator, ...]:
    """Return the model's operators after applying the patterns until none of them matches."""
    operators = list(source.operators)
    changed = True
    while changed:
        view = View(source, operators)
        changed = False
        rewritten: list[Operator] = []
        for operator in operators:
            replacements = None
            for match in () if operator.domain else patterns:
                replacements = match(view, operator)
                if replacements is not None:
                    break
            if replacements is None:
                rewritten.append(operator)
                continue
            changed = True
            for new in replacements:
                view.producers.update(dict.fromkeys(filter(None, new.outputs), new))
            rewritten += replacements
        operators = _reachable(rewritten, source.outputs)
    return tuple(operators)


def _reachable(operators: Sequence[Operator], outputs: Sequence[str]) -> list[Operator]:
    """Return the operators on which these outputs depend, in the same order."""
    needed, reachable = set(outputs), []
    for operator in reversed(operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            reachable.append(operator)
    return reachable[::-1]


def pattern(function: Pattern) -> Pattern:
    """Register a pattern."""
    PATTERNS.append(function)
    return function


def replacement(
    last: Operator, type_: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None
) -> Operator:
    """Return an operator of another type with the name and the outputs of ``last``."""
    return replace(last, type=type_, inputs=tuple(inputs), attributes=dict(attributes or {}))


def is_close(value: float | None, expected: float) -> bool:
    """Return whether the value is not None and equals the expected number up to rounding."""
    return value is not None and math.isclose(value, expected, rel_tol=1e-5)
