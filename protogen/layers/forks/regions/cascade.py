"""Regions of the next stage in MS-CNN and Cascade R-CNN."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_room,
    fields,
    four_axes,
)
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import beside, cut_along, first_length
from protogen.layers.forks.regions import selecting
from protogen.layers.forks.regions.mscnn import BOX_REGRESSION, CASCADE, denormalized, four_deltas
from protogen.layers.graph import Layer
from protogen.layers.values import random_regions
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class DecodeBBox(LayerType):
    """MS-CNN, Cascade R-CNN: regions (R, 5, 1, 1) moved by deltas of class 1, from deltas (R, 8) and
    regions. In phase TRAIN it leaves out regions that are turned around and, with a third bottom,
    those whose overlap is at least gt_iou_thr."""

    source = CASCADE
    stock = False
    data_axis = 0
    reads = fields(decode_bbox_param="gt_iou_thr", bbox_reg_param=BOX_REGRESSION)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 3)
        check_tops(layer, 1, 1)
        known = four_deltas(layer)
        if known is not None and min(known[1]) <= 0:
            raise layer.error(f"bbox_std must be above 0, got {min(known[1]):g}")
        if len(bottoms) == 3 and layer.phase != "TRAIN":
            raise layer.error("a third bottom is valid in phase TRAIN only", "Remove it.")
        for name, shape, values in zip(layer.bottoms, bottoms, (8, 5, 0), strict=False):
            wrong = values and math.prod(shape[1:]) != values
            if shape[0] != bottoms[0][0] or wrong:
                form = f"{bottoms[0][0]} regions" + (f" of {values} values" if values else "")
                raise layer.error(f'"{name}" must have {form}, got shape {shape_text(shape)}')
        return [(bottoms[1][0], 5, 1, 1)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index != 1:
            return None
        return random_regions(rng, (shapes[1][0], 5), (1, 1, 100, 100), 1.0).reshape(shapes[1])

    def lower(self, layer: Layer, e: Emitter) -> None:
        deltas = e.value("Reshape", layer.reads[0], e.array([-1, 8]))
        deltas = denormalized(layer, e, cut_along(e, deltas, 1, 4, 8))
        rows = e.value("Reshape", layer.reads[1], e.array([-1, 5]))
        low, high = cut_along(e, rows, 1, 1, 3), cut_along(e, rows, 1, 3, 5)
        one, half = e.array(1.0), e.array(0.5)
        size = e.value("Add", e.value("Sub", high, low), one)
        centre = e.value("Mul", e.value("Add", high, low), half)
        centre = e.value("Add", e.value("Mul", cut_along(e, deltas, 1, 0, 2), size), centre)
        size = e.value("Mul", size, e.value("Exp", cut_along(e, deltas, 1, 2, 4)))
        low = e.value("Sub", centre, e.value("Mul", e.value("Sub", size, one), half))
        high = e.value("Sub", e.value("Add", low, size), one)
        rows = e.value("Concat", cut_along(e, rows, 1, 0, 1), low, high, axis=1)
        if layer.phase == "TRAIN":
            extent = e.value("Sub", high, low)
            smallest = e.reduce("ReduceMin", extent, [1], keepdims=False)
            is_valid = e.value("GreaterOrEqual", smallest, e.array(0.0))
            if len(layer.reads) == 3:
                values = math.prod(e.shape(layer.reads[2])[1:])
                overlap = e.value("Reshape", layer.reads[2], e.array([-1, values]))
                overlap = e.value(
                    "Reshape", cut_along(e, overlap, 1, values - 1, values), e.array([-1])
                )
                limit = e.array(float(layer.params.decode_bbox_param.gt_iou_thr))
                is_valid = e.value("And", is_valid, e.value("Less", overlap, limit))
            rows = e.value("Compress", rows, is_valid, axis=0)
        e.op("Unsqueeze", [rows, e.array([2, 3])], [layer.writes[0]])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class ScaleRoute(LayerType):
    """Cascade R-CNN: the regions whose size, the root of their area, is from low_scale to high_scale,
    and their entries in the other bottoms. If there is none, the region closest to the middle. Before
    it runs, Caffe reports 1 entry."""

    source = CASCADE
    stock = False
    data_axis = 0
    reads = fields(scale_route_param="low_scale high_scale")

    def _scales(self, layer: Layer) -> tuple[float, float, float]:
        """Return the low, the high and the middle size."""
        p = layer.params.scale_route_param
        low = float(p.low_scale) if p.has("low_scale") else 0.0
        high = float(p.high_scale) if p.has("high_scale") else 3.4028234663852886e38
        both = p.has("low_scale") and p.has("high_scale")
        if both:
            return low, high, math.sqrt(low * high)
        return low, high, low if p.has("low_scale") else high if p.has("high_scale") else 256.0

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        check_tops(layer, len(bottoms), len(bottoms))
        p = layer.params.scale_route_param
        low, high, _ = self._scales(layer)
        if (p.has("low_scale") and low <= 0) or high < low:
            raise layer.error(
                f"low_scale must be above 0 and at most high_scale, got {low:g} and {high:g}"
            )
        if math.prod(bottoms[0][1:]) != 5:
            raise layer.error(
                f'"{layer.bottoms[0]}" must hold rows of 5 values, got shape {shape_text(bottoms[0])}'
            )
        tops: list[Shape] = []
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[0] != bottoms[0][0] or len(shape) > 4:
                raise layer.error(
                    f'"{name}" must have {bottoms[0][0]} entries and at most 4 axes, got shape '
                    f"{shape_text(shape)}"
                )
            tops.append((1, *shape[1:], 1, 1, 1)[:4])
        return tops

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index:
            return None
        return random_regions(rng, (shapes[0][0], 5), (1, 1, 500, 500), 1.0).reshape(shapes[0])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        low, high, middle = self._scales(layer)
        rows = e.value("Reshape", layer.reads[0], e.array([-1, 5]))
        size = selecting.sizes(e, cut_along(e, rows, 1, 1, 5))
        # A box that is turned around has the size 0.
        turned = e.value("Cast", e.value("Less", size, e.array(1.0)), to=FLOAT)
        valid = e.value("Sub", e.array(1.0), e.reduce("ReduceMax", turned, [1], keepdims=False))
        area = e.value("Mul", cut_along(e, size, 1, 0, 1), cut_along(e, size, 1, 1, 2))
        area = e.value("Mul", e.value("Reshape", area, e.array([-1])), valid)
        scale = e.value("Sqrt", e.value("Max", area, e.array(0.0)))
        matched = e.value(
            "And",
            e.value("GreaterOrEqual", scale, e.array(low)),
            e.value("Less", scale, e.array(high)),
        )
        places = e.value("Reshape", e.value("NonZero", matched), e.array([-1]))
        distance = e.value("Abs", e.value("Log", e.value("Div", scale, e.array(middle))))
        nearest = e.value("ArgMin", distance, axis=0, keepdims=1)
        count = e.value("Max", first_length(e, places), e.array([1]))
        both = e.value("Concat", places, nearest, axis=0)
        places = e.value("Slice", both, e.array([0]), count, e.array([0]))
        for read, write in zip(layer.reads, layer.writes, strict=True):
            rest = e.shape(write)[1:]
            chosen = e.value("Gather", read, places, axis=0)
            e.op("Reshape", [chosen, e.array([-1, *rest])], [write])


class HardMining(LayerType):
    """Cascade R-CNN: of num_image images, the num_roi_per_image regions of each with the highest
    scores, then the best of the others, num_image x num_roi_per_image in all, in their order. Bottoms:
    scores, regions and further blobs; tops: the entries of the chosen regions in each bottom after
    the first."""

    source = CASCADE
    stock = False
    reads = fields(hard_mining_param="num_roi_per_image num_image")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(len(layer.bottoms))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2)
        check_tops(layer, len(bottoms) - 1, len(bottoms) - 1)
        p = layer.params.hard_mining_param
        if min(p.num_roi_per_image, p.num_image) < 1:
            raise layer.error("num_roi_per_image and num_image must be at least 1")
        shapes = [four_axes(layer, shape) for shape in bottoms]
        count = shapes[0][0]
        for name, shape, form in zip(
            layer.bottoms,
            shapes,
            ((1, 1, 1), (5, *shapes[1][2:]), *[()] * len(bottoms)),
            strict=False,
        ):
            if shape[0] != count or (form and shape[1:] != form):
                values = {1: " of 1 value", 5: " of 5 channels"}.get(form[0] if form else 0, "")
                raise layer.error(
                    f'"{name}" must have {count} entries{values}, got shape {shape_text(shape)}'
                )
        chosen = min(count, int(p.num_roi_per_image * p.num_image))
        return [(chosen, *shape[1:]) for shape in shapes[1:]]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        if any(layer.params.propagate_down):
            raise layer.error("propagate_down must be false for each bottom", "Remove it.")

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index != 1:
            return None
        rows = math.prod(shapes[1]) // 5
        images = layer.params.hard_mining_param.num_image
        regions = random_regions(rng, (rows, 5), (images, 1, 100, 100), 1.0)
        return regions.reshape(shapes[1])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.hard_mining_param
        shapes = [e.shape(read) for read in layer.reads]
        count = shapes[0][0]
        check_room(layer, count * count)
        rows = e.value("Reshape", layer.reads[1], e.array([count, math.prod(shapes[1][1:])]))
        image = e.value("Cast", cut_along(e, rows, 1, 0, 1), to=INT64)
        score = e.value("Reshape", layer.reads[0], e.array([count, 1]))
        number = e.array([[i] for i in range(count)])

        def rank(above: str) -> str:
            """Emit the number of regions that are above each region."""
            return e.reduce("ReduceSum", e.value("Cast", above, to=FLOAT), [1])

        # Of equal scores, that of the last region is the higher.
        later = e.value("And", beside(e, "Equal", score), beside(e, "Greater", number))
        above = e.value("Or", beside(e, "Greater", score), later)
        place = rank(e.value("And", above, beside(e, "Equal", image)))
        is_first = e.value("Less", place, e.array(float(p.num_roi_per_image)))
        is_first = e.value("Cast", is_first, to=FLOAT)
        above = e.value("And", above, beside(e, "Equal", is_first))
        place = rank(e.value("Or", beside(e, "Greater", is_first), above))
        chosen = e.shape(layer.writes[0])[0]
        is_chosen = e.value("Less", place, e.array(float(chosen)))
        # The chosen numbers in ascending order, before the others.
        order = e.value("Where", is_chosen, number, e.array(count))
        flat = e.value("Reshape", order, e.array([-1]))
        best = [f"{layer.writes[0]}@chosen", f"{layer.writes[0]}@places"]
        e.op("TopK", [flat, e.array([chosen])], best, axis=0, largest=0)
        for read, write in zip(layer.reads[1:], layer.writes, strict=True):
            values = e.value("Gather", read, best[1], axis=0)
            e.op("Reshape", [values, e.array(list(e.shape(write)))], [write])
