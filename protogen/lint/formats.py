"""Findings as text, JSON, GitHub's annotations, or SARIF."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from protogen._version import __version__
from protogen.lint.engine import Checked
from protogen.lint.rule import Flaw
from protogen.lint.rules import all_rules

NAMES = ("text", "json", "github", "sarif")
SYNTAX = ("PG100", "syntax-error", "The file is no prototxt.")


def written(files: Sequence[Checked], form: str) -> str:
    """All findings in one of the forms."""
    made = {"text": _text, "json": _json, "github": _github, "sarif": _sarif}[form]
    return made(files)


def _each(files: Sequence[Checked]) -> Iterator[tuple[Checked, Flaw, int, int]]:
    for one in files:
        for flaw, (line, column) in zip(one.flaws, one.places, strict=True):
            yield one, flaw, line, column


def _subject(flaw: Flaw) -> str:
    return f'layer "{flaw.layer}": ' if flaw.layer else ""


def _text(files: Sequence[Checked]) -> str:
    lines = [
        f"{one.filename}:{line}:{column}: {flaw.code} {'[*] ' if flaw.edits else ''}"
        f"{_subject(flaw)}{flaw.message} ({flaw.name})"
        for one, flaw, line, column in _each(files)
    ]
    return "".join(f"{line}\n" for line in lines)


def _json(files: Sequence[Checked]) -> str:
    found = [
        {
            "file": one.filename,
            "line": line,
            "column": column,
            "code": flaw.code,
            "name": flaw.name,
            "layer": flaw.layer,
            "message": flaw.message,
            "fixable": bool(flaw.edits),
        }
        for one, flaw, line, column in _each(files)
    ]
    return json.dumps(found, indent=2) + "\n"


def _github(files: Sequence[Checked]) -> str:
    def escaped(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    return "".join(
        f"::warning file={escaped(one.filename)},line={line},col={column},title={flaw.code} "
        f"{flaw.name}::{escaped(_subject(flaw) + flaw.message)}\n"
        for one, flaw, line, column in _each(files)
    )


def _sarif(files: Sequence[Checked]) -> str:
    rules = [
        {"id": code, "name": name, "shortDescription": {"text": what}}
        for code, name, what in (
            SYNTAX,
            *((code, rule.name, rule.what) for code, rule in all_rules().items()),
        )
    ]
    results: list[dict[str, Any]] = [
        {
            "ruleId": flaw.code,
            "level": "error" if flaw.code == "PG100" else "warning",
            "message": {"text": _subject(flaw) + flaw.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": one.filename},
                        "region": {"startLine": line, "startColumn": column},
                    }
                }
            ],
        }
        for one, flaw, line, column in _each(files)
    ]
    driver = {"name": "protogen", "version": __version__, "rules": rules}
    log = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2) + "\n"


def page(code: str) -> str:
    """A rule's page as Markdown: what, why, an example and its mended form."""
    rule = all_rules()[code]
    marks = [] if rule.usual or rule.audit else ["off unless selected"]
    marks += ["in protogen audit"] if rule.audit else []
    marks += ["can be mended with --fix"] if rule.fixes else []
    lines = [
        f"## {code} {rule.name}",
        "",
        f"{rule.what}{' *' + ', '.join(marks) + '.*' if marks else ''}",
        "",
        rule.why,
    ]
    if rule.example:
        lines += [
            "",
            "```prototxt",
            rule.example.strip("\n"),
            "```",
            "",
            "Mended:",
            "",
            "```prototxt",
            rule.mended.strip("\n"),
            "```",
        ]
    return "\n".join([*lines, ""])
