"""Convolution, Deconvolution, and the depthwise convolutions of forks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.errors import quantity
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.activation import rectify, rewrite_rectified
from protogen.layers.base import (
    Filling,
    LayerType,
    Mistake,
    Window,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.checking import check_equal
from protogen.layers.dense import no_bias
from protogen.layers.graph import Layer
from protogen.layers.padding import SIDES, enlarged, plain_pads, same_sizes, with_sides
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = (
    "kernel_size kernel_h kernel_w stride stride_h stride_w pad pad_h pad_w "
    "dilation dilation_h dilation_w"
)
_HOLES = "hole hole_h hole_w"


def window(layer: Layer, p: Message, axes: int, holes: bool = False) -> Window:
    """Read ConvolutionParameter for ``axes`` spatial axes by Caffe's rules.

    kernel_size, stride, pad and dilation have one value for all axes or one per axis. kernel_h and
    kernel_w (and stride_h, pad_h, ...) are for two axes and exclude the list. With ``holes``,
    DeepLab's names for the dilation are read too.

    Raises:
        InputError: a value is missing, invalid or set in two forms.
    """

    names = p.by_name()

    def per_axis(name: str, listed: Sequence[int], default: int | None) -> tuple[int, ...]:
        if not listed and default is None and axes:
            raise layer.error("missing kernel_size", "Set kernel_size, or kernel_h and kernel_w.")
        values = listed or (default or 0,)
        if len(values) not in (1, axes):
            raise layer.error(
                f"{name} has {quantity(len(values), 'value')} for "
                f"{quantity(axes, 'spatial axis', 'spatial axes')}",
                "Set one value, or one per axis.",
            )
        return (values[0],) * axes if len(values) == 1 else tuple(values)

    def pair(name: str, list_name: str, default: int | None) -> tuple[int, ...]:
        if f"{name}_h" not in names and f"{name}_w" not in names:
            return per_axis(list_name, [item.value for item in p.all(list_name)], default)
        if axes != 2:
            raise layer.error(f"{name}_h and {name}_w need 2 spatial axes, got {axes}")
        if list_name in names:
            raise layer.error(
                f"{list_name} and {name}_h or {name}_w are both set", "Keep one of them."
            )
        return (getattr(p, f"{name}_h"), getattr(p, f"{name}_w"))

    def dilation() -> tuple[int, ...]:
        """Read ``dilation``, or the names of forks that had it before BVLC: ``hole`` (DeepLab), and
        ``dilation_h`` and ``dilation_w``."""
        present: dict[str, list[int]] = {}
        if "dilation" in names:
            present["dilation"] = p.dilation
        if holes and "hole" in names:
            present["hole"] = [p.hole]
        if holes and ("hole_h" in names or "hole_w" in names):
            present["hole_h and hole_w"] = [p.hole_h, p.hole_w]
        if "dilation_h" in names or "dilation_w" in names:
            present["dilation_h and dilation_w"] = [p.dilation_h, p.dilation_w]
        if len(present) > 1:
            raise layer.error(f"{' and '.join(present)} are both set", "Keep one of them.")
        name, values = next(iter(present.items()), ("dilation", []))
        if 0 in values and "and" in name:
            raise layer.error(f"{name} must both be set, and be at least 1")
        return per_axis(name, values, 1)

    result = Window(
        pair("kernel", "kernel_size", None),
        pair("stride", "stride", 1),
        pair("pad", "pad", 0),
        dilation(),
    )
    for name, values in (
        ("kernel_size", result.kernel),
        ("stride", result.stride),
        ("dilation", result.dilation),
    ):
        if min(values, default=1) < 1:
            raise layer.error(f"{name} must be at least 1, got {min(values)}")
    return result


class _Convolutional(LayerType, abstract=True):
    """Base class of Convolution and Deconvolution. Caffe: axes before ``axis`` are batch axes,
    ``axis`` is the channel axis, and axes after it are spatial."""

    weighted = True

    reads = fields(convolution_param=f"{WINDOW} {SIDES} num_output bias_term group axis")

    transposed = False
    holes = False
    inline_blobs = "shapes"

    def group(self, p: Message, channels: int) -> int:
        group: int = p.group
        return group

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p, axis, w = self._read(layer, bottoms)
        self._check_groups(layer, p, bottoms[0][axis])
        size = geometry.deconv_out if self.transposed else geometry.conv_out
        out = []
        before = bottoms[0][axis + 1 :]
        for n, k, s, pad, d, end in zip(
            before, w.kernel, w.stride, w.pad, w.dilation, w.ends, strict=True
        ):
            length = size(n, k, s, pad, d, end)
            if length < 1:
                raise layer.error(
                    f"output size must be at least 1, got {length} for input size {n} "
                    f"(kernel_size {k}, stride {s}, pad {pad})",
                    "Use a smaller kernel or pad, or a larger input.",
                )
            out.append(length)
        if p.pad_type:
            out = same_sizes(before, w.stride)
        top = (*bottoms[0][:axis], p.num_output, *out)
        return [top] * len(bottoms)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p, axis, w = self._read(layer, bottoms)
        channels = bottoms[0][axis]
        first, second = (channels, p.num_output) if self.transposed else (p.num_output, channels)
        weight = (first, second // (self.group(p, channels) or 1), *w.kernel)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def by_output(self, layer: Layer, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.transposed:
            return super().by_output(layer, weights)
        channels, per_group = weights.shape[:2]
        group = self.group(layer.params.convolution_param, channels) or 1
        grouped = weights.reshape(group, channels // group, per_group, -1)
        return grouped.swapaxes(1, 2).reshape(group * per_group, -1)

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        p, axis, w = self._read(layer, bottoms)
        first, second, *kernel = blobs[0]
        area, stride = math.prod(kernel), math.prod(w.stride)
        group = self.group(p, bottoms[0][axis]) or 1
        if self.transposed:  # weights (C, num_output / group, ...): a pixel sums area / stride taps
            fan_in, fan_out = first / group * area / stride, float(second * area)
        else:
            fan_in, fan_out = float(second * area), first / group * area / stride
        upsamples = (
            self.transposed and second == 1 and first == group and min(w.stride, default=1) > 1
        )
        bilinear = "bilinear" if upsamples and len(kernel) == 2 and kernel[0] == kernel[1] else ""
        weight = Filling(
            "convolution_param.weight_filler", fan_in=fan_in, fan_out=fan_out, suits=bilinear
        )
        return [weight, Filling("convolution_param.bias_filler")][: len(blobs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        # Each output value (if transposed, each input value) uses one kernel of each channel.
        shapes = bottoms if self.transposed else tops
        return sum(math.prod(shape) for shape in shapes) * math.prod(blobs[0][1:])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return replace(self._read(layer, bottoms)[2], transposed=self.transposed)

    def lower(self, layer: Layer, e: Emitter) -> None:
        bottoms = [e.shape(read) for read in layer.reads]
        p, axis, w = self._read(layer, bottoms)
        before, after = bottoms[0], e.shape(layer.writes[0])
        # ONNX requires channels on axis 1 and at least one spatial axis.
        tail: tuple[int, ...] = () if w.kernel else (1,)
        fits = axis == 1 and not tail
        blobs = self.stored(layer, e, 2 if p.bias_term else 1)
        if tail:
            blobs[0] = e.array(e.weight(layer, 0).reshape(*self._matrix(p, before[axis]), 1))
        attrs = {
            "kernel_shape": w.kernel + tail,
            "strides": w.stride + tail,
            "pads": self._pads(before[axis + 1 :], after[axis + 1 :], w, len(tail)),
            "dilations": w.dilation + tail,
            "group": self.group(p, before[axis]),
        }
        op = "ConvTranspose" if self.transposed else "Conv"
        batch = math.prod(before[:axis])
        for read, top in zip(layer.reads, layer.writes, strict=True):
            write = f"{top}@sum" if p.relu else top
            if fits:
                e.op(op, [read, *blobs], [write], **attrs)
            else:
                inner = (batch, *before[axis:], *tail)
                x = e.value(op, e.reshape(read, before, inner), *blobs, **attrs)
                outer = (batch, *after[axis:], *tail)
                e.op("Identity", [e.reshape(x, outer, after)], [write])
            if p.relu:
                rectify(e, write, top, p.negative_slope)

    def stored(self, layer: Layer, e: Emitter, count: int) -> list[str]:
        """Return the names of the weight and, if ``count`` is 2, the bias."""
        return [e.blob(layer, i) for i in range(count)]

    def mistakes(self, layer: Layer) -> list[Mistake]:
        return [no_bias]

    def _pads(self, before: Shape, after: Shape, w: Window, tail: int) -> tuple[int, ...]:
        """Return the pads before all axes, then the pads after all axes."""
        if self.transposed:
            ends = w.ends
        else:
            sizes = (after, before, w.kernel, w.stride, w.pad, w.dilation, w.ends)
            ends = tuple(map(geometry.end_pad, *sizes))
        return (*w.pad, *[0] * tail, *ends, *[0] * tail)

    def _matrix(self, p: Message, channels: int) -> tuple[int, int]:
        """Return the shape of the weights without spatial axes."""
        group = self.group(p, channels)
        if self.transposed:
            return channels, p.num_output // group
        return p.num_output, channels // group

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[Message, int, Window]:
        check_bottoms(layer, 1, None)
        p = layer.params.convolution_param
        rank = len(bottoms[0])
        axis = axis_of(layer, p.axis, rank)
        check_equal(layer, bottoms)
        w = window(layer, p, rank - axis - 1, self.holes)
        w = with_sides(layer, p, w, bottoms[0][axis + 1 :])
        if min((*w.pad, *w.ends), default=0) < 0:
            raise layer.unsupported("a pad below 0 is unsupported", "Crop the bottom before it.")
        if self.transposed and p.pad_type:
            raise layer.unsupported(
                "pad_type is unsupported: its fork computes sizes that do not fit together",
                "Set pad_l, pad_r, pad_t and pad_b.",
            )
        return p, axis, w

    def _check_groups(self, layer: Layer, p: Message, channels: int) -> None:
        if p.num_output < 1:
            raise layer.error(
                "num_output is 0 or missing", "Set it to the number of output channels."
            )
        group = self.group(p, channels)
        if group < 1 or channels % group or p.num_output % group:
            raise layer.error(
                f"group {group} does not divide {channels} input and {p.num_output} output channels",
                "Choose a group that divides both.",
            )


class Convolution(_Convolutional):
    """Caffe: weights (num_output, C / group, K...); output size rounded down. ONNX: Conv,
    equal. Forks: ReLU with ``relu`` (Intel), dilation as ``hole`` (DeepLab)."""

    reads = fields(
        convolution_param=(
            f"{WINDOW} {_HOLES} {SIDES} num_output bias_term group axis relu negative_slope"
        )
    )

    holes = True

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        bottoms = [r.shape(bottom) for bottom in layer.bottoms]
        p, axis, w = self._read(layer, bottoms)
        if w.end:
            enlarged(layer, r, w, bottoms[0][axis], "Convolution")
            return
        holes = dict.fromkeys((*_HOLES.split(), "dilation_h", "dilation_w"))
        dilation = list(w.dilation) if any(d != 1 for d in w.dilation) else None
        others = {**holes, "dilation": dilation, **plain_pads(p, w)}
        rewrite_rectified(layer, r, "convolution_param", **others)


class Deconvolution(_Convolutional):
    """Caffe: weights (C, num_output / group, K...). ONNX: ConvTranspose, equal, with the same blobs."""

    resizes = True

    transposed = True

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p, _, w = self._read(layer, [r.shape(bottom) for bottom in layer.bottoms])
        if w.end:
            raise layer.unsupported("no stock Deconvolution has different pads at its ends")
        r.retype("Deconvolution", convolution_param=plain_pads(p, w))


class _Depthwise(_Convolutional, abstract=True):
    """Base class of the depthwise layers of forks: one kernel per channel; ``group`` is ignored."""

    reads = fields(convolution_param=f"{WINDOW} {SIDES} num_output bias_term axis")

    harmless = MappingProxyType(
        {"convolution_param.group": "every channel has its own kernel, whatever the value of group"}
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 4, 4)
        tops = super().shapes(layer, bottoms)
        w = self._read(layer, bottoms)[2]
        sizes = zip(bottoms[0][2:], w.kernel, w.pad, w.ends, w.dilation, strict=True)
        for n, k, p, end, d in sizes:
            # Sizes are unsigned here, unlike in Convolution: a window past the end is invalid.
            if n + p + end < geometry.kernel_extent(k, d):
                raise layer.error(f"kernel size {k} is larger than {n} pixels with pad {p}")
        return tops

    def group(self, p: Message, channels: int) -> int:
        return channels

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        p, _, w = self._read(layer, [shape])
        if w.end:
            enlarged(layer, r, w, shape[1], "Convolution")
            return
        r.retype("Convolution", convolution_param={"group": shape[1], **plain_pads(p, w)})


class DepthwiseConvolution(_Depthwise):
    """Forks (MobileNet): Convolution with group = C, a fast version. ONNX: Conv."""

    stock = False
    source = "yonghenglh6/DepthwiseConvolution"


class ConvolutionDepthwise(_Depthwise):
    """Forks (MobileNet): Convolution with group = C, a fast version. ONNX: Conv."""

    stock = False
    source = "luoyetx/mini-caffe"
