"""How groups of operators that are one operator are found.

A pattern looks at the group's last operator and gives those that stand for the group; what nobody
reads then goes. The patterns are in ``patterns`` and ``fusion``.
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
    """Who makes and who reads each value of a model."""

    def __init__(self, source: OnnxGraph, operators: Sequence[Operator]) -> None:
        self.source = source
        self.makers = {name: one for one in operators for name in one.outputs if name}
        self.readers: dict[str, list[Operator]] = {name: [] for name in source.outputs}
        for one in operators:
            for name in one.inputs:
                if name:
                    self.readers.setdefault(name, []).append(one)

    def maker(self, name: str, *types: str) -> Operator | None:
        """The operator that makes a value, if it is of one of these types."""
        found = self.makers.get(name)
        return found if found is not None and found.type in types and not found.domain else None

    def number(self, name: str) -> float | None:
        """A constant of one value."""
        array = self.source.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def with_number(self, operator: Operator | None) -> tuple[str, float] | None:
        """(value, number) of an operator of two inputs of which one is a constant number."""
        if operator is None or len(operator.inputs) != 2:
            return None
        for name, other in (operator.inputs, operator.inputs[::-1]):
            number = self.number(other)
            if number is not None:
                return name, number
        return None

    def alone(self, name: str) -> bool:
        """Whether one operator reads the value, and it is no output."""
        return len(self.readers.get(name, ())) == 1 and name not in self.source.outputs


def matched(source: OnnxGraph, patterns: Sequence[Pattern]) -> tuple[Operator, ...]:
    """The model's operators after all patterns, each tried until none finds anything."""
    operators = list(source.operators)
    changed = True
    while changed:
        view = View(source, operators)
        changed = False
        after: list[Operator] = []
        for operator in operators:
            found = None
            for one in () if operator.domain else patterns:
                found = one(view, operator)
                if found is not None:
                    break
            made = [operator] if found is None else found
            changed |= found is not None
            for one_made in made if found is not None else ():
                view.makers.update(dict.fromkeys(filter(None, one_made.outputs), one_made))
            after += made
        operators = _read(after, source.outputs)
    return tuple(operators)


def _read(operators: Sequence[Operator], outputs: Sequence[str]) -> list[Operator]:
    """Those operators whose outputs lead to the model's."""
    needed, kept = set(outputs), []
    for operator in reversed(operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def pattern(function: Pattern) -> Pattern:
    PATTERNS.append(function)
    return function


def one_of(
    like: Operator, type_: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None
) -> Operator:
    return replace(like, type=type_, inputs=tuple(inputs), attributes=dict(attributes or {}))


def near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-5)
