"""The probability of label sequences without alignment (CTC), in ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.sequences.recognition import compacted
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMPOSSIBLE = -1e30  # a logarithm of the probability 0 whose sums stay finite in float32


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of the samples of a batch.

    Attributes:
        labels: int64 (N, L); the labels of a sample are at the front of its row.
        counts: the numbers of labels, float32 (N, 1).
        steps: the numbers of steps, float32 (N, 1); empty if every sample has all of them.
        size: N, L.
    """

    labels: str
    counts: str
    steps: str
    size: Shape


def costs(
    e: Emitter, scores: str, shape: Shape, targets: Targets, blank: int, merge: bool = True
) -> str:
    """Emit -log p of each sample: float32 (N, 1), where p is the probability of the labels.

    Args:
        scores: (T, N, C) before the softmax.
        shape: T, N, C.
        blank: the label between others.
        merge: whether repetitions of a label without a blank between them are one label.
    """
    import numpy as np

    steps, samples, _ = shape
    length = targets.size[1]
    states = 2 * length + 1
    is_label = np.arange(states) % 2 == 1

    def penalty(allowed: NDArray[np.bool_]) -> str:
        return e.array(np.where(allowed, 0.0, IMPOSSIBLE)[None])

    # The states of the path: blank, label, blank, label, ..., blank.
    known = e.value("Max", targets.labels, e.array(0))
    pairs = e.value(
        "Concat",
        e.array(np.full((samples, length, 1), blank)),
        e.value("Unsqueeze", known, e.array([2])),
        axis=2,
    )
    pairs = e.value("Reshape", pairs, e.array([samples, 2 * length]))
    path = e.value("Concat", pairs, e.array(np.full((samples, 1), blank)), axis=1)
    logs = e.value("LogSoftmax", scores, axis=2)
    every = e.value("Expand", path, e.array([steps, samples, states]))
    logs = e.value("GatherElements", logs, every, axis=2)
    # From the state two before: over a blank between two labels.
    over = penalty(is_label & (np.arange(states) >= 2))
    if merge:
        over = e.value("Add", over, _repeated(e, path, targets.size))
    stay = penalty(~is_label) if not merge else ""
    alpha = e.value("Add", _step(e, logs, 0), penalty(np.arange(states) < 2))
    for t in range(1, steps):
        best = e.value("Add", alpha, stay) if stay else alpha
        ways = [best, _shifted(e, alpha, 1), e.value("Add", _shifted(e, alpha, 2), over)]
        new = e.value("Add", _log_sum(e, ways), _step(e, logs, t))
        if targets.steps:
            runs = e.value("Less", e.array(float(t)), targets.steps)
            new = e.value("Where", runs, new, alpha)
        alpha = new
    # The path ends in the last label or in the blank after it.
    ends = e.value("Mul", targets.counts, e.array(2.0))
    ends = e.value("Abs", e.value("Sub", e.array(np.arange(states) + 0.5), ends))
    ends = e.value("Less", ends, e.array(1.0))
    alpha = e.value("Where", ends, alpha, e.array(IMPOSSIBLE))
    largest = e.reduce("ReduceMax", alpha, [1])
    share = e.reduce("ReduceSum", e.value("Exp", e.value("Sub", alpha, largest)), [1])
    return e.value("Neg", e.value("Add", e.value("Log", share), largest))


def _step(e: Emitter, logs: str, t: int) -> str:
    return e.value("Gather", logs, e.array(t), axis=0)


def _shifted(e: Emitter, alpha: str, count: int) -> str:
    """Emit the states moved by ``count``; the first ones become impossible."""
    moved = e.value("Slice", alpha, e.array([0]), e.array([-count]), e.array([1]))
    return e.value("Pad", moved, e.array([0, count, 0, 0]), e.array(IMPOSSIBLE), mode="constant")


def _log_sum(e: Emitter, logs: Sequence[str]) -> str:
    largest = e.value("Max", *logs)
    parts = [e.value("Exp", e.value("Sub", log, largest)) for log in logs]
    return e.value("Add", e.value("Log", e.value("Sum", *parts)), largest)


def _repeated(e: Emitter, path: str, size: Shape) -> str:
    """Emit a penalty (N, 2 L + 1) for the states that equal the state two before."""
    import numpy as np

    samples, length = size
    if length < 2:
        return e.array(np.zeros((1, 2 * length + 1)))
    ends = e.array([2]), e.array([2 * length + 1])
    later = e.value("Slice", path, *ends, e.array([1]))
    earlier = e.value("Slice", path, e.array([0]), e.array([2 * length - 1]), e.array([1]))
    equal = e.value("Cast", e.value("Equal", later, earlier), to=FLOAT)
    cost = e.value("Mul", equal, e.array(IMPOSSIBLE))
    return e.value("Concat", e.array(np.zeros((samples, 2))), cost, axis=1)


def without_impossible(e: Emitter, cost: str, targets: Targets, steps: int) -> str:
    """Replace the cost by 0 where there are fewer steps than labels and repetitions together, as
    warp-ctc does."""
    length = targets.size[1]
    needed = targets.counts
    if length > 1:
        later = e.value("Slice", targets.labels, e.array([1]), e.array([length]), e.array([1]))
        ends = e.array([0]), e.array([length - 1])
        earlier = e.value("Slice", targets.labels, *ends, e.array([1]))
        repeated = e.value("And", e.value("Equal", later, earlier), _at_least_0(e, later))
        repeated = e.value("Cast", repeated, to=FLOAT)
        needed = e.value("Add", needed, e.reduce("ReduceSum", repeated, [1]))
    available = targets.steps or e.array(float(steps))
    return e.value("Where", e.value("Greater", needed, available), e.array(0.0), cost)


def _at_least_0(e: Emitter, labels: str) -> str:
    return e.value("Not", e.value("Less", labels, e.array(0)))


def before_end(e: Emitter, ends: str) -> str:
    """Emit 1 for each value of a row (N, L) before the first 1 in ``ends``, and 0 for the others."""
    count = e.value("CumSum", ends, e.array(1))
    return e.value("Cast", e.value("Equal", count, e.array(0.0)), to=FLOAT)


def front_labels(e: Emitter, read: str, size: Shape, blank: int) -> Targets:
    """Emit the labels (N, L) that are not blank, moved to the front."""
    labels = e.value("Cast", e.value("Reshape", read, e.array(list(size))), to=INT64)
    selected = e.value("Not", e.value("Equal", labels, e.array(blank)))
    moved, counts = compacted(e, labels, e.value("Cast", selected, to=FLOAT), size)
    return Targets(moved, counts, "", size)
