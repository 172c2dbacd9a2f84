"""Dry run of an import: the outcome for each operator of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.net import import_operators
from protogen.onnx.verdict import Verdict
from protogen.toolchains.dialects import forks_of, known_dialects

if TYPE_CHECKING:
    from protogen.onnx import Model
    from protogen.onnx.importer.source import Operator


def check_onnx(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    drop_quantisation: bool = False,
) -> list[Verdict]:
    """Return the outcome of an import for each operator of a model, without converting it.

    Args:
        model, dialect, input_shapes, outputs, inputs, drop_quantisation: see ``from_onnx``.

    Raises:
        InputError, UnsupportedError: the model cannot be read.
    """
    from protogen.onnx.importer.source import read_source

    source = read_source(model, input_shapes, outputs, inputs, drop_quantisation)
    operators = source.operators
    ctx = import_operators(source, forks_of(dialect))
    reasons = {operator.outputs: reason for operator, reason in ctx.refused}
    dialects: dict[tuple[str, ...], str] = {}
    # Only types that a refused operator asked for can make a difference.
    wanted = {type_ for names in reasons for type_ in ctx.missing.get(names, ())}
    tried = {frozenset[str]()}
    for other in known_dialects() if wanted else ():
        more = forks_of(other) & wanted
        if more in tried:
            continue
        tried.add(more)
        source.operators = operators
        attempt = import_operators(source, forks_of(other))
        refused = {operator.outputs for operator, _ in attempt.refused}
        for names in reasons:
            if names not in refused:
                dialects.setdefault(names, other)
    errors = {operator.outputs: text for operator, text in ctx.approximated}
    return [_verdict(operator, ctx, reasons, dialects, errors) for operator in source.operators]


def _verdict(
    operator: Operator,
    ctx: ImportContext,
    reasons: Mapping[tuple[str, ...], Diagnostic],
    dialects: Mapping[tuple[str, ...], str],
    errors: Mapping[tuple[str, ...], str],
) -> Verdict:
    outputs = operator.outputs
    reason = reasons.get(outputs)
    if reason is None:
        kind, text = "converts", ctx.types_of.get(outputs, "")
        if outputs in errors:
            kind, text = "approximated", errors[outputs]
    elif outputs in dialects:
        kind, text = "dialect", dialects[outputs]
    else:
        kind, text = "refused", reason.message.rstrip(".")
    return Verdict(operator.onnx_type, operator.name, outputs[0], kind, text)
