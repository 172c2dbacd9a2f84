"""What becomes of each operator of a model, told in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.net import lifted
from protogen.toolchains.dialects import forks_of, known_dialects

if TYPE_CHECKING:
    from protogen.onnx import Model
    from protogen.onnx.importer.source import Operator


@dataclass(frozen=True, slots=True)
class Verdict:
    """One operator: ``kind`` is ``converts``, ``approximated``, ``dialect`` or ``refused``; ``text``
    has the layers that it becomes, the dialect that has them, or the reason."""

    operator: str
    name: str
    output: str
    kind: str
    text: str


def check_onnx(
    model: str | Path | Model, *, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> list[Verdict]:
    """What becomes of each operator of a model, before anything is converted.

    Args:
        input_shapes: see ``from_onnx``.

    Raises:
        InputError, UnsupportedError: the model cannot be read.
    """
    from protogen.onnx.importer.source import read_source

    source = read_source(model, input_shapes)
    operators = source.operators
    _, plain = lifted(source, frozenset())
    reasons = {one.outputs: reason for one, reason in plain.refused}
    ways: dict[tuple[str, ...], str] = {}
    for dialect in known_dialects():
        source.operators = operators
        _, to = lifted(source, forks_of(dialect))
        refused = {one.outputs for one, _ in to.refused}
        for outputs in reasons:
            if outputs not in refused:
                ways.setdefault(outputs, dialect)
    off = {one.outputs: text for one, text in plain.approximated}
    return [_verdict(one, plain, reasons, ways, off) for one in source.operators]


def _verdict(
    one: Operator,
    to: Lifter,
    reasons: Mapping[tuple[str, ...], Diagnostic],
    ways: Mapping[tuple[str, ...], str],
    off: Mapping[tuple[str, ...], str],
) -> Verdict:
    reason = reasons.get(one.outputs)
    if reason is None:
        kind, text = "converts", to.types_of.get(one.outputs, "")
        if one.outputs in off:
            kind, text = "approximated", off[one.outputs]
    elif one.outputs in ways:
        kind, text = "dialect", ways[one.outputs]
    else:
        kind, text = "refused", reason.message.rstrip(".")
    return Verdict(one.onnx_type, one.name, one.outputs[0], kind, text)
