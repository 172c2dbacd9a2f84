"""Pooling of forks over volumes: three spatial axes, often frames, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protogen import geometry
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.forks.volumes import shaped_window
from protogen.layers.graph import Layer
from protogen.layers.pooling import average, ends_of, maximum
from protogen.layers.pooling_stages import pooled_in_stages
from protogen.layers.writing import Emitter, Rewriter


class _Pooled(NamedTuple):
    """How a layer pools volumes.

    Attributes:
        method: MAX, AVE, AVE_EXC_PAD or STOCHASTIC.
        window: kernel, stride and pads.
        out: lengths of the spatial axes of the top.
    """

    method: str
    window: Window
    out: Shape


class _Pooling3D(LayerType, abstract=True):
    """Base class of pooling over more than two spatial axes."""

    passes_signal = True

    limits = "not STOCHASTIC"

    stock = False

    def pooled(self, layer: Layer, shape: Shape) -> _Pooled:
        """Return how the layer pools a bottom of this shape.

        Raises:
            InputError: the parameters are invalid.
        """
        raise NotImplementedError

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        out = self.pooled(layer, bottoms[0]).out
        if min(out) < 1:
            raise layer.error(
                f"the output size would be {shape_text(out)} for input {shape_text(bottoms[0][2:])}",
                "Use a smaller kernel.",
            )
        return [(*bottoms[0][:2], *out)] * len(layer.tops)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        w = self.pooled(layer, bottoms[0]).window
        return None if w.kernel == bottoms[0][2:] else w

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape = e.shape(layer.reads[0])
        method, w, out = self.pooled(layer, shape)
        if method == "STOCHASTIC":
            raise layer.unsupported("ONNX has no STOCHASTIC pooling", "Use MAX or AVE.")
        if method == "MAX":
            maximum(layer, e, shape, w, out)
            return
        excludes_pad = method == "AVE_EXC_PAD"
        averaged = average(layer, e, layer.reads[0], shape, w, out, excludes_pad)
        e.op("Identity", [averaged], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        method, w, out = self.pooled(layer, shape)
        if len(w.kernel) not in (2, 3) or w.end or (method == "AVE_EXC_PAD" and any(w.pad)):
            raise layer.unsupported("no stock Pooling has these windows or this divisor")
        method = "AVE" if method == "AVE_EXC_PAD" else method
        pooled_in_stages(layer, r, method, shape, w, out)


_C3D = "kernel_depth temporal_stride"
_P3D = "kernel_l stride_l pad_l pad_h pad_w"
_SYNOPSYS = "kernel_d stride_d pad_h0 pad_h1 pad_w0 pad_w1 pad_d0 pad_d1 ceil_mode"


class Pooling3D(_Pooling3D):
    """Forks. C3D and Cambricon: kernel_depth and temporal_stride along the first spatial axis,
    kernel_size and stride along the others; the number of windows is rounded up, and the last is
    kept also where it begins in the padding. P3D (kernel_l, stride_l, pad_l): as Pooling of stock
    Caffe. Synopsys (kernel_d, stride_d, pad_d0, ...): rounded down without ``ceil_mode``; one
    kernel_size, stride or pad is for all three axes; AVE_EXC_PAD leaves padding out of the divisor."""

    reads = fields(
        pooling3d_param=(
            "pool kernel_size stride pad kernel_h kernel_w stride_h stride_w global_pooling "
            f"{_C3D} {_P3D} {_SYNOPSYS}"
        ),
        pooling_param="pool kernel_size stride pad kernel_depth temporal_stride",
    )

    source = "facebook/C3D"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 5, 5)
        masked = self._fork(layer) == "p3d" and layer.params.pooling3d_param.pool == "MAX"
        check_tops(layer, 1, 2 if masked else 1)
        return super().shapes(layer, bottoms)

    def decide(self, layer: Layer) -> None:
        if not self._fork(layer):
            raise layer.unsupported(
                "the type is ambiguous: C3D's needs kernel_depth, P3D's kernel_l, and Synopsys' "
                "kernel_size is that of all three axes",
                "Set --dialect c3d, cambricon or synopsys.",
            )

    def pooled(self, layer: Layer, shape: Shape) -> _Pooled:
        fork = self._fork(layer)
        reader = {"p3d": _p3d_pooled, "c3d": _c3d_pooled}.get(fork, _synopsys_pooled)
        old = layer.params.pooling_param.has("kernel_depth")
        p = layer.params.pooling_param if old else layer.params.pooling3d_param
        pooled = reader(layer, p, shape)
        w = pooled.window
        if min(*w.kernel, *w.stride) < 1:
            raise layer.error(
                f"kernel and stride must be at least 1 on each axis, got {shape_text(w.kernel)} and "
                f"{shape_text(w.stride)}"
            )
        return pooled

    def _fork(self, layer: Layer) -> str:
        """Return the fork whose fields the layer has: c3d, p3d or synopsys; empty if none tells."""
        p, dialect = layer.params.pooling3d_param, layer.dialect
        if layer.params.pooling_param.has("kernel_depth"):  # version 1.0 of C3D
            return "c3d"
        if any(p.has(name) for name in _C3D.split()) or dialect in ("c3d", "cambricon"):
            return "c3d"
        if any(p.has(name) for name in _P3D.split()):
            return "p3d"
        if any(p.has(name) for name in _SYNOPSYS.split()) or dialect == "synopsys":
            return "synopsys"
        return "p3d" if p.global_pooling else ""


def _c3d_pooled(layer: Layer, p: Message, shape: Shape) -> _Pooled:
    """Read C3D's parameters; only height and width have a pad."""
    method = str(p.pool)
    w = Window(
        (p.kernel_depth, p.kernel_size, p.kernel_size),
        (p.temporal_stride, p.stride, p.stride),
        (0, p.pad, p.pad),
        (1, 1, 1),
    )
    if p.pad and method != "AVE":
        raise layer.error(f"pool {method} does not support pad in this fork", "Remove pad.")
    if min(w.stride) < 1:
        raise layer.error("stride and temporal_stride must be at least 1")
    # No window is dropped: as the windows of a bottom that is larger by its padding.
    padded = [n + 2 * q for n, q in zip(shape[2:], w.pad, strict=True)]
    return _Pooled(method, w, geometry.pool_windows(padded, w.kernel, w.stride, (0, 0, 0)))


def _p3d_pooled(layer: Layer, p: Message, shape: Shape) -> _Pooled:
    """Read P3D's parameters: those of stock Caffe, and kernel_l, stride_l and pad_l."""

    def plane(name: str, single: str) -> tuple[int, int]:
        if p.has(f"{name}_h") or p.has(f"{name}_w"):
            if p.has(single) or not (p.has(f"{name}_h") and p.has(f"{name}_w")):
                raise layer.error(f"set {single}, or both of {name}_h and {name}_w")
            return getattr(p, f"{name}_h"), getattr(p, f"{name}_w")
        return (getattr(p, single),) * 2

    if p.global_pooling:
        if p.has("kernel_size") or p.has("kernel_h") or p.has("kernel_w"):
            raise layer.error("global_pooling and a kernel are both set", "Keep one.")
        kernel = shape[2:]
    else:
        kernel = (p.kernel_l, *plane("kernel", "kernel_size"))
    stride = (p.stride_l, *plane("stride", "stride"))
    pad = (p.pad_l, *plane("pad", "pad"))
    if p.global_pooling and (any(pad) or set(stride) != {1}):
        raise layer.error("global_pooling requires pad 0 and stride 1", "Remove both.")
    if any(pad) and any(q >= k for k, q in zip(kernel, pad, strict=True)):
        raise layer.error(f"each pad must be smaller than the kernel, got {shape_text(pad)}")
    if min(stride) < 1:
        raise layer.error("each stride must be at least 1")
    w = Window(kernel, stride, pad, (1, 1, 1))
    return _Pooled(str(p.pool), w, geometry.pool_windows(shape[2:], kernel, stride, pad))


def _synopsys_pooled(layer: Layer, p: Message, shape: Shape) -> _Pooled:
    """Read Synopsys' parameters, whose two ends of an axis have pads of their own."""

    def along(name: str, single: str) -> tuple[int, ...]:
        if p.has(single):
            return (getattr(p, single),) * 3
        return tuple(getattr(p, f"{name}_{axis}") for axis in "dhw")

    kernel = shape[2:] if p.global_pooling else along("kernel", "kernel_size")
    stride = along("stride", "stride")
    begin, end = (
        tuple(p.pad if p.has("pad") else getattr(p, f"pad_{axis}{side}") for axis in "dhw")
        for side in (0, 1)
    )
    if min(stride) < 1:
        raise layer.error(
            f"each stride must be at least 1, got {shape_text(stride)}",
            "Set stride, or stride_d, stride_h and stride_w.",
        )
    if any(q >= max(k, 1) for k, q in zip((*kernel, *kernel), (*begin, *end), strict=True)):
        raise layer.unsupported(
            "a pad that is not smaller than the kernel is unsupported", "Use a smaller pad."
        )
    w = Window(kernel, stride, begin, (1, 1, 1), end=() if end == begin else end)
    out = geometry.pool_windows(shape[2:], kernel, stride, begin, p.ceil_mode, end)
    return _Pooled(str(p.pool), w, out)


class NdPooling(_Pooling3D):
    """Forks (video-caffe): MAX or AVE over windows of ``kernel_shape`` with ``stride_shape`` and
    ``pad_shape``, for any number of spatial axes. The number of windows is rounded up."""

    reads = fields(pooling_param="pool kernel_shape stride_shape pad_shape global_pooling")

    required = ("pooling_param.kernel_shape",)

    source = "chuckcho/video-caffe"

    limits = "not STOCHASTIC; AVE only with windows within the padded bottom"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 3, 7)
        return super().shapes(layer, bottoms)

    def pooled(self, layer: Layer, shape: Shape) -> _Pooled:
        p = layer.params.pooling_param
        w = shaped_window(layer, p, len(shape) - 2)
        if p.global_pooling:
            w = Window(shape[2:], w.stride, w.pad, w.dilation)
        if any(q >= k for k, q in zip(w.kernel, w.pad, strict=True)):
            raise layer.error(f"each pad must be smaller than the kernel, got {shape_text(w.pad)}")
        axes = zip(shape[2:], w.kernel, w.stride, w.pad, strict=True)
        out = tuple(geometry.pool_out(*axis) for axis in axes)
        return _Pooled(str(p.pool), w, out)

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape = e.shape(layer.reads[0])
        method, w, out = self.pooled(layer, shape)
        beyond = any(end > p for end, p in zip(ends_of(shape, w, out), w.pad, strict=True))
        if method == "AVE" and beyond:
            raise layer.unsupported(
                "cuDNN does not define the average of a window that reaches beyond the padding",
                "Use a stride and a kernel that fit the bottom.",
            )
        super().lower(layer, e)
