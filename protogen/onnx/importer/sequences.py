"""Time steps of recurrent operators: the lengths of the sequences, and the order of the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from protogen.layers.forms.recurrent import MOST_STEPS
from protogen.onnx.importer.cells import CELLS, Parts
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import extended, gathered

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Runner(ABC):
    """Adds the layers of one direction, for some steps at a time.

    ``axis`` is the axis of the steps, 0 or 1; the other one of the two is that of the samples.
    ``size`` is the number of values of a state.
    """

    def __init__(self, ctx: ImportContext, size: int, axis: int, backward: bool, role: str) -> None:
        self.ctx, self.size, self.axis = ctx, size, axis
        self.backward, self.role = backward, role

    @abstractmethod
    def streams(self, x: str) -> list[str]:
        """Return the blobs whose steps ``run`` reads, computed from the inputs of all steps."""

    @abstractmethod
    def run(
        self, pieces: Sequence[str], states: Sequence[str], last: bool
    ) -> tuple[list[str], list[str]]:
        """Add some steps. Return their hidden states, in one blob or several, and the last states.

        Args:
            pieces: these steps of each stream.
            states: the states before them; "" for a state of 0.
            last: whether the last states are needed.
        """

    def zeros(self, samples: int, steps: int = 1) -> str:
        """Add a constant 0 for this many samples and steps."""
        import numpy as np

        rows = (steps, samples) if self.axis == 0 else (samples, steps)
        zero = np.broadcast_to(np.float32(0), (*rows, self.size))
        return self.ctx.parameter(self.ctx.new_value(f"{self.role}_zeros"), zero)

    def joined(self, blobs: Sequence[str], axis: int, role: str) -> str:
        params = {"concat_param": {"axis": axis}} if axis != 1 else {}
        role = f"{self.role}_{role}"
        return self.ctx.add("Concat", blobs, params, role=role) if len(blobs) > 1 else blobs[0]


class CaffeLayer(Runner):
    """Caffe's own LSTM or RNN layer, whose steps are axis 0."""

    def __init__(
        self,
        ctx: ImportContext,
        type_: str,
        blobs: list[NDArray[Any]],
        size: int,
        backward: bool,
        role: str,
    ) -> None:
        super().__init__(ctx, size, 0, backward, role)
        self._type, self._blobs = type_, blobs

    def streams(self, x: str) -> list[str]:
        return [x]

    def run(
        self, pieces: Sequence[str], states: Sequence[str], last: bool
    ) -> tuple[list[str], list[str]]:
        """The backward direction reads the steps in reverse order. The layer exposes its states if
        there are states before, or the last ones are needed."""
        import numpy as np

        ctx, role, x = self.ctx, self.role, pieces[0]
        steps, samples = ctx.shape(x)[:2]
        turned = range(steps - 1, -1, -1) if self.backward and steps > 1 else ()
        if turned:
            x = gathered(ctx, x, 0, turned, f"{role}_in")
        exposed = last or any(states)
        continues = np.ones((steps, samples), np.float32)
        continues[0] = 1 if exposed else 0
        bottoms = [x, ctx.parameter(ctx.new_value(f"{role}_cont"), continues)]
        params: dict[str, Any] = {"num_output": self.size}
        if exposed:
            bottoms += [state or self.zeros(samples) for state in states]
            params["expose_hidden"] = True
        kinds = ("out", "h", "c")[: 1 + exposed * len(states)]
        tops = [ctx.new_value(f"{role}_{kind}") for kind in kinds]
        ctx.add(self._type, bottoms, {"recurrent_param": params}, self._blobs, role=role, tops=tops)
        if turned and ctx.is_read(ctx.out):
            tops[0] = gathered(ctx, tops[0], 0, turned, f"{role}_turned")
        return tops[:1], tops[1:]


class Unrolled(Runner):
    """Stock layers for each step."""

    def __init__(
        self, ctx: ImportContext, type_: str, parts: Parts, axis: int, backward: bool, role: str
    ) -> None:
        super().__init__(ctx, parts.size, axis, backward, role)
        self._cell = CELLS[type_](ctx, parts, role)
        self._count = 0  # of the steps so far

    def streams(self, x: str) -> list[str]:
        return self._cell.streams(x)

    def run(
        self, pieces: Sequence[str], states: Sequence[str], last: bool
    ) -> tuple[list[str], list[str]]:
        steps = self.ctx.shape(pieces[0])[self.axis]
        cuts = [
            self.ctx.split(one, self.axis, range(1, steps), f"{self.role}_{'xy'[i]}")
            if steps > 1
            else [one]
            for i, one in enumerate(pieces)
        ]
        outputs = [""] * steps
        for t in reversed(range(steps)) if self.backward else range(steps):
            now = [blobs[t] for blobs in cuts]
            states = self._cell.step(now, states, f"{self.role}{self._count}")
            self._count += 1
            outputs[t] = states[0]
        return outputs, list(states)


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps from ``begin`` to before ``end``, which the first ``samples`` samples have."""

    begin: int
    end: int
    samples: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of sequences with different lengths: their samples in the order of decreasing length,
    so that those of each step are the first ones.

    Attributes:
        order: the indices of the samples in this order.
        segments: the steps with as many samples, without those after the longest sequence.
    """

    steps: int
    order: Sequence[int]
    segments: Sequence[Segment]

    @property
    def most(self) -> int:
        """The length of the longest sequence."""
        return self.segments[-1].end

    def sorted(self, ctx: ImportContext, x: str, axis: int, role: str) -> str:
        """Put the samples along ``axis`` in order."""
        if list(self.order) == sorted(self.order):
            return x
        return gathered(ctx, x, axis, self.order, role)

    def restored(self, ctx: ImportContext, x: str, axis: int, role: str) -> str:
        """Put the samples along ``axis`` in the order of the model."""
        if list(self.order) == sorted(self.order):
            return x
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return gathered(ctx, x, axis, back, role)


def plan_of(ctx: ImportContext, lengths: str | None, steps: int, samples: int) -> Plan:
    """Return the plan of an operator with these sequence lengths; all steps if there are none.

    Raises:
        UnsupportedError: the lengths are computed or out of range.
    """
    values = [steps] * samples
    if lengths:
        array = ctx.require_constant(lengths, "sequence lengths")
        values = [int(n) for n in array.reshape(-1)]
        if len(values) != samples:
            raise ctx.unsupported(
                f'sequence lengths "{lengths}" must be {samples} numbers, got {len(values)}'
            )
        if min(values) < 1 or max(values) > steps:
            raise ctx.unsupported(
                f"sequence lengths must be from 1 to {steps}, got {min(values)} to {max(values)}"
            )
    order = sorted(range(samples), key=lambda i: -values[i])
    edges = [0, *sorted(set(values))]
    segments = [
        Segment(begin, end, sum(n >= end for n in values)) for begin, end in pairwise(edges)
    ]
    return Plan(steps, order, segments)


def check_steps(ctx: ImportContext, plan: Plan, reason: str) -> None:
    """Raise UnsupportedError if there are too many steps to unroll them."""
    if plan.most > MOST_STEPS:
        raise ctx.unsupported(
            f"{reason}, so its steps become separate layers, but it has {plan.most} steps and the "
            f"limit is {MOST_STEPS}",
            "Split the sequence into shorter ones, with the states between them.",
        )


def run_direction(
    runner: Runner, plan: Plan, x: str, initial: Sequence[str], reads: Sequence[bool]
) -> list[str]:
    """Add one direction of an operator.

    Args:
        x: the inputs, with the steps along the runner's axis.
        initial: the initial states; "" for a state of 0.
        reads: whether Y and each last state are read.

    Returns:
        Y without its axis of directions, and the last states, which have one step; "" where
        nobody reads the value.
    """
    ctx, axis, rows, role = runner.ctx, runner.axis, 1 - runner.axis, runner.role
    streams = runner.streams(plan.sorted(ctx, x, rows, f"{role}_sorted"))
    pieces = _pieces(runner, plan, streams)
    start = [one and plan.sorted(ctx, one, rows, f"{role}_sorted_state") for one in initial]
    samples = _Samples(runner, plan, start)
    outputs: dict[int, list[str]] = {}
    numbers = list(range(len(plan.segments)))
    for i in reversed(numbers) if runner.backward else numbers:
        states = samples.before(plan.segments[i].samples)
        last = any(reads[1:]) or len(outputs) < len(numbers) - 1
        outputs[i], samples.states = runner.run(pieces[i], states, last)
    results = [""] * len(reads)
    if reads[0]:
        parts: list[str] = []
        for i in numbers:
            missing = len(plan.order) - plan.segments[i].samples
            if missing:
                one = runner.joined(outputs[i], axis, f"part{i}")
                parts.append(extended(ctx, one, rows, 0, missing, 0, f"{role}_padded{i}"))
            else:
                parts += outputs[i]
        if plan.most < plan.steps:
            parts.append(runner.zeros(len(plan.order), plan.steps - plan.most))
        y = runner.joined(parts, axis, "joined")
        results[0] = plan.restored(ctx, y, rows, f"{role}_restored")
    for n in range(1, len(reads)):
        if reads[n]:
            results[n] = plan.restored(ctx, samples.last(n - 1), rows, f"{role}_restored_state")
    return results


def _pieces(runner: Runner, plan: Plan, streams: Sequence[str]) -> list[list[str]]:
    """Return the inputs of each segment, for each stream: only the samples that have these steps."""
    ctx, axis, role = runner.ctx, runner.axis, runner.role
    points = [segment.end for segment in plan.segments if segment.end < plan.steps]
    pieces = []
    for stream in streams:
        parts = ctx.split(stream, axis, points, f"{role}_part") if points else [stream]
        pieces.append(
            [
                gathered(ctx, part, 1 - axis, range(segment.samples), f"{role}_rows")
                for part, segment in zip(parts, plan.segments, strict=False)
            ]
        )
    return [list(now) for now in zip(*pieces, strict=True)]


class _Samples:
    """The states of the samples of one segment after the other. Forward, samples end before others
    and keep their last states. Backward, they begin after others with their initial states."""

    def __init__(self, runner: Runner, plan: Plan, initial: Sequence[str]) -> None:
        self._runner = runner
        self._ended: list[list[str]] = [[] for _ in initial]
        self._later: list[list[str]] = [[] for _ in initial]
        self._count = len(plan.order)
        self.states = list(initial)
        counts = sorted({segment.samples for segment in plan.segments})
        if runner.backward and len(counts) > 1:
            self._count = counts[0]
            groups = [self._cut(one, counts[:-1], "initial") for one in initial]
            self.states = [group[0] for group in groups]
            self._later = [group[1:] for group in groups]

    def _cut(self, state: str, points: Sequence[int], role: str) -> list[str]:
        runner = self._runner
        if not state:
            return [""] * (len(points) + 1)
        return runner.ctx.split(state, 1 - runner.axis, points, f"{runner.role}_{role}")

    def before(self, samples: int) -> list[str]:
        """Return the states that a segment with this many samples begins with."""
        runner = self._runner
        for i, state in enumerate(self.states):
            if samples < self._count:
                self.states[i], ended = self._cut(state, [samples], "ended")
                self._ended[i].insert(0, ended)
            elif samples > self._count:
                more = self._later[i].pop(0) or runner.zeros(samples - self._count)
                self.states[i] = runner.joined([state, more], 1 - runner.axis, "more")
        self._count = samples
        return self.states

    def last(self, i: int) -> str:
        """Return a state of all samples after the last segment."""
        runner = self._runner
        return runner.joined([self.states[i], *self._ended[i]], 1 - runner.axis, "last")
