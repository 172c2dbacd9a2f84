"""The table of ``--target``: what a toolchain does with each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.cli import output, tables
from protogen.errors import Place

if TYPE_CHECKING:
    from protogen.lint.engine import Checked
    from protogen.net.targets import TargetReport
    from protogen.toolchains.verdicts import TargetVerdict

COLOURS = {"refused": "red", "wrong": "red", "ignored": "yellow", "unknown": "yellow"}
CODES = ("PG401", "PG405")  # the findings that the table shows


def show(checked: Sequence[Checked]) -> list[Checked]:
    """Print the table of each file; return the files with the findings that it does not show."""
    others = []
    for file in checked:
        if file.target is not None:
            show_report(file.filename, file.target)
        rest = [one for one in file.diagnostics if file.target is None or one.code not in CODES]
        others.append(replace(file, diagnostics=rest))
    return others


def show_report(filename: str, report: TargetReport) -> None:
    """Print what a toolchain does with each layer of a net."""
    rows = [
        (_line(one), output.printable(one.layer or "(net)"), one.type, one.verdict, reasons(one))
        for one in report.rows
    ]
    tables.show(("line", "layer", "type", report.toolchain.name, ""), rows, (0,), COLOURS)
    output.note(f"{output.printable(filename)}: {report.sentence()}")


def reasons(one: TargetVerdict) -> str:
    """Return all causes of a verdict, with their sources."""
    return output.printable("; ".join(str(reason) for reason in one.reasons))


def plain_report(report: TargetReport) -> dict[str, Any]:
    """Return a report as data for JSON."""
    return {
        "target": report.toolchain.name,
        "version": report.toolchain.version,
        "verdict": report.verdict,
        "layers": [
            {
                "layer": one.layer,
                "type": one.type,
                "verdict": one.verdict,
                "reasons": [
                    {
                        "verdict": reason.verdict,
                        "text": reason.text,
                        "field": reason.field,
                        "source": reason.source,
                    }
                    for reason in one.reasons
                ],
            }
            for one in report.rows
        ],
    }


def plain(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """Return the reports of all files as data for JSON."""
    return [
        {"file": file.filename, **plain_report(file.target)}
        for file in checked
        if file.target is not None
    ]


def _line(one: TargetVerdict) -> str:
    return str(one.place.line or "") if isinstance(one.place, Place) else ""
