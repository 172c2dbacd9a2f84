"""The memory of this machine: how much there is, what needs more, a limit for a command, and mapped files that
become shorter."""

from __future__ import annotations

import os
import sys

from protogen.errors import Place, UnsupportedError

if sys.platform != "win32":
    import resource

# What libraries in C++ say; they have no exception of their own for it.
_LACKS = (
    "bad_alloc", "bad allocation", "cannot allocate memory", "cannot map zero-fill", "failed to allocate",
    "out of memory", "resource_exhausted", "unable to allocate", "allocatorptr", "posixthread",
)  # fmt: skip


_CUT = (
    b"protogen: an input file became shorter while it was read. Run the command again when no other program "
    b"writes to its inputs.\n"
)
_commands: list[int] = []  # the process id of a command; empty in a program that imports protogen
_replaced: list[tuple[int, int]] = []  # the limits before those of this module
_handlers: list[object] = []  # ctypes needs them as long as the process lives


def machine_memory() -> int | None:
    """Return the size of this machine's memory in bytes; None if the system does not report it."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def in_words(count: int) -> str:
    """Return a number of bytes as text: ``1.5 GB``."""
    return f"{count / 1e12:.3g} TB" if count >= 1e12 else f"{count / 1e9:.3g} GB"


def check_memory(needed: int, purpose: str, subject: str = "", where: Place | str = "") -> None:
    """Check that the machine has enough memory.

    Args:
        needed: bytes.
        purpose: what needs them: ``the inputs need``.
        subject, where: what the error names.

    Raises:
        UnsupportedError: it has not; the error has both amounts.
    """
    size = machine_memory()
    if size is not None and needed > size:
        raise UnsupportedError(
            f"{purpose} {in_words(needed)} of memory, but this machine has {in_words(size)}",
            subject=subject,
            where=where,
            advice="Use smaller inputs.",
        )


def lacks_memory(error: BaseException) -> bool:
    """Return whether an exception of Python or of a library means that there is not enough memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _LACKS)


def shortage() -> str:
    """Return the sentence for such an exception, with the amounts."""
    parts = []
    if (size := machine_memory()) is not None:
        parts.append(f"this machine has {in_words(size)}")
    if sys.platform != "win32":
        limits = [resource.getrlimit(k)[0] for k in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        finite = [one for one in limits if one != resource.RLIM_INFINITY]
        parts.append(f"protogen used {in_words(_peak())}")
        if finite:
            parts.append(f"it may use {in_words(min(finite))}")
    numbers = f": {', '.join(parts)}" if parts else ""
    return f"the memory is not enough{numbers}. Use smaller inputs."


def _peak() -> int:
    """Return the most memory that the process has had, in bytes."""
    if sys.platform == "win32":
        return 0
    if (
        sys.platform == "linux"
    ):  # getrusage has that of the process that started this one, if it was more
        peak = _amounts("/proc/self/status").get(b"VmHWM:")
        if peak is not None:
            return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def limit_memory() -> None:
    """Let no allocation of this process succeed for which the machine has no memory. Linux would grant it, and
    later kill this process or another one. Maps of files do not count. A lower limit of the user stays."""
    _commands.append(os.getpid())
    if sys.platform != "linux":
        return
    room = _available()
    limit, most = resource.getrlimit(resource.RLIMIT_DATA)
    if room is not None and (limit == resource.RLIM_INFINITY or limit > room):
        resource.setrlimit(resource.RLIMIT_DATA, (room, most))
        _replaced[:] = [(limit, most)]


def lift_limit() -> None:
    """Undo ``limit_memory``, before a command starts a program of the user, such as a browser."""
    if sys.platform == "linux" and _replaced:
        resource.setrlimit(resource.RLIMIT_DATA, _replaced.pop())


def _available() -> int | None:
    """Return the bytes that programs can use: free memory, what the system can free, and free swap; None
    if the system does not report it."""
    amounts = _amounts("/proc/meminfo")
    if not {b"MemAvailable:", b"SwapFree:"} <= amounts.keys():
        return None
    return amounts[b"MemAvailable:"] + amounts[b"SwapFree:"]


def _amounts(path: str) -> dict[bytes, int]:
    """Return the bytes in lines such as ``MemFree:  1024 kB`` of a file of the system; empty without it."""
    try:
        with open(path, "rb") as file:
            lines = [line.split() for line in file.read().splitlines()]
    except OSError:
        return {}
    return {
        words[0]: 1024 * int(words[1])
        for words in lines
        if len(words) == 3 and words[1].isdigit() and words[2] == b"kB"
    }


def end_at_lost_pages() -> None:
    """End the process with one sentence and exit code 2 if a library reads a mapped file beyond its present end,
    because another program has cut it. Without this the system kills the process (SIGBUS). Nothing changes in
    other processes, such as a user's own program."""
    if sys.platform != "linux" or _handlers or not _commands:
        return
    import ctypes
    import signal

    def end(_: int) -> None:
        os.write(2, _CUT)
        os._exit(2)

    # Python's own handlers run only after the instruction, which would fail again and again.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    ctypes.CDLL(None).signal(signal.SIGBUS, handler)
    _handlers.append(handler)
