"""Pooling over windows and spatial pyramids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from protogen import geometry
from protogen.formats.message import Message, Name
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
from protogen.layers.padding import SIDES, padded, plain_pads, same_sizes, with_sides
from protogen.layers.pooling_stages import pooled_in_stages
from protogen.layers.writing import Emitter, Rewriter


def pooling_window(layer: Layer, p: Message, shape: Shape) -> Window:
    """Return kernel, stride and pad of a PoolingParameter by Caffe's rules.

    Raises:
        InputError: the kernel is missing, a setting is given in two forms, or a pad is not smaller
            than the kernel.
    """
    if len(shape) == 5:
        return _window_of_volumes(layer, p, shape)
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
    w = with_sides(layer, p, Window(kernel, stride, pad, (1, 1)), shape[2:])
    if p.global_pooling and (any(w.pad) or p.pad_type):
        raise layer.unsupported("global_pooling with a pad is unsupported", "Remove the pad.")
    if any(q >= k for k, q in zip((*kernel, *kernel), (*w.pad, *w.ends), strict=True)):
        raise layer.unsupported(
            "a pad that is not smaller than the kernel is unsupported", "Use a smaller pad."
        )
    return w


def _window_of_volumes(layer: Layer, p: Message, shape: Shape) -> Window:
    """Return the window of Intel's fields for three spatial axes: each has one value for all axes, or
    one per axis."""

    def along(name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        values = tuple(getattr(p, name)) or default
        if len(values) not in (1, 3):
            raise layer.error(f"expected 1 or 3 {name}, got {len(values)}")
        return values * (3 // len(values))

    if p.global_pooling and p.kernel_size_3d:
        raise layer.error("global_pooling and a kernel are both set", "Keep one.")
    kernel = shape[2:] if p.global_pooling else along("kernel_size_3d")
    w = Window(kernel, along("stride_3d", (1,)), along("pad_3d", (0,)), (1, 1, 1))
    if p.global_pooling and (any(w.pad) or set(w.stride) != {1}):
        raise layer.error("global_pooling requires pad 0 and stride 1", "Remove both.")
    if min(*w.kernel, *w.stride) < 1:
        raise layer.error("kernel_size_3d and stride_3d must be at least 1")
    if any(q >= k for k, q in zip(w.kernel, w.pad, strict=True)):
        raise layer.error("pad_3d must be smaller than kernel_size_3d", "Use a smaller pad.")
    return w


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


AVERAGES = ("AVE", "AVE_EXC_PAD", "AVE_TF")  # the last two are one method, and exclude padding


class Pooling(LayerType):
    """MAX, AVE or STOCHASTIC over windows. Caffe rounds the number of windows up and clips the
    last; a second top of MAX holds the indices of the maxima. Forks: MIN; and averages that exclude
    padding (AVE_EXC_PAD, AVE_TF; ``avg_include_pad: false`` of Intel's engines); and pads that differ
    between the ends (``pad_l``, ``pad_type: 1`` for TensorFlow's SAME); and three spatial axes
    (``kernel_size_3d``, Intel)."""

    passes_signal = True

    reads = fields(
        pooling_param=(
            "pool pad kernel_size stride pad_h pad_w kernel_h kernel_w stride_h stride_w "
            "global_pooling round_mode ceil_mode avg_include_pad kernel_size_3d stride_3d pad_3d "
            f"{SIDES}"
        ),
    )

    limits = "not STOCHASTIC"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        p = layer.params.pooling_param
        volumes = p.kernel_size_3d or p.stride_3d or p.pad_3d
        axes = 5 if volumes or (layer.dialect == "intel" and len(shape) == 5) else 4
        if len(shape) != axes:
            raise layer.error(f"its bottom must have {axes} axes, got shape {shape_text(shape)}")
        w = pooling_window(layer, p, shape)
        # Forks have ceil_mode; round_mode takes precedence over it.
        ceil = p.round_mode == "CEIL" if p.has("round_mode") else p.ceil_mode
        out = geometry.pool_windows(shape[2:], w.kernel, w.stride, w.pad, ceil, w.end)
        if p.pad_type:
            out = tuple(same_sizes(shape[2:], w.stride))
        if layer.dialect == "intel" and len(shape) == 4 and 1 in w.kernel and not any(w.pad):
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
        averages = p.pool in AVERAGES
        if p.global_pooling and len(layer.tops) == 1 and p.pool != "MIN":
            op = "GlobalAveragePool" if averages else "GlobalMaxPool"
            e.op(op, [layer.reads[0]], [layer.writes[0]])
            return
        w = pooling_window(layer, p, shape)
        out = e.shape(layer.writes[0])[2:]
        if averages:
            excludes_pad = p.pool in AVERAGES[1:] or not p.avg_include_pad
            averaged = average(layer, e, layer.reads[0], shape, w, out, excludes_pad)
            e.op("Identity", [averaged], [layer.writes[0]])
        else:
            maximum(layer, e, shape, w, out, smallest=p.pool == "MIN")

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace the pads and averages of forks by those of stock Caffe, if the windows and the
        divisors are equal."""
        p, shape = layer.params.pooling_param, r.shape(layer.bottoms[0])
        if p.pool == "MIN":
            super().rewrite(layer, r)
        w = pooling_window(layer, p, shape)
        if len(shape) == 5:
            out = self.shapes(layer, [shape])[0][2:]
            pooled_in_stages(layer, r, str(p.pool), shape, w, out)
            return
        excludes_pad = p.pool in AVERAGES[1:] or not p.avg_include_pad
        changes: dict[str, Any] = {
            **plain_pads(p, w),
            "pool": Name("AVE") if p.pool in AVERAGES else p.pool,
            "avg_include_pad": None,
            "ceil_mode": None,
        }
        if not p.global_pooling:
            out = self.shapes(layer, [shape])[0][2:]
            sizes = (shape[2:], w.kernel, w.stride, w.pad)
            floors = [f for f in (False, True) if geometry.pool_windows(*sizes, not f) == out]
            if not floors:
                raise layer.unsupported("no equal pads at both ends give these windows")
            changes["round_mode"] = Name("FLOOR") if floors[0] else None
            pads = zip(ends_of(shape, w, out), w.pad, w.ends, strict=True)
            differs = any(a != b and end > min(a, b) for end, a, b in pads)
            if p.pool in AVERAGES and (any(w.pad) if excludes_pad else differs):
                raise layer.unsupported("no stock Pooling has its divisor at the borders")
        r.retype("Pooling", pooling_param=changes)

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


def ends_of(shape: Shape, w: Window, out: Shape) -> tuple[int, ...]:
    """Return the padding at the end of each axis for which exactly ``out`` windows fit:
    (out - 1) s + K - n - p. It is negative if the windows end before the input does."""
    return tuple(
        (o - 1) * s + k - n - p
        for o, s, k, n, p in zip(out, w.stride, w.kernel, shape[2:], w.pad, strict=True)
    )


def maximum(
    layer: Layer, e: Emitter, shape: Shape, w: Window, out: Shape, smallest: bool = False
) -> None:
    """Emit MAX (with ``smallest``: MIN) pooling, and the indices of the maxima as a second top."""
    ends = tuple(max(0, end) for end in ends_of(shape, w, out))
    pads = w.pad + ends
    read = e.value("Neg", layer.reads[0]) if smallest else layer.reads[0]
    if has_empty := any(end >= k for end, k in zip(ends, w.kernel, strict=True)):
        # A stride larger than the kernel leaves windows without a pixel: Caffe writes -FLT_MAX.
        read = padded(layer, e, read, shape, pads, e.array(-3.4028234663852886e38))
        pads = (0,) * len(pads)
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
        plane = e.value("Mod", writes[1], e.array(math.prod(shape[2:])))
        e.op("Cast", [plane], [layer.writes[1]], to=FLOAT)
        return
    if len(w.kernel) != 2:
        raise layer.unsupported(
            "the indices of windows without a pixel are exported for two spatial axes only",
            "Use a stride that is not larger than the kernel.",
        )
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
    ends = ends_of(shape, w, out)
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
        read, pads = padded(layer, e, read, shape, pads), (0,) * len(pads)
    x = e.value(
        "AveragePool", read, kernel_shape=w.kernel, strides=w.stride, pads=pads, count_include_pad=1
    )
    if all(end <= p for end, p in zip(ends, w.ends, strict=True)):
        return x
    import numpy as np

    check_room(layer, math.prod(out))
    factors = []
    sizes = zip(out, w.stride, w.kernel, shape[2:], w.pad, w.ends, strict=True)
    for o, s, k, n, p, end in sizes:
        begin = np.arange(o) * s - p
        # If a window begins at the end, its size is 0: Caffe divides 0 by 0 and writes NaN.
        factors.append(k / (np.minimum(begin + k, n + end) - begin))
    factor = reduce(np.multiply.outer, factors)
    return e.value("Mul", x, e.array(factor.astype(np.float32)))


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
                ends = tuple(max(0, end) for end in ends_of(shape, w, (bins, bins)))
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
