"""Regions of the next stage in MS-CNN and Cascade R-CNN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along, first_length
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
