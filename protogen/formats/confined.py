"""Runs a function of protogen in a process of its own, with limits of time, memory and output.

For what strangers' files can make as large as they like and no check can foresee: a template is a
program. The process may not write files. Limits of memory and of files need Linux or macOS; the
limit of time holds everywhere.
"""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from protogen.errors import InputError

SECONDS = 10
MEMORY = 1 << 30  # bytes: an interpreter with numpy takes a quarter of it
OUTPUT = 1 << 26  # characters
_START = "import sys; sys.path.insert(0, {root!r}); from protogen.formats.confined import serve; serve({limits})"


def confined(function: Callable[..., str], *args: Any, what: str, where: str) -> str:
    """The text that ``function(*args)`` gives, made in another process.

    Args:
        function: one that stands in a module of protogen; its arguments can be pickled.
        what, where: how messages call what runs, and where it stands.

    Raises:
        InputError: it raised one itself, or it passed a limit.
    """
    root = str(Path(__file__).parent.parent.parent)
    limits = f"{SECONDS}, {MEMORY}, {OUTPUT}"
    command = [sys.executable, "-P", "-c", _START.format(root=root, limits=limits)]
    task = pickle.dumps((function.__module__, function.__name__, args))
    try:
        done = subprocess.run(
            command,
            input=base64.b64encode(task),
            capture_output=True,
            timeout=2 * SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(what, where, f"takes more than {SECONDS} s") from None
    if done.returncode:  # killed: for its time, or for memory that it could not even report
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        told = f" ({last})" if last else ""
        raise _refused(what, where, f"takes more than {SECONDS} s or {MEMORY >> 20} MB{told}")
    told = json.loads(done.stdout)
    if "text" in told:
        return str(told["text"])
    if "error" in told:
        raise InputError(**told["error"])
    raise _refused(what, where, told["limit"])


def _refused(what: str, where: str, problem: str) -> InputError:
    return InputError(f"{what} {problem}", where=where, advice="Make it smaller.")


def serve(seconds: int, memory: int, output: int) -> None:
    """The other process: reads the task from standard input, writes what came of it."""
    _limit(seconds, memory)
    module, name, args = pickle.loads(base64.b64decode(sys.stdin.buffer.read()))
    told: dict[str, Any]
    try:
        text = getattr(import_module(module), name)(*args)
        told = {"text": text}
        if len(text) > output:
            told = {"limit": f"makes more than {output >> 20} million characters"}
    except InputError as error:
        one = error.diagnostic
        told = {
            "error": {
                "problem": one.problem,
                "where": str(one.where),
                "subject": one.subject,
                "advice": one.advice,
                "lines": one.lines,
            }
        }
    except MemoryError:
        told = {"limit": f"takes more than {memory >> 20} MB"}
    sys.stdout.buffer.write(json.dumps(told).encode())


def _limit(seconds: int, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the one who waits breaks it off
        return
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, hard))
        except (ValueError, OSError):  # macOS does not take every limit
            continue
