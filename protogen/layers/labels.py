"""ONNX operators shared by losses and Accuracy: label lookup, sums and normalisation."""

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
from protogen.layers.values import random_labels
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

# Caffe clamps a probability to this value before the logarithm: -log(FLT_MIN) is 87.3365.
FLT_MIN = 1.1754943508222875e-38


def scalar_shape() -> NDArray[np.int64]:
    """Return the shape of a scalar: an empty int64 array."""
    import numpy as np

    return np.empty(0, np.int64)


def labels(e: Emitter, read: str) -> str:
    """Flatten labels to one axis of int64."""
    return e.value("Cast", e.value("Reshape", read, e.array([-1])), to=INT64)


def clipped_labels(e: Emitter, read: str, classes: int) -> str:
    """Clip flat labels to 0 .. classes - 1. An ignored label may be any number, but an index must
    be valid."""
    return e.value("Clip", labels(e, read), e.array(0), e.array(classes - 1))


def valid_labels(e: Emitter, read: str, ignored: int) -> str:
    """Return 1.0 for each label that counts and 0.0 for each ignored label."""
    is_ignored = e.value("Equal", labels(e, read), e.array(ignored))
    return e.value("Cast", e.value("Not", is_ignored), to=FLOAT)


def rows_of_classes(e: Emitter, read: str, shape: Shape, axis: int) -> str:
    """Reshape scores to (positions, classes); ``axis`` is the class axis."""
    rank = len(shape)
    if axis != rank - 1:
        read = e.value("Transpose", read, perm=[*range(axis), *range(axis + 1, rank), axis])
    rows = math.prod(shape) // shape[axis]
    return e.value("Reshape", read, e.array([rows, shape[axis]]))


def values_at_labels(e: Emitter, read: str, shape: Shape, axis: int, label: str) -> str:
    """Return, for each position, the value of the class that its label names."""
    rows = math.prod(shape) // shape[axis]
    index = e.value("Reshape", clipped_labels(e, label, shape[axis]), e.array([rows, 1]))
    chosen = e.value("GatherElements", rows_of_classes(e, read, shape, axis), index, axis=1)
    return e.value("Reshape", chosen, e.array([rows]))


def total(e: Emitter, read: str, factor: float) -> str:
    """Return the sum of all values times ``factor``, as an array of one value."""
    flat = e.value("Reshape", read, e.array([-1]))
    summed = e.reduce("ReduceSum", flat, [0])
    return summed if factor == 1 else e.value("Mul", summed, e.array(factor))


def normalized_loss(
    layer: Layer, e: Emitter, terms: str, label: str, outer: int, default: str
) -> str:
    """Return minus the sum of ``terms``, divided by the normaliser of loss_param.

    This follows Caffe's LossLayer::GetNormalizer. ``outer`` is the product of the axes before the
    class axis: the divisor of BATCH_SIZE. ``default`` is the mode if loss_param sets none.
    """
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
    loss = e.value("Neg", total(e, terms, 1.0))
    count = math.prod(e.shape(label))
    if mode == "VALID" and valid is not None:
        return e.value("Div", loss, e.value("Max", total(e, valid, 1.0), e.array(1.0)))
    if mode == "PRE_FIXED":  # Intel's fork
        return e.value("Div", loss, e.array(float(p.pre_fixed_normalizer)))
    divisor = {"FULL": count, "VALID": count, "BATCH_SIZE": outer, "NONE": 1}[mode]
    return e.value("Div", loss, e.array(float(max(1, divisor))))


def _class_weights(layer: Layer, e: Emitter, label: str) -> str:
    """Return SegNet's class weight of each label. The loss is not divided by their sum."""
    weights = layer.params.loss_param.class_weighting
    if not weights:
        raise layer.error(
            "weight_by_label_freqs is true, but class_weighting is missing",
            "Set one class_weighting per class.",
        )
    index = clipped_labels(e, label, len(weights))
    return e.value("Gather", e.array(weights), index, axis=0)


def draw_labels(layer: Layer, shapes: Sequence[Shape], axis: int, p: Message, rng: Rng) -> Drawn:
    """Draw labels for the classes along ``axis`` of the scores. ``p`` may set ignore_label."""
    classes = shapes[0][axis_of(layer, axis, len(shapes[0]))]
    return random_labels(rng, classes, shapes[1], p.ignore_label if p.has("ignore_label") else None)


def check_labels(layer: Layer, bottoms: Sequence[Shape], class_axis: int) -> int:
    """Return the class axis, counted from 0.

    Raises:
        InputError: the second bottom does not hold one label for each position of the scores.
    """
    scores, label = bottoms[:2]
    axis = axis_of(layer, class_axis, len(scores))
    expected = math.prod(scores[:axis]) * math.prod(scores[axis + 1 :])
    if math.prod(label) != expected:
        raise layer.error(
            f'"{layer.bottoms[1]}" must hold {expected} labels for scores of shape '
            f"{shape_text(scores)}, got shape {shape_text(label)}"
        )
    return axis
