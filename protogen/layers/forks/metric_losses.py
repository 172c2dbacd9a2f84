"""Losses of metric learning (happynear's fork, and others that have them)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.checking import check_equal, check_tops
from protogen.layers.elementwise import affine
from protogen.layers.forks.metric import chosen
from protogen.layers.forks.simple import HAPPYNEAR, OPENVINO
from protogen.layers.graph import Layer
from protogen.layers.labels import (
    FLT_MIN,
    check_labels,
    clipped_labels,
    draw_labels,
    normalized_loss,
    total,
    values_at_labels,
)
from protogen.layers.loss import _Loss, check_one_value
from protogen.layers.values import positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

_WAY_OUT = "End the net before it with --to-blob."


class FocalLoss(_Loss):
    """Forks (happynear): softmax, and the sum of -(alpha - p)^gamma log p over the positions, p the
    probability of the label; (alpha + p)^gamma with type ONEADDP. Other forks have
    -alpha (1 - p)^gamma log p, which is the same if alpha is 1."""

    reads = fields(
        focal_loss_param="type gamma alpha",
        softmax_param="axis",
        loss_param="ignore_label normalize normalization",
    )
    harmless = MappingProxyType({"focal_loss_param.beta": "no effect on the forward pass"})
    stock = False
    source = HAPPYNEAR
    most_tops = 2

    def _alpha(self, layer: Layer) -> float:
        p = layer.params.focal_loss_param
        return float(p.alpha) if p.has("alpha") else 1.0

    def meaning(self, layer: Layer) -> str:
        return "happynear" if layer.dialect == "happynear" else ""

    def decide(self, layer: Layer) -> None:
        p = layer.params.focal_loss_param
        plain = p.has("alpha") and p.alpha == 1 and p.type != "ONEADDP"
        if not (plain or p.type == "ONEADDP" or layer.dialect == "happynear"):
            raise layer.unsupported(
                "the type is ambiguous: happynear's has (alpha - p)^gamma, and alpha 1 by default, other "
                "forks have alpha (1 - p)^gamma, and alpha 0.25 by default",
                "Set alpha: 1, or --dialect happynear.",
            )

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_labels(layer, bottoms, layer.params.softmax_param.axis)
        p = layer.params.focal_loss_param
        if p.gamma < 0 or self._alpha(layer) <= 0:
            raise layer.error("gamma must be at least 0, and alpha above 0")

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis, p = layer.params.softmax_param.axis, layer.params.loss_param
        return draw_labels(layer, shapes, axis, p, rng) if index == 1 else None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p, shape = layer.params.focal_loss_param, e.shape(layer.reads[0])
        axis = axis_of(layer, layer.params.softmax_param.axis, len(shape))
        probability = e.value("Softmax", layer.reads[0], axis=axis)
        own = values_at_labels(e, probability, shape, axis, layer.reads[1])
        log = e.value("Log", e.value("Max", own, e.array(FLT_MIN)))
        sign = 1.0 if p.type == "ONEADDP" else -1.0
        base = affine(e, own, sign, self._alpha(layer))
        weight = e.value("Pow", base, e.array(float(p.gamma)))
        terms = e.value("Mul", weight, log)
        outer = math.prod(shape[:axis])
        return normalized_loss(layer, e, terms, layer.reads[1], outer, "VALID"), probability


class CenterLoss(_Loss):
    """Forks (happynear, CC4): half of the mean squared distance of the samples from the centres of their
    classes, or with distance_type "L1" the mean sum of absolute differences; the centres are the
    blob."""

    reads = fields(center_loss_param="num_output axis distance_type")
    stock = False
    source = HAPPYNEAR
    blob_names = ("centers",)

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        p = layer.params.center_loss_param
        check_one_value(layer, bottoms, 1)
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Set it to the number of classes.")
        if axis_of(layer, p.axis, len(bottoms[0])) != 1:
            raise layer.error(f"axis must be 1, got {p.axis}")
        if p.distance_type not in ("L1", "L2"):
            raise layer.error(f'distance_type must be "L1" or "L2", got "{p.distance_type}"')

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(int(layer.params.center_loss_param.num_output), math.prod(bottoms[0][1:]))]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("center_loss_param.center_filler")]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        count = int(layer.params.center_loss_param.num_output)
        return rng.integers(0, count, shapes[1]).astype("float32") if index == 1 else None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p, n = layer.params.center_loss_param, e.shape(layer.reads[0])[0]
        index = clipped_labels(e, layer.reads[1], int(p.num_output))
        centers = e.value("Gather", e.blob(layer, 0), index, axis=0)
        d = e.value("Sub", e.value("Flatten", layer.reads[0], axis=1), centers)
        if p.distance_type == "L1":
            return total(e, e.value("Abs", d), 1 / n), ""
        return total(e, e.value("Mul", d, d), 1 / (2 * n)), ""


class TripletLoss(_Loss):
    """Forks (happynear): half of the mean of max(0, margin + |a - p|^2 - |a - n|^2); bottoms a, p, n."""

    reads = fields(triplet_loss_param="margin")
    stock = False
    source = HAPPYNEAR
    least, most = 3, 3
    gives_no_gradient = False

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_rank(layer, bottoms, 2, 4)
        check_equal(layer, bottoms)
        if math.prod(bottoms[0][2:]) != 1:
            raise layer.error(
                f"its bottoms must hold one vector per sample, got {shape_text(bottoms[0])}",
                "Put a Flatten layer before it.",
            )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        n, c = e.shape(layer.reads[0])[:2]
        a, *others = (e.value("Reshape", read, e.array([n, c])) for read in layer.reads)
        sizes = []
        for other in others:
            d = e.value("Sub", a, other)
            sizes.append(e.reduce("ReduceSum", e.value("Mul", d, d), [1]))
        margin = e.array(float(layer.params.triplet_loss_param.margin))
        terms = e.value("Relu", e.value("Sub", e.value("Add", margin, sizes[0]), sizes[1]))
        return total(e, terms, 1 / (2 * n)), ""


class GeneralTripletLoss(_Loss):
    """Forks (happynear): for distances x of each sample from each class, the mean over the samples of
    negative_weight times the sum of max(0, x_label + margin - x_j) over the other classes j, or with
    hardest_only the largest of them; with positive_first only while x_label is at most
    positive_upper_bound. A second top holds the mean distances of the label and of the others."""

    reads = fields(
        general_triplet_loss_param=(
            "margin hardest_only negative_weight positive_first positive_upper_bound"
        )
    )
    harmless = MappingProxyType(
        {
            f"general_triplet_loss_param.{name}": "no effect on the forward pass"
            for name in ("add_center_loss", "positive_weight")
        }
    )
    stock = False
    source = HAPPYNEAR

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [*super().shapes(layer, bottoms), (2,)][: max(1, len(layer.tops))]

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_tops(layer, 0, 2)
        check_rank(layer, bottoms, 1, 4)

    def check_form(self, layer: Layer) -> None:
        p = layer.params.general_triplet_loss_param
        if p.hardest_only and p.negative_weight < 0:
            raise layer.unsupported(
                "hardest_only with a negative_weight below 0 selects no class", "Set it above 0."
            )

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p, shape = layer.params.general_triplet_loss_param, e.shape(layer.reads[0])
        n, classes = shape[0], math.prod(shape[1:])
        x = e.value("Reshape", layer.reads[0], e.array([n, classes]))
        is_label, zero = chosen(e, layer.reads[1], n, classes), e.array(0.0)
        own = e.reduce("ReduceSum", e.value("Where", is_label, x, zero), [1])
        terms = e.value("Relu", e.value("Sub", affine(e, own, 1.0, float(p.margin)), x))
        terms = e.value("Where", is_label, zero, terms)
        if p.hardest_only:
            terms = e.reduce("ReduceMax", terms, [1])
        if p.positive_first:
            far = e.value("Greater", own, e.array(float(p.positive_upper_bound)))
            terms = e.value("Where", far, zero, terms)
        others = e.value("Where", is_label, zero, x)
        count = n * max(1, classes - 1)
        pair = [total(e, own, 1 / n), total(e, others, 1 / count)]
        second = e.value("Concat", *pair, axis=0) if len(layer.writes) > 1 else ""
        return total(e, terms, abs(float(p.negative_weight)) / n), second


class ConfidencePenaltyLoss(_Loss):
    """Forks (happynear): the mean over N samples of -(1 - beta) log p of the label, minus beta / (N - 1)
    log p of each other class; the bottom holds probabilities, which count as at least 1e-20."""

    reads = fields(confidence_penalty_loss_param="beta")
    stock = False
    source = HAPPYNEAR

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_one_value(layer, bottoms, 1)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return super().draw(layer, index, shapes, rng) if index else positive(rng, shapes[0])

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        shape, beta = (
            e.shape(layer.reads[0]),
            float(layer.params.confidence_penalty_loss_param.beta),
        )
        n, classes = shape[0], math.prod(shape[1:])
        if n == 1 and beta:
            raise layer.unsupported("with one sample the fork divides by 0", "Use more samples.")
        x = e.value("Reshape", layer.reads[0], e.array([n, classes]))
        log = e.value("Log", e.value("Max", x, e.array(1e-20)))
        other = beta / max(1, n - 1)
        is_label = chosen(e, layer.reads[1], n, classes)
        weights = e.value("Where", is_label, e.array(1 - beta), e.array(other))
        return total(e, e.value("Mul", log, weights), -1 / n), ""


class CorrelationLoss(_Loss):
    """Forks (happynear): the mean of the products of the values of two bottoms of one channel."""

    stock = False
    source = HAPPYNEAR

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        check_rank(layer, bottoms, 2, 4)
        if (bottoms[0][1], bottoms[1][1]) != (1, 1) or math.prod(bottoms[0]) != math.prod(
            bottoms[1]
        ):
            raise layer.error("its bottoms must have one channel, and the same number of values")

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        a, b = (e.value("Reshape", read, e.array([-1])) for read in layer.reads)
        return total(e, e.value("Mul", a, b), 1 / math.prod(e.shape(layer.reads[0]))), ""


class _Accumulating(_Loss, abstract=True):
    """Base of losses whose source adds to the value of the run before."""

    stock = False
    source = HAPPYNEAR
    refusal = ("its source adds the loss to that of the run before", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_tops(layer, 0, 2)
        return [*super().shapes(layer, bottoms), (2,)][: max(1, len(layer.tops))]

    def lower(self, layer: Layer, e: Emitter) -> None:
        raise layer.unsupported(*self.refusal)


class SoftContrastiveLoss(_Accumulating):
    """Forks (happynear): of distances from classes, the distance from the label beyond a margin, and the
    logarithm of a sum of exponentials of the others."""

    reads = fields(
        soft_contrastive_loss_param=(
            "positive_margin negative_margin positive_weight negative_weight exponent_scale square"
        ),
        general_contrastive_loss_param="positive_outlier_thresh",
    )


class BatchContrastiveLoss(_Accumulating):
    """Forks (happynear): of the distances between all pairs of samples, those of one label above a
    margin, and those of two labels below another margin."""

    reads = fields(
        batch_contrastive_loss_param=(
            "positive_margin negative_margin positive_weight negative_weight max_only"
        )
    )

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        if bottoms[0][:1] != bottoms[0][1:2]:
            raise layer.error(
                f"its first bottom must have N x N values, got {shape_text(bottoms[0])}"
            )


class NCALoss(_Accumulating):
    """Forks (happynear): of distances from classes, the distance from the label, and exp(-x) of the
    others, or of the least of them."""

    reads = fields(nca_param="min_negative_only")


class AnchorEmbeddingExtractor(LayerType):
    """Forks (OpenVINO): the embedding of each matched detection of bottom 0, from the map of its anchor
    (bottoms 1 to 4), and its label. The number of rows depends on data; before it runs it is 1."""

    reads = fields(
        embedding_extractor_param=(
            "num_anchors label_src_pos num_valid_actions output_instance_weights output_proposals"
        )
    )
    required = ("embedding_extractor_param.num_anchors", "embedding_extractor_param.label_src_pos")
    stock = False
    source = OPENVINO
    data_axis = 0
    refusal = ("it selects detections by the labels of training data", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.embedding_extractor_param
        if p.num_anchors != 4:
            raise layer.error(f"num_anchors must be 4, got {p.num_anchors}")
        check_bottoms(layer, 5, 5)
        check_tops(layer, 2, 3)
        check_rank(layer, bottoms[1:], 4, 4)
        if any(shape[1:] != bottoms[1][1:] for shape in bottoms[1:]):
            raise layer.error("the maps of its anchors must have the same shape")
        third: Shape = (1, 5) if p.output_proposals else (1,)
        return [(1, bottoms[1][1]), (1,), third][: len(layer.tops)]
