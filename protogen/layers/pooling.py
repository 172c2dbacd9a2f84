"""Pooling over windows, pyramids and regions."""

from __future__ import annotations

from collections.abc import Sequence

from protogen import geometry
from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, Window, check_bottoms, text
from protogen.message import Message


def pooling_window(layer: Layer, p: Message, shape: Shape) -> Window:
    """Kernel, stride and pad of PoolingParameter by Caffe's rules.

    Raises:
        InputError: no kernel, two forms of one setting, or a pad as large as the kernel.
    """
    if p.global_pooling:
        if p.has("kernel_size") or p.has("kernel_h") or p.has("kernel_w"):
            raise layer.error("global_pooling and a kernel are both given", "Keep one.")
        kernel: tuple[int, int] = (shape[2], shape[3])
    else:
        kernel = _pair(layer, p, "kernel", "kernel_size")
    stride = _pair(layer, p, "stride", "stride")
    pad = _pair(layer, p, "pad", "pad")
    if min(kernel) < 1:
        raise layer.error("has no kernel_size", "Give kernel_size, or kernel_h and kernel_w.")
    if min(stride) < 1:
        raise layer.error("stride is 0, but must be at least 1")
    for k, q in zip(kernel, pad, strict=True):
        if q >= k:
            raise layer.error(f"pad {q} must be below kernel_size {k}", "Caffe refuses the net.")
    return Window(kernel, stride, pad, (1, 1))


def _pair(layer: Layer, p: Message, name: str, single: str) -> tuple[int, int]:
    if not (p.has(f"{name}_h") or p.has(f"{name}_w")):
        value: int = getattr(p, single)
        return value, value
    if p.has(single):
        raise layer.error(f"{single} and {name}_h or {name}_w are both given", "Keep one form.")
    if not (p.has(f"{name}_h") and p.has(f"{name}_w")) and name != "pad":
        raise layer.error(f"{name}_h and {name}_w must both be given")
    return getattr(p, f"{name}_h"), getattr(p, f"{name}_w")


class Pooling(LayerType):
    """MAX, AVE or STOCHASTIC over windows. Caffe rounds the number of windows up and clips the
    last; a second top of MAX is the mask of winners."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        if len(shape) != 4:
            raise layer.error(f"its bottom is {text(shape)}, but must have 4 axes")
        p = layer.params.pooling_param
        w = pooling_window(layer, p, shape)
        ceil = p.round_mode == "CEIL" and p.ceil_mode  # ceil_mode: forks
        out = tuple(
            geometry.pool_out(n, k, s, q, ceil)
            for n, k, s, q in zip(shape[2:], w.kernel, w.stride, w.pad, strict=True)
        )
        if min(out) < 1:
            raise layer.error(
                f"makes {text(out)} of {text(shape[2:])} (kernel {text(w.kernel)})",
                "Use a smaller kernel.",
            )
        return [(*shape[:2], *out)] * len(layer.tops)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        p = layer.params.pooling_param
        return None if p.global_pooling else pooling_window(layer, p, bottoms[0])


class SPP(LayerType):
    """Spatial pyramid: poolings to 1, 2, 4, ... windows an axis, flattened and joined."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        height = layer.params.spp_param.pyramid_height
        if len(shape) != 4:
            raise layer.error(f"its bottom is {text(shape)}, but must have 4 axes")
        if not 1 <= height <= 15:
            raise layer.error(f"pyramid_height is {height}, but must be from 1 to 15")
        if height == 1:  # Caffe then leaves out flattening and joining
            return [(shape[0], shape[1], 1, 1)]
        return [(shape[0], shape[1] * sum(4**level for level in range(height)))]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class ROIPooling(LayerType):
    """Forks (Fast R-CNN): MAX in a grid over each region; bottoms features and rois (R, 5)."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.roi_pooling_param
        size = tuple(p.pooled_size) * (2 if len(p.pooled_size) == 1 else 1)
        pooled = size if len(size) == 2 else (p.pooled_h, p.pooled_w)
        if min(pooled) < 1:
            raise layer.error("pooled_h and pooled_w must be at least 1")
        return [(bottoms[1][0], bottoms[0][1], *pooled)] * len(layer.tops)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class PSROIPooling(LayerType):
    """Forks (R-FCN): position-sensitive average over each region; bottoms features and rois."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.psroi_pooling_param
        group, dim = p.group_size, p.output_dim
        if group < 1 or dim < 1:
            raise layer.error("output_dim and group_size must be at least 1")
        if bottoms[0][1] != dim * group * group:
            raise layer.error(
                f"its bottom has {bottoms[0][1]} channels, but output_dim {dim} and group_size "
                f"{group} need {dim * group * group}"
            )
        return [(bottoms[1][0], dim, group, group)] * len(layer.tops)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
