"""Findings as text, JSON, GitHub annotations, or SARIF."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from protogen._version import __version__
from protogen.errors import Diagnostic, printable
from protogen.lint.engine import Checked
from protogen.lint.rules import SYNTAX, all_rules, rule_name


def written(files: Sequence[Checked], form: str) -> str:
    """Return all findings in a format: "text", "github" or "sarif"."""
    write = {"text": _text, "github": _github, "sarif": _sarif}[form]
    return write(files)


def _each(files: Sequence[Checked]) -> Iterator[Diagnostic]:
    for file in files:
        yield from file.diagnostics


def _message(one: Diagnostic) -> str:
    return f"{one.subject}: {one.message}" if one.subject else one.message


def _mark(one: Diagnostic) -> str:
    """Return ``[*]`` if --fix fixes the finding, ``[-]`` if only --unsafe-fixes does."""
    if one.fix is None:
        return ""
    return "[*] " if one.fix.safe else "[-] "


def _text(files: Sequence[Checked]) -> str:
    lines = [
        f"{one.where}: {one.code} {_mark(one)}{_message(one)} ({rule_name(one.code)})"
        for one in _each(files)
    ]
    return "".join(f"{printable(line)}\n" for line in lines)


def plain(files: Sequence[Checked]) -> list[dict[str, Any]]:
    """Return all findings as data for JSON."""
    return [
        {
            "file": one.place.file,
            "line": one.place.line,
            "column": one.place.column,
            "code": one.code,
            "name": rule_name(one.code),
            "severity": one.severity,
            "layer": one.layer,
            "message": one.message,
            "fixable": one.fix is not None,
            "safe": one.fix is not None and one.fix.safe,
        }
        for one in _each(files)
    ]


def _github(files: Sequence[Checked]) -> str:
    def escaped(text: str) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return printable(text)

    return "".join(
        f"::{one.severity} file={escaped(one.place.file)},line={one.place.line},"
        f"col={one.place.column},title={one.code} {rule_name(one.code)}::{escaped(_message(one))}\n"
        for one in _each(files)
    )


def _sarif(files: Sequence[Checked]) -> str:
    rules = [
        {"id": code, "name": name, "shortDescription": {"text": what}}
        for code, name, what in (
            (SYNTAX, rule_name(SYNTAX), "The file is not a valid prototxt."),
            *((code, rule.name, rule.what) for code, rule in all_rules().items()),
        )
    ]
    results: list[dict[str, Any]] = [
        {
            "ruleId": one.code,
            "level": one.severity,
            "message": {"text": _message(one)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": one.place.file},
                        "region": {"startLine": one.place.line, "startColumn": one.place.column},
                    }
                }
            ],
        }
        for one in _each(files)
    ]
    driver = {"name": "protogen", "version": __version__, "rules": rules}
    log = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2) + "\n"


def plain_rule(code: str) -> dict[str, Any]:
    """Return a rule's facts as data for JSON."""
    rule = all_rules()[code]
    return {
        "code": code,
        "name": rule.name,
        "what": rule.what,
        "why": rule.why,
        "default": rule.usual and not rule.untrusted,
        "fix": ("safe" if rule.safe else "unsafe") if rule.fixes else None,
    }


def page(code: str) -> str:
    """Return a rule's page as Markdown: what, why, an example and the fixed example."""
    rule = all_rules()[code]
    marks = [] if rule.usual or rule.untrusted else ["off by default"]
    marks += ["only with check --untrusted"] if rule.untrusted else []
    if rule.fixes:
        marks += [f"fixed by {'--fix' if rule.safe else '--unsafe-fixes'}"]
    note = ", ".join(marks)
    lines = [
        f"## {code} {rule.name}",
        "",
        f"{rule.what} *{note[:1].upper()}{note[1:]}.*" if note else rule.what,
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
            "Fixed:",
            "",
            "```prototxt",
            rule.fixed.strip("\n"),
            "```",
        ]
    return "\n".join([*lines, ""])
