"""The line that shows that a command computes."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from places import EXAMPLES

from protogen.cli import waiting

CLEAR = "\r\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminals(monkeypatch: pytest.MonkeyPatch) -> tuple[Terminal, Terminal]:
    """Replace both streams; pytest replaces them itself between a fixture and its test."""
    monkeypatch.setattr(waiting, "AFTER", 0.05)
    monkeypatch.setattr(waiting, "_EVERY", 0.01)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def shown(err: Terminal) -> bool:
    """Wait until the line was drawn; return whether it was."""
    end = time.monotonic() + 10
    while not err.getvalue() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(err.getvalue())


def test_line_is_removed_before_a_result_is_printed(monkeypatch):
    out, err = terminals(monkeypatch)
    with waiting.waiting_line("protogen health"):
        assert shown(err)
        print("result")
        assert err.getvalue().endswith(CLEAR)
    assert f"{CLEAR}protogen health: 0 s" in err.getvalue()
    assert err.getvalue().endswith(CLEAR)
    assert out.getvalue() == "result\n"
    assert sys.stdout is out
    assert sys.stderr is err


def test_line_is_not_drawn_after_a_part_of_a_line_nor_in_a_bar(monkeypatch):
    _, err = terminals(monkeypatch)
    with waiting.waiting_line("protogen"):
        print("a part", end="")
        time.sleep(0.2)
        assert err.getvalue() == ""
        print()
        with waiting.no_line():
            time.sleep(0.2)
            assert err.getvalue() == ""
        assert shown(err)


def test_short_work_shows_nothing(monkeypatch):
    _, err = terminals(monkeypatch)
    with waiting.waiting_line("protogen"):
        pass
    assert err.getvalue() == ""


def run_in_terminal(tmp_path: Path, *options: str) -> tuple[str, bytes]:
    """Run a command that waits for a pipe; return what it writes to a terminal, and to a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "protogen", "summary", str(pipe), *options],
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    text = (EXAMPLES / "tiny.prototxt").read_bytes()

    def write() -> None:
        with pipe.open("wb") as file:  # opens when the command reads
            time.sleep(1.6)
            file.write(text)

    writer = threading.Thread(target=write)
    writer.start()
    out, _ = process.communicate(timeout=60)
    writer.join()
    pieces = []
    try:
        while piece := os.read(master, 4096):
            pieces.append(piece)
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(master)
    assert process.returncode == 0
    return b"".join(pieces).decode(), out


def test_a_slow_command_shows_its_name_and_the_seconds(tmp_path):
    err, out = run_in_terminal(tmp_path)
    assert "protogen summary: 1 s" in err
    assert err.endswith(CLEAR)
    assert b"10 layers" in out


def test_quiet_shows_no_line(tmp_path):
    err, out = run_in_terminal(tmp_path, "--quiet")
    assert err == ""
    assert b"conv1" in out
