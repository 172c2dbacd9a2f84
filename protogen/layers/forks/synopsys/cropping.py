"""Regions of pictures, cropped and resized as in TensorFlow (Synopsys' fork)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.dense import INT64
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class CropAndResize(LayerType):
    """Regions, resized bilinearly to crop_h x crop_w. Bottoms: pictures, the picture of each region,
    and its corners y1, x1, y2, x2 from 0 to 1; positions beyond the picture give
    ``extrapolation_value``. The axes are N, H, W, C, or N, C, H, W if ``data_format`` is not NHWC."""

    reads = fields(crop_and_resize_param="crop_h crop_w extrapolation_value data_format")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_rank(layer, bottoms[:1], 4, 4)
        p = layer.params.crop_and_resize_param
        if min(p.crop_h, p.crop_w) < 1:
            raise layer.error(
                f"crop_h and crop_w must be at least 1, got {p.crop_h} and {p.crop_w}"
            )
        if p.data_format not in ("NHWC", "NCHW"):
            raise layer.error(f"data_format must be NHWC or NCHW, got {p.data_format!r}")
        count = bottoms[1][0] if len(bottoms[1]) == 1 else -1
        if bottoms[2] != (count, 4):
            raise layer.error(
                "its second and third bottom must have the shapes (R,) and (R, 4), got "
                f"{shape_text(bottoms[1])} and {shape_text(bottoms[2])}"
            )
        if p.data_format == "NHWC":
            return [(count, p.crop_h, p.crop_w, bottoms[0][3])]
        return [(count, bottoms[0][1], p.crop_h, p.crop_w)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index == 1:
            return whole(rng, shapes[0][0], shapes[1])
        return rng.uniform(-0.1, 1.1, shapes[2]).astype("float32") if index == 2 else None

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, shape = layer.params.crop_and_resize_param, e.shape(layer.reads[0])
        images = layer.reads[0]
        if p.data_format != "NHWC":
            images = e.value("Transpose", images, perm=[0, 2, 3, 1])
            shape = (shape[0], *shape[2:], shape[1])
        n, h, w, c = shape
        pixels = e.value("Reshape", images, e.array([n * h * w, c]))
        rows = self._positions(e, layer.reads[2], (0, 2), h, p.crop_h)
        columns = self._positions(e, layer.reads[2], (1, 3), w, p.crop_w)
        up, down, y, valid_y = (e.value("Unsqueeze", value, e.array([2])) for value in rows)
        left, right, x, valid_x = (e.value("Unsqueeze", value, e.array([1])) for value in columns)
        picture = e.value("Cast", layer.reads[1], to=INT64)
        picture = e.value("Mul", e.value("Unsqueeze", picture, e.array([1, 2])), e.array(h * w))

        def pixel(row: str, column: str) -> str:
            place = e.value("Add", e.value("Mul", row, e.array(w)), column)
            return e.value("Gather", pixels, e.value("Add", place, picture), axis=0)

        def between(first: str, second: str, part: str) -> str:
            part = e.value("Unsqueeze", part, e.array([3]))
            return e.value("Add", first, e.value("Mul", e.value("Sub", second, first), part))

        above = between(pixel(up, left), pixel(up, right), x)
        below = between(pixel(down, left), pixel(down, right), x)
        is_valid = e.value("Unsqueeze", e.value("And", valid_y, valid_x), e.array([3]))
        other = e.array(float(p.extrapolation_value))
        top = e.value("Where", is_valid, between(above, below, y), other)
        if p.data_format != "NHWC":
            top = e.value("Transpose", top, perm=[0, 3, 1, 2])
        e.op("Identity", [top], [layer.writes[0]])

    def _positions(
        self, e: Emitter, boxes: str, sides: tuple[int, int], size: int, count: int
    ) -> tuple[str, str, str, str]:
        """Emit, for each region and output row, the input rows before and after its position, the part
        of the way between them, and whether the position is in the picture."""
        low, high = (
            e.value("Slice", boxes, e.array([i]), e.array([i + 1]), e.array([1])) for i in sides
        )
        last = e.array(float(size - 1))
        if count > 1:
            step = e.value("Mul", e.value("Sub", high, low), last)
            step = e.value("Div", step, e.array(float(count - 1)))
            steps = e.value("Mul", step, e.array([[float(i) for i in range(count)]]))
            place = e.value("Add", e.value("Mul", low, last), steps)
        else:
            middle = e.value("Mul", e.value("Add", low, high), e.array(0.5))
            place = e.value("Mul", middle, last)
        outside = e.value(
            "Or", e.value("Less", place, e.array(0.0)), e.value("Greater", place, last)
        )
        place = e.value("Clip", place, e.array(0.0), last)
        first = e.value("Floor", place)
        part = e.value("Sub", place, first)
        ends = [e.value("Cast", value, to=INT64) for value in (first, e.value("Ceil", place))]
        return ends[0], ends[1], part, e.value("Not", outside)


class PyramidROIAlign(LayerType):
    """Mask R-CNN: regions (first bottom), each cropped from the map of its level."""

    reads = fields(pyramid_roi_align_param="crop_height crop_width extrapolation_value data_format")
    required = ("pyramid_roi_align_param.crop_height", "pyramid_roi_align_param.crop_width")
    stock = False
    source = SYNOPSYS

    refusal = (
        "protogen does not export the choice of a level for each region",
        "End the net at its bottoms with --to-blob, and crop the regions outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3)
        check_rank(layer, bottoms[:1], 3, 3)
        p = layer.params.pyramid_roi_align_param
        if min(p.crop_height, p.crop_width) < 1:
            raise layer.error("crop_height and crop_width must be at least 1")
        size, channels = (p.crop_height, p.crop_width), bottoms[2][-1]
        rest = (*size, channels) if p.data_format == "NHWC" else (channels, *size)
        return [(*bottoms[0][:2], *rest)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
