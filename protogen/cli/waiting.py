"""A line on the terminal while a command computes: its name and the seconds, after the first second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

AFTER = 1.0  # seconds without output
_EVERY = 0.2
_CLEAR = "\r\x1b[2K"
_current: list[_Line] = []


class _Line:
    """The line. It is removed before anything is printed, and drawn again after a second without output;
    never after a part of a line."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self.label, self.stream = label, stream
        self.begin = self.last = time.monotonic()
        self.lock = threading.RLock()
        self.ended = threading.Event()
        self.drawn = False
        self.free = True  # the cursor is at the begin of a line
        self.pauses = 0

    def run(self) -> None:
        while not self.ended.wait(_EVERY):
            now = time.monotonic()
            with self.lock:
                if self.free and not self.pauses and now - self.last >= AFTER:
                    self.stream.write(f"{_CLEAR}{self.label}: {now - self.begin:.0f} s")
                    self.stream.flush()
                    self.drawn = True

    def clear(self) -> None:
        """Remove the line from the terminal; the caller holds the lock."""
        if self.drawn:
            self.stream.write(_CLEAR)
            self.stream.flush()
            self.drawn = False

    def write(self, stream: TextIO, text: str) -> int:
        with self.lock:
            self.clear()
            count = stream.write(text)
            if text:
                self.free, self.last = text.endswith("\n"), time.monotonic()
            return count


class _Printed:
    """A stream to a terminal that removes the line before it prints."""

    def __init__(self, line: _Line, stream: TextIO) -> None:
        self._line, self._stream = line, stream

    def write(self, text: str) -> int:
        return self._line.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def waiting_line(label: str) -> Iterator[None]:
    """Show the line while the block runs, if the standard error is a terminal."""
    out, err = sys.stdout, sys.stderr
    if not err.isatty():
        yield
        return
    line = _Line(label, err)
    sys.stderr = _Printed(line, err)
    if out.isatty():
        sys.stdout = _Printed(line, out)
    _current.append(line)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        line.ended.set()
        thread.join()
        line.clear()
        _current.pop()
        sys.stdout, sys.stderr = out, err


def label(text: str) -> None:
    """Give the line another text."""
    for line in _current:
        line.label = text


def silence() -> None:
    """Show no line any more."""
    for line in _current:
        line.ended.set()


@contextmanager
def no_line() -> Iterator[None]:
    """Leave the terminal to a progress bar, or to a server, while the block runs."""
    for line in _current:
        with line.lock:
            line.clear()
            line.pauses += 1
    try:
        yield
    finally:
        for line in _current:
            with line.lock:
                line.pauses -= 1
                line.last = time.monotonic()
