"""What protogen says when it refuses, warns or finds a fault: one ``Diagnostic``, raised by one
exception class per exit code. It becomes a sentence where a person reads it, and only there.

A sentence reads ``where: subject: what is, against what must be. What to do.``
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self

Edit = tuple[int, int, str]  # start and end in a text, and what stands there instead
Severity = Literal["error", "warning"]


class Place(NamedTuple):
    """Where in a file: line and column count from 1 (0: the whole file). ``start`` and ``end`` are
    offsets in its text, -1 where there is none."""

    file: str
    line: int = 0
    column: int = 0
    start: int = -1
    end: int = -1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Fix(NamedTuple):
    """Edits of the text that remove a fault. ``safe``: what the net computes stays the same."""

    edits: tuple[Edit, ...]
    safe: bool = False


class Diagnostic(NamedTuple):
    """One refusal, warning or finding, in its parts.

    Attributes:
        problem: what is, against what must be.
        where: the place in a file; the file's name, or empty, where there is none.
        subject: what it is about, such as ``layer "conv1" (Convolution)``.
        advice: what to do.
        lines: further lines below the sentence: the text with a caret, a list of reasons.
        code: the rule's, such as ``PG101``.
        fix: edits that remove the fault; None where a person must.
        layer: the layer's name, where it is about one.
    """

    problem: str
    where: Place | str = ""
    subject: str = ""
    advice: str = ""
    lines: tuple[str, ...] = ()
    code: str = ""
    severity: Severity = "error"
    fix: Fix | None = None
    layer: str = ""

    @property
    def place(self) -> Place:
        """The place, of the file as a whole where no more is known."""
        return self.where if isinstance(self.where, Place) else Place(self.where)

    @property
    def message(self) -> str:
        """Problem and advice, without where and of what; without further lines."""
        return _sentence(self.problem, self.advice)

    def __str__(self) -> str:
        parts = (str(self.where), self.subject, self.problem)
        head = ": ".join(part for part in parts if part)
        return "\n".join((_sentence(head, self.advice), *self.lines))


def _sentence(problem: str, advice: str) -> str:
    head = problem if problem[-1:] in (".", "!", "?", ":") else f"{problem}."
    return f"{head} {advice}" if advice else head


class _HasDiagnostics(Exception):  # noqa: N818 (no error by itself)
    """Has diagnostics, made of the same parts as one; its text is their sentences."""

    severity: Severity = "error"
    diagnostics: tuple[Diagnostic, ...]

    def __init__(
        self,
        problem: str,
        *,
        where: Place | str = "",
        subject: str = "",
        advice: str = "",
        lines: Iterable[str] = (),
        code: str = "",
        layer: str = "",
    ) -> None:
        one = Diagnostic(
            problem, where, subject, advice, tuple(lines), code, self.severity, layer=layer
        )
        super().__init__(str(one))
        self.diagnostics = (one,)

    @classmethod
    def of(cls, *diagnostics: Diagnostic) -> Self:
        """One exception for one or several diagnostics."""
        made = cls(diagnostics[0].problem)
        made.diagnostics = diagnostics
        made.args = ("\n".join(map(str, diagnostics)),)
        return made

    @property
    def diagnostic(self) -> Diagnostic:
        """The first, and mostly the only one."""
        return self.diagnostics[0]

    def with_parts(self, **parts: Any) -> Self:
        """The same with other parts: ``where``, ``subject``, ``advice``, ..."""
        return self.of(self.diagnostic._replace(**parts), *self.diagnostics[1:])


class ProtogenError(_HasDiagnostics):
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

    def __init__(self, problem: str, *, table: Any = None, **parts: Any) -> None:
        super().__init__(problem, **parts)
        self.table = table


class ProtogenWarning(_HasDiagnostics, UserWarning):
    """Something that protogen keeps or works around, and that the user should know of."""

    severity = "warning"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is near a wrong one; empty where none is."""
    from difflib import get_close_matches  # slow to import, and needed for mistakes only

    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return near[0] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean X?`` where a known name is near; empty where none is."""
    near = nearest(name, known)
    return f"Did you mean {near}?" if near else ""
