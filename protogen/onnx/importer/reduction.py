"""Reductions along axes, and places of maxima."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import eltwise, powered
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import gathered, reshaped, tiled
from protogen.onnx.importer.pooling import pooled_whole
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from protogen.geometry import Shape


def _reduction(onnx: str, kind: str) -> None:
    """An operator whose axes are an attribute, or in newer operator sets an input."""

    @lifts(onnx)
    def lift(
        to: Lifter,
        x: str,
        names: str | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> None:
        chosen = _axes(to, x, names, axes, noop_with_empty_axes)
        shape = to.shape(x)
        if kind in ("MAX", "MEAN") and len(shape) == 4 and chosen == [2, 3]:
            pooled_whole(to, x, "AVE" if kind == "MEAN" else "MAX")
            return
        to.same(reduced(to, x, chosen, kind, "reduced", to.shape(to.out)))


def _axes(
    to: Lifter, x: str, names: str | None, axes: Sequence[int] | None, noop: int
) -> list[int]:
    rank = len(to.shape(x))
    given = to.numbers(axes, names, "axes")
    if not given:
        return [] if noop else list(range(rank))
    return sorted({axis % rank for axis in given})


for _onnx, _kind in (("ReduceMax", "MAX"), ("ReduceMean", "MEAN"), ("ReduceSum", "SUM")):
    _reduction(_onnx, _kind)


def _composed(onnx: str, before: str, kind: str, after: str) -> None:
    """A sum with something done to each value before and to the sums after."""

    @lifts(onnx)
    def lift(
        to: Lifter,
        x: str,
        names: str | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> None:
        chosen = _axes(to, x, names, axes, noop_with_empty_axes)
        y = reduced(to, _step(to, x, before), chosen, kind, "reduced")
        reshaped(to, _step(to, y, after), to.shape(to.out))


def _step(to: Lifter, x: str, what: str) -> str:
    if what == "abs":
        return to.add("AbsVal", [x], role="abs")
    if what == "square":
        return powered(to, x, power=2.0, role="square")
    if what == "root":
        return powered(to, x, power=0.5, role="root")
    if what == "log":
        return to.add("Log", [x], role="log")
    if what == "negate":
        return powered(to, x, scale=-1.0, role="negated")
    return x


for _onnx, _before, _kind, _after in (
    ("ReduceL1", "abs", "SUM", ""),
    ("ReduceL2", "square", "SUM", "root"),
    ("ReduceLogSum", "", "SUM", "log"),
    ("ReduceMin", "negate", "MAX", "negate"),
    ("ReduceSumSquare", "square", "SUM", ""),
):
    _composed(_onnx, _before, _kind, _after)


@lifts("ReduceLogSumExp")
def reduce_log_sum_exp(
    to: Lifter,
    x: str,
    names: str | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> None:
    """m + log(sum(exp(x - m))) with the maximum m."""
    chosen = _axes(to, x, names, axes, noop_with_empty_axes)
    most = reduced(to, x, chosen, "MAX", "max")
    low = powered(to, tiled(to, most, to.shape(x), "maxima"), scale=-1.0, role="negated")
    y = to.add("Exp", [eltwise(to, "SUM", [x, low], "below")], role="exp")
    y = to.add("Log", [reduced(to, y, chosen, "SUM", "total")], role="log")
    reshaped(to, eltwise(to, "SUM", [y, most], "sum"), to.shape(to.out))


@lifts("ReduceProd")
def reduce_prod(
    to: Lifter,
    x: str,
    names: str | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> None:
    """Slices, multiplied."""
    for axis in _axes(to, x, names, axes, noop_with_empty_axes):
        length = to.shape(x)[axis]
        if length > 1:
            parts = to.split(x, axis, range(1, length), "factor")
            x = eltwise(to, "PROD", parts, "product")
    reshaped(to, x, to.shape(to.out))


def reduced(
    to: Lifter, x: str, axes: Sequence[int], kind: str, role: str, out: Shape | None = None
) -> str:
    """The value with these axes reduced to length 1 (or in the shape ``out``), by MAX, MEAN or SUM.

    Axes that stand side by side go at once: the last ones by a Reduction, others as the rows of a
    picture by a Pooling over the whole column (MAX, MEAN) or a Convolution of ones (SUM).
    """
    import numpy as np

    shape = to.shape(x)
    after = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    runs: list[list[int]] = []
    for axis in (a for a in axes if shape[a] != 1):
        if runs and all(shape[a] == 1 for a in range(runs[-1][-1] + 1, axis)):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    now = list(shape)
    for run in reversed(runs):
        first, last = run[0], run[-1]
        length = prod(now[first : last + 1])
        outer, inner = prod(now[:first]), prod(now[last + 1 :])
        for axis in run:
            now[axis] = 1
        if inner == 1 and kind != "MAX":
            x = reshaped(to, x, (outer, length), f"{role}_rows")
            params = {"operation": Name(kind), "axis": 1}
            x = to.add("Reduction", [x], {"reduction_param": params}, role=role)
        elif kind == "SUM":
            x = reshaped(to, x, (outer, length, inner, 1), f"{role}_columns")
            params = {"num_output": 1, "kernel_size": 1, "bias_term": False}
            ones = np.ones((1, length, 1, 1), np.float32)
            x = to.add("Convolution", [x], {"convolution_param": params}, [ones], role=role)
        else:
            x = reshaped(to, x, (outer, 1, length, inner), f"{role}_columns")
            params = {
                "pool": Name("AVE" if kind == "MEAN" else kind),
                "kernel_h": length,
                "kernel_w": 1,
            }
            x = to.add("Pooling", [x], {"pooling_param": params}, role=role)
    return reshaped(to, x, after if out is None else out, f"{role}_kept")


@lifts("ArgMax")
def arg_max(
    to: Lifter, x: str, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> None:
    _arg(to, x, axis, select_last_index)


@lifts("ArgMin")
def arg_min(
    to: Lifter, x: str, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> None:
    _arg(to, powered(to, x, scale=-1.0, role="negated"), axis, select_last_index)


def _arg(to: Lifter, x: str, axis: int, last: int) -> None:
    """Of equal maxima Caffe's ArgMax takes the last. Where ONNX takes the first, the axis is turned
    round, and places count from its end. The places are float32."""
    shape = to.shape(x)
    axis %= len(shape)
    length = shape[axis]
    if not last:
        x = gathered(to, x, axis, range(length - 1, -1, -1), "reversed")
    place = to.add("ArgMax", [x], {"argmax_param": {"axis": axis}}, role="place")
    if not last:
        place = powered(to, place, scale=-1.0, shift=length - 1.0, role="first")
    reshaped(to, place, to.shape(to.out))
