"""Parser for Caffe's training log: losses, learning rates, outputs, and norms from debug_info."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protogen._late import Shown
from protogen.errors import InputError
from protogen.formats import files

LONGEST = 1 << 15  # maximum characters of a line; glog's own limit is 30,000 bytes
MOST = 2_000_000  # lines with values; a training of a million iterations prints far fewer
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


@dataclass(repr=False)
class Log(Shown):
    """The content of a training log.

    ``loss``, ``rate``, ``train`` and ``test`` are series of (iteration, value) in order. The norms
    ``values`` (of outputs), ``weights``, ``gradients`` (of bottoms) and ``weight_gradients`` are mean
    absolute values of the last iteration with debug_info, by layer in the order of the net.
    ``gradient_history`` contains all norms of weight gradients.
    """

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
        """Return a dictionary for JSON: the number of iterations, and first and last values."""
        return {
            "iterations": self.loss[-1][0] if self.loss else 0,
            "first_loss": self.loss[0][1] if self.loss else None,
            "last_loss": self.loss[-1][1] if self.loss else None,
            "last_lr": self.rate[-1][1] if self.rate else None,
            "test": {name: series[-1][1] for name, series in self.test.items()},
            "weight_gradients": self.weight_gradients,
        }


def read_log(path: str | Path) -> Log:
    """Read a training log from a file.

    Raises:
        InputError: the file cannot be read, or contains no output of Caffe's training.
    """
    try:
        with open(files.regular(path), encoding="utf-8", errors="replace") as file:
            return parse_log(iter(lambda: file.readline(LONGEST), ""), str(path))
    except OSError as error:
        raise files.unreadable(path, error) from None


def parse_log(lines: Iterable[str], path: str = "the log") -> Log:
    """Parse the lines of a training log; only one line is in memory at a time.

    Raises:
        InputError: the lines contain no output of Caffe's training, or more than MOST lines with values.
    """
    log = Log(path)
    iteration = test_iteration = values = 0
    has_glog_line = False
    for line in lines:
        has_glog_line = has_glog_line or bool(_LINE.match(line))
        if "=" in line or "ward]" in line:
            values += 1
            if values > MOST:
                raise InputError(
                    f"the log has more than {MOST} lines with values",
                    where=path,
                    advice="Leave out a part of it.",
                )
        if "[Forward]" in line or "[Backward]" in line:
            _norm(log, line)
        elif (match := _LOSS.search(line)) is not None:
            iteration = int(match[1])
            log.loss.append((iteration, float(match[2])))
        elif (match := _RATE.search(line)) is not None:
            log.rate.append((int(match[1]), float(match[2])))
        elif (match := _TESTING.search(line)) is not None:
            test_iteration = int(match[1])
        elif (match := _OUTPUT.search(line)) is not None:
            if match[1] == "Train":
                log.train.setdefault(match[2], []).append((iteration, float(match[3])))
            else:
                log.test.setdefault(match[2], []).append((test_iteration, float(match[3])))
    if not (log.loss or log.test or log.train or log.weight_gradients):
        problem = "log contains no iteration" if has_glog_line else "not a Caffe training log"
        advice = "Caffe writes the log to stderr: caffe train ... 2> train.log"
        raise InputError(problem, where=path, advice=advice)
    return log


def _norm(log: Log, line: str) -> None:
    """Store the norm of a debug_info line."""
    # Each pattern is tried at one position only: a line that repeats the marker many times does not
    # take quadratic time.
    start = max(line.find("[Forward]"), line.find("[Backward]"))
    if (match := _FORWARD.match(line, start)) is not None:
        log.values[match[1]] = float(match[3])
    elif (match := _WEIGHT.match(line, start)) is not None:
        if match[2] == "0":
            log.weights[match[1]] = float(match[3])
    elif (match := _DIFF.match(line, start)) is not None:
        if match[2] == "0":
            log.weight_gradients[match[1]] = float(match[3])
            log.gradient_history.setdefault(match[1], []).append(float(match[3]))
    elif (match := _BOTTOM.match(line, start)) is not None:
        log.gradients[match[1]] = float(match[3])
