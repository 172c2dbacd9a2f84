"""Layers that move values about: joining, cutting, reshaping."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.checking import check_tops, rounding_advice
from protogen.layers.elementwise import _Same
from protogen.layers.graph import Layer
from protogen.layers.values import cut, joined
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Concat(LayerType):
    """Caffe: bottoms joined along ``axis``; all other axes must be equal. Intel's fork with
    ``per_fla_fuse``: each is permuted to N, H, W, C and flattened before."""

    passes_signal = True

    reads = fields(concat_param="axis concat_dim per_fla_fuse")

    def in_place(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1

    def is_view(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1 and not layer.params.concat_param.per_fla_fuse

    def does_nothing(self, params: Message) -> bool:
        return len(params.bottom) == 1 and not params.concat_param.per_fla_fuse

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        p = layer.params.concat_param
        first = bottoms[0]
        if p.has("concat_dim") and p.has("axis"):
            raise layer.error("axis and concat_dim are both given", "Keep axis.")
        axis = axis_of(layer, p.concat_dim if p.has("concat_dim") else p.axis, len(first))
        if p.per_fla_fuse:
            return [self._fused(layer, bottoms, axis)]
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            rest = shape[:axis] + shape[axis + 1 :]
            if len(shape) != len(first) or rest != first[:axis] + first[axis + 1 :]:
                raise layer.error(
                    f'"{name}" is {shape_text(shape)}, but must be like "{layer.bottoms[0]}", '
                    f"{shape_text(first)}, except on axis {axis}",
                    rounding_advice(shape, first),
                )
        return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.concat_param
        axis = p.concat_dim if p.has("concat_dim") else p.axis
        axis = axis_of(layer, axis, len(e.shape(layer.reads[0])))
        if not p.per_fla_fuse:
            e.op("Concat", list(layer.reads), [layer.writes[0]], axis=axis)
            return
        flat = []
        for read in layer.reads:
            x = e.value("Transpose", read, perm=[0, 2, 3, 1])
            flat.append(e.value("Flatten", x, axis=1))
        joined = e.value("Concat", *flat, axis=1)
        after = e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(joined, after[:2], after)], [layer.writes[0]])

    def handed_back(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        top, p = tops[0], layer.params.concat_param
        if top is None or p.per_fla_fuse:
            return [None] * len(shapes)
        axis = axis_of(layer, p.concat_dim if p.has("concat_dim") else p.axis, top.ndim)
        return list(cut(top, [shape[axis] for shape in shapes], axis))

    def _fused(self, layer: Layer, bottoms: Sequence[Shape], axis: int) -> Shape:
        """Intel Caffe's per_fla_fuse: each bottom is permuted to N, H, W, C and flattened first."""
        check_rank(layer, bottoms, 4, 4)
        if axis != 1 or any(shape[0] != bottoms[0][0] for shape in bottoms):
            raise layer.error("per_fla_fuse needs axis 1, and bottoms of one batch size")
        return (bottoms[0][0], sum(math.prod(shape[1:]) for shape in bottoms), 1, 1)


class Slice(LayerType):
    """Caffe: the bottom cut along ``axis`` at ``slice_point``, or into equal parts."""

    computes = False

    passes_signal = True

    reads = fields(slice_param="axis slice_dim slice_point")

    def in_place(self, layer: Layer) -> bool:
        return len(layer.tops) == 1

    def is_view(self, layer: Layer) -> bool:
        return len(layer.tops) == 1

    def does_nothing(self, params: Message) -> bool:
        return len(params.top) == 1 and len(params.bottom) == 1

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

    def handed_back(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        p = layer.params.slice_param
        axis = axis_of(layer, p.slice_dim if p.has("slice_dim") else p.axis, len(shapes[0]))
        return [joined(tops, self.shapes(layer, shapes), axis, rng)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.slice_param
        axis = p.slice_dim if p.has("slice_dim") else p.axis
        axis = axis_of(layer, axis, len(e.shape(layer.reads[0])))
        lengths = [e.shape(write)[axis] for write in layer.writes]
        e.op("Split", [layer.reads[0], e.array(lengths)], list(layer.writes), axis=axis)


class Split(_Same):
    """The bottom, once for each top."""

    computes = False

    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_tops(layer, 1)
        return super().shapes(layer, bottoms) * len(layer.tops)

    def in_place(self, layer: Layer) -> bool:
        return False

    def is_view(self, layer: Layer) -> bool:
        return True

    def lower(self, layer: Layer, e: Emitter) -> None:
        for write in layer.writes:
            e.op("Identity", [layer.reads[0]], [write])


class Flatten(LayerType):
    """Axes from ``axis`` to ``end_axis`` become one."""

    computes = False

    passes_signal = True

    reads = fields(flatten_param="axis end_axis")

    def is_view(self, layer: Layer) -> bool:
        return True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.flatten_param
        shape = bottoms[0]
        start = axis_of(layer, p.axis, len(shape))
        end = axis_of(layer, p.end_axis, len(shape), "end_axis")
        if end < start - 1:  # one before is an axis of length 1 put in
            raise layer.error(f"end_axis {p.end_axis} is before axis {p.axis}")
        return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(layer.reads[0], before, after)], [layer.writes[0]])


class Reshape(LayerType):
    """Caffe: 0 copies the bottom's axis, -1 takes what is left; ``axis`` and ``num_axes`` choose
    the part that is reshaped."""

    computes = False

    passes_signal = True

    reads = fields(reshape_param="shape axis num_axes")

    def is_view(self, layer: Layer) -> bool:
        return True

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
                f"{shape_text(shape)} has {total} values, which do not fit the shape {shape_text(made)}"
            )
        return [made]

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(layer.reads[0], before, after)], [layer.writes[0]])


def crop_offsets(layer: Layer, shape: Shape) -> list[int]:
    """Where a Crop begins on every axis of its first bottom: 0 before ``axis``, and one ``offset``
    counts for all axes behind."""
    p = layer.params.crop_param
    axis = axis_of(layer, p.axis, len(shape))
    count = len(shape) - axis
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= count
    if len(offsets) != count:
        raise layer.error(f"has {len(offsets)} offsets for {count} axes")
    return [0] * axis + offsets


class Crop(LayerType):
    """Caffe: the first bottom cut to the second's size on the axes from ``axis`` on."""

    passes_signal = True

    reads = fields(crop_param="axis offset")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        shape, like = bottoms
        if len(shape) > len(like):  # Caffe does not look at what the second has beyond
            raise layer.error(
                f"its bottoms are {shape_text(shape)} and {shape_text(like)}: axes differ"
            )
        axis = axis_of(layer, layer.params.crop_param.axis, len(shape))
        for i, offset in enumerate(crop_offsets(layer, shape)[axis:], axis):
            if offset + like[i] > shape[i]:
                raise layer.error(
                    f"{shape_text(shape)} cannot be cropped to {shape_text(like)} with offset {offset} on axis "
                    f"{i}: {shape[i]} is too short",
                    "Make the first bottom larger or the offset smaller.",
                )
        return [(*shape[:axis], *like[axis : len(shape)])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape, like = (e.shape(read) for read in layer.reads)
        axis = axis_of(layer, layer.params.crop_param.axis, len(shape))
        axes = list(range(axis, len(shape)))
        starts = crop_offsets(layer, shape)[axis:]
        ends = [start + like[i] for start, i in zip(starts, axes, strict=True)]
        reads = [layer.reads[0], e.array(starts), e.array(ends), e.array(axes)]
        e.op("Slice", reads, [layer.writes[0]])


class Tile(LayerType):
    """The bottom ``tiles`` times along ``axis``."""

    reads = fields(tile_param="axis tiles")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.tile_param
        shape = bottoms[0]
        axis = axis_of(layer, p.axis, len(shape))
        if p.tiles < 1:
            raise layer.error("tiles is missing, but must be at least 1")
        return [(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.tile_param
        rank = len(e.shape(layer.reads[0]))
        axis = axis_of(layer, p.axis, rank)
        repeats = [p.tiles if i == axis else 1 for i in range(rank)]
        e.op("Tile", [layer.reads[0], e.array(repeats)], [layer.writes[0]])
