"""Softmax, and its loss layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.base import axis_of, fields
from protogen.layers.elementwise import FLOAT, _Same
from protogen.layers.graph import Layer
from protogen.layers.labels import (
    FLT_MIN,
    check_adaptive,
    check_labels,
    draw_labels,
    is_counted_above_0,
    normalized_loss,
    rows_of_classes,
    valid_labels,
    values_at_labels,
    with_entropy,
)
from protogen.layers.loss import NORMALIZED, _Loss
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class Softmax(_Same):
    """exp(x) / sum exp(x) along ``axis``."""

    top_may_be_unused = True

    reads = fields(softmax_param="axis")
    resting = (0.0, 1.0)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        axis_of(layer, layer.params.softmax_param.axis, len(bottoms[0]))
        return tops

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = axis_of(layer, layer.params.softmax_param.axis, len(e.shape(layer.reads[0])))
        e.op("Softmax", [layer.reads[0]], [layer.writes[0]], axis=axis)


class SoftmaxWithLoss(_Loss):
    """Softmax and the mean of -log of each label's probability. The classes lie along
    ``softmax_param.axis``; there is one label for each position of the other axes.

    Forks: R-FCN has the probabilities as a second top and the loss of each position as a third. OpenVINO
    adds max_entropy_weight * sum p log p to the loss of each position, and counts the positions
    with a loss above 0 only.
    """

    reads = fields(
        softmax_param="axis",
        loss_param=f"{NORMALIZED} weight_by_label_freqs class_weighting adaptive_weighting gamma scale "
        "min_weight max_weight max_entropy_weight",
    )
    limits = "not adaptive_weighting (OpenVINO), nor a third bottom"

    most = 3

    def _most(self, layer: Layer) -> int:
        return 2 if layer.dialect == "bvlc" else 3

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops: list[Shape] = super().shapes(layer, bottoms)
        if len(layer.tops) > 3:  # OpenVINO, adaptive_weighting: frequency and weight of each class
            return [()] * len(layer.tops)
        return [*tops, bottoms[0], bottoms[1]][: max(1, len(layer.tops))]

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        p = layer.params.loss_param
        axis = check_labels(layer, bottoms, layer.params.softmax_param.axis)
        classes = bottoms[0][axis]
        self._check_tops(layer, classes)
        if p.class_weighting and len(p.class_weighting) != classes:
            raise layer.error(
                f"expected {classes} class_weighting (one per class), got {len(p.class_weighting)}"
            )
        if p.adaptive_weighting:
            check_adaptive(layer)
        if is_counted_above_0(layer) and axis != 1:
            raise layer.unsupported(
                f"its classes lie along axis {axis}, but OpenVINO's code computes Softmax along axis 1",
                "Set axis: 1.",
            )

    def _check_tops(self, layer: Layer, classes: int) -> None:
        """Raises InputError for a number of tops that no fork accepts, or not this one."""
        count = len(layer.tops)
        forks = {2: ("rfcn", "openvino"), 3: ("", "rfcn")}.get(count, ())
        adaptive = count == 2 * classes + 1 and layer.params.loss_param.adaptive_weighting
        if count < 2 or adaptive or layer.dialect in forks:
            return
        # BVLC Caffe passes the loss_weight of both tops to the inner Softmax, which has one top.
        if count == 2:
            raise layer.error(
                "has a second top, but no Caffe release accepts one",
                "Remove it, and add a Softmax layer for the probabilities.",
            )
        raise layer.error(
            f"has {count} tops, but at most 3 are valid, in R-FCN's Caffe (--dialect rfcn)",
            "Remove the others.",
        )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis, p = layer.params.softmax_param.axis, layer.params.loss_param
        return draw_labels(layer, shapes, axis, p, rng) if index == 1 else None

    def check_form(self, layer: Layer) -> None:
        if len(layer.reads) > 2:
            raise layer.unsupported(
                "has a third bottom, which forks use as weights in different ways",
                "Remove the third bottom: BVLC Caffe's layer takes two.",
            )
        if layer.params.loss_param.adaptive_weighting:
            raise layer.unsupported(
                "adaptive_weighting is true: the weights of its classes depend on earlier iterations of "
                "training",
                "Set adaptive_weighting: false, or end the net at its first bottom with --to-blob.",
            )

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, ...]:
        shape = e.shape(layer.reads[0])
        axis = axis_of(layer, layer.params.softmax_param.axis, len(shape))
        probability = e.value("Softmax", layer.reads[0], axis=axis)
        chosen = values_at_labels(e, probability, shape, axis, layer.reads[1])
        log = e.value("Log", e.value("Max", chosen, e.array(FLT_MIN)))
        counted = ""
        if is_counted_above_0(layer):
            rows = rows_of_classes(e, probability, shape, axis)
            log = with_entropy(e, log, rows, layer.params.loss_param.max_entropy_weight)
            counted = e.value("Cast", e.value("Less", log, e.array(0.0)), to=FLOAT)
        outer = math.prod(shape[:axis])
        loss = normalized_loss(layer, e, log, layer.reads[1], outer, "VALID", counted)
        if len(layer.writes) < 3:
            return loss, probability
        each = e.value("Neg", log)
        p = layer.params.loss_param
        if p.has("ignore_label"):
            each = e.value("Mul", each, valid_labels(e, layer.reads[1], p.ignore_label))
        each = e.value("Reshape", each, e.array(list(e.shape(layer.reads[1]))))
        return loss, probability, each
