"""Accuracy."""

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
    clipped_labels,
    draw_labels,
    labels,
    rows_of_classes,
    scalar_shape,
    total,
    valid_labels,
)
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Accuracy(LayerType):
    """Share of samples whose label is among the top_k; a second top has one value per class."""

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
            raise layer.error(
                f"top_k must be at most {classes}, the number of classes, got {p.top_k}"
            )
        check_tops(layer, 1, 2)
        tops: list[Shape] = [(), (classes,)]
        return tops[: len(layer.tops)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.accuracy_param
        return draw_labels(layer, shapes, p.axis, p, rng) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.accuracy_param
        shape = e.shape(layer.reads[0])
        axis = axis_of(layer, p.axis, len(shape))
        scores = rows_of_classes(e, layer.reads[0], shape, axis)
        rows = math.prod(shape) // shape[axis]
        index = clipped_labels(e, layer.reads[1], shape[axis])
        index = e.value("Reshape", index, e.array([rows, 1]))
        label_scores = e.value("GatherElements", scores, index, axis=1)
        # Caffe counts the other scores that are not below the label's score. Here the label itself
        # is counted too, so the count may reach top_k.
        not_below = e.value("Cast", e.value("GreaterOrEqual", scores, label_scores), to=FLOAT)
        count = e.reduce("ReduceSum", not_below, [1], keepdims=False)
        correct = e.value("Cast", e.value("LessOrEqual", count, e.array(float(p.top_k))), to=FLOAT)
        valid = ""
        if p.has("ignore_label"):
            valid = valid_labels(e, layer.reads[1], p.ignore_label)
            correct = e.value("Mul", correct, valid)
            # The accuracy is 0 if every label is ignored.
            count = e.value("Max", total(e, valid, 1.0), e.array(1.0))
            accuracy = e.value("Div", total(e, correct, 1.0), count)
        else:
            accuracy = total(e, correct, 1 / rows)
        e.op("Reshape", [accuracy, e.array(scalar_shape())], [layer.writes[0]])
        if len(layer.writes) > 1:  # the accuracy of each class, 0 for a class without samples
            off_on = e.array([0.0, 1.0])
            one_hot = e.value("OneHot", labels(e, layer.reads[1]), e.array(shape[axis]), off_on)
            if valid:
                one_hot = e.value("Mul", one_hot, e.value("Unsqueeze", valid, e.array([1])))
            hits = e.value("Mul", one_hot, e.value("Unsqueeze", correct, e.array([1])))
            sums = [e.reduce("ReduceSum", x, [0], keepdims=False) for x in (hits, one_hot)]
            count = e.value("Max", sums[1], e.array(1.0))
            e.op("Div", [sums[0], count], [layer.writes[1]])
