"""Notices that files changed, without help of the operating system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Stamp = (
    tuple[int, int, int] | None
)  # time of the last change in ns, size, inode; None: no such file
Stamps = tuple[Stamp, ...]

POLL = 0.3  # seconds between two looks at the files
QUIET = 0.1  # seconds without a change, after which a file is complete
ABSENT = 1.0  # seconds after which a missing file was deleted, and is not just being replaced
LONGEST = 5.0  # seconds to wait at most for the end of the changes


def stamps(paths: Sequence[Path]) -> Stamps:
    """Return the stamp of each file."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def wait_for_change(
    paths: Sequence[Path], before: Stamps, stopped: Callable[[float], bool]
) -> bool:
    """Wait until the stamps of the files differ from ``before``, and no longer change.

    Editors write a file in several steps, or write another file and rename it. A file that is missing
    for a moment is therefore no change yet.

    Args:
        stopped: waits for so many seconds, and returns whether the caller wants to stop.

    Returns:
        False if the caller wants to stop.
    """
    while (now := stamps(paths)) == before:
        if stopped(POLL):
            return False
    begin = since = time.monotonic()
    while True:
        moment = time.monotonic()
        lost = any(new is None and old is not None for new, old in zip(now, before, strict=True))
        if moment - since >= (ABSENT if lost else QUIET) or moment - begin >= LONGEST:
            return True
        if stopped(QUIET / 2):
            return False
        if (latest := stamps(paths)) != now:
            now, since = latest, time.monotonic()
