"""Operators that move values (Reshape, Slice, Gather, ...) or have no effect at inference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

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
    if min(lengths) < 1:
        raise ctx.unsupported("an output is empty, but Caffe blobs cannot be empty")
    points = list(accumulate(lengths[:-1]))
    ctx.slice(x, axis, points, [name or ctx.new_value("unused") for name in outputs])


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
    """Starts, ends and axes are attributes before operator set 10, and inputs from 10 on."""
    shape = ctx.shape(x)
    low = ctx.integers(starts, starts_, "starts") or []
    high = ctx.integers(ends, ends_, "ends") or []
    all_axes = ctx.integers(axes, axes_, "axes") or list(range(len(low)))
    steps = ctx.integers(None, steps_, "steps") or [1] * len(low)
    cuts = []
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


@imports("Gather", takes=ANY)
def gather(ctx: ImportContext, data: str, indices: str, *, axis: int = 0) -> None:
    """Constant indices: Slice and Concat. Computed indices into a constant table of rows: Embed."""
    constant = ctx.constant(indices)
    if constant is None:
        table = ctx.require_constant(data, "table")
        if table.ndim != 2 or axis % 2 != 0:
            raise ctx.unsupported(
                f"computed indices need a 2-D table and axis 0, got {table.ndim}-D and axis {axis}"
            )
        params = {"num_output": table.shape[1], "input_dim": table.shape[0], "bias_term": False}
        ctx.add("Embed", [indices], {"embed_param": params}, [table])
        return
    shape = ctx.shape(data)
    axis %= len(shape)
    positions = [int(i) % shape[axis] for i in constant.reshape(-1)]
    if not positions:
        raise ctx.unsupported("the output is empty, but Caffe blobs cannot be empty")
    out = ctx.shape(ctx.out)
    changes_rank = len(out) != len(shape)
    y = gathered(ctx, data, axis, positions, "part" if changes_rank else "")
    if changes_rank:
        reshaped(ctx, y, out)


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
    rank = len(ctx.shape(x))
    permuted(ctx, x, list(perm) if perm is not None else list(reversed(range(rank))))


@imports("DepthToSpace")
def depth_to_space(ctx: ImportContext, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    """A Deconvolution with one weight of 1 per input channel; mode CRD is a PixelShuffle."""
    import numpy as np

    if mode == "CRD":
        ctx.add_fork_layer(
            "PixelShuffle", [x], {"pixelshuffle_param": {"upscale_factor": blocksize}}
        )
        return
    channels = ctx.shape(x)[1]
    out = channels // blocksize**2
    weight = np.zeros((channels, out, blocksize, blocksize), np.float32)
    c = np.arange(channels)
    weight[c, c % out, c // out // blocksize, c // out % blocksize] = 1
    params = {"num_output": out, "kernel_size": blocksize, "stride": blocksize, "bias_term": False}
    ctx.add("Deconvolution", [x], {"convolution_param": params}, [weight])


@imports("SpaceToDepth")
def space_to_depth(ctx: ImportContext, x: str, *, blocksize: int, mode: str = "DCR") -> None:
    """A strided Convolution with one weight of 1 per output channel."""
    import numpy as np

    channels = ctx.shape(x)[1]
    out = channels * blocksize**2
    weight = np.zeros((out, channels, blocksize, blocksize), np.float32)
    c = np.arange(out)
    channel, place = (c % channels, c // channels)
    if mode == "CRD":
        channel, place = c // blocksize**2, c % blocksize**2
    weight[c, channel, place // blocksize, place % blocksize] = 1
    params = {"num_output": out, "kernel_size": blocksize, "stride": blocksize, "bias_term": False}
    ctx.add("Convolution", [x], {"convolution_param": params}, [weight])


@imports("Resize")
def resize(
    ctx: ImportContext,
    x: str,
    roi: str | None = None,
    scales: str | None = None,
    sizes: str | None = None,
    **attributes: Any,
) -> None:
    """Exact resampling with stock layers, by the resampling compiler.

    In operator set 10 the scales are the second input.
    """
    if ctx.opset < 11:
        roi, scales = None, roi
    _resize(ctx, x, scales, sizes, roi, attributes)


@imports("Upsample")
def upsample(ctx: ImportContext, x: str, scales: str | None = None, **attributes: Any) -> None:
    _resize(ctx, x, scales, None, None, attributes)


def _resize(
    ctx: ImportContext,
    x: str,
    scales: str | None,
    sizes: str | None,
    roi: str | None,
    attributes: dict[str, Any],
) -> None:
    """A sequence of N x C x W is resized as an image with one row."""
    from protogen.resampling.forms import request_of

    def values(
        name: str | None, what: str, row_values: Sequence[tuple[int, float]]
    ) -> list[Any] | None:
        array = ctx.require_constant(name, what) if name else None
        if array is None or not array.size:
            return None
        numbers = list(array.reshape(-1))
        for position, number in row_values if is_sequence else ():
            numbers.insert(position, number)
        return numbers

    shape = ctx.shape(x)
    is_sequence = len(shape) == 3 and "axes" not in attributes
    if is_sequence:
        shape = (*shape[:2], 1, shape[2])
        x = reshaped(ctx, x, shape, "row")
    request = request_of(
        ctx.operator.type,
        shape,
        attributes,
        opset=ctx.opset,
        scales=values(scales, "scales", [(2, 1.0)]),
        sizes=values(sizes, "sizes", [(2, 1)]),
        roi=values(roi, "roi", [(2, 0.0), (6, 1.0)]),
    )
    top = ctx.new_value("resized") if is_sequence else ""
    ctx.resize(request, x, top)
    if is_sequence:
        reshaped(ctx, top, ctx.shape(ctx.out))
