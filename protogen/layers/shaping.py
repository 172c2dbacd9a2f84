"""Layers that move values about: joining, cutting, reshaping."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Emitter,
    LayerType,
    Rewriter,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.checking import check_tops, rounding_advice
from protogen.layers.dense import INT64
from protogen.layers.elementwise import BOOL, _Same, reshape
from protogen.layers.graph import Layer

MOST_SLICES = 2048  # tops of a Slice that a Permute may become


class Concat(LayerType):
    """Caffe: bottoms joined along ``axis``; all other axes must be equal. Intel's fork with
    ``per_fla_fuse``: each is permuted to N, H, W, C and flattened before."""

    reads = fields(concat_param="axis concat_dim per_fla_fuse")

    def in_place(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1

    def is_view(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1 and not layer.params.concat_param.per_fla_fuse

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

    def _fused(self, layer: Layer, bottoms: Sequence[Shape], axis: int) -> Shape:
        """Intel Caffe's per_fla_fuse: each bottom is permuted to N, H, W, C and flattened first."""
        check_rank(layer, bottoms, 4, 4)
        if axis != 1 or any(shape[0] != bottoms[0][0] for shape in bottoms):
            raise layer.error("per_fla_fuse needs axis 1, and bottoms of one batch size")
        return (bottoms[0][0], sum(math.prod(shape[1:]) for shape in bottoms), 1, 1)


class Slice(LayerType):
    """Caffe: the bottom cut along ``axis`` at ``slice_point``, or into equal parts."""

    reads = fields(slice_param="axis slice_dim slice_point")

    def in_place(self, layer: Layer) -> bool:
        return len(layer.tops) == 1

    def is_view(self, layer: Layer) -> bool:
        return len(layer.tops) == 1

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

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.slice_param
        axis = p.slice_dim if p.has("slice_dim") else p.axis
        axis = axis_of(layer, axis, len(e.shape(layer.reads[0])))
        lengths = [e.shape(write)[axis] for write in layer.writes]
        e.op("Split", [layer.reads[0], e.array(lengths)], list(layer.writes), axis=axis)


class Split(_Same):
    """The bottom, once for each top."""

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


class BatchReindex(LayerType):
    """Caffe: samples of the first bottom in the order that the second names them."""

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        if len(bottoms[1]) != 1:
            raise layer.error(
                f'"{layer.bottoms[1]}" is {shape_text(bottoms[1])}, but must have 1 axis'
            )
        return [(bottoms[1][0], *bottoms[0][1:])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        index = e.value("Cast", layer.reads[1], to=INT64)
        e.op("Gather", [layer.reads[0], index], [layer.writes[0]], axis=0)


class Filter(LayerType):
    """Caffe: samples where the last bottom is not 0; how many, only data decides."""

    data_axis = 0

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (len(layer.bottoms) - 1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, None)
        check_tops(layer, 1)
        selector = bottoms[-1]
        if math.prod(selector[1:]) != 1:
            raise layer.error(
                f'"{layer.bottoms[-1]}" is {shape_text(selector)}, but must have one value a sample'
            )
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[:1] != selector[:1]:
                raise layer.error(
                    f'"{name}" is {shape_text(shape)}, but must have {selector[0]} samples, as '
                    f'"{layer.bottoms[-1]}" has'
                )
        return list(bottoms[:-1])

    def lower(self, layer: Layer, e: Emitter) -> None:
        flat = e.value("Reshape", layer.reads[-1], e.array([-1]))
        keep = e.value("Cast", flat, to=BOOL)
        for read, write in zip(layer.reads[:-1], layer.writes, strict=True):
            e.op("Compress", [read, keep], [write], axis=0)


class Permute(LayerType):
    """Forks (SSD): axes in the order of ``order``; those not named follow."""

    reads = fields(permute_param="order")

    stock = False

    def is_view(self, layer: Layer) -> bool:
        order = list(layer.params.permute_param.order)
        return order == sorted(order) and order == list(range(len(order)))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        order = list(layer.params.permute_param.order)
        if len(set(order)) != len(order) or max(order, default=0) >= len(shape):
            raise layer.error(f"order {order} must name axes of {shape_text(shape)}, each once")
        order += [axis for axis in range(len(shape)) if axis not in order]
        return [tuple(shape[axis] for axis in order)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        order = list(layer.params.permute_param.order)
        order += [axis for axis in range(len(e.shape(layer.reads[0]))) if axis not in order]
        e.op("Transpose", [layer.reads[0]], [layer.writes[0]], perm=order)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Each axis that must go behind others is sliced away and concatenated at the end."""
        dims = list(r.shape(layer.bottoms[0]))
        order = list(layer.params.permute_param.order)
        order += [axis for axis in range(len(dims)) if axis not in order]
        # Axes of length 1 move by a Reshape. Of the others those stay that are in order already.
        real = [axis for axis in order if dims[axis] > 1 or axis == order[0] == 0]
        stays = 1
        while stays < len(real) and real[stays] > real[stays - 1]:
            stays += 1
        most = max((dims[axis] for axis in real[stays:]), default=0)
        if most > MOST_SLICES:
            raise layer.unsupported(f"it takes {most} slices, too many for a net")
        x = layer.bottoms[0]
        now = sorted(real)  # which axis stands where
        for axis in real[stays:]:
            place = now.index(axis)
            shape = [0 if a == order[0] == 0 else dims[a] for a in now]
            x = r.add("Reshape", [x], role="axes", params=reshape([*shape, 1]))
            parts = r.split(x, "slice", place, range(1, dims[axis]))
            x = r.add("Concat", parts, role="moved", params={"concat_param": {"axis": len(now)}})
            now.append(now.pop(place))
        r.add(
            "Reshape",
            [x],
            params=reshape([0 if a == 0 and i == 0 else dims[a] for i, a in enumerate(order)]),
        )
