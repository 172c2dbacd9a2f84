"""Runs the command line in forked processes.

Starting Python and importing numpy, onnx and onnxruntime takes longer than most commands. A server
imports them once, starts no threads, and forks for each command, so that every command still has a
process of its own: its working folder, registered layers and messages, and its exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TIMEOUT = 300  # seconds for one command


class CommandServer:
    """A server process. It is started by the first command and ended by ``close``."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, *arguments: object, cwd: Path, merge: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``protogen`` with these arguments.

        Args:
            cwd: the working folder.
            merge: write stderr to stdout, in the order of printing.
            env: environment variables besides those of this process.
        """
        words = [str(argument) for argument in arguments]
        if not hasattr(os, "fork"):
            return _plain(words, cwd, merge, env)
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=_environment(),
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The server has the environment of its start, but some tests change this variable.
        variables = {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "")} | (env or {})
        request = {"arguments": words, "cwd": str(cwd), "merge": merge, "env": variables}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(
            ["protogen", *words], answer["code"], answer["stdout"], answer["stderr"]
        )

    def close(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.communicate()


def _environment() -> dict[str, str]:
    """Return the environment of a user: without the flags that tests set for XLA, which change digits."""
    environment = os.environ | {"COLUMNS": "100", "PYTHONUTF8": "1"}
    environment.pop("XLA_FLAGS", None)
    return environment


def _plain(
    words: list[str], cwd: Path, merge: bool, env: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "protogen", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        encoding="utf-8",
        timeout=TIMEOUT,
        env=_environment() | (env or {}),
    )


def _serve() -> None:
    import numpy
    import onnx
    import onnxruntime

    import protogen.cli

    assert all((numpy, onnx, onnxruntime, protogen.cli))
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _command(request, out.fileno(), out.fileno() if request["merge"] else err.fileno())
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(TIMEOUT)
        _, status = os.waitpid(child, 0)
        signal.alarm(0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "stdout": texts[0], "stderr": texts[1]}


def _command(request: dict[str, Any], out: int, err: int) -> None:
    """Run one command in the forked process, and end it."""
    code: Any = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        sys.argv = ["protogen", *request["arguments"]]
        from protogen.cli import main

        main()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    finally:
        if sys.exc_info()[0] is not None:  # an unforeseen exception, which os._exit would hide
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    _serve()
