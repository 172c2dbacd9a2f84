"""Parts of losses and measures in ONNX operators: labels, the classes that they choose, sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import axis_of
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.graph import Layer
from protogen.layers.values import labels_below
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

FLT_MIN = 1.1754943508222875e-38  # where Caffe stops the logarithm: -log of it is 87.3365


def scalar_shape() -> NDArray[np.int64]:
    """The shape of a scalar."""
    import numpy as np

    return np.empty(0, np.int64)


def labels(e: Emitter, read: str) -> str:
    """Labels as one axis of whole numbers."""
    return e.value("Cast", e.value("Reshape", read, e.array([-1])), to=INT64)


def in_range(e: Emitter, read: str, classes: int) -> str:
    """Labels that may be looked up: ignored ones, which may be any number, become a class."""
    return e.value("Clip", labels(e, read), e.array(0), e.array(classes - 1))


def valid_labels(e: Emitter, read: str, ignored: int) -> str:
    """1.0 for labels that count, 0.0 for the ignored one."""
    same = e.value("Equal", labels(e, read), e.array(ignored))
    return e.value("Cast", e.value("Not", same), to=FLOAT)


def last(e: Emitter, read: str, shape: Shape, axis: int) -> str:
    """Values as (positions, classes)."""
    rank = len(shape)
    if axis != rank - 1:
        read = e.value("Transpose", read, perm=[*range(axis), *range(axis + 1, rank), axis])
    rows = math.prod(shape) // shape[axis]
    return e.value("Reshape", read, e.array([rows, shape[axis]]))


def of_labels(e: Emitter, read: str, shape: Shape, axis: int, label: str) -> str:
    """For each position the value of its label's class."""
    rows = math.prod(shape) // shape[axis]
    index = e.value("Reshape", in_range(e, label, shape[axis]), e.array([rows, 1]))
    chosen = e.value("GatherElements", last(e, read, shape, axis), index, axis=1)
    return e.value("Reshape", chosen, e.array([rows]))


def total(e: Emitter, read: str, factor: float) -> str:
    """The sum of all values times a factor, with one value."""
    flat = e.value("Reshape", read, e.array([-1]))
    made = e.reduce("ReduceSum", flat, [0])
    return made if factor == 1 else e.value("Mul", made, e.array(factor))


def normalized(layer: Layer, e: Emitter, terms: str, label: str, outer: int, default: str) -> str:
    """Minus the sum of terms, divided as loss_param says (Caffe: LossLayer normalizer). ``outer``
    is the product of the axes before that of the classes, which BATCH_SIZE divides by."""
    p = layer.params.loss_param
    mode = str(p.normalization) if p.has("normalization") else default
    if not p.has("normalization") and p.has("normalize"):
        mode = "VALID" if p.normalize else "BATCH_SIZE"
    valid = None
    if p.weight_by_label_freqs:
        terms = e.value("Mul", terms, _class_weights(layer, e, label))
    if p.has("ignore_label"):
        valid = valid_labels(e, label, p.ignore_label)
        terms = e.value("Mul", terms, valid)
    made = e.value("Neg", total(e, terms, 1.0))
    count = math.prod(e.shape(label))
    if mode == "VALID" and valid is not None:
        return e.value("Div", made, e.value("Max", total(e, valid, 1.0), e.array(1.0)))
    if mode == "PRE_FIXED":  # of Intel's fork
        return e.value("Div", made, e.array(float(p.pre_fixed_normalizer)))
    divisor = {"FULL": count, "VALID": count, "BATCH_SIZE": outer, "NONE": 1}[mode]
    return e.value("Div", made, e.array(float(max(1, divisor))))


def _class_weights(layer: Layer, e: Emitter, label: str) -> str:
    """SegNet's weight of each label's class; the loss is not divided by their sum."""
    weights = layer.params.loss_param.class_weighting
    if not weights:
        raise layer.error("weight_by_label_freqs is true, but there is no class_weighting")
    index = in_range(e, label, len(weights))
    return e.value("Gather", e.array(weights), index, axis=0)


def draw_labels(layer: Layer, shapes: Sequence[Shape], axis: int, p: Message, rng: Rng) -> Drawn:
    """Labels of classes along ``axis`` of the scores; ``p`` may name an ignored one."""
    end = shapes[0][axis_of(layer, axis, len(shapes[0]))]
    return labels_below(rng, end, shapes[1], p.ignore_label if p.has("ignore_label") else None)


def check_labels(layer: Layer, bottoms: Sequence[Shape], given: int) -> int:
    """The axis of the classes; one label must stand for each other position of the scores."""
    scores, label = bottoms[:2]
    axis = axis_of(layer, given, len(scores))
    wanted = math.prod(scores[:axis]) * math.prod(scores[axis + 1 :])
    if math.prod(label) != wanted:
        raise layer.error(
            f'"{layer.bottoms[1]}" is {shape_text(label)}, but scores of {shape_text(scores)} need '
            f"{wanted} labels"
        )
    return axis
