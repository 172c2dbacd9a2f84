"""The most telling line of what toolchains print. words.json has recorded messages and output."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from protogen.running.toolchain import ADAPTERS
from protogen.running.words import LONGEST, telling

RECORDED = json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))


def patterns(adapter: str) -> tuple[str, ...]:
    """Return WORDS of an adapter, whose toolchain cannot be imported here."""
    for node in ast.parse((ADAPTERS / f"{adapter}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WORDS":
            return ast.literal_eval(node.value)
    return ()


@pytest.mark.parametrize("case", RECORDED, ids=lambda c: f"{c['toolchain']}: {c['words'][:40]}")
def test_recorded_output(case):
    words = telling(case["message"], case["log"], patterns(case["adapter"]))
    assert words == case["words"]
    assert len(words) <= LONGEST


@pytest.mark.parametrize(
    ("message", "log", "words"),
    [
        ("", "", ""),
        ("", "all is well\n", ""),
        ("it failed", "", "it failed"),
        ("signal 11", "loading\nError: no such layer\ndone\n", "Error: no such layer"),
        ("signal 11", "loading\n", "signal 11"),
        ("", "\x1b[1;31mE\x1b[0m \x1b[31mlayer x is not supported\x1b[0m\n", "E layer x is not supported"),
        ("", "10 %\r20 %\rerror: bad net\n", "error: bad net"),
        ("", "2026-11-28 10:11:12,123 - ERROR : bad net\n", "ERROR : bad net"),
        ("", "[ERROR] /usr/lib/tool/parse.cc:12: unknown layer Foo\n", "unknown layer Foo"),
        ("", "cannot open /home/user/net.prototxt\n", "cannot open net.prototxt"),
        ("", "Traceback\n  File 'x'\nValueError: 3 is not 4\n", "ValueError: 3 is not 4"),
        ("", "unsupported op Foo\nerror: conversion failed\n", "unsupported op Foo"),
        ("x" * 300, "", "x" * 157 + "..."),
        ("bad\tname \x07", "", "bad name"),
    ],
)  # fmt: skip
def test_general_rules(message, log, words):
    assert telling(message, log) == words


def test_patterns_of_an_adapter_take_precedence():
    log = "error: failed\nline 3: no operator Foo (x)\nerror: ended\n"
    assert telling("error: bad", log, [r"no such thing", r"no operator \w+"]) == "no operator Foo"
    assert telling("", log, [r"line \d: (.*) \((\w)\)"]) == "no operator Foo x"
    assert telling("", log, [r"(?s)(failed).*(ended)"]) == "failed ended"
