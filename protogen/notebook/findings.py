"""Findings: of the linter, of the measurement of signals, of training logs, and ranges of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import quantity
from protogen.formats import tables
from protogen.lint.rules import rule_name
from protogen.notebook.nets import some
from protogen.notebook.page import OPEN, code, fold, join, paragraph, strong, table, tag

if TYPE_CHECKING:
    from protogen.errors import Diagnostic
    from protogen.lint.engine import Checked
    from protogen.running.ranges import HalfCheck
    from protogen.training.diagnosis import Diagnosis
    from protogen.training.log import Log
    from protogen.training.signals.findings import Finding
    from protogen.training.signals.health import Health

SIGNAL_HEADINGS = (
    "layer",
    "type",
    "mean",
    "std",
    "saturated",
    "dead",
    "inputs > 0",
    "gradient std",
)


def _diagnostic(one: Diagnostic) -> str:
    name = f"{one.code} ({rule_name(one.code)}) " if one.code else ""
    subject = f"{one.subject}: " if one.subject else ""
    where = f"{one.where}: " if str(one.where) else ""
    return f"{one.severity} {name}{where}{subject}{one.message}"


def _place(one: Diagnostic) -> str:
    place = one.place
    return f"{place.line}:{place.column}" if place.line else ""


def _rows(diagnostics: Iterable[Diagnostic]) -> list[tuple[Any, ...]]:
    return [
        (
            _place(one),
            Markup("{} {}").format(
                tag(one.code or one.severity, "bad" if one.severity == "error" else "doubt"),
                rule_name(one.code) if one.code else "",
            ),
            f"{one.subject}: {one.message}" if one.subject else one.message,
            "" if one.fix is None else "safe fix" if one.fix.safe else "unsafe fix",
        )
        for one in diagnostics
    ]


def _diagnostic_table(one: Diagnostic) -> Markup:
    where = one.place.file
    return join(
        paragraph(code(where) if where else ""),
        table(("line", "rule", "finding", "fix"), _rows([one])),
        Markup("<pre>{}</pre>").format("\n".join(one.lines)) if one.lines else Markup(""),
    )


def _counts(checked: Checked) -> str:
    kinds = [one.severity for one in checked.diagnostics]
    parts = [
        quantity(kinds.count(kind), kind) for kind in ("error", "warning") if kinds.count(kind)
    ]
    fixed = (
        f"; {quantity(checked.count_fixed, 'fix', 'fixes')} applied" if checked.count_fixed else ""
    )
    return (", ".join(parts) or "no findings") + fixed


def _checked(checked: Checked) -> str:
    codes = list(dict.fromkeys(one.code for one in checked.diagnostics))
    return f"{checked.filename}: {_counts(checked)}" + (f": {some(codes)}" if codes else "")


def _checked_table(checked: Checked) -> Markup:
    title = Markup("{}: {}").format(code(checked.filename), _counts(checked))
    if not checked.diagnostics:
        return paragraph(Markup("{} {}").format(tag("no findings"), code(checked.filename)))
    rows = _rows(checked.diagnostics)
    return fold(title, table(("line", "rule", "finding", "fix"), rows), len(rows) <= OPEN)


def _finding(finding: Finding) -> str:
    return f"{finding.kind}: {finding.text}"


def _findings_table(findings: Sequence[Finding]) -> Markup:
    if not findings:
        return paragraph(tag("no problems"))
    return table(("finding", ""), [(tag(one.kind, "bad"), one.text) for one in findings])


def _finding_table(finding: Finding) -> Markup:
    return _findings_table([finding])


def _kinds(findings: Sequence[Finding]) -> str:
    return ", ".join(dict.fromkeys(one.kind for one in findings)) or "no problems"


def _health(health: Health) -> str:
    return (
        f"{health.net.name}: {quantity(len(health.signals), 'layer')}, "
        f"{quantity(health.batch, 'sample')}, weights: {health.weights}; "
        f"signal left {health.signal_ratio:.3g}; {_kinds(health.findings)}"
    )


def share(value: float | None) -> str:
    """Return a share in percent; empty if it is unknown."""
    return "" if value is None else f"{100 * value:.3g}%"


def signal_cells(health: Health) -> list[tuple[str, ...]]:
    """Return the rows of the table of signals, in the order of ``SIGNAL_HEADINGS``."""
    return [
        (
            one.layer,
            one.type,
            f"{one.mean:.3g}",
            f"{one.std:.3g}",
            share(one.saturated),
            share(one.dead),
            share(one.positive),
            "" if one.gradient is None else f"{one.gradient:.3g}",
        )
        for one in health.signals
    ]


def _health_table(health: Health) -> Markup:
    title = Markup("{}: weights: {}; {}, data std {}").format(
        strong(health.net.name or "net"),
        health.weights,
        quantity(health.batch, "sample"),
        f"{health.start:.3g}",
    )
    rows = signal_cells(health)
    return join(
        fold(title, table(SIGNAL_HEADINGS, rows, range(2, 8)), len(rows) <= OPEN),
        paragraph("" if health.gradients else "Gradients were not measured."),
        _findings_table(health.findings),
    )


def _log(log: Log) -> str:
    if not log.loss:
        return f"{log.path}: no loss"
    (first, start), (last, end) = log.loss[0], log.loss[-1]
    return f"{log.path}: loss {start:.4g} at iteration {first}, {end:.4g} at iteration {last}"


def _log_table(log: Log) -> Markup:
    series = {"loss": log.loss, **{f"test {name}": one for name, one in log.test.items()}}
    rows = [
        (name, f"{one[0][1]:.4g}", f"{one[-1][1]:.4g}", f"{one[-1][0]:,}")
        for name, one in series.items()
        if one
    ]
    return join(
        paragraph(code(log.path)), table(("", "first", "last", "iteration"), rows, (1, 2, 3))
    )


def _diagnosis(diagnosis: Diagnosis) -> str:
    return f"{_log(diagnosis.log)}; {_kinds(diagnosis.findings)}"


def _diagnosis_table(diagnosis: Diagnosis) -> Markup:
    return join(_log_table(diagnosis.log), _findings_table(diagnosis.findings))


def _half(check: HalfCheck) -> str:
    broken = some(list(dict.fromkeys(row.layer for row in check.broken)))
    holds = f"float16 does not hold {broken}" if broken else "float16 holds all values"
    weights = quantity(len(check.weights), "blob of weights", "blobs of weights")
    return f"{quantity(len(check.blobs), 'blob')}, {weights}: {holds}"


def _half_table(check: HalfCheck) -> Markup:
    headings = ("layer", "type", "blob", "shape", "from", "to", "remarks")
    rows = [
        (
            row.layer,
            row.type,
            getattr(row, "blob", None) or f"weights {getattr(row, 'index', '')}",
            tables.shape(row.shape),
            f"{row.range.low:.4g}",
            f"{row.range.high:.4g}",
            ", ".join(row.remarks),
        )
        for row in check.rows
    ]
    mark = tag("float16 holds all values") if check.passed else tag("float16 is not enough", "bad")
    title = quantity(len(rows), "row")
    return join(
        paragraph(Markup("{} {}").format(mark, _half(check))),
        fold(title, table(headings, rows, (4, 5)), len(rows) <= OPEN),
    )


LINES: dict[str, Callable[[Any], str]] = {
    "Checked": _checked,
    "Diagnostic": _diagnostic,
    "Finding": _finding,
    "Health": _health,
    "Diagnosis": _diagnosis,
    "Log": _log,
    "HalfCheck": _half,
}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "Checked": _checked_table,
    "Diagnostic": _diagnostic_table,
    "Finding": _finding_table,
    "Health": _health_table,
    "Diagnosis": _diagnosis_table,
    "Log": _log_table,
    "HalfCheck": _half_table,
}
