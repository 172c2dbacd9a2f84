"""Layers that concatenate, slice, reshape, crop or repeat blobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.errors import quantity
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
from protogen.layers.ordering import shuffle_pixels
from protogen.layers.values import concatenated, split_array
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Concat(LayerType):
    """Caffe: bottoms concatenated along ``axis``; all other axes must be equal. With
    ``per_fla_fuse`` (Intel's fork), each bottom is permuted to N, H, W, C and flattened first."""

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
            raise layer.error("axis and concat_dim are both set", "Keep axis.")
        axis = axis_of(layer, p.concat_dim if p.has("concat_dim") else p.axis, len(first))
        if p.per_fla_fuse:
            return [self._fused(layer, bottoms, axis)]
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            rest = shape[:axis] + shape[axis + 1 :]
            if len(shape) != len(first) or rest != first[:axis] + first[axis + 1 :]:
                raise layer.error(
                    f'"{name}" must match "{layer.bottoms[0]}" ({shape_text(first)}) on all axes '
                    f"except axis {axis}, got shape {shape_text(shape)}",
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
        fused = e.value("Concat", *flat, axis=1)
        after = e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(fused, after[:2], after)], [layer.writes[0]])

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        top, p = tops[0], layer.params.concat_param
        if top is None or p.per_fla_fuse:
            return [None] * len(shapes)
        axis = axis_of(layer, p.concat_dim if p.has("concat_dim") else p.axis, top.ndim)
        return list(split_array(top, [shape[axis] for shape in shapes], axis))

    def _fused(self, layer: Layer, bottoms: Sequence[Shape], axis: int) -> Shape:
        """Return the shape of the top with Intel Caffe's per_fla_fuse."""
        check_rank(layer, bottoms, 4, 4)
        if axis != 1 or any(shape[0] != bottoms[0][0] for shape in bottoms):
            raise layer.error("per_fla_fuse requires axis 1 and bottoms with the same batch size")
        return (bottoms[0][0], sum(math.prod(shape[1:]) for shape in bottoms), 1, 1)


class Slice(LayerType):
    """Caffe: the bottom split along ``axis`` at ``slice_point``, or into equal parts."""

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
            raise layer.error("axis and slice_dim are both set", "Keep axis.")
        axis = axis_of(layer, p.slice_dim if p.has("slice_dim") else p.axis, len(shape))
        n, count = shape[axis], len(layer.tops)
        if count < 1:
            raise layer.error("has no top")
        points = list(p.slice_point)
        if not points:
            if n % count:
                raise layer.error(
                    f"length {n} of axis {axis} cannot be split into {count} equal parts",
                    "Set slice_point.",
                )
            lengths = [n // count] * count
        else:
            if len(points) != count - 1:
                raise layer.error(
                    f"expected {count - 1} slice_point (one less than tops), got {len(points)}"
                )
            edges = [0, *points, n]
            lengths = [b - a for a, b in itertools.pairwise(edges)]
            if min(lengths) < 1:
                raise layer.error(
                    f"slice_point must be increasing and within 1 to {n - 1}, got {points}"
                )
        return [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        p = layer.params.slice_param
        axis = axis_of(layer, p.slice_dim if p.has("slice_dim") else p.axis, len(shapes[0]))
        return [concatenated(tops, self.shapes(layer, shapes), axis, rng)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.slice_param
        axis = p.slice_dim if p.has("slice_dim") else p.axis
        axis = axis_of(layer, axis, len(e.shape(layer.reads[0])))
        lengths = [e.shape(write)[axis] for write in layer.writes]
        e.op("Split", [layer.reads[0], e.array(lengths)], list(layer.writes), axis=axis)


class Split(_Same):
    """Copies the bottom to each top."""

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
    """Merges the axes from ``axis`` to ``end_axis`` into one."""

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
        if end < start - 1:  # end_axis one before axis is valid: it inserts an axis of length 1
            raise layer.error(f"end_axis {p.end_axis} is before axis {p.axis}")
        return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(layer.reads[0], before, after)], [layer.writes[0]])


class Reshape(LayerType):
    """Caffe: dim 0 copies the bottom's axis, dim -1 is inferred from the rest; ``axis`` and
    ``num_axes`` select the axes that are reshaped. Forks (Intel, Synopsys): with a ``pixelshuffler``
    r other than 1, groups of r x r channels become blocks of r x r pixels, and ``shape`` is not read.
    """

    computes = False

    passes_signal = True

    reads = fields(reshape_param="shape axis num_axes pixelshuffler")

    def is_view(self, layer: Layer) -> bool:
        return bool(layer.params.reshape_param.pixelshuffler == 1)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.reshape_param
        shape = bottoms[0]
        if p.pixelshuffler != 1:
            return [self._shuffled(layer, shape, p.pixelshuffler)]
        start = axis_of(layer, p.axis, len(shape), end=True)
        if p.num_axes < -1 or start + max(p.num_axes, 0) > len(shape):
            raise layer.error(
                f"num_axes {p.num_axes} from axis {start} is out of range for a bottom with "
                f"{quantity(len(shape), 'axis', 'axes')}"
            )
        end = len(shape) if p.num_axes == -1 else start + p.num_axes
        dims = list(p.shape.dim)
        for i, dim in enumerate(dims):
            if dim == 0:
                if start + i >= len(shape):
                    raise layer.error(
                        f"dim number {i} is 0 and copies axis {start + i}, but the bottom has only "
                        f"{quantity(len(shape), 'axis', 'axes')}"
                    )
                dims[i] = shape[start + i]
            elif dim < -1:
                raise layer.error(f"dim must be -1, 0 or a positive length, got {dim}")
        if dims.count(-1) > 1:
            raise layer.error("only one dim may be -1")
        known = math.prod(shape[:start]) * math.prod(shape[end:])
        known *= math.prod(dim for dim in dims if dim != -1)
        total = math.prod(shape)
        if -1 in dims and known and total % known == 0:
            dims[dims.index(-1)] = total // known
            known = total
        top = (*shape[:start], *dims, *shape[end:])
        if known != total or -1 in dims:
            raise layer.error(
                f"cannot reshape {shape_text(shape)} ({quantity(total, 'value')}) to {shape_text(top)}"
            )
        return [top]

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        factor = layer.params.reshape_param.pixelshuffler
        self.shapes(layer, [r.shape(layer.bottoms[0])])
        if factor != 1:
            shuffle_pixels(layer, r, factor)
        else:
            super().rewrite(layer, r)

    def _shuffled(self, layer: Layer, shape: Shape, factor: int) -> Shape:
        if len(shape) != 4:
            raise layer.error(f"its bottom must have 4 axes, got shape {shape_text(shape)}")
        n, c, h, w = shape
        if factor < 1 or c % (factor * factor):
            raise layer.error(
                f"pixelshuffler {factor} requires a channel count divisible by {factor * factor}, "
                f"got {c}"
            )
        return (n, c // (factor * factor), h * factor, w * factor)

    def lower(self, layer: Layer, e: Emitter) -> None:
        factor = layer.params.reshape_param.pixelshuffler
        if factor != 1:
            e.op("DepthToSpace", layer.reads, layer.writes, blocksize=factor, mode="CRD")
            return
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        p = layer.params.reshape_param
        start = axis_of(layer, p.axis, len(before), end=True)
        copies_first = start > 0 or p.shape.dim[:1] == [0]
        if e.varies(layer.reads[0]) and not copies_first and -1 in p.shape.dim:
            # The length of an axis, a number of regions, depends on data.
            axis = start + list(p.shape.dim).index(-1)
            lengths = [*after[:axis], -1, *after[axis + 1 :]]
            e.op("Reshape", [layer.reads[0], e.array(lengths)], [layer.writes[0]])
            return
        e.op("Identity", [e.reshape(layer.reads[0], before, after)], [layer.writes[0]])


def crop_offsets(layer: Layer, shape: Shape) -> list[int]:
    """Return where a Crop begins on each axis of its first bottom.

    The offset is 0 before ``axis``. A single ``offset`` applies to all axes from ``axis`` on.

    Raises:
        InputError: the number of offsets is neither 1 nor the number of these axes.
    """
    p = layer.params.crop_param
    axis = axis_of(layer, p.axis, len(shape))
    count = len(shape) - axis
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= count
    if len(offsets) != count:
        raise layer.error(f"expected 1 offset or {count}, got {len(offsets)}")
    return [0] * axis + offsets


class Crop(LayerType):
    """Caffe: the first bottom, cropped to the size of the second on the axes from ``axis`` on."""

    passes_signal = True

    reads = fields(crop_param="axis offset")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        shape, like = bottoms
        if len(shape) > len(like):  # Caffe ignores further axes of the second bottom
            raise layer.error(
                "its second bottom must have at least as many axes as the first, got shapes "
                f"{shape_text(shape)} and {shape_text(like)}"
            )
        axis = axis_of(layer, layer.params.crop_param.axis, len(shape))
        for i, offset in enumerate(crop_offsets(layer, shape)[axis:], axis):
            if offset + like[i] > shape[i]:
                raise layer.error(
                    f"cannot crop {shape_text(shape)} to {shape_text(like)}: on axis {i}, offset "
                    f"{offset} plus length {like[i]} exceeds {shape[i]}",
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
    """Repeats the bottom ``tiles`` times along ``axis``."""

    reads = fields(tile_param="axis tiles")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.tile_param
        shape = bottoms[0]
        axis = axis_of(layer, p.axis, len(shape))
        if p.tiles < 1:
            raise layer.error(f"tiles must be set to at least 1, got {p.tiles}")
        return [(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.tile_param
        rank = len(e.shape(layer.reads[0]))
        axis = axis_of(layer, p.axis, rank)
        repeats = [p.tiles if i == axis else 1 for i in range(rank)]
        e.op("Tile", [layer.reads[0], e.array(repeats)], [layer.writes[0]])
