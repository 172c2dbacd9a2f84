"""Layers of MTCNN's forks: windows of a face detector."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, fields, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


class PredictBox(LayerType):
    """MTCNN (happynear/caffe-windows): a window (x, y, width, height, score) for each pixel whose
    score is above positive_thresh, zeros for the others; bottoms scores (N, 2, H, W), regression
    (N, 4, H, W), and either the maximum of scores nearby (N, 2, H, W) or a map of stitched images
    (N, 3, H, W): x, y and size of the window.

    A second top lists the windows of a single image. Its length depends on data.
    """

    stock = False
    source = "happynear/caffe-windows"
    reads = fields(predict_box_param="stride receptive_field positive_thresh bbreg_exp")
    limits = "one top"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 3)
        check_tops(layer, 1, 2)
        n, channels, h, w = four_axes(layer, bottoms[0])
        others = [four_axes(layer, shape) for shape in bottoms[1:]]
        allowed = ((4,), (2, 3))
        for name, shape, counts in zip(layer.bottoms[1:], others, allowed, strict=False):
            if shape not in [(n, count, h, w) for count in counts]:
                raise layer.error(
                    f'bottom "{name}" must have shape {shape_text((n, counts[0], h, w))}, got '
                    f"{shape_text(shape)}"
                )
        if channels != 2:
            raise layer.error(f'bottom "{layer.bottoms[0]}" must have 2 channels, got {channels}')
        tops: list[Shape] = [(n, 5, h, w), (n, 1, 5)]
        return tops[: len(layer.tops)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        if len(layer.writes) > 1:
            raise layer.unsupported(
                "the length of its second top depends on data", "Remove the second top."
            )
        p = layer.params.predict_box_param
        reads = layer.reads
        _, _, h, w = four_axes(layer, e.shape(reads[0]))
        score = cut_along(e, reads[0], 1, 1, 2)
        is_window = e.value("Greater", score, e.array(float(p.positive_thresh)))
        y, x = (p.stride * places.astype(np.float32) for places in np.indices((h, w)))
        start = e.array(np.stack([x, y])[None] / np.float32(12))
        field = e.array(float(p.receptive_field))
        if len(reads) == 3 and e.shape(reads[2])[1] == 2:
            best = e.value("Sub", cut_along(e, reads[2], 1, 1, 2), e.array(1e-5))
            is_window = e.value("And", is_window, e.value("Greater", score, best))
        elif len(reads) == 3:
            shift = e.value("Div", cut_along(e, reads[2], 1, 0, 2), e.array(12.0))
            start = e.value("Sub", start, shift)
            field = cut_along(e, reads[2], 1, 2, 3)
            is_empty = e.value("Equal", field, e.array(0.0))
            is_window = e.value("And", is_window, e.value("Not", is_empty))
        start = e.value("Mul", start, field)
        zeros = e.value("Mul", score, e.array(0.0))  # (N, 1, H, W)
        size = e.value("Add", field, zeros)
        size = e.value("Concat", size, size, axis=1)
        if len(reads) > 1:
            start, size = self._regressed(e, bool(p.bbreg_exp), reads[1], start, size, field)
        start = e.value("Add", start, zeros)
        window = e.value("Concat", start, size, score, axis=1)
        e.op("Where", [is_window, window, e.array(0.0)], [layer.writes[0]])

    def _regressed(
        self, e: Emitter, exp: bool, shifts: str, start: str, size: str, field: str
    ) -> tuple[str, str]:
        """Emit the corner and the size after the regression, which has y before x without ``exp``."""
        first, second = cut_along(e, shifts, 1, 0, 2), cut_along(e, shifts, 1, 2, 4)
        if exp:
            start = e.value("Add", start, e.value("Mul", first, field))
            return start, e.value("Mul", size, e.value("Exp", second))
        order = e.array([1, 0])
        first, second = (e.value("Gather", part, order, axis=1) for part in (first, second))
        start = e.value("Add", start, e.value("Mul", first, field))
        growth = e.value("Mul", e.value("Sub", second, first), field)
        return start, e.value("Add", size, growth)
