"""Layers that measure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    axis_of,
    check_bottoms,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.graph import Layer
from protogen.layers.labels import (
    check_labels,
    draw_labels,
    in_range,
    labels,
    last,
    scalar_shape,
    total,
    valid_labels,
)
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Accuracy(LayerType):
    """Share of samples whose label is among the top_k; a second top has one value a class."""

    computes = False

    top_may_be_unused = True

    reads = fields(accuracy_param="top_k axis ignore_label")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(len(layer.bottoms))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.accuracy_param
        axis = check_labels(layer, bottoms, p.axis)
        classes = bottoms[0][axis]
        if p.top_k > classes:
            raise layer.error(f"top_k is {p.top_k}, but there are {classes} classes")
        check_tops(layer, 1, 2)
        made: list[Shape] = [(), (classes,)]
        return made[: len(layer.tops)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.accuracy_param
        return draw_labels(layer, shapes, p.axis, p, rng) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.accuracy_param
        shape = e.shape(layer.reads[0])
        axis = axis_of(layer, p.axis, len(shape))
        scores = last(e, layer.reads[0], shape, axis)
        rows = math.prod(shape) // shape[axis]
        index = in_range(e, layer.reads[1], shape[axis])
        index = e.value("Reshape", index, e.array([rows, 1]))
        mine = e.value("GatherElements", scores, index, axis=1)
        # Caffe counts how many scores are not below the label's own, itself left out.
        better = e.value("Cast", e.value("GreaterOrEqual", scores, mine), to=FLOAT)
        count = e.reduce("ReduceSum", better, [1], keepdims=False)
        right = e.value("Cast", e.value("LessOrEqual", count, e.array(float(p.top_k))), to=FLOAT)
        valid = ""
        if p.has("ignore_label"):
            valid = valid_labels(e, layer.reads[1], p.ignore_label)
            right = e.value("Mul", right, valid)
            count = e.value("Max", total(e, valid, 1.0), e.array(1.0))  # 0 of 0 is 0
            made = e.value("Div", total(e, right, 1.0), count)
        else:
            made = total(e, right, 1 / rows)
        e.op("Reshape", [made, e.array(scalar_shape())], [layer.writes[0]])
        if len(layer.writes) > 1:  # for each class its own share, 0 where it has no sample
            on_off = e.array([0.0, 1.0])
            mine = e.value("OneHot", labels(e, layer.reads[1]), e.array(shape[axis]), on_off)
            if valid:
                mine = e.value("Mul", mine, e.value("Unsqueeze", valid, e.array([1])))
            hits = e.value("Mul", mine, e.value("Unsqueeze", right, e.array([1])))
            sums = [e.reduce("ReduceSum", x, [0], keepdims=False) for x in (hits, mine)]
            count = e.value("Max", sums[1], e.array(1.0))
            e.op("Div", [sums[0], count], [layer.writes[1]])
