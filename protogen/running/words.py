"""A toolchain's own words about a net: the most telling line of what it printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST = 160  # characters

_TELLING = (
    r"not support|unsupported|not implemented|no layer factory|unknown layer|unknown op",
    r"has no field|no field named|not registered",
    r"check failed|assert",
    r"^\w*(?:error|exception)\b.*\w",
    r"error|exception|fail|cannot|can't|invalid|unknown|mismatch",
)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NOISE = (
    (r"\[libprotobuf \w+ [^\]]*\]\s*", ""),  # the place in the source of protobuf
    (r"^[IWEF]\d{4,8} [\d:.]+\s+\d+ (?:[\w./-]+\.\w+:\d+)?\]\s*", ""),  # glog
    (r"\[?\b\d{4}[-/]\d\d[-/]\d\d[-T ]\d\d:\d\d:\d\d[\d.,]*\]?(?: - )?", ""),  # time
    (r"\[\d\d:\d\d:\d\d\]\s*:?\d*:?\s*", ""),
    (r"^\s*\[\s*[A-Z]+(?: [A-Z]+)*\s*(?::\d+@[\d.]+)?\]\s*", ""),  # [ ERROR ]
    (r"\(?(?:/[\w.+~-]+){2,}\.(?:cc|cpp|cxx|c|hpp|h|pyx|py|cu)\b(?::\d+)?\)?:?\s*", ""),
    (r"\b[\w.+/-]+\.(?:cc|cpp|hpp|h|c|py):\d+(?:\)|:|\s)\s*", ""),
    (r"(?:/[\w.+~-]+)+/([\w.+~-]+)", r"\1"),  # a path becomes its file name
    (r"\s+", " "),
)


def telling(message: str, log: str, patterns: Sequence[str] = ()) -> str:
    """Return the line that says most about why a toolchain failed; empty if it printed nothing.

    Args:
        message: its error, as the adapter has caught it.
        log: what it printed.
        patterns: regular expressions of its adapter, the most telling first, for a line, or with (?s)
            for the whole text. The text that matches, or the text of the groups, is the result. They
            take precedence over the general ones.
    """
    lines = [*_lines(message), *_lines(log)]
    text = "\n".join(lines)
    for pattern in patterns:
        for line in [text] if pattern.startswith("(?s)") else reversed(lines):
            if match := re.search(pattern, line):
                words = " ".join(filter(None, match.groups())) if match.groups() else match.group()
                return _shortened(words)
    own = [_plain(line) for line in _lines(message)]
    printed = [_plain(line) for line in _lines(log)]
    best = _best(own)
    if best and not re.fullmatch(r"(signal|exit code) \d+", message):
        return _shortened(best)
    words = _best(printed)
    if not words:
        words = next((line for line in reversed(own) if line), "")
    return _shortened(words)


def _best(lines: Iterable[str]) -> str:
    """Return the last line of the most telling kind; empty if no line tells anything."""
    lines = [line for line in lines if line]
    for pattern in _TELLING:
        for line in reversed(lines):
            if re.search(pattern, line, re.IGNORECASE):
                return line
    return ""


def _lines(text: str) -> list[str]:
    """Return the lines as a terminal shows them: without colours, and without what a progress bar
    overwrites."""
    text = _COLOUR.sub("", text).replace("\r\n", "\n")
    return [line.rpartition("\r")[2] if line else line for line in text.split("\n")]


def _plain(line: str) -> str:
    """Return a line without its time, its place in the source, and the folders of paths."""
    for pattern, replacement in _NOISE:
        line = re.sub(pattern, replacement, line)
    return line.strip(" :=*-")


def _shortened(words: str) -> str:
    words = _plain(words)
    words = "".join(c if c.isprintable() else " " for c in words).strip()
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3].rstrip()}..."
