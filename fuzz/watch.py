"""Watches one execution: what leaves it, how long it takes, how much memory it touches."""

from __future__ import annotations

import os
import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from protogen.errors import ProtogenError

SECONDS = 1.0
TIMES = 10  # memory may be this many times the input,
FLOOR = 32 << 20  # or this many bytes, which caches and small tables of libraries take
STUCK = 20  # seconds after which an execution is broken off,
PATIENCE = 0.2  # or these, where that is no finding

_ROOT = Path(__file__).resolve().parent.parent


class Stuck(BaseException):
    """An execution that does not end."""


def _ring(_: int, frame: FrameType | None) -> None:
    # Not where the execution has ended already and its watch is about to be switched off.
    if frame is None or frame.f_code is not Watch.__exit__.__code__:
        raise Stuck


@dataclass
class Findings:
    """What was found: the first input of each kind, by what it is and where it stands."""

    folder: Path = Path("new")
    kinds: dict[str, int] = field(default_factory=dict)
    executions: int = 0
    refused: int = 0
    slowest: float = 0.0
    most: int = 0  # bytes of memory

    def add(self, what: str, raw: bytes, suffix: str, told: str = "") -> None:
        self.kinds[what] = self.kinds.get(what, 0) + 1
        if self.kinds[what] > 1:
            return
        print(f"\n=== {what}\n{told}", flush=True)
        if self.folder.is_dir():
            name = "".join(c if c.isalnum() else "_" for c in what)[:80]
            (self.folder / f"{name}{suffix}").write_bytes(raw)


class Watch:
    """A context that an execution stands in: it keeps count, and takes what leaves it."""

    def __init__(
        self, raw: bytes, suffix: str, findings: Findings, bounded: bool = True, floor: int = 0
    ) -> None:
        self.raw, self.suffix, self.findings = raw, suffix, findings
        self.bounded, self.floor = bounded, floor or FLOOR

    def __enter__(self) -> Watch:
        self.before = reset()
        signal.signal(signal.SIGALRM, _ring)
        signal.setitimer(signal.ITIMER_REAL, STUCK if self.bounded else PATIENCE)
        self.start = time.process_time()  # of this process: a busy machine is no finding
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:  # fmt: skip
        elapsed = time.process_time() - self.start
        signal.setitimer(signal.ITIMER_REAL, 0)
        found = self.findings
        memory = max(0, peak() - self.before)
        found.executions += 1
        if not self.bounded:
            elapsed, memory = min(elapsed, PATIENCE), 0
            kind = None if kind in (Stuck, MemoryError) else kind
        found.slowest, found.most = max(found.slowest, elapsed), max(found.most, memory)
        if memory > max(self.floor, TIMES * len(self.raw)):
            found.add(f"memory {memory >> 20} MB", self.raw, self.suffix)
        if elapsed > SECONDS and kind is not Stuck:
            found.add(f"time {elapsed:.0f} s", self.raw, self.suffix)
        if kind is None:
            return True
        if issubclass(kind, KeyboardInterrupt):
            return False
        if issubclass(kind, ProtogenError):
            found.refused += 1
            return True
        frames = traceback.extract_tb(trace)
        ours = [f for f in frames if f.filename.startswith(str(_ROOT / "protogen"))] or frames
        last = ours[-1]
        what = f"{kind.__name__} {Path(last.filename).name}:{last.lineno}"
        told = "".join(traceback.format_list(ours[-4:])) + f"{kind.__name__}: {str(error)[:300]}"
        found.add(what, self.raw, self.suffix, told)
        return True


# Linux keeps the peak of a process's memory, and can be told to begin anew. Elsewhere memory is
# not watched.

_STATUS = (
    os.open("/proc/self/status", os.O_RDONLY) if os.path.exists("/proc/self/clear_refs") else -1
)
_CLEAR = os.open("/proc/self/clear_refs", os.O_WRONLY) if _STATUS >= 0 else -1


def reset() -> int:
    if _CLEAR < 0:
        return 0
    os.pwrite(_CLEAR, b"5", 0)
    return peak()


def peak() -> int:
    if _STATUS < 0:
        return 0
    text = os.pread(_STATUS, 4096, 0)
    at = text.index(b"VmHWM:") + 6
    return int(text[at : text.index(b"kB", at)]) * 1024
