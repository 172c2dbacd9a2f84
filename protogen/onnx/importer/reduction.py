"""Reductions along axes, and ArgMax and ArgMin."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import eltwise, powered
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import reshaped, tiled, turned
from protogen.onnx.importer.pooling import pooled_whole
from protogen.onnx.importer.registry import ANY, FLOATS, NUMBERS, imports

if TYPE_CHECKING:
    from protogen.geometry import Shape


def _reduction(onnx: str, kind: str) -> None:
    """Register a reduction; its axes are an attribute, or an input in newer operator sets."""

    @imports(onnx, takes={"MAX": ANY, "SUM": NUMBERS}.get(kind, FLOATS))
    def import_operator(
        ctx: ImportContext,
        x: str,
        names: str | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> None:
        chosen = _axes(ctx, x, names, axes, noop_with_empty_axes)
        shape = ctx.shape(x)
        if kind in ("MAX", "MEAN") and len(shape) == 4 and chosen == [2, 3]:
            pooled_whole(ctx, x, "AVE" if kind == "MEAN" else "MAX")
            return
        ctx.pass_through(reduced(ctx, x, chosen, kind, "reduced", ctx.shape(ctx.out)))


def _axes(
    ctx: ImportContext, x: str, names: str | None, axes: Sequence[int] | None, noop: int
) -> list[int]:
    rank = len(ctx.shape(x))
    chosen = ctx.integers(axes, names, "axes")
    if not chosen:
        return [] if noop else list(range(rank))
    return sorted({axis % rank for axis in chosen})


for _onnx, _kind in (("ReduceMax", "MAX"), ("ReduceMean", "MEAN"), ("ReduceSum", "SUM")):
    _reduction(_onnx, _kind)


def _composed_reduction(onnx: str, before: str, kind: str, after: str) -> None:
    """Register a reduction with an elementwise operation before it and another one after it."""

    @imports(onnx, takes=ANY if onnx == "ReduceMin" else FLOATS)
    def import_operator(
        ctx: ImportContext,
        x: str,
        names: str | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> None:
        chosen = _axes(ctx, x, names, axes, noop_with_empty_axes)
        y = reduced(ctx, _elementwise_step(ctx, x, before), chosen, kind, "reduced")
        reshaped(ctx, _elementwise_step(ctx, y, after), ctx.shape(ctx.out))


def _elementwise_step(ctx: ImportContext, x: str, operation: str) -> str:
    if operation == "abs":
        return ctx.add("AbsVal", [x], role="abs")
    if operation == "square":
        return powered(ctx, x, power=2.0, role="square")
    if operation == "root":
        return powered(ctx, x, power=0.5, role="root")
    if operation == "log":
        return ctx.add("Log", [x], role="log")
    if operation == "negate":
        return powered(ctx, x, scale=-1.0, role="negated")
    return x


for _onnx, _before, _kind, _after in (
    ("ReduceL1", "abs", "SUM", ""),
    ("ReduceL2", "square", "SUM", "root"),
    ("ReduceLogSum", "", "SUM", "log"),
    ("ReduceMin", "negate", "MAX", "negate"),
    ("ReduceSumSquare", "square", "SUM", ""),
):
    _composed_reduction(_onnx, _before, _kind, _after)


@imports("ReduceLogSumExp")
def reduce_log_sum_exp(
    ctx: ImportContext,
    x: str,
    names: str | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> None:
    """m + log(sum(exp(x - m))), where m is the maximum."""
    chosen = _axes(ctx, x, names, axes, noop_with_empty_axes)
    most = reduced(ctx, x, chosen, "MAX", "max")
    low = powered(ctx, tiled(ctx, most, ctx.shape(x), "maxima"), scale=-1.0, role="negated")
    y = ctx.add("Exp", [eltwise(ctx, "SUM", [x, low], "below")], role="exp")
    y = ctx.add("Log", [reduced(ctx, y, chosen, "SUM", "total")], role="log")
    reshaped(ctx, eltwise(ctx, "SUM", [y, most], "sum"), ctx.shape(ctx.out))


@imports("ReduceProd")
def reduce_prod(
    ctx: ImportContext,
    x: str,
    names: str | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> None:
    """A Slice along each axis; an Eltwise multiplies the parts."""
    for axis in _axes(ctx, x, names, axes, noop_with_empty_axes):
        length = ctx.shape(x)[axis]
        if length > 1:
            parts = ctx.split(x, axis, range(1, length), "factor")
            x = eltwise(ctx, "PROD", parts, "product")
    reshaped(ctx, x, ctx.shape(ctx.out))


def reduced(
    ctx: ImportContext, x: str, axes: Sequence[int], kind: str, role: str, out: Shape | None = None
) -> str:
    """Reduce axes to length 1 by MAX, MEAN or SUM; reshape the result to ``out`` if it is set.

    Consecutive axes are reduced together. Height and width are reduced by a Pooling, the last axes by a
    Reduction. Other axes become the rows of an image, which a Pooling over the whole column (MAX,
    MEAN) or a Convolution of ones (SUM) reduces.
    """
    import numpy as np

    shape = ctx.shape(x)
    after = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    runs: list[list[int]] = []
    for axis in (a for a in axes if shape[a] != 1):
        if runs and all(shape[a] == 1 for a in range(runs[-1][-1] + 1, axis)):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    lengths = list(shape)
    for run in reversed(runs):
        first, last = run[0], run[-1]
        length = prod(lengths[first : last + 1])
        outer, inner = prod(lengths[:first]), prod(lengths[last + 1 :])
        if kind != "SUM" and len(shape) == 4 and set(run) <= {2, 3}:
            x = _pooled(ctx, reshaped(ctx, x, tuple(lengths), f"{role}_image"), run, kind, role)
            lengths = list(ctx.shape(x))
            continue
        for axis in run:
            lengths[axis] = 1
        if inner == 1 and kind != "MAX":
            if first == 0:  # so that the top has an axis
                x, first = reshaped(ctx, x, (1, length), f"{role}_rows"), 1
            params = {"operation": Name(kind), "axis": first}
            x = ctx.add("Reduction", [x], {"reduction_param": params}, role=role)
        elif kind == "SUM":
            x = reshaped(ctx, x, (outer, length, inner, 1), f"{role}_columns")
            params = {"num_output": 1, "kernel_size": 1, "bias_term": False}
            ones = np.ones((1, length, 1, 1), np.float32)
            x = ctx.add("Convolution", [x], {"convolution_param": params}, [ones], role=role)
        else:
            x = reshaped(ctx, x, (outer, 1, length, inner), f"{role}_columns")
            x = _pooled(ctx, x, [2], kind, role)
    return reshaped(ctx, x, after if out is None else out, f"{role}_kept")


def _pooled(ctx: ImportContext, x: str, axes: Sequence[int], kind: str, role: str) -> str:
    """Reduce height (2), width (3) or both of an image."""
    _, _, height, width = ctx.shape(x)
    params: dict[str, object] = {"pool": Name("AVE" if kind == "MEAN" else kind)}
    if len(axes) == 2 or height == width == 1:
        params["global_pooling"] = True
    else:
        params |= {"kernel_h": height if 2 in axes else 1, "kernel_w": width if 3 in axes else 1}
    return ctx.add("Pooling", [x], {"pooling_param": params}, role=role)


@imports("TopK", takes=ANY)
def top_k(
    ctx: ImportContext,
    x: str,
    count: str | None = None,
    *,
    k: int | None = None,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
) -> None:
    """ArgMax for the values and the indices, from the largest on; the negative input for the smallest.

    k is an attribute before operator set 10, and an input from 10 on. Of equal values Caffe takes the
    last first, and ONNX the first. So the indices are those of the reversed axis, counted from its end.
    """
    shape = ctx.shape(x)
    axis %= len(shape)
    number = k if k is not None else int(ctx.require_constant(count, "k").reshape(-1)[0])
    y = x if largest else powered(ctx, x, scale=-1.0, role="negated")
    values, indices = (*ctx.operator.outputs, "")[:2]
    params = {"top_k": number, "axis": axis}
    if ctx.is_read(values):
        best = {"argmax_param": {**params, "out_max_val": True}}
        if largest:
            ctx.add("ArgMax", [y], best, role="values", tops=[values])
        else:
            lowest = ctx.add("ArgMax", [y], best, role="largest")
            ctx.add(
                "Power", [lowest], {"power_param": {"scale": -1.0}}, role="values", tops=[values]
            )
    if ctx.is_read(indices):
        backwards = turned(ctx, y, axis, "reversed") if shape[axis] > 1 else y
        place = ctx.add("ArgMax", [backwards], {"argmax_param": params}, role="place")
        line = {"power_param": {"scale": -1.0, "shift": shape[axis] - 1.0}}
        ctx.add("Power", [place], line, role="indices", tops=[indices])


@imports("ArgMax", takes=ANY)
def arg_max(
    ctx: ImportContext, x: str, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> None:
    reshaped(ctx, maximum_place(ctx, x, axis, bool(select_last_index)), ctx.shape(ctx.out))


@imports("ArgMin", takes=ANY)
def arg_min(
    ctx: ImportContext, x: str, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> None:
    x = powered(ctx, x, scale=-1.0, role="negated")
    reshaped(ctx, maximum_place(ctx, x, axis, bool(select_last_index)), ctx.shape(ctx.out))


def maximum_place(ctx: ImportContext, x: str, axis: int, last: bool = False) -> str:
    """Add an ArgMax, and return the indices of the maxima. They are float32; the axis has length 1.

    Of equal maxima Caffe's ArgMax takes the last. Where ONNX takes the first, the axis is reversed,
    and the index is counted from its end.
    """
    shape = ctx.shape(x)
    axis %= len(shape)
    length = shape[axis]
    if not last and length > 1:
        x = turned(ctx, x, axis, "reversed")
    place = ctx.add("ArgMax", [x], {"argmax_param": {"axis": axis}}, role="place")
    if last:
        return place
    return powered(ctx, place, scale=-1.0, shift=length - 1.0, role="first")
