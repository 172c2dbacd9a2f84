"""Convolutions and Deconvolutions with any pads, which several operators use."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen import geometry
from protogen.geometry import shape_text
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import cropped, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape

MOST_VALUES = 1 << 28  # of weights that zeros extend


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

    size = ctx.shape(x)[2:]
    pads, zeros = [], []
    for i, (a, c) in enumerate(zip(low, high, strict=True)):
        d, kernel = dilations[i], weight.shape[2 + i]
        before = -(-max(0, c - a) // d)  # zero taps, each d pixels wide
        pad = a + before * d
        after = _zeros_after(size[i] + 2 * pad, kernel + before, strides[i], d, out[2 + i])
        if after > pad + strides[i]:  # all windows already end within the zeros
            raise ctx.unsupported(
                f"the windows cannot produce length {out[2 + i]} from length {size[i]}"
            )
        pads.append(pad)
        zeros.append((before, after))
    if any(map(any, zeros)):
        weight = _extended(ctx, weight, zeros)
    params: dict[str, Any] = {"num_output": weight.shape[0]}
    params |= window(weight.shape[2:], strides, pads, dilations)
    return _layer(ctx, x, "Convolution", params, weight, bias, group, [0] * len(size), out, role)


def _extended(
    ctx: ImportContext, weight: NDArray[Any], zeros: Sequence[tuple[int, int]]
) -> NDArray[Any]:
    """Return weights with zeros before and after each axis of the kernel."""
    import numpy as np

    sizes = [n + a + b for n, (a, b) in zip(weight.shape[2:], zeros, strict=True)]
    if prod([*weight.shape[:2], *sizes]) > MOST_VALUES:
        raise ctx.unsupported(f"its pads need a kernel of {shape_text(sizes)}")
    return np.pad(weight, [(0, 0), (0, 0), *zeros])


def _zeros_after(padded: int, kernel: int, stride: int, dilation: int, out: int) -> int:
    """Return the number of zeros to add at the end of a kernel, so that no more than ``out`` windows fit
    into ``padded`` pixels. It is smaller if one zero more leaves fewer windows than ``out``."""

    def zeros_for_at_most(windows: int) -> int:
        if (
            windows == 0
        ):  # a kernel that is less than a stride too long has one window, see conv_out
            return -(-(padded + stride - 1) // dilation) + 1 - kernel
        return (padded - 1 - windows * stride) // dilation + 2 - kernel

    return max(0, min(zeros_for_at_most(out), zeros_for_at_most(out - 1) - 1))


def deconvolved(
    ctx: ImportContext,
    x: str,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    strides: Sequence[int],
    low: Sequence[int],
    dilations: Sequence[int],
    group: int,
    out: Shape,
    role: str,
) -> str:
    """Add a Deconvolution that is cropped by ``low`` at the low ends and has the shape ``out``.

    Caffe crops both ends by ``pad``. If less is cropped at the high end (output_padding, uneven pads),
    zeros extend the kernel there. If more is cropped, a Slice crops the rest.
    """

    size = ctx.shape(x)[2:]
    pads, zeros, begins = [], [], []
    for i, begin in enumerate(low):
        d = dilations[i]
        full_size = geometry.deconv_out(size[i], weight.shape[2 + i], strides[i], 0, d)
        high = full_size - out[2 + i] - begin
        before = -(-max(0, -begin) // d)  # zero taps before the kernel if it begins too late
        begin += before * d
        if high <= begin and (begin - high) % d == 0:
            pad, after = begin, (begin - high) // d
        else:
            pad, after = min(begin, max(high, 0)), -(-max(0, -high) // d)
        pads.append(pad)
        zeros.append((before, after))
        begins.append(begin - pad)
    if any(map(any, zeros)):
        weight = _extended(ctx, weight, zeros)
    params: dict[str, Any] = {"num_output": weight.shape[1] * group}
    params |= window(weight.shape[2:], strides, pads, dilations)
    return _layer(ctx, x, "Deconvolution", params, weight, bias, group, begins, out, role)


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
