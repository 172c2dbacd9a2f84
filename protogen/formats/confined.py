"""Runs a function of protogen in a separate process, with limits of time, memory and output.

Use it for untrusted input whose cost no check can predict, such as a template, which is a program.
The process cannot write files. Limits of memory and of files need Linux or macOS; the limit of
time works on every system.
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
MEMORY = 1 << 30  # bytes; an interpreter with numpy uses a quarter of it
OUTPUT = 1 << 26  # characters
_START = "import sys; sys.path.insert(0, {root!r}); from protogen.formats.confined import serve; serve({limits})"


def confined(function: Callable[..., str], *args: Any, what: str, where: str) -> str:
    """Run ``function(*args)`` in another process and return its text.

    Args:
        function: a function at the top level of a module of protogen.
        args: its arguments, which must be picklable.
        what, where: name and place of the input, for error messages.

    Raises:
        InputError: the function raised one, or it exceeded a limit.
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
        raise _limit_error(what, where, f"takes more than {SECONDS} s") from None
    if done.returncode:  # killed: the time is over, or too little memory was left for a report
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        cause = f" ({last})" if last else ""
        raise _limit_error(what, where, f"takes more than {SECONDS} s or {MEMORY >> 20} MB{cause}")
    reply = json.loads(done.stdout)
    if "text" in reply:
        return str(reply["text"])
    if "error" in reply:
        raise InputError(**reply["error"])
    raise _limit_error(what, where, reply["limit"])


def _limit_error(what: str, where: str, problem: str) -> InputError:
    return InputError(f"{what} {problem}", where=where, advice="Make it smaller.")


def serve(seconds: int, memory: int, output: int) -> None:
    """Entry point of the other process: read the task from standard input, write the reply."""
    _limit(seconds, memory)
    module, name, args = pickle.loads(base64.b64decode(sys.stdin.buffer.read()))
    reply: dict[str, Any]
    try:
        text = getattr(import_module(module), name)(*args)
        reply = {"text": text}
        if len(text) > output:
            reply = {"limit": f"produces more than {output >> 20} million characters"}
    except InputError as error:
        diagnostic = error.diagnostic
        reply = {
            "error": {
                "problem": diagnostic.problem,
                "where": str(diagnostic.where),
                "subject": diagnostic.subject,
                "advice": diagnostic.advice,
                "lines": diagnostic.lines,
            }
        }
    except MemoryError:
        reply = {"limit": f"takes more than {memory >> 20} MB"}
    sys.stdout.buffer.write(json.dumps(reply).encode())


def _limit(seconds: int, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: only the parent process limits the time
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
        except (ValueError, OSError):  # macOS does not support every limit
            continue
