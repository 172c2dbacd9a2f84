"""Operators that move values (Reshape, Slice, Gather, ...) or have no effect at inference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import gathered, permuted, reshaped, tiled
from protogen.onnx.importer.registry import ANY, imports


@imports("Identity", takes=ANY)
def identity(ctx: ImportContext, x: str) -> None:
    ctx.pass_through(x)


@imports("Dropout")
def dropout(
    ctx: ImportContext,
    x: str,
    ratio_: str | None = None,
    mode_: str | None = None,
    *,
    ratio: float = 0.5,
    seed: int = 0,
) -> None:
    """Dropout has no effect at inference."""
    mode = ctx.constant(mode_)
    if mode is not None and mode.all():
        raise ctx.unsupported("training_mode is on, but only inference is supported")
    ctx.pass_through(x)


@imports("Concat", takes=ANY)
def concat(ctx: ImportContext, *inputs: str, axis: int = 1) -> None:
    if len(inputs) == 1:
        ctx.pass_through(inputs[0])
        return
    axis %= len(ctx.shape(ctx.out))
    ctx.add("Concat", inputs, {"concat_param": {"axis": axis}} if axis != 1 else {})


@imports("Split", takes=ANY)
def split(
    ctx: ImportContext,
    x: str,
    sizes: str | None = None,
    *,
    axis: int = 0,
    split: Sequence[int] | None = None,
    num_outputs: int | None = None,
) -> None:
    shape = ctx.shape(x)
    axis %= len(shape)
    outputs = ctx.operator.outputs
    lengths = ctx.integers(split, sizes, "lengths")
    if lengths is None:
        step = -(-shape[axis] // len(outputs))
        lengths = [min(step, shape[axis] - i * step) for i in range(len(outputs))]
    if len(outputs) == 1:
        ctx.pass_through(x)
        return
    parts = [(name, n) for name, n in zip(outputs, lengths, strict=True) if n or ctx.is_read(name)]
    if min(n for _, n in parts) < 1:
        raise ctx.unsupported("an output is empty, but Caffe blobs cannot be empty")
    tops = [name or ctx.new_value("unused") for name, _ in parts]
    if len(tops) == 1:
        ctx.bind_output(x, tops[0])
        return
    ctx.slice(x, axis, list(accumulate(n for _, n in parts[:-1])), tops)


@imports("protogen:Split", takes=ANY)
def parts(ctx: ImportContext, x: str, *, axis: int, lengths: Sequence[int]) -> None:
    """Several Slices along one axis as one Slice layer (see ``fusion``)."""
    ctx.slice(x, axis, list(accumulate(lengths[:-1])), ctx.operator.outputs)


@imports("Slice", takes=ANY)
def slice_(
    ctx: ImportContext,
    x: str,
    starts_: str | None = None,
    ends_: str | None = None,
    axes_: str | None = None,
    steps_: str | None = None,
    *,
    starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
) -> None:
    """A part of an axis is a Slice, every n-th index a Pooling with a kernel of 1.

    Starts, ends and axes are attributes before operator set 10, and inputs from 10 on.
    """
    shape = ctx.shape(x)
    low = ctx.integers(starts, starts_, "starts") or []
    high = ctx.integers(ends, ends_, "ends") or []
    all_axes = ctx.integers(axes, axes_, "axes") or list(range(len(low)))
    steps = ctx.integers(None, steps_, "steps") or [1] * len(low)
    cuts = []
    if 0 in steps or not all(-len(shape) <= axis < len(shape) for axis in all_axes):
        raise ctx.unsupported(
            f"the steps {steps} of the axes {all_axes} do not fit a value with {len(shape)} axes"
        )
    for axis, a, b, s in zip(all_axes, low, high, steps, strict=True):
        axis %= len(shape)
        indices = range(*slice(a, b, s).indices(shape[axis]))
        if not indices:
            raise ctx.unsupported("the output is empty, but Caffe blobs cannot be empty")
        if indices != range(shape[axis]):
            cuts.append((axis, indices))
    if not cuts:
        ctx.pass_through(x)
    for number, (axis, indices) in enumerate(cuts):
        x = gathered(ctx, x, axis, indices, "" if number == len(cuts) - 1 else f"axis{axis}")


@imports("Flatten", takes=ANY)
def flatten(ctx: ImportContext, x: str, *, axis: int = 1) -> None:
    """Flatten to two axes: the axes before ``axis``, and the axes from ``axis`` on."""
    reshaped(ctx, x, ctx.shape(ctx.out))


@imports("Reshape", takes=ANY)
def reshape(
    ctx: ImportContext,
    x: str,
    shape_: str | None = None,
    *,
    shape: Sequence[int] | None = None,
    allowzero: int = 0,
) -> None:
    ctx.integers(shape, shape_, "shape")
    reshaped(ctx, x, ctx.shape(ctx.out))


@imports("Squeeze", "Unsqueeze", takes=ANY)
def squeeze(
    ctx: ImportContext, x: str, axes_: str | None = None, *, axes: Sequence[int] | None = None
) -> None:
    reshaped(ctx, x, ctx.shape(ctx.out))


@imports("Expand", takes=ANY)
def expand(ctx: ImportContext, x: str, shape: str) -> None:
    tiled(ctx, x, ctx.shape(ctx.out))


@imports("Tile", takes=ANY)
def tile(ctx: ImportContext, x: str, repeats: str) -> None:
    """One Tile layer per repeated axis."""
    counts = ctx.integers(None, repeats, "repeats") or []
    repeated = [(axis, n) for axis, n in enumerate(counts) if n != 1]
    if any(n < 1 for _, n in repeated):
        raise ctx.unsupported("the output is empty, but Caffe blobs cannot be empty")
    if not repeated:
        ctx.pass_through(x)
    for number, (axis, n) in enumerate(repeated):
        params = {"tile_param": {"axis": axis, "tiles": n}}
        x = ctx.add("Tile", [x], params, role="" if number == len(repeated) - 1 else "tiled")


@imports("Transpose", takes=ANY)
def transpose(ctx: ImportContext, x: str, *, perm: Sequence[int] | None = None) -> None:
    """Axes of length 1 move by a Reshape, others by Slice and Concat or by a fork's Permute."""
    rank = len(ctx.shape(x))
    permuted(ctx, x, list(perm) if perm is not None else list(reversed(range(rank))))
