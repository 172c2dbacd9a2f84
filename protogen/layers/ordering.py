"""Layers that select or reorder samples and axes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import BOOL, reshape
from protogen.layers.graph import Layer
from protogen.layers.permuting import MOST_SLICES, moves
from protogen.layers.values import selectors, whole
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class BatchReindex(LayerType):
    """Caffe: samples of the first bottom, selected by the indices in the second."""

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        if len(bottoms[1]) != 1:
            raise layer.error(
                f'"{layer.bottoms[1]}" must have 1 axis, got shape {shape_text(bottoms[1])}'
            )
        return [(bottoms[1][0], *bottoms[0][1:])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, shapes[0][0], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        index = e.value("Cast", layer.reads[1], to=INT64)
        e.op("Gather", [layer.reads[0], index], [layer.writes[0]], axis=0)


class Filter(LayerType):
    """Caffe: the samples for which the last bottom is not 0. Their number depends on the data."""

    data_axis = 0

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (len(layer.bottoms) - 1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, None)
        check_tops(layer, 1)
        selector = bottoms[-1]
        if math.prod(selector[1:]) != 1:
            raise layer.error(
                f'"{layer.bottoms[-1]}" must have one value per sample, got shape '
                f"{shape_text(selector)}"
            )
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[:1] != selector[:1]:
                raise layer.error(
                    f'"{name}" must have {selector[0]} samples like "{layer.bottoms[-1]}", got '
                    f"shape {shape_text(shape)}"
                )
        return list(bottoms[:-1])

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return selectors(rng, shapes[index]) if index == len(shapes) - 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        flat = e.value("Reshape", layer.reads[-1], e.array([-1]))
        selected = e.value("Cast", flat, to=BOOL)
        for read, write in zip(layer.reads[:-1], layer.writes, strict=True):
            e.op("Compress", [read, selected], [write], axis=0)


class Permute(LayerType):
    """Forks (SSD): axes in the order of ``order``, then the axes that it does not name."""

    passes_signal = True

    reads = fields(permute_param="order")

    stock = False
    source = "weiliu89/caffe"

    def is_view(self, layer: Layer) -> bool:
        order = list(layer.params.permute_param.order)
        return order == sorted(order) and order == list(range(len(order)))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        order = list(layer.params.permute_param.order)
        if len(set(order)) != len(order) or max(order, default=0) >= len(shape):
            raise layer.error(
                f"order must name axes from 0 to {len(shape) - 1}, each at most once, got {order}"
            )
        return [tuple(shape[axis] for axis in permute_order(layer, len(shape)))]

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        order = permute_order(layer, len(shapes[0]))
        back = sorted(range(len(order)), key=order.__getitem__)
        return [None if tops[0] is None else tops[0].transpose(back)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        order = permute_order(layer, len(e.shape(layer.reads[0])))
        e.op("Transpose", [layer.reads[0]], [layer.writes[0]], perm=order)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        order = permute_order(layer, len(r.shape(layer.bottoms[0])))
        permuted_by_stock(layer, r, order)


def permuted_by_stock(layer: Layer, r: Rewriter, order: Sequence[int]) -> None:
    """Replace a layer that permutes axes by Reshape, Slice and Concat: see ``permuting.moves``.

    Raises:
        UnsupportedError: a move would need more than ``MOST_SLICES`` slices.
    """
    shape = r.shape(layer.bottoms[0])
    plan = moves(shape, order)
    most = max((move.slices for move in plan), default=0)
    if most > MOST_SLICES:
        raise layer.unsupported(
            f"its stock layers would need {most} slices, at most {MOST_SLICES} are allowed"
        )
    batch = order[0] == 0
    x = layer.bottoms[0]
    for move in plan:
        dims = [0 if batch and i == 0 else n for i, n in enumerate(move.shape)]
        x = r.add("Reshape", [x], role="axes", params=reshape(dims))
        parts = r.split(x, "slice", move.axis, range(1, move.slices))
        x = r.add("Concat", parts, role="moved", params={"concat_param": {"axis": move.to}})
    out = [0 if batch and i == 0 else shape[axis] for i, axis in enumerate(order)]
    r.add("Reshape", [x], params=reshape(out))


def permute_order(layer: Layer, rank: int) -> list[int]:
    """Return the axes of a Permute in their new order: those that it names, then the others."""
    order = list(layer.params.permute_param.order)
    return order + [axis for axis in range(rank) if axis not in order]


def shuffle_pixels(layer: Layer, r: Rewriter, f: int) -> None:
    """Replace the layer by a Deconvolution in groups of f x f input channels. Each channel has a single
    weight of 1, at its position in the f x f kernel."""
    import numpy as np

    channels = r.shape(layer.bottoms[0])[1]
    out = channels // (f * f)
    check_room(layer, f**4 * out)
    weight = np.tile(np.eye(f * f, dtype=np.float32).reshape(f * f, 1, f, f), (out, 1, 1, 1))
    params = {
        "num_output": out,
        "kernel_size": f,
        "stride": f,
        "group": out,
        "weight_filler": {"type": "constant", "value": 0.0},
        "bias_term": False,
    }
    r.add("Deconvolution", layer.bottoms, params={"convolution_param": params}, weights=[weight])
