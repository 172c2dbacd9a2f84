"""Monitor of one execution: exceptions, time and memory."""

from __future__ import annotations

import os
import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from protogen.errors import ProtogenError

SECONDS = 1.0  # more time is a finding
TIMES = 10  # more memory than this multiple of the input is a finding
FLOOR = 32 << 20  # bytes that are never a finding: caches and tables of libraries
STUCK = 20  # seconds after which an execution is stopped, which is a finding
PATIENCE = 0.2  # seconds after which an execution of an unbounded target is stopped

_ROOT = Path(__file__).resolve().parent.parent


class Stuck(BaseException):
    """An execution takes longer than the limit."""


def _on_alarm(_: int, frame: FrameType | None) -> None:
    # In Watch.__exit__ the execution has ended already.
    if frame is None or frame.f_code is not Watch.__exit__.__code__:
        raise Stuck


@dataclass
class Findings:
    """Counts of executions and findings. The first input of each kind of finding is stored.

    A kind names the exception and its line, or the excess of time or memory.
    """

    folder: Path = Path("new")
    kinds: dict[str, int] = field(default_factory=dict)
    executions: int = 0
    refused: int = 0
    slowest: float = 0.0
    memory: int = 0  # most bytes of an execution

    def add(self, kind: str, raw: bytes, suffix: str, details: str = "") -> None:
        """Count a finding; print it and store its input if it is the first of its kind."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] > 1:
            return
        print(f"\n=== {kind}\n{details}", flush=True)
        if self.folder.is_dir():
            name = "".join(c if c.isalnum() else "_" for c in kind)[:80]
            (self.folder / f"{name}{suffix}").write_bytes(raw)


class Watch:
    """Context manager around an execution: counts it, and adds its faults to the findings."""

    def __init__(
        self, raw: bytes, suffix: str, findings: Findings, bounded: bool = True, floor: int = 0
    ) -> None:
        self.raw, self.suffix, self.findings = raw, suffix, findings
        self.bounded, self.floor = bounded, floor or FLOOR

    def __enter__(self) -> Watch:
        self.before = reset()
        signal.signal(signal.SIGALRM, _on_alarm)
        signal.setitimer(signal.ITIMER_REAL, STUCK if self.bounded else PATIENCE)
        self.start = (
            time.process_time()
        )  # CPU time of this process: the load of the machine has no effect
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:  # fmt: skip
        elapsed = time.process_time() - self.start
        signal.setitimer(signal.ITIMER_REAL, 0)
        findings = self.findings
        memory = max(0, peak() - self.before)
        findings.executions += 1
        if not self.bounded:
            elapsed, memory = min(elapsed, PATIENCE), 0
            kind = None if kind in (Stuck, MemoryError) else kind
        findings.slowest = max(findings.slowest, elapsed)
        findings.memory = max(findings.memory, memory)
        if memory > max(self.floor, TIMES * len(self.raw)):
            findings.add(f"memory {memory >> 20} MB", self.raw, self.suffix)
        if elapsed > SECONDS and kind is not Stuck:
            findings.add(f"time {elapsed:.0f} s", self.raw, self.suffix)
        if kind is None:
            return True
        if issubclass(kind, KeyboardInterrupt):
            return False
        if issubclass(kind, ProtogenError):
            findings.refused += 1
            return True
        frames = traceback.extract_tb(trace)
        ours = [f for f in frames if f.filename.startswith(str(_ROOT / "protogen"))] or frames
        last = ours[-1]
        kind_text = f"{kind.__name__} {Path(last.filename).name}:{last.lineno}"
        details = "".join(traceback.format_list(ours[-4:])) + f"{kind.__name__}: {str(error)[:300]}"
        findings.add(kind_text, self.raw, self.suffix, details)
        return True


# Linux records the peak memory of a process and can reset it. On other systems memory is not measured.

_STATUS = (
    os.open("/proc/self/status", os.O_RDONLY) if os.path.exists("/proc/self/clear_refs") else -1
)
_CLEAR = os.open("/proc/self/clear_refs", os.O_WRONLY) if _STATUS >= 0 else -1


def reset() -> int:
    """Reset the peak memory to the current memory, and return it in bytes."""
    if _CLEAR < 0:
        return 0
    os.pwrite(_CLEAR, b"5", 0)
    return peak()


def peak() -> int:
    """Return the peak memory in bytes since the last reset."""
    if _STATUS < 0:
        return 0
    text = os.pread(_STATUS, 4096, 0)
    start = text.index(b"VmHWM:") + 6
    return int(text[start : text.index(b"kB", start)]) * 1024
