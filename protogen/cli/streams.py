"""The standard streams of a command: closed ones, and a standard output that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from protogen.errors import InputError

# Errors of a write to a stream. Errors of files have the name of the file, and are reported as such.
_OF_STREAMS = (errno.EBADF, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENXIO, errno.EDQUOT)


class _Closed(io.TextIOBase):
    """The standard output of a process that was started without one: printing a result is an error."""

    encoding = "utf-8"
    errors = "strict"

    def write(self, text: str) -> int:
        if text:
            _refuse()
        return 0

    @property
    def buffer(self) -> Any:
        _refuse()


def _refuse() -> NoReturn:
    raise InputError(
        "the standard output is closed", advice="Redirect it to a file, or to /dev/null."
    )


class PipeClosedError(Exception):
    """The program that reads our output has closed the pipe: ``protogen summary net.prototxt | head``."""


@contextlib.contextmanager
def reader_stops() -> Iterator[None]:
    """Replace the error of a closed pipe by PipeClosedError: click ends with exit code 1 for the former, which
    means a finding."""
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosedError from error


def open_closed() -> None:
    """Give the process the standard streams that it was started without. Without them the next file that is
    opened would get their number, and what a library prints would be written to it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def is_closed() -> bool:
    """Whether the process was started without a standard output."""
    return isinstance(sys.stdout, _Closed)


def of_stream(error: OSError) -> bool:
    """Whether an error is that of a write to a standard stream."""
    return error.filename is None and error.errno in _OF_STREAMS


def drop_output() -> None:
    """Drop what was printed and is not yet written: Python would try it again when the process ends."""
    if not is_closed():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
