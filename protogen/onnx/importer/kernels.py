"""Conv, ConvTranspose and Col2Im; the kernels are constants or computed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.geometry import Shape, shape_text
from protogen.onnx.importer.arithmetic import per_channel
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.contraction import Operand, contracted
from protogen.onnx.importer.convolution import convolved, deconvolved, pads_of
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import MOST_FACTORS, cropped, extended, reshaped, window
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    an axis differ, the kernel is extended by zeros at one end. A computed weight is multiplied with the
    columns of Im2col."""
    kernel, out = ctx.shape(w)[2:], ctx.shape(ctx.out)
    axes = len(kernel)
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    low, high = pads_of(pads, auto_pad, ctx.shape(x)[2:], kernel, strides, dilations)
    weight, bias = ctx.constant(w), ctx.constant(b)
    if bias is not None and b not in ctx.source.stored and not bias.any():
        b = bias = None  # PyTorch's exporter computes zeros for a convolution without a bias
    if weight is not None and (bias is not None or not b):
        convolved(ctx, x, weight, bias, strides, low, high, dilations, group, out, "")
        return
    if weight is not None:
        y = convolved(ctx, x, weight, None, strides, low, high, dilations, group, out, "product")
    else:
        y = _columns(ctx, x, kernel, strides, low, high, dilations, out[2:])
        batch, channels = ctx.shape(y)[:2]
        y = reshaped(ctx, y, (batch, group, channels // group, prod(out[2:])), "columns")
        rows = reshaped(ctx, w, (group, out[1] // group, channels // group), "kernels")
        y = contracted(ctx, [Operand(y, "ngcp"), Operand(rows, "gmc")], "ngmp")
        y = reshaped(ctx, y, out, "windows")
    if b:
        per_channel(ctx, y, b, "Bias")
    else:
        ctx.pass_through(y)


def _columns(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    windows: Sequence[int],
) -> str:
    """Add the pixels of each window as channels: (N, C K, windows), with C as the slower axis.

    Im2col has one pad for both ends, the low one here. Zeros are added at the high end where they are
    missing, and windows that are left over are cropped.
    """
    for i, (begin, end) in enumerate(zip(low, high, strict=True)):
        x = extended(ctx, x, 2 + i, 0, max(0, end - begin), 0.0, f"axis{i}")
    if set(kernel) | set(strides) != {1} or any(low):
        params = {"convolution_param": window(kernel, strides, low, dilations)}
        x = ctx.add("Im2col", [x], params, role="columns")
    for i, count in enumerate(windows):
        x = cropped(ctx, x, 2 + i, 0, count, f"columns_cut{i}")
    return x


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
    """Deconvolution. The weights are the same in Caffe and ONNX. With a computed weight, a Deconvolution
    of one-hot weights adds the products of each pixel and the kernel."""
    (_, per_group, *kernel), out = ctx.shape(w), ctx.shape(ctx.out)
    axes = len(kernel)
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    batch, channels, *size = ctx.shape(x)
    low = list(pads or [0] * 2 * axes)[:axes]
    if auto_pad.startswith("SAME") or output_shape:
        for i in range(axes):
            whole = geometry.deconv_out(size[i], kernel[i], strides[i], 0, dilations[i])
            both_ends = max(0, whole - out[2 + i])
            half = both_ends // 2
            low[i] = half if auto_pad == "SAME_UPPER" else both_ends - half
    weight, bias = ctx.constant(w), ctx.constant(b)
    if weight is not None and (bias is not None or not b):
        deconvolved(ctx, x, weight, bias, strides, low, dilations, group, out, "")
        return
    if weight is not None:
        y = deconvolved(ctx, x, weight, None, strides, low, dilations, group, out, "product")
    else:
        pixels = reshaped(ctx, x, (batch, group, channels // group, prod(size)), "pixels")
        rows = (group, channels // group, per_group * prod(kernel))
        factors = reshaped(ctx, w, rows, "kernels")
        y = contracted(ctx, [Operand(pixels, "ngcp"), Operand(factors, "gcq")], "ngqp")
        y = reshaped(ctx, y, (batch, out[1] * prod(kernel), *size), "products")
        y = _windows_added(ctx, y, kernel, strides, low, dilations, out, "added")
    if b:
        per_channel(ctx, y, b, "Bias")
    else:
        ctx.pass_through(y)


@imports("Col2Im")
def col2im(
    ctx: ImportContext,
    x: str,
    image_shape: str,
    block_shape: str,
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> None:
    """Deconvolution with a kernel for each place in a window: 1 there, and 0 elsewhere."""
    kernel = ctx.integers(None, block_shape, "block_shape") or []
    image = ctx.integers(None, image_shape, "image_shape") or []
    axes = len(kernel)
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    pads = list(pads or [0] * 2 * axes)
    windows = [
        geometry.conv_out(n + low + high, k, s, 0, d)
        for n, k, s, d, low, high in zip(
            image, kernel, strides, dilations, pads[:axes], pads[axes:], strict=True
        )
    ]
    batch, channels, columns = ctx.shape(x)
    if prod(windows) != columns or channels % prod(kernel):
        raise ctx.unsupported(
            f"the input of shape {shape_text(ctx.shape(x))} has no columns of {shape_text(kernel)} "
            f"pixels for each of {shape_text(windows)} windows"
        )
    note_spread(ctx)
    out = (batch, channels // prod(kernel), *image)
    y = reshaped(ctx, x, (batch, channels, *windows), "windows")
    _windows_added(ctx, y, kernel, strides, pads[:axes], dilations, out, "")


def _windows_added(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int],
    low: Sequence[int],
    dilations: Sequence[int],
    out: Shape,
    role: str,
) -> str:
    """Add windows (N, C K, windows) at their places in an image of the shape ``out``."""
    weight = _one_hot(ctx, out[1], kernel)
    return deconvolved(ctx, x, weight, None, strides, low, dilations, out[1], out, role)


def _one_hot(ctx: ImportContext, channels: int, kernel: Sequence[int]) -> NDArray[np.float32]:
    """Return weights (C K, 1, kernel): for each channel, a 1 at each place of the kernel in turn."""
    import numpy as np

    places = prod(kernel)
    if channels * places**2 > MOST_FACTORS:
        raise ctx.unsupported(
            f"takes {channels * places**2} weights, but the limit is {MOST_FACTORS}"
        )
    eye = np.eye(places, dtype=np.float32).reshape(places, 1, *kernel)
    return np.tile(eye, (channels, *[1] * (1 + len(kernel))))
