"""Dry run of an import: the outcome for each operator of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.net import import_operators
from protogen.toolchains.dialects import forks_of, known_dialects

if TYPE_CHECKING:
    from protogen.onnx import Model
    from protogen.onnx.importer.source import Operator


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one operator.

    ``kind`` is ``converts``, ``approximated``, ``dialect`` or ``refused``. ``text`` holds the
    layers that the operator becomes, the error of the approximation, the dialect that has the
    layers, or the reason of the refusal.
    """

    operator: str
    name: str
    output: str
    kind: str
    text: str


def check_onnx(
    model: str | Path | Model, *, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> list[Verdict]:
    """Return the outcome of an import for each operator of a model, without converting it.

    Args:
        model: see ``from_onnx``.
        input_shapes: see ``from_onnx``.

    Raises:
        InputError, UnsupportedError: the model cannot be read.
    """
    from protogen.onnx.importer.source import read_source

    source = read_source(model, input_shapes)
    operators = source.operators
    _, stock = import_operators(source, frozenset())
    reasons = {operator.outputs: reason for operator, reason in stock.refused}
    dialects: dict[tuple[str, ...], str] = {}
    for dialect in known_dialects():
        source.operators = operators
        _, ctx = import_operators(source, forks_of(dialect))
        refused = {operator.outputs for operator, _ in ctx.refused}
        for outputs in reasons:
            if outputs not in refused:
                dialects.setdefault(outputs, dialect)
    errors = {operator.outputs: text for operator, text in stock.approximated}
    return [_verdict(operator, stock, reasons, dialects, errors) for operator in source.operators]


def _verdict(
    operator: Operator,
    stock: ImportContext,
    reasons: Mapping[tuple[str, ...], Diagnostic],
    dialects: Mapping[tuple[str, ...], str],
    errors: Mapping[tuple[str, ...], str],
) -> Verdict:
    outputs = operator.outputs
    reason = reasons.get(outputs)
    if reason is None:
        kind, text = "converts", stock.types_of.get(outputs, "")
        if outputs in errors:
            kind, text = "approximated", errors[outputs]
    elif outputs in dialects:
        kind, text = "dialect", dialects[outputs]
    else:
        kind, text = "refused", reason.message.rstrip(".")
    return Verdict(operator.onnx_type, operator.name, outputs[0], kind, text)
