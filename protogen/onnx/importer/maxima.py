"""MaxPool, with the indices of the maxima as a second output."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from protogen import geometry
from protogen.onnx.importer.arithmetic import LARGEST, eltwise, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.convolution import pads_of
from protogen.onnx.importer.forms import extended, gathered, reshaped
from protogen.onnx.importer.pooling import (
    Axis,
    fitted,
    no_windows,
    pooled,
    pooled_axes,
    without_extra,
)
from protogen.onnx.importer.registry import ANY, imports

MOST_INDICES = 2**24  # float32 holds each whole number up to this one


@imports("MaxPool", takes=ANY)
def max_pool(
    ctx: ImportContext,
    x: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> None:
    """Pooling MAX. Padding is never the maximum, so only the pixels inside each window matter. If the
    indices of the maxima are read, a Bias adds the place of each plane to those of Caffe."""
    dilated = bool(dilations and set(dilations) != {1})
    if any(map(ctx.is_read, ctx.operator.outputs[1:])):
        if dilated or len(kernel_shape) > 2:
            raise ctx.unsupported(
                "Caffe's Pooling has the indices of the maxima (the second output) only for windows "
                "along one or two axes and without dilation"
            )
        axes = pooled_axes(ctx, x, kernel_shape, strides, pads, auto_pad)
        _with_indices(ctx, x, axes, bool(storage_order))
    elif dilations and dilated:
        _dilated_maximum(ctx, x, kernel_shape, strides, pads, auto_pad, dilations)
    else:
        pooled(ctx, x, "MAX", kernel_shape, strides, pads, auto_pad, False)


def _with_indices(ctx: ImportContext, x: str, axes: Sequence[Axis], columns_first: bool) -> None:
    """Add a Pooling with two tops. Caffe's index is the place in its plane, row by row; ONNX's is the
    place in the whole blob, with ``columns_first`` column by column within a plane."""
    import numpy as np

    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    if (count := prod(shape)) > MOST_INDICES:
        raise ctx.unsupported(
            f"the indices of the maxima (the second output) go up to {count - 1}, but float32 holds "
            f"every whole number only up to {MOST_INDICES}"
        )
    batch, channels = shape[:2]
    height, width = (*shape[2:], 1)[:2]
    if len(axes) == 1:
        axes = [*axes, Axis(1, 1, 1, 1, 0, 0)]
    x = reshaped(ctx, x, (batch, channels, height, width), "plane")
    fit = fitted("MAX", axes)
    if fit is None:
        raise no_windows(ctx, axes)
    tops = [ctx.new_value("largest"), ctx.new_value("place")]
    ctx.add("Pooling", [x], {"pooling_param": fit.params}, role="largest", tops=tops)
    largest, place = (
        without_extra(ctx, top, axes, fit, role)
        for top, role in zip(tops, ("maxima", "places"), strict=True)
    )
    reshaped(ctx, largest, out)
    if columns_first and min(height, width) > 1:
        order = np.arange(height * width, dtype=np.float32).reshape(width, height).T.reshape(-1, 1)
        params = {"input_dim": height * width, "num_output": 1, "bias_term": False}
        place = ctx.add("Embed", [place], {"embed_param": params}, [order], role="by_column")
    place = reshaped(ctx, place, out, "indices")
    planes = np.arange(batch * channels, dtype=np.float32) * (height * width)
    planes = planes.reshape(batch, channels, *[1] * len(out[2:]))
    ctx.bind_output(with_constant(ctx, place, planes, "Bias", "of_blob"), ctx.operator.outputs[1])


def _dilated_maximum(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    dilations: Sequence[int],
) -> None:
    """Maximum of shifted copies, one axis after the other. The padding is the lowest float32."""
    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, _ = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    for i in range(rank):
        axis, s, count = 2 + i, strides[i], out[2 + i]
        reach = (count - 1) * s + geometry.kernel_extent(kernel[i], dilations[i])
        beyond = max(0, reach - low[i] - shape[axis])
        x = extended(ctx, x, axis, low[i], beyond, -LARGEST, f"axis{i}")
        taps = [
            gathered(ctx, x, axis, range(t, t + (count - 1) * s + 1, s), f"tap{i}_{t}")
            for t in range(0, dilations[i] * kernel[i], dilations[i])
        ]
        x = eltwise(ctx, "MAX", taps, f"max{i}") if len(taps) > 1 else taps[0]
    ctx.pass_through(x)
