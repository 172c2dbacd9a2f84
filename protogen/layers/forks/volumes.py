"""Convolution of forks for volumes: three spatial axes, often frames, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, Window, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops, counted
from protogen.layers.convolution import _Convolutional
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

_WINDOW_3D = "num_output bias_term kernel_size kernel_depth stride temporal_stride pad temporal_pad"
_CONVOLUTION_3D = f"{_WINDOW_3D} filter_group"


class _Volumetric(_Convolutional, abstract=True):
    """Base class of the convolutions of C3D: kernel_depth x kernel_size x kernel_size, with the bias
    as a blob of five axes. The parameters are in convolution3d_param (version 1.1, Cambricon), or in
    convolution_param (version 1.0)."""

    reads = fields(
        convolution3d_param=_CONVOLUTION_3D,
        convolution_param=_CONVOLUTION_3D,
    )

    harmless = MappingProxyType(
        {
            f"{block}.group": "C3D's code does not read it"
            for block in ("convolution3d_param", "convolution_param")
        }
    )

    stock = False
    source = "facebook/C3D"

    def group(self, p: Message, channels: int) -> int:
        return 1

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 5, 5)
        groups = self._block(layer).filter_group
        tops = super().shapes(layer, bottoms)
        if not self.transposed and (groups < 1 or tops[0][1] % groups):
            raise layer.error(f"filter_group {groups} does not divide {tops[0][1]} outputs")
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        weight, *bias = super().blobs(layer, bottoms)
        return [weight, *((1, 1, 1, 1, *shape) for shape in bias)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return _fillings_in(self._name(layer), super().fillings(layer, bottoms, blobs))

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, _, w = self._read(layer, [e.shape(layer.reads[0])])
        blobs = [e.blob(layer, 0)]
        if p.bias_term:
            blobs.append(e.array(e.weight(layer, 1).reshape(-1)))
        before, after = e.shape(layer.reads[0])[2:], e.shape(layer.writes[0])[2:]
        e.op(
            "ConvTranspose" if self.transposed else "Conv",
            [layer.reads[0], *blobs],
            [layer.writes[0]],
            kernel_shape=w.kernel,
            strides=w.stride,
            pads=self._pads(before, after, w, 0),
        )

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p, _, w = self._read(layer, [r.shape(layer.bottoms[0])])
        blobs = r.weights()
        if blobs is not None:
            blobs = [blobs[0], *(blob.reshape(-1) for blob in blobs[1:])]
        _stock_convolution(
            "Deconvolution" if self.transposed else "Convolution", layer, r, p, w, blobs
        )

    def _name(self, layer: Layer) -> str:
        old = layer.params.convolution_param.has("kernel_depth")
        return "convolution_param" if old else "convolution3d_param"

    def _block(self, layer: Layer) -> Message:
        block: Message = getattr(layer.params, self._name(layer))
        return block

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[Message, int, Window]:
        p = self._block(layer)
        sizes = {}
        for name in ("kernel_size", "stride", "pad"):
            value = getattr(p, name)
            listed = value if isinstance(value, list) else [value] * p.has(name)
            if len(listed) > 1:
                raise layer.error(f"expected one {name}, got {len(listed)}")
            sizes[name] = listed[0] if listed else int(name == "stride")
        kernel = (p.kernel_depth, sizes["kernel_size"], sizes["kernel_size"])
        stride = (p.temporal_stride, sizes["stride"], sizes["stride"])
        if min(*kernel, *stride) < 1:
            raise layer.error(
                "kernel_size, kernel_depth, stride and temporal_stride must be at least 1, got "
                f"{kernel[1]}, {kernel[0]}, {stride[1]} and {stride[0]}"
            )
        w = Window(kernel, stride, (p.temporal_pad, sizes["pad"], sizes["pad"]), (1, 1, 1))
        return _as_stock(p, w), 1, w


class Convolution3D(_Volumetric):
    """Forks (C3D, Cambricon): Convolution of volumes. kernel_depth, temporal_stride and temporal_pad
    are those of the first spatial axis; kernel_size, stride and pad those of the others."""


class Deconvolution3D(_Volumetric):
    """Forks (C3D): Deconvolution of volumes, with the parameters of Convolution3D."""

    reads = fields(convolution3d_param=_WINDOW_3D, convolution_param=_WINDOW_3D)

    harmless = MappingProxyType(
        {
            f"{block}.{name}": "C3D's code does not read it"
            for block in ("convolution3d_param", "convolution_param")
            for name in ("group", "filter_group")
        }
    )

    resizes = True

    transposed = True


class NdConvolution(_Convolutional):
    """Forks (video-caffe): Convolution of any number of spatial axes, with ``kernel_shape``,
    ``stride_shape`` and ``pad_shape``. The fork leaves out axes of length 1 of the top, which its
    next call of cuDNN refuses."""

    reads = fields(
        convolution_param="num_output bias_term group kernel_shape stride_shape pad_shape"
    )

    required = ("convolution_param.kernel_shape",)

    stock = False
    source = "chuckcho/video-caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        if 1 in tops[0][2:]:
            raise layer.error(
                f"each spatial axis of its top must have at least 2 positions, got "
                f"{shape_text(tops[0][2:])}: the fork cannot compute other tops",
                "Use a larger input or pad.",
            )
        return tops

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p, _, w = self._read(layer, [r.shape(bottom) for bottom in layer.bottoms])
        check_bottoms(layer, 1, 1)
        _stock_convolution("Convolution", layer, r, p, w, r.weights(), p.group)

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[Message, int, Window]:
        p = layer.params.convolution_param
        w = shaped_window(layer, p, len(bottoms[0]) - 2)
        return p, 1, w


def _as_stock(p: Message, w: Window, group: int = 1) -> Message:
    """Return the ConvolutionParameter of stock Caffe for a block with other fields."""
    names = ("weight_filler", "bias_filler")
    return Message.make(
        "ConvolutionParameter",
        num_output=p.num_output,
        bias_term=p.bias_term,
        kernel_size=list(w.kernel),
        **{f: list(v) for f, v, plain in _lists(w) if set(v) != {plain}},
        **{name: getattr(p, name).plain() for name in names if p.has(name)},
        **({"group": group} if group != 1 else {}),
    )


def _lists(w: Window) -> list[tuple[str, tuple[int, ...], int]]:
    """Return stride and pad of a window, with the value that a field need not set."""
    return [("stride", w.stride, 1), ("pad", w.pad, 0)]


def _stock_convolution(
    type_: str, layer: Layer, r: Rewriter, p: Message, w: Window, blobs: Any, group: int = 1
) -> None:
    """Add the stock layer for several spatial axes."""
    params = {"convolution_param": _as_stock(p, w, group).plain()}
    r.add(type_, layer.bottoms, params=params, weights=blobs, keeps=[0, 1])


def _fillings_in(block: str, fillings: Sequence[Filling]) -> list[Filling]:
    """Return the fillings with their fillers in another block."""
    return [replace(one, field=one.field.replace("convolution_param", block)) for one in fillings]


def shaped_window(layer: Layer, p: Message, axes: int) -> Window:
    """Return the window of kernel_shape, stride_shape and pad_shape; with global_pooling, of the
    stride and pad only.

    Raises:
        InputError: one of them has another number of axes, or a length below 1.
    """
    lengths = {}
    for name, default in (("kernel", 0), ("stride", 1), ("pad", 0)):
        listed = tuple(getattr(p, f"{name}_shape").dim)
        listed = listed or (default,) * axes
        if len(listed) != axes:
            raise layer.error(
                f"{name}_shape has {counted(len(listed), len(listed), 'axis', 'axes')} for a bottom "
                f"with {counted(axes, axes, 'spatial axis', 'spatial axes')}"
            )
        lengths[name] = listed
    if min(lengths["kernel"], default=0) < 1 or min(lengths["stride"]) < 1:
        raise layer.error("kernel_shape and stride_shape must be at least 1 on each axis")
    if min(lengths["pad"]) < 0:
        raise layer.error("pad_shape must not be negative")
    return Window(lengths["kernel"], lengths["stride"], lengths["pad"], (1,) * axes)
