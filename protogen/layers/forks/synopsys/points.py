"""PointNet's layers on clouds of points (Synopsys' fork). A cloud has the shape (batch, points, D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Points(LayerType, abstract=True):
    """Base class of the layers on points."""

    stock = False
    source = SYNOPSYS

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


def same_batch(layer: Layer, bottoms: Sequence[Shape]) -> None:
    """Raises InputError unless all bottoms have the same number of samples."""
    if len({shape[0] for shape in bottoms}) > 1:
        texts = ", ".join(map(shape_text, bottoms))
        raise layer.error(f"its bottoms must have the same number of samples, got {texts}")


def squares(e: Emitter, first: str, second: str, shapes: Sequence[Shape]) -> str:
    """Emit the squared distances between the first three coordinates of two clouds: (batch, points of
    the first, points of the second)."""
    parts = []
    for read, shape, axis in ((first, shapes[0], 2), (second, shapes[1], 1)):
        if shape[2] > 3:
            read = e.value("Slice", read, e.array([0]), e.array([3]), e.array([2]))
        parts.append(e.value("Unsqueeze", read, e.array([axis])))
    difference = e.value("Sub", *parts)
    return e.reduce("ReduceSum", e.value("Mul", difference, difference), [3], keepdims=False)


class FarthestPointSample(_Points):
    """The indices of ``n_sample_point`` points: first point 0, then each time the point that is
    farthest from all that are chosen."""

    reads = fields(point_net_param="n_sample_point")
    required = ("point_net_param.n_sample_point",)

    refusal = (
        "each point depends on the points before it, which standard ONNX computes only in a loop",
        "End the net at its bottoms with --to-blob, and choose the points outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 3, 3)
        return [(bottoms[0][0], layer.params.point_net_param.n_sample_point)]


class GroupPoint(_Points):
    """The points of the first bottom at the indices of the second: (batch, M) or (batch, M, K)."""

    computes = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, [bottoms[0]], 3, 3)
        if not 2 <= len(bottoms[1]) <= 3:
            raise layer.error(f"its indices must have 2 or 3 axes, got {shape_text(bottoms[1])}")
        same_batch(layer, bottoms)
        return [(*bottoms[1], bottoms[0][2])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, shapes[0][1], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [_points_at(e, layer.reads[0], layer.reads[1], -1)], [layer.writes[0]])


def _points_at(e: Emitter, points: str, indices: str, axis: int) -> str:
    """Emit the points of each sample at these indices."""
    places = e.value("Unsqueeze", e.value("Cast", indices, to=INT64), e.array([axis]))
    return e.value("GatherND", points, places, batch_dims=1)


class QueryBallPoint(_Points):
    """For each point of the second bottom, the indices of the first ``n_sample_point`` points of the
    first bottom within ``radius``; the first of them again for those that are missing."""

    reads = fields(point_net_param="n_sample_point radius")
    required = ("point_net_param.n_sample_point", "point_net_param.radius")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 3, 3)
        p = layer.params.point_net_param
        if p.n_sample_point < 1 or p.radius <= 0:
            raise layer.error(
                f"n_sample_point and radius must be above 0, got {p.n_sample_point} and {p.radius:g}"
            )
        if bottoms[0][2] != bottoms[1][2] or bottoms[0][2] < 3:
            raise layer.error("its bottoms must have the same number of coordinates, 3 or more")
        same_batch(layer, bottoms)
        return [(*bottoms[1][:2], p.n_sample_point)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p = layer.params.point_net_param
        shapes = [e.shape(read) for read in layer.reads]
        count, most = shapes[0][1], min(p.n_sample_point, shapes[0][1])
        far = squares(e, layer.reads[1], layer.reads[0], [shapes[1], shapes[0]])
        limit = e.array(np.float32(p.radius) * np.float32(p.radius))
        # Points within the radius by their index, the others behind all of them.
        places = e.array(np.arange(count, dtype=np.float32))
        key = e.value("Where", e.value("Greater", far, limit), e.array(float(count)), places)
        best = [f"{layer.writes[0]}@best", f"{layer.writes[0]}@places"]
        e.op("TopK", [key, e.array([most])], best, axis=2, largest=0)
        first = e.value("Slice", best[0], e.array([0]), e.array([1]), e.array([2]))
        none = e.array(float(count))
        first = e.value("Where", e.value("Equal", first, none), e.array(0.0), first)
        indices = e.value("Where", e.value("Equal", best[0], none), first, best[0])
        more = [indices, *[first] * (p.n_sample_point - most)]
        e.op("Concat", more, [layer.writes[0]], axis=2)


class ThreeInterpolate(_Points):
    """For each row of the indices (second bottom) and weights (third), the sum of three points of the
    first bottom times their weights."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_rank(layer, bottoms, 3, 3)
        if bottoms[1] != bottoms[2] or bottoms[1][2] != 3:
            raise layer.error(
                "its indices and weights must have the shape (batch, points, 3), got "
                f"{shape_text(bottoms[1])} and {shape_text(bottoms[2])}"
            )
        same_batch(layer, bottoms)
        return [(bottoms[0][0], bottoms[1][1], bottoms[0][2])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, shapes[0][1], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        points = _points_at(e, layer.reads[0], layer.reads[1], 3)
        weights = e.value("Unsqueeze", layer.reads[2], e.array([3]))
        total = e.reduce("ReduceSum", e.value("Mul", points, weights), [2], keepdims=False)
        e.op("Identity", [total], [layer.writes[0]])


class ThreeNN(_Points):
    """For each point of the first bottom, the three nearest points of the second: their squared
    distances (first top) and indices (second top)."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 2, 2)
        check_rank(layer, bottoms, 3, 3)
        if bottoms[0][2] != 3 or bottoms[1][2] != 3:
            raise layer.error("its bottoms must have 3 coordinates")
        if bottoms[1][1] < 3:
            raise layer.unsupported(
                f"its second bottom has {bottoms[1][1]} points, but 3 are needed"
            )
        same_batch(layer, bottoms)
        return [bottoms[0]] * 2

    def lower(self, layer: Layer, e: Emitter) -> None:
        first, second = layer.reads
        far = squares(e, first, second, [e.shape(read) for read in layer.reads])
        places = f"{layer.writes[1]}@places"
        e.op("TopK", [far, e.array([3])], [layer.writes[0], places], axis=2, largest=0)
        e.op("Cast", [places], [layer.writes[1]], to=FLOAT)
