"""Measures commands in fresh processes, one after the other in turn, and compares them with a floor.

A floor is a process that does only what the work cannot avoid, such as ``cp`` of the same bytes. It is
measured in the same run, so that the speed of the machine does not change the ratio.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

RUNS = 5
# An installed package has bytecode files, even if this shell disables them. protogen switches onnxruntime's
# telemetry off; without it, a floor takes less time.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "ORT_DISABLE_TELEMETRY": "1",
}
PYTHON = sys.executable
PROTOGEN = str(Path(sys.executable).parent / "protogen")

# A small process starts the command, because the memory of a process that forks counts for its children
# too.
_LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
completed = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
took = time.perf_counter() - start
if completed.returncode not in json.loads(sys.argv[1]):
    sys.exit(f"exit code {completed.returncode}: {sys.argv[2:]}\\n{completed.stderr}")
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""

Quantity = Literal["time", "CPU time", "memory", "nodes", "proofs"]


@dataclass(frozen=True)
class Usage:
    """What a command used: the medians of its runs.

    Attributes:
        seconds: elapsed time.
        cpu: seconds of all its threads.
        peak: largest resident memory in MiB.
    """

    seconds: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Row:
    """One line of the table of goals.

    Attributes:
        work: what was measured.
        floor: with what it was compared; empty for an absolute goal.
        quantity: what the numbers are.
        value: ours, in ``unit``.
        base: that of the floor, in the same unit; None for an absolute goal.
        goal: the largest ratio to the floor, or the largest value for an absolute goal.
    """

    work: str
    floor: str
    quantity: Quantity
    value: float
    base: float | None
    goal: float
    unit: str

    @property
    def ratio(self) -> float:
        """The number that the goal limits."""
        return self.value if self.base is None else self.value / self.base

    @property
    def holds(self) -> bool:
        return self.ratio <= self.goal

    def plain(self) -> dict[str, Any]:
        """The row for JSON."""
        return asdict(self)


def usages(
    commands: Sequence[Sequence[object]],
    runs: int = RUNS,
    before: Callable[[], object] = lambda: None,
    exits: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> list[Usage]:
    """Run commands in turn, each ``runs`` times in a fresh process, and return the medians of each.

    Args:
        before: is called before each run; deletes outputs, for example.
        exits: the exit codes of a run that did not fail.
        environment: further variables of the environment.
    """
    variables = {**ENVIRONMENT, **(environment or {})}
    taken: list[list[list[float]]] = [[] for _ in commands]
    for _ in range(runs):
        for command, of_command in zip(commands, taken, strict=True):
            before()
            launcher = (PYTHON, "-S", "-c", _LAUNCH, json.dumps(list(exits)), *map(str, command))
            completed = subprocess.run(launcher, capture_output=True, text=True, env=variables)
            if completed.returncode:
                raise SystemExit(completed.stderr)
            of_command.append(json.loads(completed.stdout))
    return [Usage(*map(statistics.median, zip(*rows, strict=True))) for rows in taken]


def against(
    work: str, floor: str, ours: Usage, base: Usage, goals: Mapping[Quantity, float]
) -> list[Row]:
    """Return a row for each of these quantities of a command and its floor."""
    values: dict[Quantity, tuple[float, float, str]] = {
        "time": (ours.seconds, base.seconds, "s"),
        "CPU time": (ours.cpu, base.cpu, "s"),
        "memory": (ours.peak, base.peak, "MiB"),
    }
    return [
        Row(
            work,
            floor,
            quantity,
            values[quantity][0],
            values[quantity][1],
            goal,
            values[quantity][2],
        )
        for quantity, goal in goals.items()
    ]
