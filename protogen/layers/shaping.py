"""Layers that move values about: joining, cutting, reshaping, resizing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from protogen import geometry
from protogen.graph import Layer, Shape
from protogen.layers.base import POINT, LayerType, Window, axis_of, check_bottoms, text
from protogen.layers.elementwise import _Same


class Concat(LayerType):
    """Caffe: bottoms joined along ``axis``; all other axes must be equal."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        p = layer.params.concat_param
        first = bottoms[0]
        if p.has("concat_dim") and p.has("axis"):
            raise layer.error("axis and concat_dim are both given", "Keep axis.")
        axis = axis_of(layer, p.concat_dim if p.has("concat_dim") else p.axis, len(first))
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            rest = shape[:axis] + shape[axis + 1 :]
            if len(shape) != len(first) or rest != first[:axis] + first[axis + 1 :]:
                raise layer.error(
                    f'"{name}" is {text(shape)}, but must be like "{layer.bottoms[0]}", '
                    f"{text(first)}, except on axis {axis}"
                )
        return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]


class Slice(LayerType):
    """Caffe: the bottom cut along ``axis`` at ``slice_point``, or into equal parts."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.slice_param
        shape = bottoms[0]
        if p.has("slice_dim") and p.has("axis"):
            raise layer.error("axis and slice_dim are both given", "Keep axis.")
        axis = axis_of(layer, p.slice_dim if p.has("slice_dim") else p.axis, len(shape))
        n, count = shape[axis], len(layer.tops)
        if count < 1:
            raise layer.error("has no tops")
        points = list(p.slice_point)
        if not points:
            if n % count:
                raise layer.error(
                    f"cuts {n} into {count} equal parts, which leaves a rest", "Give slice_point."
                )
            lengths = [n // count] * count
        else:
            if len(points) != count - 1:
                raise layer.error(f"has {count} tops, but {len(points)} slice_point")
            edges = [0, *points, n]
            lengths = [b - a for a, b in itertools.pairwise(edges)]
            if min(lengths) < 1:
                raise layer.error(f"slice_point {points} must rise within 1 to {n - 1}")
        return [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]


class Split(_Same):
    """The bottom, once for each top."""


class Flatten(LayerType):
    """Axes from ``axis`` to ``end_axis`` become one."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.flatten_param
        shape = bottoms[0]
        start = axis_of(layer, p.axis, len(shape))
        end = axis_of(layer, p.end_axis, len(shape), "end_axis")
        if end < start:
            raise layer.error(f"end_axis {p.end_axis} is before axis {p.axis}")
        return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]


class Reshape(LayerType):
    """Caffe: 0 copies the bottom's axis, -1 takes what is left; ``axis`` and ``num_axes`` choose
    the part that is reshaped."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.reshape_param
        shape = bottoms[0]
        start = axis_of(layer, p.axis, len(shape), end=True)
        if p.num_axes < -1 or start + max(p.num_axes, 0) > len(shape):
            raise layer.error(f"num_axes {p.num_axes} from axis {start} is outside of the bottom")
        end = len(shape) if p.num_axes == -1 else start + p.num_axes
        dims = list(p.shape.dim)
        for i, dim in enumerate(dims):
            if dim == 0:
                if start + i >= len(shape):
                    raise layer.error(f"dim {i} copies axis {start + i}, which the bottom lacks")
                dims[i] = shape[start + i]
            elif dim < -1:
                raise layer.error(f"dim {dim} must be -1, 0 or a length")
        if dims.count(-1) > 1:
            raise layer.error("more than one dim is -1")
        known = math.prod(shape[:start]) * math.prod(shape[end:])
        known *= math.prod(dim for dim in dims if dim != -1)
        total = math.prod(shape)
        if -1 in dims and known and total % known == 0:
            dims[dims.index(-1)] = total // known
            known = total
        made = (*shape[:start], *dims, *shape[end:])
        if known != total or -1 in dims:
            raise layer.error(
                f"{text(shape)} has {total} values, which do not fit the shape {text(made)}"
            )
        return [made]


class Crop(LayerType):
    """Caffe: the first bottom cut to the second's size on the axes from ``axis`` on."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.crop_param
        shape, like = bottoms
        if len(shape) != len(like):
            raise layer.error(f"its bottoms are {text(shape)} and {text(like)}: axes differ")
        axis = axis_of(layer, p.axis, len(shape))
        offsets = list(p.offset) or [0]
        if len(offsets) == 1:
            offsets *= len(shape) - axis
        if len(offsets) != len(shape) - axis:
            raise layer.error(f"has {len(offsets)} offsets for {len(shape) - axis} axes")
        for i, offset in enumerate(offsets, axis):
            if offset + like[i] > shape[i]:
                raise layer.error(
                    f"{text(shape)} cannot be cropped to {text(like)} with offset {offset} on axis "
                    f"{i}: {shape[i]} is too short",
                    "Make the first bottom larger or the offset smaller.",
                )
        return [(*shape[:axis], *like[axis:])]


class Tile(LayerType):
    """The bottom ``tiles`` times along ``axis``."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.tile_param
        shape = bottoms[0]
        axis = axis_of(layer, p.axis, len(shape))
        if p.tiles < 1:
            raise layer.error("tiles is missing, but must be at least 1")
        return [(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :])]


class BatchReindex(LayerType):
    """Caffe: samples of the first bottom in the order that the second names them."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        if len(bottoms[1]) != 1:
            raise layer.error(f'"{layer.bottoms[1]}" is {text(bottoms[1])}, but must have 1 axis')
        return [(bottoms[1][0], *bottoms[0][1:])]


class Filter(LayerType):
    """Caffe: samples where the last bottom is not 0; how many, only data decides."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, None)
        return list(bottoms[:-1])


class Permute(LayerType):
    """Forks (SSD): axes in the order of ``order``; those not named follow."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        order = list(layer.params.permute_param.order)
        if len(set(order)) != len(order) or max(order, default=0) >= len(shape):
            raise layer.error(f"order {order} must name axes of {text(shape)}, each once")
        order += [axis for axis in range(len(shape)) if axis not in order]
        return [tuple(shape[axis] for axis in order)]


class Reorg(LayerType):
    """Forks (YOLO): blocks of stride x stride pixels become channels, or back (reverse)."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.reorg_param
        n, c, h, w = _four(layer, bottoms[0])
        s = p.stride
        if s < 1:
            raise layer.error("stride must be at least 1")
        if p.reverse:
            return [(n, c // (s * s), h * s, w * s)]
        return [(n, c * s * s, h // s, w // s)]


class PixelShuffle(LayerType):
    """Forks: groups of r x r channels become blocks of r x r pixels."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        r = layer.params.pixelshuffle_param.upscale_factor
        n, c, h, w = _four(layer, bottoms[0])
        if r < 1 or c % (r * r):
            raise layer.error(f"upscale_factor {r} needs a channel count that {r * r} divides")
        return [(n, c // (r * r), h * r, w * r)]


class Upsample(LayerType):
    """Forks. By scale: nearest (SSD, YOLO). With a second bottom, the mask of a MAX Pooling
    (SegNet): every value to its winner's place, size upsample_h x upsample_w or H scale - pad_out.
    """

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.upsample_param
        n, c, h, w = _four(layer, bottoms[0])
        if len(bottoms) == 2 and bottoms[1] != bottoms[0]:
            raise layer.error(f"its mask is {text(bottoms[1])}, but must be {text(bottoms[0])}")
        scale = p.scale if p.has("scale") or len(bottoms) == 1 else 2  # SegNet's default
        sizes = []
        for axis, size in (("h", h), ("w", w)):
            one = getattr(p, f"scale_{axis}") if p.has(f"scale_{axis}") else scale
            made = size * one - int(getattr(p, f"pad_out_{axis}"))
            sizes.append(getattr(p, f"upsample_{axis}") if p.has(f"upsample_{axis}") else made)
        if min(sizes) < 1:
            raise layer.error(f"makes {text(tuple(sizes))}", "Give a scale of at least 1.")
        return [(n, c, *sizes)]


class Interp(LayerType):
    """Forks (DeepLab, PSPNet): bilinear with aligned corners to a size, by factors, or to the
    size of a second bottom."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.interp_param
        n, c, h, w = _four(layer, bottoms[0])
        if len(bottoms) == 2:
            return [(n, c, *bottoms[1][2:])]
        if p.has("height") and p.has("width"):
            return [(n, c, p.height, p.width)]
        if p.zoom_factor < 1 or p.shrink_factor < 1:
            raise layer.error("zoom_factor and shrink_factor must be at least 1")
        crop = p.pad_beg + p.pad_end  # both are 0 or negative: pixels cut away
        out = tuple(
            geometry.interp_out(size + crop, p.zoom_factor, p.shrink_factor) for size in (h, w)
        )
        if min(out) < 1:
            raise layer.error(f"makes {text(out)} of {h}x{w}")
        return [(n, c, *out)]


class Resize(LayerType):
    """Forks: to height x width of resize_param, or by out_height_scale and out_width_scale."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.resize_param
        n, c, h, w = _four(layer, bottoms[0])
        if p.has("out_height_scale") and p.has("out_width_scale"):
            return [(n, c, int(h * p.out_height_scale), int(w * p.out_width_scale))]
        if p.height < 1 or p.width < 1:
            raise layer.error("has no size", "Give height and width, or both scales.")
        return [(n, c, p.height, p.width)]


class Reduction(LayerType):
    """SUM, ASUM, SUMSQ or MEAN over the axes from ``axis`` on, which vanish."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        axis = axis_of(layer, layer.params.reduction_param.axis, len(bottoms[0]))
        return [bottoms[0][:axis]]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class ArgMax(LayerType):
    """The top_k largest along ``axis``, or over each whole sample; indices, values, or both."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.argmax_param
        shape = bottoms[0]
        if p.has("axis"):
            axis = axis_of(layer, p.axis, len(shape))
            over = shape[axis]
            made = [*shape[:axis], p.top_k, *shape[axis + 1 :]]
        else:
            over = math.prod(shape[1:])
            made = [1] * max(len(shape), 3)
            made[0], made[2] = shape[0], p.top_k
            made[1] = 2 if p.out_max_val else 1
        if not 1 <= p.top_k <= over:
            raise layer.error(f"top_k {p.top_k} must be from 1 to {over}")
        return [tuple(made)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return POINT if layer.params.argmax_param.has("axis") else None


def _four(layer: Layer, shape: Shape) -> tuple[int, int, int, int]:
    if len(shape) != 4:
        raise layer.error(f"its bottom is {text(shape)}, but must have 4 axes")
    return shape[0], shape[1], shape[2], shape[3]
