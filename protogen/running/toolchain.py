"""The client of the worker that runs nets in a toolchain (``adapters/worker.py``)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from protogen.errors import InputError, UnsupportedError
from protogen.formats.arrayfiles import read_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

ADAPTERS = Path(__file__).parent / "adapters"
SECONDS = 120.0  # for one net, and for the start
_GRACE = 10.0  # seconds for the worker to report that a net hangs
_LONGEST = 1 << 24  # bytes of an answer: the log of a net is smaller
_ERRORS = 1 << 15  # bytes of the worker's own stderr

State = Literal["ran", "refused", "crashed", "hung"]


@dataclass(frozen=True)
class Answer:
    """What a toolchain did with a net.

    Attributes:
        state: "ran", "refused", "crashed" or "hung".
        outputs: arrays by name; a list, in the order of the net's outputs, if the toolchain names none.
        message: the error of the toolchain, the signal or the exit code; may be empty.
        log: what the toolchain printed: its beginning and its end.
        seconds: the time that it took.
    """

    state: State
    outputs: dict[str, NDArray[Any]] | list[NDArray[Any]] = field(default_factory=dict)
    message: str = ""
    log: str = ""
    seconds: float = 0.0


class StartError(UnsupportedError):
    """A toolchain cannot be started. ``state`` is "missing" (a module is not installed), "crashed" or
    "hung"; ``log`` is what was printed."""

    state: Literal["missing", "crashed", "hung"] = "crashed"
    log: str = ""


class _EndedError(Exception):
    """The worker has ended, or sends something else than an answer."""


class _LateError(Exception):
    """The worker does not answer in time."""


class Worker:
    """A toolchain in a process of its own, which starts once for many nets.

    Use it in a ``with`` block, or call ``close``. If its process ends, it is started again for the next
    net.

    Args:
        adapter: the adapter, a Python file with the functions ``load`` and ``run``.
        python: the Python interpreter of the environment in which the toolchain is installed.
        seconds: the time limit of the start, and of each net.

    Attributes:
        about: what the adapter has loaded: its version, and whatever its ``load`` returns.
    """

    def __init__(
        self, adapter: str | Path, python: str | Path, *, seconds: float = SECONDS
    ) -> None:
        self.adapter, self.python = Path(adapter).absolute(), Path(python).absolute()
        self.seconds = seconds
        self.about: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._errors = b""
        self._reader: threading.Thread | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> dict[str, Any]:
        """Start the process, unless it runs, and return ``about``.

        Raises:
            StartError: the toolchain is not installed there, its adapter or the Python is invalid, or it
                does not start in time.
        """
        if self._process is not None and self._process.poll() is None:
            return self.about
        self._end()
        if not hasattr(os, "fork"):
            raise StartError(
                "toolchains run only on systems that have fork, such as Linux and macOS"
            )
        command = [str(self.python), str(ADAPTERS / "worker.py"), str(self.adapter)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=_environment(self.python),
            )
        except OSError as error:
            problem = f"cannot be started ({error.strerror})"
            raise StartError(problem, where=str(self.python)) from None
        assert self._process.stderr is not None
        self._unread = self._errors = b""
        self._reader = threading.Thread(
            target=self._read_errors, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()
        self.about = self._first_answer()
        return self.about

    def run(
        self,
        net: str | Path,
        weights: bytes | Path | None,
        inputs: Arrays,
        *,
        options: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """Run a net, and return its outputs or how it failed.

        Args:
            net: the text of the prototxt, or its path.
            weights: the caffemodel, or its path. A file is not copied.
            inputs: an array for each input of the net.
            options: options of the adapter.
            seconds: the time limit; by default that of the toolchain.

        Raises:
            StartError: see ``start``.
            InputError: the prototxt cannot be read.
        """
        self.start()
        limit = self.seconds if seconds is None else seconds
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="protogen-try-")
        folder = Path(self._folder.name)
        outputs = folder / "out.npz"
        outputs.unlink(missing_ok=True)
        request = {
            "net": str(_net_file(folder, net)),
            "weights": _weights_file(folder, weights),
            "inputs": str(_write_inputs(folder, inputs)),
            "outputs": str(outputs),
            "seconds": limit,
            "options": dict(options or {}),
        }
        began = time.monotonic()
        try:
            self._send(request)
            reply = self._receive(limit + _GRACE)
        except _LateError:
            self._end()
            return Answer("hung", seconds=time.monotonic() - began)
        except _EndedError as error:
            log = self._end()
            return Answer("crashed", {}, str(error), log, time.monotonic() - began)
        return _answer(reply, outputs)

    def close(self) -> None:
        """End the process, and all processes that it has started."""
        self._end()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _first_answer(self) -> dict[str, Any]:
        """Return the first answer; raise StartError if it is an error, or no answer at all."""
        problem, state = "", "crashed"
        try:
            reply = self._receive(self.seconds)
            if isinstance(reply.get("version"), str):
                return reply
            state = "missing" if "missing" in reply else "crashed"
            problem = str(reply.get("missing") or reply.get("broken") or "it has no version")
        except _LateError:
            problem, state = f"did not start in {self.seconds:g} s", "hung"
        except _EndedError as error:
            problem = f"{error} while it was loaded"
        error_ = StartError(problem)
        error_.state = state  # type: ignore[assignment]
        error_.log = self._end()
        raise error_

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _EndedError(self._how_ended()) from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        """Return the next answer of the worker."""
        assert self._process is not None
        assert self._process.stdout is not None
        stream, until = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise _LateError
            piece = os.read(stream, 1 << 16)
            self._unread += piece
            if not piece:
                raise _EndedError(self._how_ended())
            if len(self._unread) > _LONGEST:
                break
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise _EndedError("did not answer as a worker does")
        return reply

    def _how_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "its process closed its output"
        return f"its process ended by signal {-code}" if code < 0 else f"its process ended ({code})"

    def _read_errors(self, stream: IO[bytes]) -> None:
        """Read the worker's stderr to its end, and remember the last part."""
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(stream.fileno(), 1 << 16):
                self._errors = (self._errors + piece)[-_ERRORS:]

    def _end(self) -> str:
        """End the process and its group. Return what it printed on stderr."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()  # the worker ends the net that runs, then itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5 if self._unread or not self.about else 2)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._reader is not None:
            self._reader.join(1)
        for stream in (process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None and not (self._reader and self._reader.is_alive()):
                    stream.close()
        return self._errors.decode(errors="replace")


def _environment(python: Path) -> dict[str, str]:
    """Return the variables of this process; for another Python, without those that change which modules
    it has."""
    if str(python) == sys.executable:
        return dict(os.environ)
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in left_out}


def _net_file(folder: Path, net: str | Path) -> Path:
    path = folder / "net.prototxt"
    try:
        data = net.encode("utf-8", "surrogateescape") if isinstance(net, str) else net.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(net)) from None
    path.write_bytes(data)
    return path


def _weights_file(folder: Path, weights: bytes | Path | None) -> str | None:
    if weights is None:
        return None
    path = folder / "net.caffemodel"
    if isinstance(weights, bytes):
        path.unlink(missing_ok=True)
        path.write_bytes(weights)
        return str(path)
    if weights.suffix == ".caffemodel":  # several toolchains refuse other names
        return str(weights.absolute())
    path.unlink(missing_ok=True)
    path.symlink_to(weights.absolute())
    return str(path)


def _write_inputs(folder: Path, inputs: Arrays) -> Path:
    import numpy as np

    path = folder / "in.npz"
    arrays = {f"a{i}": np.asarray(array) for i, array in enumerate(inputs.values())}
    with path.open("wb") as file:
        np.savez(file, names=np.array(json.dumps(list(inputs))), **arrays)  # type: ignore[arg-type]
    return path


def _answer(reply: Mapping[str, Any], path: Path) -> Answer:
    """Return the answer, with the arrays of the outputs."""
    state: State = reply["state"]
    outputs: dict[str, NDArray[Any]] | list[NDArray[Any]] = {}
    if state == "ran":
        archive = read_arrays(path)
        arrays = [archive[f"a{i}"] for i in range(len(archive))]
        names = reply["names"]
        outputs = arrays if names is None else dict(zip(names, arrays, strict=True))
    return Answer(state, outputs, reply["message"], reply["log"], reply["seconds"])
