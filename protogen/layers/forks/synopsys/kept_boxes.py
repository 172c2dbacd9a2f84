"""Non-maximum suppression in Synopsys' fork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, axis_of, check_bottoms, check_rank, fields
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


def filled(e: Emitter, rows: str, count: int, width: int) -> str:
    """Emit the rows and zeros after them, ``count`` rows in all."""
    zeros = e.array([[0] * width] * count)
    both = e.value("Concat", rows, zeros, axis=0)
    return e.value("Slice", both, e.array([0]), e.array([count]), e.array([0]))


class _Boxes(LayerType, abstract=True):
    """Base class of NMS and NMSGather: boxes y1, x1, y2, x2 in order of descending score, on ``axis``.
    A box is dropped if it overlaps an earlier one by more than ``iou_threshold``. The fork reads
    beyond its memory if fewer than ``top_k`` boxes remain; here zeros follow them."""

    stock = False
    source = SYNOPSYS

    def params(self, layer: Layer) -> Any:
        return getattr(layer.params, next(iter(self.reads)))

    def axis(self, layer: Layer, shape: Shape) -> int:
        """Return the axis of the boxes.

        Raises:
            InputError: the bottom does not hold boxes, or has fewer than top_k.
        """
        p = self.params(layer)
        check_rank(layer, [shape], 2, 2)
        axis = axis_of(layer, p.axis, 2)
        if shape[1 - axis] != 4:
            raise layer.error(f"axis {1 - axis} must have the length 4, got {shape_text(shape)}")
        if not 1 <= p.top_k <= shape[axis]:
            raise layer.error(f"top_k must be from 1 to {shape[axis]}, got {p.top_k}")
        if not p.iou_threshold >= 0:
            raise layer.error(f"iou_threshold must be at least 0, got {p.iou_threshold:g}")
        return axis

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[0])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def indices(self, layer: Layer, e: Emitter) -> str:
        """Emit the indices of the boxes that remain: int64 (top_k,)."""
        p, shape = self.params(layer), e.shape(layer.reads[0])
        axis = self.axis(layer, shape)
        count = shape[axis]
        boxes = layer.reads[0] if axis == 0 else e.value("Transpose", layer.reads[0], perm=[1, 0])
        scores = e.array([[[float(count - i) for i in range(count)]]])
        limits = [e.array([p.top_k]), e.array([min(1.0, p.iou_threshold)])]
        boxes = e.value("Unsqueeze", boxes, e.array([0]))
        rows = e.value("NonMaxSuppression", boxes, scores, *limits)
        rows = filled(e, rows, p.top_k, 3)
        return e.value("Gather", rows, e.array(2), axis=1)


class NMS(_Boxes):
    """The indices of the first ``top_k`` boxes that non-maximum suppression keeps."""

    reads = fields(nms_param="top_k axis iou_threshold")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        self.axis(layer, bottoms[0])
        return [(layer.params.nms_param.top_k,)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Cast", [self.indices(layer, e)], [layer.writes[0]], to=FLOAT)


class NMSGather(_Boxes):
    """The first ``top_k`` boxes that non-maximum suppression keeps."""

    reads = fields(nms_gather_param="top_k axis iou_threshold")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        count = layer.params.nms_gather_param.top_k
        return [(count, 4) if self.axis(layer, bottoms[0]) == 0 else (4, count)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = self.axis(layer, e.shape(layer.reads[0]))
        e.op("Gather", [layer.reads[0], self.indices(layer, e)], [layer.writes[0]], axis=axis)


class NonMaxSuppression(LayerType):
    """As ONNX's NonMaxSuppression: rows of batch, class and box. The top has
    ``max_output_boxes_per_class`` rows for each class and sample; zeros follow the selected ones."""

    reads = fields(
        non_max_suppression_param=(
            "max_output_boxes_per_class iou_threshold score_threshold center_point_box"
        )
    )
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 3, 3)
        p, (boxes, scores) = layer.params.non_max_suppression_param, bottoms
        if boxes[0] != scores[0] or boxes[1] != scores[2] or boxes[2] != 4:
            raise layer.error(
                "its bottoms must have the shapes (N, boxes, 4) and (N, classes, boxes), got "
                f"{shape_text(boxes)} and {shape_text(scores)}"
            )
        if not 0 <= p.iou_threshold <= 1:
            raise layer.error(f"iou_threshold must be from 0 to 1, got {p.iou_threshold:g}")
        if p.max_output_boxes_per_class < 1 or p.center_point_box not in (0, 1):
            raise layer.error(
                "max_output_boxes_per_class must be at least 1, and center_point_box 0 or 1",
                "Set them.",
            )
        return [(p.max_output_boxes_per_class * boxes[0] * scores[1], 3)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[index])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.non_max_suppression_param
        limits = [
            e.array([p.max_output_boxes_per_class]),
            e.array([float(p.iou_threshold)]),
            e.array([float(p.score_threshold)]),
        ]
        attrs = {"center_point_box": p.center_point_box}
        rows = e.value("NonMaxSuppression", *layer.reads, *limits, **attrs)
        rows = filled(e, rows, e.shape(layer.writes[0])[0], 3)
        e.op("Cast", [rows], [layer.writes[0]], to=FLOAT)
