"""Caffe's training log as data: losses, learning rates, outputs, and norms where debug_info is on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protogen.errors import InputError

LONGEST = 1 << 15  # characters of a line; glog's own limit is 30,000 bytes
_NUMBER = r"([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))"
_ITERATION = r"Iteration (\d{1,18})"
_LOSS = re.compile(rf"{_ITERATION}(?: \([^)\n]{{0,200}}\))?, loss = {_NUMBER}")
_RATE = re.compile(rf"{_ITERATION}, lr = {_NUMBER}")
_TESTING = re.compile(_ITERATION + ", Testing net")
_OUTPUT = re.compile(rf"(Train|Test) net output #\d+: (\S+) = {_NUMBER}")
_FORWARD = re.compile(rf"\[Forward\] Layer (.+), top blob (\S+) data: {_NUMBER}")
_WEIGHT = re.compile(rf"\[Forward\] Layer (.+), param blob (\d+) data: {_NUMBER}")
_BOTTOM = re.compile(rf"\[Backward\] Layer (.+), bottom blob (\S+) diff: {_NUMBER}")
_DIFF = re.compile(rf"\[Backward\] Layer (.+), param blob (\d+) diff: {_NUMBER}")
_LINE = re.compile(r"^[IWEF]\d{4,8} [\d:.]+ +\d+ [\w./]+:\d+\]")


@dataclass
class Log:
    """What a log tells. Each series is (iteration, value) in order; norms are mean absolute values
    of the last iteration with debug_info, by layer in the order of the net."""

    path: str
    loss: list[tuple[int, float]] = field(default_factory=list)
    rate: list[tuple[int, float]] = field(default_factory=list)
    train: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    test: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    weight_gradients: dict[str, float] = field(default_factory=dict)
    gradient_history: dict[str, list[float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As data for JSON: how much there is, and the ends."""
        return {
            "iterations": self.loss[-1][0] if self.loss else 0,
            "first_loss": self.loss[0][1] if self.loss else None,
            "last_loss": self.loss[-1][1] if self.loss else None,
            "last_lr": self.rate[-1][1] if self.rate else None,
            "test": {name: series[-1][1] for name, series in self.test.items()},
            "weight_gradients": self.weight_gradients,
        }


def read_log(path: str | Path) -> Log:
    """The log in a file.

    Raises:
        InputError: it cannot be read, or nothing in it is of Caffe's training.
    """
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return parse_log(iter(lambda: file.readline(LONGEST), ""), str(path))
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=str(path), advice="Check the path."
        ) from None


def parse_log(lines: Iterable[str], path: str = "the log") -> Log:
    """The same of lines that are there already; they are looked at one by one."""
    log = Log(path)
    iteration = tested = 0
    seen = False
    for line in lines:
        seen = seen or bool(_LINE.match(line))
        if "[Forward]" in line or "[Backward]" in line:
            _norm(log, line)
        elif (found := _LOSS.search(line)) is not None:
            iteration = int(found[1])
            log.loss.append((iteration, float(found[2])))
        elif (found := _RATE.search(line)) is not None:
            log.rate.append((int(found[1]), float(found[2])))
        elif (found := _TESTING.search(line)) is not None:
            tested = int(found[1])
        elif (found := _OUTPUT.search(line)) is not None:
            series, at = (log.train, iteration) if found[1] == "Train" else (log.test, tested)
            series.setdefault(found[2], []).append((at, float(found[3])))
    if not (log.loss or log.test or log.train or log.weight_gradients):
        problem = "tells of no iteration" if seen else "is no log of Caffe's"
        advice = "Training writes it to stderr: caffe train ... 2> train.log"
        raise InputError(problem, where=path, advice=advice)
    return log


def _norm(log: Log, line: str) -> None:
    # From the first place on alone: a line that repeats it is looked through once.
    at = max(line.find("[Forward]"), line.find("[Backward]"))
    if (found := _FORWARD.match(line, at)) is not None:
        log.values[found[1]] = float(found[3])
    elif (found := _WEIGHT.match(line, at)) is not None:
        if found[2] == "0":
            log.weights[found[1]] = float(found[3])
    elif (found := _DIFF.match(line, at)) is not None:
        if found[2] == "0":
            log.weight_gradients[found[1]] = float(found[3])
            log.gradient_history.setdefault(found[1], []).append(float(found[3]))
    elif (found := _BOTTOM.match(line, at)) is not None:
        log.gradients[found[1]] = float(found[3])
