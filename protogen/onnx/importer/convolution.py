"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen import geometry
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import cropped, window
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape


@lifts("Conv")
def conv(
    to: Lifter,
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
    """Convolution; weights are the same in both, blob for blob. Pads that differ at the two ends
    become a kernel that is extended by zeros at one of them."""
    weight = to.wanted(w, "weight")
    axes = weight.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    low, high = pads_of(pads, auto_pad, to.shape(x)[2:], weight.shape[2:], strides, dilations)
    bias = to.wanted(b, "bias") if b else None
    convolved(to, x, weight, bias, strides, low, high, dilations, group, to.shape(to.out), "")


def convolved(
    to: Lifter,
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
    """A Convolution with these pads at the low and the high ends, of the shape ``out``.

    Caffe has one pad for both ends: the larger, and a kernel with zeros where its windows would
    begin too early or be too many; what zeros cannot take back is sliced off.
    """
    import numpy as np

    size = to.shape(x)[2:]
    pads, zeros = [], []
    for i, (a, c) in enumerate(zip(low, high, strict=True)):
        d, kernel = dilations[i], weight.shape[2 + i]
        before = -(-max(0, c - a) // d)  # taps of 0, each d pixels
        pad, behind = a + before * d, 0
        while (
            geometry.conv_out(size[i], kernel + before + behind + 1, strides[i], pad, d)
            >= out[2 + i]
            and geometry.conv_out(size[i], kernel + before + behind, strides[i], pad, d)
            > out[2 + i]
        ):
            behind += 1
            if behind > pad + strides[i]:  # the ends of all windows lie within them
                raise to.refuse(f"its windows do not make {out[2 + i]} of {size[i]}")
        pads.append(pad)
        zeros.append((before, behind))
    if any(map(any, zeros)):
        weight = np.pad(weight, [(0, 0), (0, 0), *zeros])
    params: dict[str, Any] = {"num_output": weight.shape[0]}
    params |= window(weight.shape[2:], strides, pads, dilations)
    return _layer(to, x, "Convolution", params, weight, bias, group, [0] * len(size), out, role)


@lifts("ConvTranspose")
def conv_transpose(
    to: Lifter,
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
    """Deconvolution; weights are the same in both. Caffe crops both ends by ``pad``: where ONNX
    crops less at the high end (output_padding, uneven pads), zeros extend the kernel there; where
    it crops more, a Slice does."""
    import numpy as np

    weight = to.wanted(w, "weight")
    axes = weight.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    size, out = to.shape(x)[2:], to.shape(to.out)
    given = list(pads or [0] * 2 * axes)
    wide, zeros, begins = [], [], []
    for i in range(axes):
        d = dilations[i]
        # The whole output, of which ONNX crops ``low`` and ``high``.
        whole = geometry.deconv_out(size[i], weight.shape[2 + i], strides[i], 0, d)
        total = whole - out[2 + i]
        low = given[i]
        if auto_pad.startswith("SAME") or output_shape:
            shared = max(0, total)
            low = shared // 2 if auto_pad == "SAME_UPPER" else shared - shared // 2
        high = total - low
        front = -(-max(0, -low) // d)  # taps of 0 before the kernel, where it begins too late
        low += front * d
        if high <= low and (low - high) % d == 0:
            pad, more = low, (low - high) // d
        else:
            pad, more = min(low, max(high, 0)), -(-max(0, -high) // d)
        wide.append(pad)
        zeros.append((front, more))
        begins.append(low - pad)
    if any(map(any, zeros)):
        weight = np.pad(weight, [(0, 0), (0, 0), *zeros])
    params: dict[str, Any] = {"num_output": weight.shape[1] * group}
    params |= window(weight.shape[2:], strides, wide, dilations)
    bias = to.wanted(b, "bias") if b else None
    _layer(to, x, "Deconvolution", params, weight, bias, group, begins, out, "")


def _layer(
    to: Lifter,
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
    """The layer, and Slices where it makes more than ``out``."""
    from protogen.formats.message import Message
    from protogen.layers import LayerType
    from protogen.layers.graph import Layer

    if group > 1:
        params["group"] = group
    if bias is None:
        params["bias_term"] = False
    blobs = [weight] if bias is None else [weight, bias]
    message = Message.make("LayerParameter", convolution_param=params)
    layer = Layer("", type_, (x,), (to.out,), message)
    (made,) = LayerType.registry[type_].shapes(layer, [to.shape(x)])
    assert made is not None
    extra = [axis for axis in range(2, len(out)) if made[axis] != out[axis]]
    name = role or "whole"
    y = to.add(type_, [x], {"convolution_param": params}, blobs, role=name if extra else role)
    for axis in extra:
        begin = begins[axis - 2]
        final = "" if axis == extra[-1] else f"{name}{axis}"
        y = cropped(to, y, axis, begin, begin + out[axis], final or role)
    assert prod(to.shape(y)) == prod(out)
    return y


def pads_of(
    pads: Sequence[int] | None,
    auto_pad: str,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Pads at the low and the high end of each axis."""
    axes = len(kernel)
    if auto_pad == "NOTSET":
        given = list(pads or [0] * 2 * axes)
        return given[:axes], given[axes:]
    if auto_pad == "VALID":
        return [0] * axes, [0] * axes
    low, high = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + geometry.kernel_extent(k, d) - n)
        small, large = total // 2, total - total // 2
        low.append(large if auto_pad == "SAME_LOWER" else small)
        high.append(small if auto_pad == "SAME_LOWER" else large)
    return low, high
