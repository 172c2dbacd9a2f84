"""Online hard example mining (R-FCN, Intel's Caffe): losses of each region, and their selection."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, axis_of, check_bottoms, fields, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import beside, cut_along
from protogen.layers.graph import Layer
from protogen.layers.labels import (
    FLT_MIN,
    check_labels,
    draw_labels,
    scalar_shape,
    total,
    values_at_labels,
)
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

INTEL = "intel/caffe"
NORMALIZED = "normalize normalization pre_fixed_normalizer"


def normalizer(layer: Layer, count: int, outer: int) -> float:
    """Return the divisor of a loss without ignored labels: 1 or above. ``count`` is the number of
    positions, ``outer`` that of samples."""
    p = layer.params.loss_param
    mode = str(p.normalization)
    if not p.has("normalization") and p.has("normalize"):
        mode = "VALID" if p.normalize else "BATCH_SIZE"
    divisors = {"FULL": count, "VALID": count, "BATCH_SIZE": outer, "NONE": 1}
    return max(1.0, float(divisors.get(mode, p.pre_fixed_normalizer)))


class _RegionLoss(LayerType, abstract=True):
    """Base class of the losses: a scalar, and tops with the loss of each region."""

    is_loss = True
    stock = False
    source = INTEL

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(1, len(layer.bottoms))

    def scalar(self, e: Emitter, terms: str, divisor: float, write: str) -> None:
        """Emit the sum of the terms divided by the normalizer."""
        loss = e.value("Div", total(e, terms, 1.0), e.array(divisor))
        e.op("Reshape", [loss, e.array(scalar_shape())], [write])


class SoftmaxWithLossOHEM(_RegionLoss):
    """Intel, R-FCN: SoftmaxWithLoss with the probabilities as a second top, and the loss of each
    position in the shape of the labels as a third top."""

    reads = fields(softmax_param="axis", loss_param=f"{NORMALIZED} ignore_label")
    limits = "not ignore_label"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 0, 3)
        check_labels(layer, bottoms, layer.params.softmax_param.axis)
        tops: list[Shape] = [(), bottoms[0], bottoms[1]]
        return tops[: max(1, len(layer.tops))]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        axis, p = layer.params.softmax_param.axis, layer.params.loss_param
        return draw_labels(layer, shapes, axis, p, rng) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        if layer.params.loss_param.has("ignore_label"):
            raise layer.unsupported(
                "ignore_label is unsupported: its code for CPUs adds the losses of other positions",
                "Remove ignore_label, or use SoftmaxWithLoss.",
            )
        shape = e.shape(layer.reads[0])
        axis = axis_of(layer, layer.params.softmax_param.axis, len(shape))
        probability = e.value("Softmax", layer.reads[0], axis=axis)
        chosen = values_at_labels(e, probability, shape, axis, layer.reads[1])
        terms = e.value("Neg", e.value("Log", e.value("Max", chosen, e.array(FLT_MIN))))
        count = math.prod(shape) // shape[axis]
        if layer.writes:
            divisor = normalizer(layer, count, math.prod(shape[:axis]))
            self.scalar(e, terms, divisor, layer.writes[0])
        if len(layer.writes) > 1:
            e.op("Identity", [probability], [layer.writes[1]])
        if len(layer.writes) > 2:
            after = e.array(list(e.shape(layer.writes[2])))
            e.op("Reshape", [terms, after], [layer.writes[2]])


class SmoothL1LossOHEM(_RegionLoss):
    """Intel, R-FCN: SmoothL1Loss of weighted differences; a second top is the loss of each region,
    (N, 1, H, W)."""

    reads = fields(loss_param=NORMALIZED)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 3)
        check_tops(layer, 0, 2)
        first = four_axes(layer, bottoms[0])
        for name, shape in zip(layer.bottoms[1:], bottoms[1:], strict=True):
            if four_axes(layer, shape) != first:
                raise layer.error(
                    f'"{name}" must have the shape of "{layer.bottoms[0]}", {shape_text(bottoms[0])}, '
                    f"got {shape_text(shape)}"
                )
        tops: list[Shape] = [(), (first[0], 1, *first[2:])]
        return tops[: max(1, len(layer.tops))]

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(2, len(layer.bottoms))

    def lower(self, layer: Layer, e: Emitter) -> None:
        n, c, h, w = four_axes(layer, e.shape(layer.reads[0]))
        flat = [e.value("Reshape", read, e.array([n, c, h, w])) for read in layer.reads]
        x = e.value("Sub", flat[0], flat[1])
        x = e.value("Mul", flat[2], x) if len(flat) > 2 else x
        size = e.value("Abs", x)
        near = e.value("Mul", e.value("Mul", x, x), e.array(0.5))
        far = e.value("Sub", size, e.array(0.5))
        terms = e.value("Where", e.value("Less", size, e.array(1.0)), near, far)
        if layer.writes:
            self.scalar(e, terms, normalizer(layer, n * h * w, n), layer.writes[0])
        if len(layer.writes) > 1:
            each = e.reduce("ReduceSum", terms, [1])
            e.op("Identity", [each], [layer.writes[1]])


class BoxAnnotatorOHEM(LayerType):
    """Intel, R-FCN: of each image, the roi_per_img regions with the highest losses. The first top is
    their labels, ignore_label for the other regions; the second top is the weights of their deltas,
    0 for the others. Bottoms: regions, losses, labels and weights."""

    source = INTEL
    stock = False
    reads = fields(box_annotator_ohem_param="roi_per_img ignore_label")
    limits = "one loss per region"

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return ()

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 4, 4)
        check_tops(layer, 2, 2)
        if layer.params.box_annotator_ohem_param.roi_per_img < 1:
            raise layer.error("roi_per_img must be at least 1, got 0")
        shapes = [four_axes(layer, shape) for shape in bottoms]
        n, _, h, w = shapes[0]
        for name, shape, channels in zip(layer.bottoms, shapes, (5, 1, 1, 0), strict=True):
            if (shape[0], *shape[2:]) != (n, h, w) or shape[1] != (channels or shape[1]):
                form = shape_text((n, channels or "C", h, w))
                raise layer.error(f'"{name}" must have shape {form}, got {shape_text(shape)}')
        return [(n, 1, h, w), (n, shapes[3][1], h, w)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, 2, shapes[0]) if index == 0 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        n, channels, h, w = e.shape(layer.writes[1])
        if h * w != 1:
            raise layer.unsupported(
                f"losses of several positions per region ({h}x{w}) are unsupported: its code counts "
                "images beyond its first bottom",
                "Use one loss per region.",
            )
        p = layer.params.box_annotator_ohem_param
        rows = e.value("Reshape", layer.reads[0], e.array([n, 5]))
        image = cut_along(e, rows, 1, 0, 1)
        loss = e.value("Reshape", layer.reads[1], e.array([n, 1]))
        number = e.array([[float(i)] for i in range(n)])

        # A region's rank: the regions of its image with a higher loss. Of equal losses, the first
        # one is the higher.
        earlier = e.value("And", beside(e, "Equal", loss), beside(e, "Less", number))
        above = e.value("Or", beside(e, "Greater", loss), earlier)
        above = e.value("And", above, beside(e, "Equal", image))
        rank = e.reduce("ReduceSum", e.value("Cast", above, to=FLOAT), [1])
        is_valid = e.value("Less", rank, e.array(float(p.roi_per_img)))
        for read, write, other, width in (
            (layer.reads[2], layer.writes[0], float(p.ignore_label), 1),
            (layer.reads[3], layer.writes[1], 0.0, channels),
        ):
            values = e.value("Reshape", read, e.array([n, width]))
            values = e.value("Where", is_valid, values, e.array(other))
            e.op("Reshape", [values, e.array([n, width, 1, 1])], [write])
