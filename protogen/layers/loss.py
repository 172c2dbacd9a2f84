"""The loss layers; for SoftmaxWithLoss see module softmax."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
    four_axes,
)
from protogen.layers.elementwise import BOOL
from protogen.layers.graph import Layer
from protogen.layers.labels import (
    balanced_loss,
    check_labels,
    clipped_labels,
    draw_labels,
    labels,
    log_likelihood,
    normalized_loss,
    rows_of_classes,
    scalar_shape,
    total,
    values_at_labels,
)
from protogen.layers.values import positive, random_labels, whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

NORMALIZED = "ignore_label normalize normalization pre_fixed_normalizer"


class _Loss(LayerType, abstract=True):
    """Base of the losses. The first top is a scalar. A second top, if the type has one, holds
    probabilities in the shape of the first bottom."""

    is_loss = True
    least, most = 2, 2
    most_tops = 1
    gives_no_gradient = True  # no gradient for any bottom except the first

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, self.least, self._most(layer))
        if bottoms[0][:1] != bottoms[1][:1] or not bottoms[0]:
            raise layer.error(
                "its first two bottoms must have the same number of samples, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        self.check(layer, bottoms)
        tops: list[Shape] = [(), bottoms[0]]
        return tops[: min(max(1, len(layer.tops)), self.most_tops)]

    def _most(self, layer: Layer) -> int:
        """Return the largest number of bottoms that this layer may have."""
        return self.most

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(1, len(layer.bottoms)) if self.gives_no_gradient else ()

    def lower(self, layer: Layer, e: Emitter) -> None:
        self.check_form(layer)
        if not layer.writes:
            return
        loss, *others = self.loss(layer, e)
        e.op("Reshape", [loss, e.array(scalar_shape())], [layer.writes[0]])
        for write, value in zip(layer.writes[1:], others, strict=False):
            e.op("Identity", [value], [write])

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, ...]:
        """Emit the loss. Return its value and those of the further tops (empty if the type has none)."""
        raise NotImplementedError

    def check_form(self, layer: Layer) -> None:
        """Check that ONNX can express the layer.

        Raises:
            UnsupportedError: it cannot.
        """

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, math.prod(shapes[0][1:]), shapes[1]) if index == 1 else None

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Check what the type requires of its bottoms besides equal numbers of samples.

        Raises:
            InputError: the bottoms do not fit each other.
        """


class _PairLoss(_Loss, abstract=True):
    """Base of the losses whose two bottoms hold the same number of values."""

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return None

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        a, b = bottoms[:2]
        if math.prod(a) != math.prod(b):
            raise layer.error(
                "its first two bottoms must hold the same number of values, got shapes "
                f"{shape_text(a)} and {shape_text(b)}"
            )


class SigmoidCrossEntropyLoss(_PairLoss):
    """Sigmoid and cross entropy, summed over each sample. In HED it is
    SigmoidCrossEntropyBalanceLoss."""

    reads = fields(loss_param=NORMALIZED)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.loss_param
        ignored = p.ignore_label if p.has("ignore_label") else None
        return random_labels(rng, 2, shapes[1], ignored) if index == 1 else None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        shape = e.shape(layer.reads[0])
        target = e.reshape(layer.reads[1], e.shape(layer.reads[1]), shape)
        if layer.dialect == "hed":
            return balanced_loss(e, layer.reads[0], target), ""
        terms = log_likelihood(e, layer.reads[0], target)
        flat = e.value("Reshape", terms, e.array([-1]))
        return normalized_loss(layer, e, flat, layer.reads[1], shape[0], "BATCH_SIZE"), ""


class EuclideanLoss(_PairLoss):
    """sum (x - t)^2 / (2N)."""

    gives_no_gradient = False

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        a, b = (e.shape(read) for read in layer.reads[:2])
        difference = e.value("Sub", layer.reads[0], e.reshape(layer.reads[1], b, a))
        return total(e, e.value("Mul", difference, difference), 1 / (2 * a[0])), ""

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        super().check(layer, bottoms)
        check_rank(layer, bottoms[:1], 1, 4)


class HingeLoss(_Loss):
    """One-against-all hinge loss, L1 or L2."""

    reads = fields(hinge_loss_param="norm")

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_rank(layer, bottoms[:1], 1, 4)

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        shape = e.shape(layer.reads[0])
        classes = math.prod(shape[1:])
        x = e.value("Flatten", layer.reads[0], axis=1)
        flat_labels = labels(e, layer.reads[1])
        if math.prod(e.shape(layer.reads[1])) != shape[0]:
            # Caffe reads as many labels as there are samples and ignores the rest.
            flat_labels = e.value("Slice", flat_labels, e.array([0]), e.array([shape[0]]))
        sign = e.value("OneHot", flat_labels, e.array(classes), e.array([1.0, -1.0]))
        margin = e.value("Relu", e.value("Add", e.value("Mul", x, sign), e.array(1.0)))
        if layer.params.hinge_loss_param.norm == "L2":
            margin = e.value("Mul", margin, margin)
        return total(e, margin, 1 / shape[0]), ""


class InfogainLoss(_Loss):
    """Softmax and -sum H log p with an information gain matrix H."""

    harmless = MappingProxyType(
        {"infogain_loss_param.source": "a third bottom replaces it; without one it is refused"}
    )

    reads = fields(
        infogain_loss_param="axis",
        loss_param=NORMALIZED,
    )

    limits = "only with the matrix as a third bottom, not from a file"

    most = 3
    most_tops = 2

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis, p = layer.params.infogain_loss_param.axis, layer.params.loss_param
        return draw_labels(layer, shapes, axis, p, rng) if index == 1 else None

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        axis = check_labels(layer, bottoms, layer.params.infogain_loss_param.axis)
        if layer.params.loss_param.has("normalize"):
            raise layer.error(
                "loss_param.normalize is not supported by this layer",
                "Use loss_param.normalization.",
            )
        classes = bottoms[0][axis]
        if len(bottoms) > 2 and math.prod(bottoms[2]) != classes * classes:
            raise layer.error(
                f'"{layer.bottoms[2]}" must hold {classes} x {classes} values, got shape '
                f"{shape_text(bottoms[2])}"
            )
        if len(bottoms) < 3 and not layer.params.infogain_loss_param.has("source"):
            raise layer.error("the information gain matrix is missing", "Add it as a third bottom.")

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        if len(layer.reads) < 3:
            raise layer.unsupported(
                "the information gain matrix is in a separate file",
                "Add the matrix as a third bottom.",
            )
        shape = e.shape(layer.reads[0])
        axis = axis_of(layer, layer.params.infogain_loss_param.axis, len(shape))
        probability = e.value("Softmax", layer.reads[0], axis=axis)
        rows = e.value("Reshape", layer.reads[2], e.array([shape[axis], shape[axis]]))
        gain = e.value("Gather", rows, clipped_labels(e, layer.reads[1], shape[axis]), axis=0)
        log = e.value(
            "Log", e.value("Max", rows_of_classes(e, probability, shape, axis), e.array(1e-20))
        )
        terms = e.reduce("ReduceSum", e.value("Mul", gain, log), [1], keepdims=False)
        outer = math.prod(shape[:axis])
        return normalized_loss(layer, e, terms, layer.reads[1], outer, "VALID"), probability


class MultinomialLogisticLoss(_Loss):
    """Mean of -log of each label's probability; the bottom holds probabilities."""

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return super().draw(layer, index, shapes, rng) if index else positive(rng, shapes[0])

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        shape = e.shape(layer.reads[0])
        flat = (shape[0], math.prod(shape[1:]))
        x = e.value("Flatten", layer.reads[0], axis=1)
        chosen = values_at_labels(e, x, flat, 1, layer.reads[1])
        log = e.value("Log", e.value("Max", chosen, e.array(1e-20)))
        return total(e, log, -1 / shape[0]), ""

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        four_axes(layer, bottoms[0])
        check_one_value(layer, bottoms, 1)


class ContrastiveLoss(_Loss):
    """Loss on the distance of two feature vectors: similar pairs should be close, other pairs at
    least the margin apart; bottoms a, b, label."""

    reads = fields(contrastive_loss_param="margin legacy_version")

    least, most = 3, 3
    gives_no_gradient = False

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, 2, shapes[2]) if index == 2 else None

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        vectors = [four_axes(layer, shape) for shape in bottoms[:2]]
        if vectors[0][1:] != vectors[1][1:] or vectors[0][2:] != (1, 1):
            raise layer.error(
                "its first two bottoms must hold one vector per sample, all of the same length, "
                f"got shapes {shape_text(bottoms[0])} and {shape_text(bottoms[1])}",
                "Put a Flatten layer before it.",
            )
        check_one_value(layer, bottoms, 2)

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p = layer.params.contrastive_loss_param
        shape = e.shape(layer.reads[0])
        vectors = [e.value("Reshape", read, e.array([shape[0], -1])) for read in layer.reads[:2]]
        difference = e.value("Sub", *vectors)
        square = e.value("Mul", difference, difference)
        square = e.reduce("ReduceSum", square, [1], keepdims=False)
        distance = square if p.legacy_version else e.value("Sqrt", square)
        push = e.value("Relu", e.value("Sub", e.array(p.margin), distance))
        push = push if p.legacy_version else e.value("Mul", push, push)
        similar = e.value("Cast", e.value("Reshape", layer.reads[2], e.array([-1])), to=BOOL)
        return total(e, e.value("Where", similar, square, push), 1 / (2 * shape[0])), ""


def check_one_value(layer: Layer, bottoms: Sequence[Shape], index: int) -> None:
    """Check that a bottom has one value per sample.

    Raises:
        InputError: it has not.
    """
    if four_axes(layer, bottoms[index])[1:] != (1, 1, 1):
        raise layer.error(
            f'"{layer.bottoms[index]}" must have one value per sample, got shape '
            f"{shape_text(bottoms[index])}"
        )
