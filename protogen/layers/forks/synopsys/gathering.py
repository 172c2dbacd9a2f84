"""Layers of Synopsys' fork that read or write values by index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Indexed(LayerType, abstract=True):
    """Base class of layers that read values by index."""

    stock = False
    source = SYNOPSYS
    computes = False


class Gather(_Indexed):
    """The parts of the bottom along ``axis`` at ``indices``, which have the shape ``shape``; without a
    shape, or with shape 0, the index is a scalar. Without parameters it is TSN's layer, which joins
    the samples of all devices: on one device, each top is its bottom."""

    reads = fields(gather_param="indices shape axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if not layer.params.has("gather_param"):
            check_tops(layer, len(bottoms), len(bottoms))
            return list(bottoms)
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 1, 32)
        p, bottom = layer.params.gather_param, bottoms[0]
        axis, shape, indices = axis_of(layer, p.axis, len(bottom)), self._shape(p), list(p.indices)
        if math.prod(shape) != len(indices):
            raise layer.error(f"has {len(indices)} indices for the shape {shape_text(shape)}")
        if any(index >= bottom[axis] for index in indices):
            raise layer.error(
                f"index {max(indices)} is beyond the length {bottom[axis]} of axis {axis}"
            )
        return [(*bottom[:axis], *shape, *bottom[axis + 1 :])]

    def _shape(self, p: Message) -> Shape:
        shape = tuple(p.shape)
        return () if shape == (0,) else shape

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        if not layer.params.has("gather_param"):
            for read, write in zip(layer.reads, layer.writes, strict=True):
                e.op("Identity", [read], [write])
            return
        p = layer.params.gather_param
        axis = axis_of(layer, p.axis, len(e.shape(layer.reads[0])))
        indices = np.array(list(p.indices), np.int64).reshape(self._shape(p))
        e.op("Gather", [layer.reads[0], e.array(indices)], [layer.writes[0]], axis=axis)


class GatherV2(_Indexed):
    """The parts of the first bottom along ``axis`` at the indices of the second."""

    reads = fields(gather_v2_param="axis")
    harmless = MappingProxyType({"gather_v2_param.batch_flag": "the fork does not read it"})

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        axis = axis_of(layer, layer.params.gather_v2_param.axis, len(bottoms[0]))
        return [(*bottoms[0][:axis], *bottoms[1], *bottoms[0][axis + 1 :])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis = axis_of(layer, layer.params.gather_v2_param.axis, len(shapes[0]))
        return whole(rng, shapes[0][axis], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = axis_of(layer, layer.params.gather_v2_param.axis, len(e.shape(layer.reads[0])))
        indices = e.value("Cast", layer.reads[1], to=INT64)
        e.op("Gather", [layer.reads[0], indices], [layer.writes[0]], axis=axis)


class GatherND(_Indexed):
    """The parts of the bottom at ``indices``: each row of their last axis is an index of the first
    axes."""

    reads = fields(gather_nd_param="indices indices_shape")
    required = ("gather_nd_param.indices_shape",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p, bottom = layer.params.gather_nd_param, bottoms[0]
        shape = tuple(p.indices_shape)
        if math.prod(shape) != len(p.indices) or not 1 <= shape[-1] <= len(bottom):
            raise layer.error(
                f"{len(p.indices)} indices of the shape {shape_text(shape)} do not fit a bottom of "
                f"shape {shape_text(bottom)}"
            )
        for i, index in enumerate(p.indices):
            axis = i % shape[-1]
            if index >= bottom[axis]:
                raise layer.error(
                    f"index {index} is beyond the length {bottom[axis]} of axis {axis}"
                )
        return [(*shape[:-1], *bottom[shape[-1] :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p = layer.params.gather_nd_param
        indices = np.array(list(p.indices), np.int64).reshape(tuple(p.indices_shape))
        e.op("GatherND", [layer.reads[0], e.array(indices)], [layer.writes[0]])


class ScatterND(_Indexed):
    """The data with ``updates`` at ``indices``: three operands, each a bottom or, with
    ``is_data_param``, ``is_indices_param`` or ``is_updates_param``, a parameter blob."""

    reads = fields(
        scatter_nd_param=(
            "is_data_param is_indices_param is_updates_param data_shape indices_shape updates_shape"
        )
    )
    trained = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        data, indices, updates = self._operands(layer, bottoms)
        if not indices or indices[-1] > len(data):
            raise layer.error(
                f"its indices of the shape {shape_text(indices)} do not fit data of the shape "
                f"{shape_text(data)}"
            )
        expected = (*indices[:-1], *data[indices[-1] :])
        if updates != expected:
            raise layer.error(
                f"its updates must have the shape {shape_text(expected)}, got {shape_text(updates)}"
            )
        return [data]

    def _operands(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of data, indices and updates."""
        p = layer.params.scatter_nd_param
        names = ("data", "indices", "updates")
        flags = [bool(getattr(p, f"is_{name}_param")) for name in names]
        check_bottoms(layer, flags.count(False), flags.count(False))
        rest = iter(bottoms)
        return [
            tuple(getattr(p, f"{name}_shape")) if flag else next(rest)
            for name, flag in zip(names, flags, strict=True)
        ]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.scatter_nd_param
        names = ("data", "indices", "updates")
        return [tuple(getattr(p, f"{n}_shape")) for n in names if getattr(p, f"is_{n}_param")]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling() for _ in blobs]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        import numpy as np

        p = layer.params.scatter_nd_param
        if p.is_indices_param or index != int(not p.is_data_param):
            return None
        data, indices, _ = self._operands(layer, shapes)
        # Distinct rows: of equal ones, the last would have to win in every runtime.
        rows = math.prod(indices[:-1])
        count = math.prod(data[: indices[-1]])
        flat = rng.permutation(max(count, rows))[:rows] % count
        places = np.unravel_index(flat, data[: indices[-1]])
        return np.stack(places, -1).reshape(indices).astype("float32")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.scatter_nd_param
        reads, blob, operands = iter(layer.reads), 0, []
        for name in ("data", "indices", "updates"):
            if getattr(p, f"is_{name}_param"):
                operands.append(e.blob(layer, blob))
                blob += 1
            else:
                operands.append(next(reads))
        indices = e.value("Cast", operands[1], to=INT64)
        e.op("ScatterND", [operands[0], indices, operands[2]], [layer.writes[0]])


class TopkGather(_Indexed):
    """``top_k`` parts of the first bottom along ``axis``: at the indices of the second bottom, or where
    its first line along the axis is largest; of equal values, the last comes first."""

    reads = fields(topk_gather_param="top_k axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p, shape = layer.params.topk_gather_param, bottoms[0]
        axis = axis_of(layer, p.axis, len(shape))
        most = bottoms[1][0] if len(bottoms) == 2 and len(bottoms[1]) == 1 else shape[axis]
        if len(bottoms) == 2:
            check_rank(layer, [shape, bottoms[1]], 1, 32)
            if len(bottoms[1]) != 1:
                raise layer.error(
                    f"its second bottom must have 1 axis, got {shape_text(bottoms[1])}"
                )
        if not 1 <= p.top_k <= most:
            raise layer.error(f"top_k must be from 1 to {most}, got {p.top_k}")
        return [(*shape[:axis], p.top_k, *shape[axis + 1 :])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis = axis_of(layer, layer.params.topk_gather_param.axis, len(shapes[0]))
        return whole(rng, shapes[0][axis], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, shape = layer.params.topk_gather_param, e.shape(layer.reads[0])
        axis = axis_of(layer, p.axis, len(shape))
        if len(layer.reads) == 2:
            counts = e.array([0]), e.array([p.top_k]), e.array([0])
            index = e.value("Cast", e.value("Slice", layer.reads[1], *counts), to=INT64)
        else:
            flat = e.value("Reshape", layer.reads[0], e.array([-1]))
            step = math.prod(shape[axis + 1 :]) if p.has("axis") else 1
            last = step * (shape[axis] - 1)
            places = e.array(list(range(last, -1, -step)))  # from the last: TopK takes the first
            line = e.value("Gather", flat, places, axis=0)
            best = [f"{layer.writes[0]}@best", f"{layer.writes[0]}@places"]
            e.op("TopK", [line, e.array([p.top_k])], best, axis=0)
            index = e.value("Sub", e.array(shape[axis] - 1), best[1])
        e.op("Gather", [layer.reads[0], index], [layer.writes[0]], axis=axis)


class EmbeddingLookup(LayerType):
    """The rows ``ids`` of a table, which has the shape ``ids_shape`` then that of a row. Several bottoms
    are one table: row i is in bottom i mod n (``partition_strategy`` mod), or the bottoms follow each
    other (div). Rows with a norm above ``max_norm`` are scaled to it."""

    reads = fields(embedding_lookup_param="ids ids_shape partition_strategy max_norm")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_rank(layer, bottoms, 1, 32)
        p = layer.params.embedding_lookup_param
        if any(shape[1:] != bottoms[0][1:] for shape in bottoms):
            raise layer.error("its bottoms must have equal lengths after axis 0")
        if p.partition_strategy not in ("mod", "div"):
            raise layer.error(
                f"partition_strategy must be mod or div, got {p.partition_strategy!r}"
            )
        if math.prod(p.ids_shape) != len(p.ids):
            raise layer.error(f"has {len(p.ids)} ids for the shape {shape_text(p.ids_shape)}")
        if p.has("max_norm") and p.max_norm <= 0:
            raise layer.unsupported(f"max_norm must be above 0, got {p.max_norm:g}")
        self._rows(layer, bottoms)
        return [(*p.ids_shape, *bottoms[0][1:])]

    def _rows(self, layer: Layer, bottoms: Sequence[Shape]) -> list[int]:
        """Return the row of each id in the bottoms one after the other."""
        p, count = layer.params.embedding_lookup_param, len(bottoms)
        lengths = [shape[0] for shape in bottoms]
        size, more = divmod(sum(lengths), count)
        rows = []
        for number in p.ids:
            if count == 1:
                which, row = 0, number
            elif p.partition_strategy == "mod":
                which, row = number % count, number // count
            elif number < more * (size + 1):
                which, row = divmod(number, size + 1)
            else:
                which, row = divmod(number - more * (size + 1), size) if size else (count, 0)
                which += more
            if which >= count or row >= lengths[which]:
                raise layer.error(f"id {number} is beyond the rows of its bottoms")
            rows.append(sum(lengths[:which]) + row)
        return rows

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p = layer.params.embedding_lookup_param
        shapes = [e.shape(read) for read in layer.reads]
        table = e.value("Concat", *layer.reads, axis=0) if len(shapes) > 1 else layer.reads[0]
        rows = np.array(self._rows(layer, shapes), np.int64)
        x = e.value("Gather", table, e.array(rows), axis=0)
        if p.has("max_norm"):
            axes = list(range(1, len(shapes[0])))
            squares = e.value("Mul", x, x)
            norm = e.value("Sqrt", e.reduce("ReduceSum", squares, axes) if axes else squares)
            most = e.array(float(p.max_norm))
            x = e.value("Mul", x, e.value("Div", most, e.value("Max", norm, most)))
        after = e.shape(layer.writes[0])
        e.op("Reshape", [x, e.array(list(after))], [layer.writes[0]])
