"""Convolution and Deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protogen import geometry
from protogen.graph import Layer, Shape
from protogen.layers.base import Emitter, LayerType, check_bottoms
from protogen.message import Message


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, pad and dilation along each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]


def window(layer: Layer, p: Message, axes: int) -> Window:
    """Reads ConvolutionParameter for ``axes`` spatial axes by Caffe's rules.

    kernel_size, stride, pad and dilation stand once for all axes or once per axis;
    kernel_h and kernel_w (and their like) are for two axes and exclude the list.
    """

    def spread(name: str, given: list[int], default: int | None) -> tuple[int, ...]:
        if not given and default is None:
            raise layer.error("has no kernel_size", "Give kernel_size, or kernel_h and kernel_w.")
        values = given or [default or 0]
        if len(values) not in (1, axes):
            raise layer.error(
                f"{name} is given {len(values)} times for {axes} spatial axes",
                "Give it once, or once for each axis.",
            )
        return tuple(values * axes if len(values) == 1 else values)

    def pair(name: str, listed: str, default: int | None) -> tuple[int, ...]:
        if not (p.has(f"{name}_h") or p.has(f"{name}_w")):
            return spread(listed, list(getattr(p, listed)), default)
        if axes != 2:
            raise layer.error(f"{name}_h and {name}_w are for 2 spatial axes, here are {axes}")
        if p.has(listed):
            raise layer.error(f"{listed} and {name}_h or {name}_w are both given", "Keep one form.")
        return (getattr(p, f"{name}_h"), getattr(p, f"{name}_w"))

    found = Window(
        pair("kernel", "kernel_size", None),
        pair("stride", "stride", 1),
        pair("pad", "pad", 0),
        spread("dilation", list(p.dilation), 1),
    )
    for name, values in (
        ("kernel_size", found.kernel),
        ("stride", found.stride),
        ("dilation", found.dilation),
    ):
        if min(values, default=1) < 1:
            raise layer.error(f"{name} is {min(values)}, but must be at least 1")
    return found


class _Convolutional(LayerType, abstract=True):
    """What Convolution and Deconvolution share. Caffe: axes before ``axis`` are a batch, the axis
    itself are channels, those after it are spatial."""

    transposed = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p, axis, w = self._read(layer, bottoms)
        self._groups(layer, p, bottoms[0][axis])
        size = geometry.deconv_out if self.transposed else geometry.conv_out
        out = []
        for n, k, s, pad, d in zip(
            bottoms[0][axis + 1 :], w.kernel, w.stride, w.pad, w.dilation, strict=True
        ):
            length = size(n, k, s, pad, d)
            if length < 1:
                raise layer.error(
                    f"makes {length} pixels of {n} (kernel_size {k}, stride {s}, pad {pad})",
                    "Use a smaller kernel or pad, or a larger input.",
                )
            out.append(length)
        top = (*bottoms[0][:axis], p.num_output, *out)
        return [top] * len(layer.tops)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p, axis, w = self._read(layer, bottoms)
        channels = bottoms[0][axis]
        into, out = (p.num_output, channels) if self.transposed else (channels, p.num_output)
        weight = (out, into // p.group, *w.kernel)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[Message, int, Window]:
        check_bottoms(layer, 1)
        p = layer.params.convolution_param
        rank = len(bottoms[0])
        axis = p.axis + rank if p.axis < 0 else p.axis
        if not 0 <= axis < rank:
            raise layer.error(f"axis {p.axis} is outside of a blob with {rank} axes")
        for shape in bottoms[1:]:
            if shape != bottoms[0]:
                raise layer.error("its bottoms differ in shape, but one kernel serves all")
        return p, axis, window(layer, p, rank - axis - 1)

    def _groups(self, layer: Layer, p: Message, channels: int) -> None:
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Give the number of output channels.")
        if p.group < 1 or channels % p.group or p.num_output % p.group:
            raise layer.error(
                f"group {p.group} does not divide {channels} input and {p.num_output} output channels",
                "Choose a group that divides both.",
            )


class Convolution(_Convolutional):
    """Caffe: weights (num_output, C / group, K...), floor of the last window. ONNX: Conv, equal."""


class Deconvolution(_Convolutional):
    """Caffe: weights (C, num_output / group, K...). ONNX: ConvTranspose, equal, blob for blob."""

    transposed = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.convolution_param
        rank = len(e.shape(layer.reads[0]))
        if p.axis not in (1, 1 - rank):
            raise layer.unsupported(
                f"axis {p.axis} has no ConvTranspose of ONNX", "Use axis 1, the channels."
            )
        w = window(layer, p, rank - 2)
        blobs = [e.blob(layer, index) for index in range(2 if p.bias_term else 1)]
        for read, write in zip(layer.reads, layer.writes, strict=True):
            e.op(
                "ConvTranspose",
                [read, *blobs],
                [write],
                kernel_shape=w.kernel,
                strides=w.stride,
                pads=w.pad * 2,
                dilations=w.dilation,
                group=p.group,
            )
