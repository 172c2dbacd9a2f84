"""Layers of Synopsys' fork whose values are indices, lengths or constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.geometry import shape_text
from protogen.layers.base import LayerType, check_bottoms, check_room, fields
from protogen.layers.dense import INT64
from protogen.layers.forks.synopsys.gathering import _Indexed
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


class OneHot(_Indexed):
    """A new axis of length ``depth``: ``on_value`` at the whole part of the value, ``off_value``
    elsewhere. ``axis`` -1 is after the last."""

    reads = fields(one_hot_param="depth on_value off_value axis")
    required = ("one_hot_param.depth",)

    def shapes(self, layer: Layer, bottoms: Sequence[geometry.Shape]) -> list[geometry.Shape]:
        check_bottoms(layer, 1, 1)
        depth = layer.params.one_hot_param.depth
        if depth < 1:
            raise layer.error(f"depth must be at least 1, got {depth}")
        axis = self._axis(layer, len(bottoms[0]))
        return [(*bottoms[0][:axis], depth, *bottoms[0][axis:])]

    def _axis(self, layer: Layer, rank: int) -> int:
        axis: int = layer.params.one_hot_param.axis
        if not -1 <= axis <= rank:
            raise layer.error(f"axis must be from -1 to {rank}, got {axis}")
        return rank if axis == -1 else axis

    def draw(
        self, layer: Layer, index: int, shapes: Sequence[geometry.Shape], rng: Rng
    ) -> Drawn | None:
        return whole(rng, layer.params.one_hot_param.depth + 1, shapes[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, after = layer.params.one_hot_param, e.shape(layer.writes[0])
        axis = self._axis(layer, len(after) - 1)
        x = e.value("Unsqueeze", e.value("Floor", layer.reads[0]), e.array([axis]))
        places = np.arange(p.depth, dtype=np.float32).reshape(-1, *[1] * (len(after) - axis - 1))
        is_place = e.value("Equal", x, e.array(places))
        values = [e.array(float(p.on_value)), e.array(float(p.off_value))]
        e.op("Where", [is_place, *values], [layer.writes[0]])


class ReverseSequence(_Indexed):
    """Reverses the first values along ``seq_axis``; the second bottom holds their number for each
    position of ``batch_axis``."""

    reads = fields(reverse_sequence_param="seq_axis batch_axis")
    required = ("reverse_sequence_param.seq_axis",)

    def shapes(self, layer: Layer, bottoms: Sequence[geometry.Shape]) -> list[geometry.Shape]:
        check_bottoms(layer, 2, 2)
        p, shape = layer.params.reverse_sequence_param, bottoms[0]
        if p.seq_axis == p.batch_axis or max(p.seq_axis, p.batch_axis) >= len(shape):
            raise layer.error(
                f"seq_axis {p.seq_axis} and batch_axis {p.batch_axis} must be two axes of a bottom of "
                f"shape {shape_text(shape)}"
            )
        if math.prod(bottoms[1]) < shape[p.batch_axis]:
            raise layer.error(
                f"its second bottom must have {shape[p.batch_axis]} values, got {shape_text(bottoms[1])}"
            )
        return [shape]

    def draw(
        self, layer: Layer, index: int, shapes: Sequence[geometry.Shape], rng: Rng
    ) -> Drawn | None:
        length = shapes[0][layer.params.reverse_sequence_param.seq_axis]
        return 1 + whole(rng, length, shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, shape = layer.params.reverse_sequence_param, e.shape(layer.reads[0])
        first = [p.seq_axis, p.batch_axis]
        perm = [*first, *(i for i in range(len(shape)) if i not in first)]
        counts = e.value("Reshape", layer.reads[1], e.array([-1]))
        batch = shape[p.batch_axis]
        counts = e.value("Slice", counts, e.array([0]), e.array([batch]), e.array([0]))
        x = e.value("Transpose", layer.reads[0], perm=perm)
        counts = e.value("Cast", counts, to=INT64)
        x = e.value("ReverseSequence", x, counts, time_axis=0, batch_axis=1)
        e.op("Transpose", [x], [layer.writes[0]], perm=[perm.index(i) for i in range(len(shape))])


class _Constant(LayerType, abstract=True):
    """Base class of layers without bottoms that write constants."""

    stock = False
    source = SYNOPSYS
    computes = False

    def values(self, layer: Layer) -> NDArray[np.float32]:
        """Return the values of the top."""
        raise NotImplementedError

    def shapes(self, layer: Layer, bottoms: Sequence[geometry.Shape]) -> list[geometry.Shape]:
        check_bottoms(layer, 0, 0)
        return [self.values(layer).shape]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [e.array(self.values(layer))], [layer.writes[0]])


class Range(_Constant):
    """The numbers from ``start`` in steps of ``delta``, before ``limit``, in float32."""

    reads = fields(range_param="start limit delta")
    required = ("range_param.limit",)

    def values(self, layer: Layer) -> NDArray[np.float32]:
        import numpy as np

        p = layer.params.range_param
        number, limit, delta = np.float32(p.start), np.float32(p.limit), np.float32(p.delta)
        if delta == 0 or abs(float(limit - number) / float(delta)) > 1 << 22:
            raise layer.error(
                f"delta must not be 0, and give at most {1 << 22} numbers, got {delta:g}"
            )
        numbers = []
        while number < limit if delta > 0 else number > limit:
            if number + delta == number:
                raise layer.error(f"delta {delta:g} is too small: {number:g} + delta is {number:g}")
            numbers.append(number)
            number = np.float32(number + delta)
        return np.array(numbers, np.float32)


class SparseToDense(_Constant):
    """A blob of the shape ``output_shape`` with ``sparse_values`` at ``sparse_indices``, and
    ``default_value`` elsewhere. A single value is cut to a whole number for several indices."""

    reads = fields(
        sparse_to_dense_param=(
            "sparse_indices sparse_indices_shape output_shape sparse_values default_value "
            "validate_indices"
        )
    )
    required = ("sparse_to_dense_param.output_shape", "sparse_to_dense_param.sparse_indices_shape")

    def values(self, layer: Layer) -> NDArray[np.float32]:
        import numpy as np

        p = layer.params.sparse_to_dense_param
        shape, form = tuple(p.output_shape), tuple(p.sparse_indices_shape)
        scalar = form == (0,)
        count = 1 if scalar else form[0]
        width = form[1] if len(form) == 2 else 1
        values = [float(value) for value in p.sparse_values]
        indices = list(p.sparse_indices)
        if len(form) > 2 or len(indices) != count * width or width != len(shape):
            raise layer.error(
                f"sparse_indices_shape {shape_text(form)} does not fit {len(indices)} indices and "
                f"output_shape {shape_text(shape)}"
            )
        check_room(layer, math.prod(shape))
        if not scalar and len(values) == 1:
            values = [float(int(values[0]))] * count
        if len(values) != count:
            raise layer.error(f"expected {count} sparse_values, got {len(values)}")
        rows = np.array(indices, np.int64).reshape(count, width)
        if (rows >= np.array(shape)).any():
            raise layer.error(f"an index is beyond output_shape {shape_text(shape)}")
        if p.validate_indices and (np.diff(rows[:, 0]) <= 0).any():
            raise layer.error("sparse_indices must increase", "Or set validate_indices: false.")
        dense = np.full(shape, p.default_value, np.float32)
        for row, value in zip(rows, values, strict=True):
            dense[tuple(row)] = value
        return dense


class Shape(LayerType):
    """The lengths of the axes of the bottom."""

    stock = False
    source = SYNOPSYS
    computes = False
    reads_values = False

    def shapes(self, layer: Layer, bottoms: Sequence[geometry.Shape]) -> list[geometry.Shape]:
        check_bottoms(layer, 1, 1)
        return [(len(bottoms[0]),)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        lengths = [float(n) for n in e.shape(layer.reads[0])]
        e.op("Identity", [e.array(lengths)], [layer.writes[0]])
