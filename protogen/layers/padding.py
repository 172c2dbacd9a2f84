"""Padding of Convolution and Pooling that differs between the two ends of an axis (forks)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import Window, check_room
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

SIDES = "pad_type pad_t pad_b pad_l pad_r"
ENDS = ("pad_t", "pad_l", "pad_b", "pad_r")
_FIELDS = frozenset(SIDES.split())


def padded(
    layer: Layer, e: Emitter, read: str, shape: Shape, pads: Sequence[int], *value: str
) -> str:
    """Emit a blob with pads at all begins and then all ends of its spatial axes, for pads that the
    operators of pooling do not take: as long as the kernel or longer.

    Raises:
        UnsupportedError: the padded blob has too many pixels.
    """
    begins, ends = pads[: len(shape) - 2], pads[len(shape) - 2 :]
    sizes = (n + a + b for n, a, b in zip(shape[2:], begins, ends, strict=True))
    check_room(layer, math.prod(sizes), "a padded map")
    return e.value("Pad", read, e.array([0, 0, *begins, 0, 0, *ends]), *value)


def with_sides(layer: Layer, p: Message, w: Window, sizes: Sequence[int]) -> Window:
    """Return the window with the pads of ``pad_t``, ``pad_b``, ``pad_l`` and ``pad_r``, or with those
    of ``pad_type: 1``: TensorFlow's SAME, computed without the dilation.

    Args:
        p: the ConvolutionParameter or PoolingParameter.
        sizes: lengths of the spatial axes of the bottom.

    Raises:
        InputError: the pads are set in two forms, or there are not two spatial axes.
    """
    if p.by_name().keys().isdisjoint(_FIELDS):
        return w
    pads: list[int] = [getattr(p, name) for name in ENDS]
    if not any(pads) and not p.pad_type:
        return w
    form = "pad_l, pad_r, pad_t and pad_b" if any(pads) else "pad_type"
    if any(pads) and p.pad_type:
        raise layer.error("pad_type and pad_l, pad_r, pad_t or pad_b are both set", "Keep one.")
    if any(w.pad):
        raise layer.error(f"{form} and pad, pad_h or pad_w are both set", "Keep one form.")
    if len(sizes) != 2:
        raise layer.error(f"{form} need 2 spatial axes, got {len(sizes)}")
    if any(pads):
        begin, end = tuple(pads[:2]), tuple(pads[2:])
    else:
        if p.pad_type != 1:
            raise layer.error(f"pad_type must be 0 or 1, got {p.pad_type}")
        along = [
            max(0, k - (n % s or s)) for n, k, s in zip(sizes, w.kernel, w.stride, strict=True)
        ]
        begin = tuple(pad // 2 for pad in along)
        end = tuple(pad - first for pad, first in zip(along, begin, strict=True))
    return replace(w, pad=begin, end=() if end == begin else end)


def same_sizes(sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return the output lengths of ``pad_type: 1``: ceil(n / s)."""
    return [-(-n // s) for n, s in zip(sizes, strides, strict=True)]


def plain_pads(p: Message, w: Window) -> dict[str, Any]:
    """Return the changes of a block that replace the fields of forks by pad_h and pad_w; empty if
    none of these fields is set. The two ends of each axis have one pad."""
    if not any(p.has(name) for name in SIDES.split()):
        return {}
    changes: dict[str, Any] = dict.fromkeys(SIDES.split())
    if any(w.pad):
        changes |= {"pad": None, "pad_h": w.pad[0], "pad_w": w.pad[1]}
    return changes


def enlarged(layer: Layer, r: Rewriter, w: Window, channels: int, type_: str) -> None:
    """Replace a convolution with different pads at the two ends by one with equal pads: the kernel
    grows by zeros where the pad does.

    Args:
        channels: number of groups, if every channel has its own kernel.

    Raises:
        UnsupportedError: the net has no weights, or the pads do not suit the dilation.
    """
    import numpy as np

    p = layer.params.convolution_param
    blobs = r.weights()
    if blobs is None or len(layer.bottoms) > 1:
        raise layer.unsupported(
            "stock layers have equal pads, so its kernel grows; this needs its weights and 1 bottom",
            "Give the caffemodel of the net.",
        )
    pad = [max(ends) for ends in zip(w.pad, w.ends, strict=True)]
    zeros = [
        (most - begin, most - end) for most, begin, end in zip(pad, w.pad, w.ends, strict=True)
    ]
    if any(n % d for pair, d in zip(zeros, w.dilation, strict=True) for n in pair):
        raise layer.unsupported("the difference of its pads is not a multiple of its dilation")
    added = [(a // d, b // d) for (a, b), d in zip(zeros, w.dilation, strict=True)]
    weight = np.pad(np.asarray(blobs[0]), [(0, 0), (0, 0), *added])
    params: dict[str, Any] = {
        "num_output": p.num_output,
        "bias_term": p.bias_term,
        "pad_h": pad[0],
        "pad_w": pad[1],
        "kernel_h": weight.shape[2],
        "kernel_w": weight.shape[3],
        "stride_h": w.stride[0],
        "stride_w": w.stride[1],
        "group": channels if layer.type != type_ else p.group,
        "axis": p.axis,
    }
    if any(d != 1 for d in w.dilation):
        params["dilation"] = list(w.dilation)
    block, keeps = {"convolution_param": params}, range(len(blobs))
    weights = [weight, *blobs[1:]]
    if not p.relu:
        r.add(type_, layer.bottoms, params=block, weights=weights, keeps=keeps)
        return
    top = layer.tops[0]
    x = r.add(type_, layer.bottoms, role="sum", top=top, params=block, weights=weights, keeps=keeps)
    slope = {"relu_param": {"negative_slope": p.negative_slope}} if p.negative_slope else {}
    r.add("ReLU", [x], top=top, params=slope)
