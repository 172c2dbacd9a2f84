"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen import geometry
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import cropped, window
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape


@imports("Conv")
def conv(
    ctx: ImportContext,
    x: str,
    w: str,
    b: str | None = None,
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> None:
    """Convolution. Weight and bias are the same in Caffe and ONNX. If the pads at the two ends of
    an axis differ, the kernel is extended by zeros at one end."""
    weight = ctx.require_constant(w, "weight")
    axes = weight.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    low, high = pads_of(pads, auto_pad, ctx.shape(x)[2:], weight.shape[2:], strides, dilations)
    bias = ctx.require_constant(b, "bias") if b else None
    convolved(ctx, x, weight, bias, strides, low, high, dilations, group, ctx.shape(ctx.out), "")


def convolved(
    ctx: ImportContext,
    x: str,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    group: int,
    out: Shape,
    role: str,
) -> str:
    """Add a Convolution with these pads at the low and the high ends and the shape ``out``.

    Caffe has one pad for both ends. The larger one is used, and zeros extend the kernel where the
    windows would begin too early or be too many. A Slice removes any windows that are left over.
    """
    import numpy as np

    size = ctx.shape(x)[2:]
    pads, zeros = [], []
    for i, (a, c) in enumerate(zip(low, high, strict=True)):
        d, kernel = dilations[i], weight.shape[2 + i]
        before = -(-max(0, c - a) // d)  # zero taps, each d pixels wide
        pad, after = a + before * d, 0
        while (
            geometry.conv_out(size[i], kernel + before + after + 1, strides[i], pad, d)
            >= out[2 + i]
            and geometry.conv_out(size[i], kernel + before + after, strides[i], pad, d) > out[2 + i]
        ):
            after += 1
            if after > pad + strides[i]:  # all windows already end within the zeros
                raise ctx.unsupported(
                    f"the windows cannot produce length {out[2 + i]} from length {size[i]}"
                )
        pads.append(pad)
        zeros.append((before, after))
    if any(map(any, zeros)):
        weight = np.pad(weight, [(0, 0), (0, 0), *zeros])
    params: dict[str, Any] = {"num_output": weight.shape[0]}
    params |= window(weight.shape[2:], strides, pads, dilations)
    return _layer(ctx, x, "Convolution", params, weight, bias, group, [0] * len(size), out, role)


@imports("ConvTranspose")
def conv_transpose(
    ctx: ImportContext,
    x: str,
    w: str,
    b: str | None = None,
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
) -> None:
    """Deconvolution. The weights are the same in Caffe and ONNX. Caffe crops both ends by ``pad``.

    If ONNX crops less at the high end (output_padding, uneven pads), zeros extend the kernel there.
    If it crops more, a Slice crops the rest.
    """
    import numpy as np

    weight = ctx.require_constant(w, "weight")
    axes = weight.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    size, out = ctx.shape(x)[2:], ctx.shape(ctx.out)
    begin_pads = list(pads or [0] * 2 * axes)
    caffe_pads, zeros, begins = [], [], []
    for i in range(axes):
        d = dilations[i]
        # The full output; ONNX crops ``low`` and ``high`` from its ends.
        full_size = geometry.deconv_out(size[i], weight.shape[2 + i], strides[i], 0, d)
        cropped_size = full_size - out[2 + i]
        low = begin_pads[i]
        if auto_pad.startswith("SAME") or output_shape:
            both_ends = max(0, cropped_size)
            low = both_ends // 2 if auto_pad == "SAME_UPPER" else both_ends - both_ends // 2
        high = cropped_size - low
        before = -(-max(0, -low) // d)  # zero taps before the kernel if it begins too late
        low += before * d
        if high <= low and (low - high) % d == 0:
            pad, after = low, (low - high) // d
        else:
            pad, after = min(low, max(high, 0)), -(-max(0, -high) // d)
        caffe_pads.append(pad)
        zeros.append((before, after))
        begins.append(low - pad)
    if any(map(any, zeros)):
        weight = np.pad(weight, [(0, 0), (0, 0), *zeros])
    params: dict[str, Any] = {"num_output": weight.shape[1] * group}
    params |= window(weight.shape[2:], strides, caffe_pads, dilations)
    bias = ctx.require_constant(b, "bias") if b else None
    _layer(ctx, x, "Deconvolution", params, weight, bias, group, begins, out, "")


def _layer(
    ctx: ImportContext,
    x: str,
    type_: str,
    params: dict[str, Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    group: int,
    begins: Sequence[int],
    out: Shape,
    role: str,
) -> str:
    """Add the layer, and Slices if its output is larger than ``out``."""
    from protogen.formats.message import Message
    from protogen.layers import LayerType
    from protogen.layers.graph import Layer

    if group > 1:
        params["group"] = group
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] if bias is None else [weight, bias]
    message = Message.make("LayerParameter", convolution_param=params)
    layer = Layer("", type_, (x,), (ctx.out,), message)
    (shape,) = LayerType.registry[type_].shapes(layer, [ctx.shape(x)])
    assert shape is not None
    extra = [axis for axis in range(2, len(out)) if shape[axis] != out[axis]]
    name = role or "whole"
    y = ctx.add(type_, [x], {"convolution_param": params}, blobs, role=name if extra else role)
    for axis in extra:
        begin = begins[axis - 2]
        cut_role = "" if axis == extra[-1] else f"{name}{axis}"
        y = cropped(ctx, y, axis, begin, begin + out[axis], cut_role or role)
    assert prod(ctx.shape(y)) == prod(out)
    return y


def pads_of(
    pads: Sequence[int] | None,
    auto_pad: str,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Return the pads at the low and at the high end of each axis."""
    axes = len(kernel)
    if auto_pad == "NOTSET":
        values = list(pads or [0] * 2 * axes)
        return values[:axes], values[axes:]
    if auto_pad == "VALID":
        return [0] * axes, [0] * axes
    low, high = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + geometry.kernel_extent(k, d) - n)
        small, large = total // 2, total - total // 2
        low.append(large if auto_pad == "SAME_LOWER" else small)
        high.append(small if auto_pad == "SAME_LOWER" else large)
    return low, high
