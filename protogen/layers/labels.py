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
    layer: Layer,
    e: Emitter,
    terms: str,
    label: str,
    outer: int,
    default: str,
    counted: str = "",
) -> str:
    """Return minus the sum of ``terms``, divided by the normaliser of loss_param.

    This follows Caffe's LossLayer::GetNormalizer. ``outer`` is the product of the axes before the
    class axis: the divisor of BATCH_SIZE. ``default`` is the mode if loss_param sets none. ``counted``
    is 1.0 for each term that counts and 0.0 for each other one; empty: all count.
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
    if counted:
        valid = e.value("Mul", valid, counted) if valid else counted
    if valid:
        terms = e.value("Mul", terms, valid)
    loss = e.value("Neg", total(e, terms, 1.0))
    count = math.prod(e.shape(label))
    if mode == "VALID" and valid is not None:
        return e.value("Div", loss, e.value("Max", total(e, valid, 1.0), e.array(1.0)))
    if mode == "PRE_FIXED":  # Intel's fork
        return e.value("Div", loss, e.array(float(p.pre_fixed_normalizer)))
    divisor = {"FULL": count, "VALID": count, "BATCH_SIZE": outer, "NONE": 1}[mode]
    return e.value("Div", loss, e.array(float(max(1, divisor))))


def is_counted_above_0(layer: Layer) -> bool:
    """Return whether SoftmaxWithLoss is that of OpenVINO: only losses above 0 count."""
    return bool(layer.dialect == "openvino" or layer.params.loss_param.max_entropy_weight > 0)


def check_adaptive(layer: Layer) -> None:
    """Raises InputError for settings of OpenVINO's adaptive_weighting that its Caffe refuses."""
    p = layer.params.loss_param
    if not 0 < p.gamma <= 1:
        raise layer.error(f"gamma must be above 0 and at most 1, got {p.gamma:g}")
    if not p.scale > 0:
        raise layer.error(f"scale must be above 0, got {p.scale:g}")
    if min(p.min_weight, p.max_weight) < 0:
        raise layer.error("min_weight and max_weight must not be negative")
    if p.has("min_weight") and p.has("max_weight") and not p.max_weight > p.min_weight:
        raise layer.error(f"max_weight {p.max_weight:g} must be above min_weight {p.min_weight:g}")


def with_entropy(e: Emitter, terms: str, probability: str, weight: float) -> str:
    """Return ``terms`` - weight * sum p log p, of the probabilities (positions, classes); for a weight
    of 0 or less, ``terms``."""
    if not weight > 0:
        return terms
    log = e.value("Log", e.value("Max", probability, e.array(FLT_MIN)))
    entropy = e.reduce("ReduceSum", e.value("Mul", log, probability), [1], keepdims=False)
    return e.value("Sub", terms, e.value("Mul", entropy, e.array(float(weight))))


def log_likelihood(e: Emitter, x: str, target: str) -> str:
    """Return t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x)) of each value."""
    # x t - max(x, 0) - log(1 + exp(-|x|))
    soft = e.value("Softplus", e.value("Neg", e.value("Abs", x)))
    terms = e.value("Sub", e.value("Mul", x, target), e.value("Relu", x))
    return e.value("Sub", terms, soft)


def balanced_loss(e: Emitter, x: str, target: str) -> str:
    """Return the loss of HED and OSVOS: the mean over the samples of -log_likelihood, where positive
    values (label 1) weigh as much as the part of negative ones (label 0) among both, and negative
    values as much as the part of positive ones. Other labels do not count."""
    flat = [e.value("Flatten", value, axis=1) for value in (x, target)]
    terms = log_likelihood(e, *flat)
    sums, counts = [], []
    for label in (1.0, 0.0):
        is_label = e.value("Cast", e.value("Equal", flat[1], e.array(label)), to=FLOAT)
        counts.append(e.reduce("ReduceSum", is_label, [1], keepdims=False))
        sums.append(e.reduce("ReduceSum", e.value("Mul", terms, is_label), [1], keepdims=False))
    weighted = [e.value("Mul", *pair) for pair in zip(sums, reversed(counts), strict=True)]
    loss = e.value("Div", e.value("Add", *weighted), e.value("Add", *counts))
    return total(e, loss, -1 / e.shape(x)[0])


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
