"""What protogen says when it refuses: one exception class per exit code, one layout for messages.

A message reads ``where: subject: what is, against what must be. What to do.``
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ProtogenError(Exception):
    """Every refusal of protogen. ``exit_code`` is what the command line exits with."""

    exit_code = 1


class InputError(ProtogenError):
    """The user's text, specification, shapes, weights or paths are wrong (exit code 2)."""

    exit_code = 2


class UnsupportedError(ProtogenError):
    """The request is sound, but protogen or its target cannot do it (exit code 3)."""

    exit_code = 3


class MismatchError(ProtogenError):
    """A check was run and found something (exit code 1).

    ``table`` holds the rows that show it, as the check that raised it documents them.
    """

    def __init__(self, message: str, table: Any = None) -> None:
        super().__init__(message)
        self.table = table


class ProtogenWarning(UserWarning):
    """Something that protogen keeps or works around, and that the user should know of."""


def layout(problem: str, *, where: str = "", subject: str = "", advice: str = "") -> str:
    """One message: ``where: subject: problem. advice``; empty parts are left out."""
    head = ": ".join(part for part in (where, subject, problem) if part)
    if head[-1:] not in ".!?":
        head += "."
    return f"{head} {advice}" if advice else head


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean X?`` where a known name is near; empty where none is."""
    from difflib import get_close_matches  # slow to import, and needed for mistakes only

    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"Did you mean {near[0]}?" if near else ""
