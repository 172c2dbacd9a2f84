"""Pooling over windows, spatial pyramids and regions of interest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Mistake,
    Window,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.graph import Layer
from protogen.layers.values import random_regions
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


def pooling_window(layer: Layer, p: Message, shape: Shape) -> Window:
    """Return kernel, stride and pad of a PoolingParameter by Caffe's rules.

    Raises:
        InputError: the kernel is missing, a setting is given in two forms, or a pad is not smaller
            than the kernel.
    """
    if p.global_pooling:
        if p.has("kernel_size") or p.has("kernel_h") or p.has("kernel_w"):
            raise layer.error("global_pooling and a kernel are both set", "Keep one.")
        if any(_pair(layer, p, "pad", "pad")) or _pair(layer, p, "stride", "stride") != (1, 1):
            raise layer.error("global_pooling requires pad 0 and stride 1", "Remove both.")
        kernel: tuple[int, int] = (shape[2], shape[3])
    else:
        kernel = _pair(layer, p, "kernel", "kernel_size")
    stride = _pair(layer, p, "stride", "stride")
    pad = _pair(layer, p, "pad", "pad")
    if min(kernel) < 1:
        raise layer.error("kernel_size is missing or 0", "Set it, or kernel_h and kernel_w.")
    if min(stride) < 1:
        raise layer.error("stride must be at least 1, got 0")
    if any(pad) and p.pool == "STOCHASTIC":
        raise layer.error("STOCHASTIC pooling does not support pad", "Remove pad.")
    for k, q in zip(kernel, pad, strict=True):
        if q >= k:
            raise layer.error(f"pad {q} must be smaller than kernel_size {k}", "Use a smaller pad.")
    return Window(kernel, stride, pad, (1, 1))


def _pair(layer: Layer, p: Message, name: str, single: str) -> tuple[int, int]:
    """Return a setting along height and width: from ``single``, or from name_h and name_w."""
    if not (p.has(f"{name}_h") or p.has(f"{name}_w")):
        value: int = getattr(p, single)
        return value, value
    both = p.has(f"{name}_h") and p.has(f"{name}_w")
    # With kernel_size and only one of kernel_h and kernel_w, Caffe ignores that one.
    if p.has(single) and not both and name == "kernel":
        value = getattr(p, single)
        return value, value
    if p.has(single):
        raise layer.error(f"{single} and {name}_h or {name}_w are both set", "Keep one form.")
    if not both:
        raise layer.error(f"{name}_h and {name}_w must both be set")
    return getattr(p, f"{name}_h"), getattr(p, f"{name}_w")


class Pooling(LayerType):
    """MAX, AVE or STOCHASTIC over windows. Caffe rounds the number of windows up and clips the
    last; a second top of MAX holds the indices of the maxima. Forks: MIN; and averages that exclude
    padding (AVE_EXC_PAD; ``avg_include_pad: false`` of Intel's engines)."""

    passes_signal = True

    reads = fields(
        pooling_param=(
            "pool pad kernel_size stride pad_h pad_w kernel_h kernel_w stride_h stride_w "
            "global_pooling round_mode ceil_mode avg_include_pad"
        ),
    )

    limits = "not STOCHASTIC"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        if len(shape) != 4:
            raise layer.error(f"its bottom must have 4 axes, got shape {shape_text(shape)}")
        p = layer.params.pooling_param
        w = pooling_window(layer, p, shape)
        # Forks have ceil_mode; round_mode takes precedence over it.
        ceil = p.round_mode == "CEIL" if p.has("round_mode") else p.ceil_mode
        out = geometry.pool_windows(shape[2:], w.kernel, w.stride, w.pad, ceil)
        if layer.dialect == "intel" and 1 in w.kernel and not any(w.pad):
            out = geometry.clipped(out, shape[2:], w.stride, w.pad)
        if min(out) < 1:
            raise layer.error(
                f"the output size would be {shape_text(out)} for input {shape_text(shape[2:])} and "
                f"kernel {shape_text(w.kernel)}",
                "Use a smaller kernel.",
            )
        check_tops(layer, 1, 2 if p.pool == "MAX" else 1)
        return [(*shape[:2], *out)] * len(layer.tops)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.pooling_param
        shape = e.shape(layer.reads[0])
        if p.pool == "STOCHASTIC":
            raise layer.unsupported("ONNX has no STOCHASTIC pooling", "Use MAX or AVE.")
        averages = p.pool in ("AVE", "AVE_EXC_PAD")
        if p.global_pooling and len(layer.tops) == 1 and p.pool != "MIN":
            op = "GlobalAveragePool" if averages else "GlobalMaxPool"
            e.op(op, [layer.reads[0]], [layer.writes[0]])
            return
        w = pooling_window(layer, p, shape)
        out = e.shape(layer.writes[0])[2:]
        if averages:
            excludes_pad = p.pool == "AVE_EXC_PAD" or not p.avg_include_pad
            averaged = average(layer, e, layer.reads[0], shape, w, out, excludes_pad)
            e.op("Identity", [averaged], [layer.writes[0]])
        else:
            _maximum(layer, e, shape, w, out, smallest=p.pool == "MIN")

    def mistakes(self, layer: Layer) -> list[Mistake]:
        mistakes = [
            Mistake(
                "the number of windows is rounded down; Caffe rounds it up",
                {"pooling_param.round_mode": "FLOOR"},
            )
        ]
        if layer.params.pooling_param.pool == "AVE":
            mistakes += [
                Mistake(
                    f"the divisor of AVE {rule}; Caffe counts padding up to the padded border",
                    attributes={"AveragePool": {"count_include_pad": counted}},
                    without=("Mul",),
                )
                for counted, rule in ((0, "excludes padding"), (1, "is the whole window"))
            ]
        return mistakes

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        p = layer.params.pooling_param
        return None if p.global_pooling else pooling_window(layer, p, bottoms[0])


def _ends(shape: Shape, w: Window, out: Shape) -> tuple[int, ...]:
    """Return the padding at the end of each axis for which exactly ``out`` windows fit:
    (out - 1) s + K - n - p. It is negative if the windows end before the input does."""
    return tuple(
        (o - 1) * s + k - n - p
        for o, s, k, n, p in zip(out, w.stride, w.kernel, shape[2:], w.pad, strict=True)
    )


def _maximum(
    layer: Layer, e: Emitter, shape: Shape, w: Window, out: Shape, smallest: bool = False
) -> None:
    """Emit MAX (with ``smallest``: MIN) pooling, and the indices of the maxima as a second top."""
    ends = tuple(max(0, end) for end in _ends(shape, w, out))
    pads = w.pad + ends
    read = e.value("Neg", layer.reads[0]) if smallest else layer.reads[0]
    if has_empty := any(end >= k for end, k in zip(ends, w.kernel, strict=True)):
        # A stride larger than the kernel leaves windows without a pixel: Caffe writes -FLT_MAX.
        at = e.array([0, 0, *w.pad, 0, 0, *ends])
        read = e.value("Pad", read, at, e.array(-3.4028234663852886e38))
        pads = (0, 0, 0, 0)
    writes = [f"{layer.writes[0]}@largest" if smallest else layer.writes[0]]
    if len(layer.tops) > 1:
        writes.append(f"{layer.writes[1]}@indices")
    e.op("MaxPool", [read], writes, kernel_shape=w.kernel, strides=w.stride, pads=pads)
    if smallest:
        e.op("Neg", writes[:1], [layer.writes[0]])
    if len(layer.tops) == 1:
        return
    # ONNX counts indices over the whole blob, Caffe over one plane and as float.
    if not has_empty:
        plane = e.value("Mod", writes[1], e.array(shape[2] * shape[3]))
        e.op("Cast", [plane], [layer.writes[1]], to=FLOAT)
        return
    import numpy as np

    # The indices count in the padded plane. Convert them, and write -1 for a window without pixels.
    check_room(layer, math.prod(out))
    height, width = (n + p + end for n, p, end in zip(shape[2:], w.pad, ends, strict=True))
    index = e.value("Mod", writes[1], e.array(height * width))
    row, column = e.value("Div", index, e.array(width)), e.value("Mod", index, e.array(width))
    row = e.value("Mul", e.value("Sub", row, e.array(w.pad[0])), e.array(shape[3]))
    plane = e.value("Add", row, e.value("Sub", column, e.array(w.pad[1])))
    overlaps = [
        np.arange(o) * s - p < n for o, s, p, n in zip(out, w.stride, w.pad, shape[2:], strict=True)
    ]
    has_pixel = e.value("Cast", e.array(np.multiply.outer(*overlaps).astype(np.int64)), to=BOOL)
    e.op("Where", [has_pixel, e.value("Cast", plane, to=FLOAT), e.array(-1.0)], [layer.writes[1]])


def average(
    layer: Layer,
    e: Emitter,
    read: str,
    shape: Shape,
    w: Window,
    out: Shape,
    excludes_pad: bool = False,
) -> str:
    """Emit AVE pooling with Caffe's divisor: the size of the window, clipped at the padded input's
    end. With ``excludes_pad`` (forks), the divisor is the number of input pixels in the window.

    Raises:
        UnsupportedError: with ``excludes_pad``, a window has no pixel.
    """
    ends = _ends(shape, w, out)
    if excludes_pad:
        if any(end >= k for end, k in zip(ends, w.kernel, strict=True)):
            raise layer.unsupported(
                "its stride leaves windows without a pixel, and forks do not define their average",
                "Use a smaller stride.",
            )
        return e.value(
            "AveragePool",
            read,
            kernel_shape=w.kernel,
            strides=w.stride,
            pads=w.pad + tuple(max(0, end) for end in ends),
            count_include_pad=0,
        )
    pads = w.pad + tuple(max(0, end) for end in ends)
    if any(end >= k for end, k in zip(ends, w.kernel, strict=True)):
        # A stride larger than the kernel leaves windows without a pixel. AveragePool does not allow
        # the padding that this needs, so a Pad operator adds it.
        at = e.array([0, 0, *w.pad, 0, 0, *(max(0, end) for end in ends)])
        read, pads = e.value("Pad", read, at), (0, 0, 0, 0)
    x = e.value(
        "AveragePool", read, kernel_shape=w.kernel, strides=w.stride, pads=pads, count_include_pad=1
    )
    if all(end <= p for end, p in zip(ends, w.pad, strict=True)):
        return x
    import numpy as np

    check_room(layer, math.prod(out))
    factors = []
    for o, s, k, n, p in zip(out, w.stride, w.kernel, shape[2:], w.pad, strict=True):
        begin = np.arange(o) * s - p
        # If a window begins at the end, its size is 0: Caffe divides 0 by 0 and writes NaN.
        factors.append(k / (np.minimum(begin + k, n + p) - begin))
    return e.value("Mul", x, e.array(np.multiply.outer(*factors).astype(np.float32)))


def _levels(shape: Shape, height: int) -> Iterator[tuple[int, Window]]:
    """Yield, for each pyramid level, the number of windows per axis and the window (Caffe's
    spp_layer.cpp)."""
    for level in range(height):
        bins = 2**level
        kernel = tuple(-(-n // bins) for n in shape[2:])
        pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, shape[2:], strict=True))
        yield bins, Window(kernel, kernel, pad, (1, 1))


class SPP(LayerType):
    """Spatial pyramid: poolings to 1, 2, 4, ... windows per axis, flattened and concatenated."""

    reads = fields(spp_param="pyramid_height pool")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        height = layer.params.spp_param.pyramid_height
        if len(shape) != 4:
            raise layer.error(f"its bottom must have 4 axes, got shape {shape_text(shape)}")
        if not 1 <= height <= 15:
            raise layer.error(f"pyramid_height must be from 1 to 15, got {height}")
        for bins, w in _levels(shape, height):
            for n, k, q in zip(shape[2:], w.kernel, w.pad, strict=True):
                if q >= k:
                    raise layer.error(
                        f"{bins} windows over {n} pixels need pad {q}, but pad must be smaller "
                        f"than the window size {k}",
                        "Use a smaller pyramid_height.",
                    )
        if height == 1:  # Caffe then skips Flatten and Concat
            return [(shape[0], shape[1], 1, 1)]
        return [(shape[0], shape[1] * sum(4**level for level in range(height)))]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.spp_param
        shape = e.shape(layer.reads[0])
        flat = []
        for bins, w in _levels(shape, p.pyramid_height):
            if p.pool == "AVE":
                x = average(layer, e, layer.reads[0], shape, w, (bins, bins))
            elif p.pool == "MAX":
                ends = tuple(max(0, end) for end in _ends(shape, w, (bins, bins)))
                x = e.value(
                    "MaxPool",
                    layer.reads[0],
                    kernel_shape=w.kernel,
                    strides=w.stride,
                    pads=w.pad + ends,
                )
            else:
                raise layer.unsupported("ONNX has no STOCHASTIC pooling", "Use MAX or AVE.")
            flat.append(x if p.pyramid_height == 1 else e.value("Flatten", x, axis=1))
        if len(flat) == 1:
            e.op("Identity", flat, [layer.writes[0]])
        else:
            e.op("Concat", flat, [layer.writes[0]], axis=1)


class ROIPooling(LayerType):
    """Forks (Fast R-CNN): MAX over a grid of bins in each region; bottoms features, rois (R, 5)."""

    reads = fields(roi_pooling_param="pooled_h pooled_w pooled_size spatial_scale pad_ratio")

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.roi_pooling_param
        size = tuple(p.pooled_size) * (2 if len(p.pooled_size) == 1 else 1)
        pooled = size if len(size) == 2 else (p.pooled_h, p.pooled_w)
        if min(pooled) < 1:
            raise layer.error(f"pooled_h and pooled_w must be at least 1, got {shape_text(pooled)}")
        return [(bottoms[1][0], bottoms[0][1], *pooled)] * len(layer.tops)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        scale = layer.params.roi_pooling_param.spatial_scale
        return random_regions(rng, shapes[1], shapes[0], scale) if index == 1 else None

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        pooled = e.shape(layer.writes[0])[2:]
        p = layer.params.roi_pooling_param
        scale = p.spatial_scale
        rois = layer.reads[1]
        if p.pad_ratio:  # MS-CNN widens each region on each side by pad_ratio of its size
            axis = e.array([1])
            low, high = (
                e.value("Slice", rois, e.array([i]), e.array([i + 2]), axis) for i in (1, 3)
            )
            size = e.value("Add", e.value("Sub", high, low), e.array(1.0))
            pad = e.value("Mul", size, e.array(float(p.pad_ratio)))
            image = e.value("Slice", rois, e.array([0]), e.array([1]), axis)
            ends = e.value("Sub", low, pad), e.value("Add", high, pad)
            rois = e.value("Concat", image, *ends, axis=1)
        e.op(
            "MaxRoiPool",
            [layer.reads[0], rois],
            [layer.writes[0]],
            pooled_shape=pooled,
            spatial_scale=scale,
        )


class PSROIPooling(LayerType):
    """Forks (R-FCN): position-sensitive average over each region; bottoms features and rois."""

    reads = fields(psroi_pooling_param="spatial_scale output_dim group_size")

    stock = False

    refusal = (
        "standard ONNX has no position-sensitive average over the bins of a region",
        "End the net at this layer's bottoms with --to-blob, and do the pooling outside the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.psroi_pooling_param
        group, dim = p.group_size, p.output_dim
        if group < 1 or dim < 1:
            raise layer.error(
                f"output_dim and group_size must be at least 1, got {dim} and {group}"
            )
        if bottoms[0][1] != dim * group * group:
            raise layer.error(
                f"its bottom must have {dim * group * group} channels for output_dim {dim} and "
                f"group_size {group}, got {bottoms[0][1]}"
            )
        return [(bottoms[1][0], dim, group, group)] * len(layer.tops)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        scale = layer.params.psroi_pooling_param.spatial_scale
        return random_regions(rng, shapes[1], shapes[0], scale) if index == 1 else None

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
