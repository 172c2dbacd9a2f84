"""Errors, warnings and findings. Each is a ``Diagnostic``; one exception class per exit code.

A ``Diagnostic`` holds its parts separately. ``str()`` joins them to the sentence that the user
reads: ``where: subject: problem. Advice.`` The problem states the actual and the expected value.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self

from protogen import _late

Edit = tuple[int, int, str]  # start and end in a text, and the text that replaces this range
Severity = Literal["error", "warning"]
_PACKAGE = os.path.dirname(__file__) + os.sep


class Place(NamedTuple):
    """A place in a file. Line and column count from 1 (line 0: the whole file). ``start`` and
    ``end`` are offsets in the file's text, -1 if unknown."""

    file: str
    line: int = 0
    column: int = 0
    start: int = -1
    end: int = -1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Fix(NamedTuple):
    """Edits of the text that remove a fault. ``safe``: they do not change what the net computes."""

    edits: tuple[Edit, ...]
    safe: bool = False


class Diagnostic(NamedTuple):
    """One error, warning or finding, in its parts.

    Attributes:
        problem: what is wrong, with the actual and the expected value.
        where: the place in a file, or the file's name, or empty.
        subject: the thing with the problem, such as ``layer "conv1" (Convolution)``.
        advice: what to do.
        lines: further lines below the sentence: the text with a caret, or a list of reasons.
        code: the code of the rule, such as ``PG101``.
        fix: edits that remove the fault; None if there is no automatic fix.
        layer: the name of the layer with the problem, or empty.
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
        """The place; the whole file if the line is unknown."""
        return self.where if isinstance(self.where, Place) else Place(self.where)

    @property
    def message(self) -> str:
        """Problem and advice, without place, subject and further lines."""
        return _sentence(self.problem, self.advice)

    def __str__(self) -> str:
        parts = (str(self.where), self.subject, self.problem)
        head = ": ".join(part for part in parts if part)
        return "\n".join((_sentence(head, self.advice), *self.lines))

    def __repr__(self) -> str:
        return _late.one_line(self)

    def _repr_html_(self) -> str:
        return _late.html(self)


def _sentence(problem: str, advice: str) -> str:
    head = problem if problem[-1:] in (".", "!", "?", ":") else f"{problem}."
    return f"{head} {advice}" if advice else head


class _HasDiagnostics(Exception):  # noqa: N818 (a base class of errors and warnings)
    """Base of errors and warnings. The constructor takes the parts of one ``Diagnostic``; the text
    is the sentences of all diagnostics."""

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
        diagnostic = Diagnostic(
            problem, where, subject, advice, tuple(lines), code, self.severity, layer=layer
        )
        super().__init__(str(diagnostic))
        self.diagnostics = (diagnostic,)

    @classmethod
    def of(cls, *diagnostics: Diagnostic) -> Self:
        """Return one exception for one or several diagnostics."""
        exception = cls(diagnostics[0].problem)
        exception.diagnostics = diagnostics
        exception.args = ("\n".join(map(str, diagnostics)),)
        return exception

    @property
    def diagnostic(self) -> Diagnostic:
        """The first diagnostic, in most cases the only one."""
        return self.diagnostics[0]

    def with_parts(self, **parts: Any) -> Self:
        """Return a copy with some parts replaced: ``where``, ``subject``, ``advice``, ..."""
        return self.of(self.diagnostic._replace(**parts), *self.diagnostics[1:])


class ProtogenError(_HasDiagnostics):
    """Base of all errors of protogen. ``exit_code`` is the exit code of the command line."""

    exit_code = 1


class InputError(ProtogenError):
    """A text, specification, shape, weight or path from the user is invalid (exit code 2)."""

    exit_code = 2


class ArgumentError(InputError, TypeError):
    """An argument of a function has the wrong type, is missing, or is unknown. It is a ``TypeError``, as
    Python raises for such calls, and an ``InputError``."""


class UnsupportedError(ProtogenError):
    """The request is valid, but protogen or its target does not support it (exit code 3)."""

    exit_code = 3


class MismatchError(ProtogenError):
    """A check ran and failed (exit code 1).

    ``table`` holds the rows that show the failure. The check that raises the error documents them.
    """

    def __init__(self, problem: str, *, table: Any = None, **parts: Any) -> None:
        super().__init__(problem, **parts)
        self.table = table


class ProtogenWarning(_HasDiagnostics, UserWarning):
    """A problem that protogen works around, or an input that it keeps although it is unknown."""

    severity = "warning"


def warn(warning: ProtogenWarning) -> None:
    """Emit a warning for the first caller outside of protogen.

    Python prints it as one sentence, without the file and line of that caller: the sentence names the
    place in the net. A program that formats warnings in its own way does so with this one, too.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    standard = warnings.formatwarning
    if getattr(standard, "__module__", "") not in ("warnings", "_py_warnings"):
        warnings.warn(warning, stacklevel=level + 1)
        return

    def sentence(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if isinstance(message, ProtogenWarning):
            return f"protogen: warning: {printable_lines(str(message))}\n"
        return standard(message, category, filename, lineno, line)  # a warning of another thread

    # Only for this warning: a permanent replacement would change how Python prints other warnings.
    warnings.formatwarning = sentence
    try:
        warnings.warn(warning, stacklevel=level + 1)
    finally:
        warnings.formatwarning = standard


def printable(text: str) -> str:
    """Return the text with control characters escaped, and bytes that are not UTF-8: names in untrusted
    files may contain them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def is_utf8(text: str) -> bool:
    """Return whether a text was decoded from valid UTF-8; other bytes became lone surrogates."""
    return text.isprintable() or not any("\ud800" <= c <= "\udfff" for c in text)


def check_utf8(text: str, purpose: str, where: str = "") -> None:
    """Check that a name can be written to a format whose names are UTF-8.

    Args:
        purpose: what requires it: ``"protobuf requires of texts in a caffemodel"``.

    Raises:
        InputError: the name has bytes that are not UTF-8.
    """
    if not is_utf8(text):
        raise InputError(
            f'the name "{printable(text)}" is not valid UTF-8, which {purpose}',
            where=where,
            advice="Rename it.",
        )


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python's surrogateescape decodes it
        code -= 0xDC00
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def printable_lines(text: str) -> str:
    """Return the text with control characters escaped, except ends of lines."""
    return "\n".join(map(printable, text.split("\n")))


def quantity(count: int, noun: str, plural: str = "", form: str = "") -> str:
    """Return a count with its noun: ``1 blob``, ``2 blobs``, ``3 axes``. ``form`` is the format of
    the number, such as ``,``."""
    return f"{count:{form}} {noun if count == 1 else plural or noun + 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most similar to ``name``; empty if none is similar."""
    from difflib import get_close_matches  # slow to import, and needed for errors only

    lower = {one.lower(): one for one in known}
    similar = get_close_matches(name.lower(), lower, n=1, cutoff=0.65 if 2 < len(name) < 6 else 0.7)
    return lower[similar[0]] if similar else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean X?`` if a known name is similar; otherwise empty."""
    similar = nearest(name, known)
    return f"Did you mean {similar}?" if similar else ""
