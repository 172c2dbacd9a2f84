"""The cause of a refusal in a few words, from the output of a toolchain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LENGTH = 60
TYPE = "no layer type {}"
# What toolchains print, in order of preference, and the detail; {} is the group.
PATTERNS: tuple[tuple[str, str], ...] = (
    (r'has no field named "(\w+)', "no field {}"),
    (r"These Op Not Support: .*?Caffe::(\w+)", TYPE),
    (r"Unknown layer type: (\w+)", TYPE),
    (r'Can\'t create layer "[^"]*" of type "(\w+)"', TYPE),
    (r"Not supported Caffe opcode: (\w+)", TYPE),
    (r"(\w+) Op not support now", TYPE),
    (r"OP TYPE: (\w+)", TYPE),
    (r"(OP in Layer) .* (Current not support)", "layer not supported"),
    (r"layer .*?\b(?:is|does) not support", "layer not supported"),
    (r"Exception during initialization: \S+ [^\n]*?\)(?: \[with [^\]]*\]| const)* ([^\n]+)", "{}"),
    (r"\(expected: '([^\n]+)'\)", "expected {}"),
    (r"tpuc-opt .*?error: ([^\n]+)", "{}"),
    (r"Check failed: ([^\n]+)", "{}"),
    (r"running replacer [^\n]*?>\)\"?: (?!Stopped|Unexpected)([^\n]+?) ?(?:\[|\n|$)", "{}"),
    (
        r"(?:\[ ERROR \] +|ERROR:root:)(?!Cannot infer|It can|Or because|Run Model)([A-Z][^\n]+)",
        "{}",
    ),
    (r"Stopped (shape/value propagation)", "{} failed"),
    (r"Original exception message: ([^\n]+)", "{}"),
    (r"\[ERROR\] [A-Z]+\([^)]*\):\S+ \[[^\]]*\] \w+\] ([^\n]+)", "{}"),
    (r"error: \([^)]*\) (.*?) in function", "{}"),
    (r"\[ONNXRuntimeError\] : \d+ : \w+ : ([^\n]+)", "{}"),
    (r"(\w+Error: (?!\[!Error\])[^\n]+)(?![\s\S]*Error: )", "{}"),
    (r"\[!Error\]: (\w[\w-]*)", "{} failed"),
)
NOISE = (
    (r"\\n|\\'|\\\\", " "),
    (r"0x[0-9a-f]+", ""),
    (r"\x1b\[[\d;]*m", ""),
    (r"\"?/[\w.+/-]{8,}", ""),
    (r"\[[\w.]+\.cc?:\d+\]", ""),
    (r"\s+", " "),
    (r",? only ?$", ""),
)


def reason(state: str, answer: Mapping[str, Any]) -> str:
    """Return a short detail for an answer that is not an output; empty if the toolchain prints no cause."""
    message = str(answer["message"])
    if state == "crashed":
        errors = re.findall(r"^\w+Error: ?([^\n]+)", str(answer["log"]), re.MULTILINE)
        return message or clean(errors[-1] if errors else "")
    text = message.replace("\\n", "\n") + "\n" + str(answer["log"])
    for pattern, detail in PATTERNS:
        match = re.search(pattern, text)
        if match:
            return clean(detail.format(*match.groups()))
    lines = [line for line in message.splitlines() if line.strip()]
    return clean(lines[-1]) if lines else ""


def clean(text: str) -> str:
    """Return text on one line without paths and addresses, cut at a word."""
    for pattern, replacement in NOISE:
        text = re.sub(pattern, replacement, text)
    text = text.strip(" .:,'\"")
    if len(text) > LENGTH:
        text = text[:LENGTH].rsplit(" ", 1)[0].rstrip(" .:,'\"(")
    return text
