"""RetinaFaceDetection of TPU-MLIR's Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import check_bottoms, check_rank, fields
from protogen.layers.forks.detection.detectors import Candidates, _Detector, rows_where
from protogen.layers.forks.detection.in_turn import columns, common_sides, flat, with_dead_row
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.graph import Layer
from protogen.layers.values import positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

# Stride and scales of the anchors, from the last three bottoms to the first three.
_LEVELS = ((32, (32, 16)), (16, (8, 4)), (8, (2, 1)))
_WIDTH = 17  # of the box that the scales multiply: the code adds 1 to 16 once more


class RetinaFaceDetection(_Detector):
    """RetinaFace: nine bottoms, scores (N, 4, H, W), boxes (N, 8, H, W) and landmarks (N, 20, H, W) for
    strides 8, 16 and 32, with two anchors per pixel. Rows of 15: corners, score, five landmarks (x, y),
    in order of descending score.

    A box is a candidate if its score, in the second half of the channels, is at least
    confidence_threshold. A selected box k leaves out a later box i if w h / (a_k + a_i - w h) is above
    nms_threshold, where w and h are the sides that box i has in common with box k + 1: the code has
    already moved on to the next box.
    """

    reads = fields(retinaface_detection_param="nms_threshold confidence_threshold keep_topk")
    width = 15

    def keep(self, layer: Layer) -> int:
        return int(layer.params.retinaface_detection_param.keep_topk)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[index]) if index % 3 == 0 else None

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 9, 9)
        check_rank(layer, bottoms, 4, 4)
        for i, (name, shape) in enumerate(zip(layer.bottoms, bottoms, strict=True)):
            size = bottoms[i - i % 3][2:]
            expected = (bottoms[0][0], (4, 8, 20)[i % 3], *size)
            if shape != expected:
                raise layer.error(
                    f'bottom "{name}" must have shape {shape_text(expected)}, got {shape_text(shape)}'
                )
        return super().shapes(layer, bottoms)

    def candidates(self, layer: Layer, e: Emitter, image: int) -> Candidates:
        p = layer.params.retinaface_detection_param
        parts = []
        for level, (stride, scales) in enumerate(_LEVELS):
            first = 6 - 3 * level
            h, w = e.shape(layer.reads[first])[2:]
            read = [
                cut_along(e, name, 0, image, image + 1) for name in layer.reads[first : first + 3]
            ]
            parts.append(_decoded(e, read, _anchors(h, w, stride, scales)))
        table = e.value("Concat", *parts, axis=0)
        least = e.array(float(p.confidence_threshold))
        is_kept = e.value("GreaterOrEqual", cut_along(e, table, 1, 4, 5), least)
        table = rows_where(e, is_kept, table)
        scores = flat(e, cut_along(e, table, 1, 4, 5))
        best = [f"{scores}@sorted", f"{scores}@places"]
        e.op("TopK", [scores, first_length(e, scores)], best, axis=0)
        table = with_dead_row(e, e.value("Gather", table, best[1], axis=0), 15)
        low, high = columns(e, table, 2, 2)
        size = e.value("Add", e.value("Sub", high, low), e.array(1.0))
        area = e.value("Mul", *columns(e, size, 1, 1))
        boxes = e.value("Concat", low, high, area, axis=1)
        turns = e.value("Concat", _moved_up(e, low), _moved_up(e, high), area, axis=1)
        # The row at the end has no size, but a candidate may have any.
        count = e.value("Squeeze", first_length(e, table), e.array([0]))
        places = e.value("Range", e.array(0), count, e.array(1))
        is_alive = e.value("Less", places, e.value("Sub", count, e.array(1)))
        judge = partial(_judge, limit=float(p.nms_threshold))
        return Candidates(table, is_alive, boxes, turns, judge)


def _judge(e: Emitter, boxes: str, turn: str, limit: float) -> tuple[str, str]:
    """Emit which boxes a selected box leaves out; see ``survivors``."""
    low, high, area = columns(e, boxes, 2, 2, 1)
    next_low, next_high, own_area = columns(e, turn, 2, 2, 1)
    width, height = common_sides(e, low, high, next_low, next_high, 1.0)
    zero = e.array(0.0)
    is_common = e.value("And", e.value("Greater", width, zero), e.value("Greater", height, zero))
    common = e.value("Mul", width, height)
    ratio = e.value("Div", common, e.value("Sub", e.value("Add", own_area, area), common))
    near = e.value("Greater", ratio, e.array(limit))
    return flat(e, e.value("And", near, is_common)), ""


def _moved_up(e: Emitter, table: str) -> str:
    """Emit the rows of a table from the second on, and its last row again."""
    rest = e.value("Slice", table, e.array([1]), e.array([1 << 62]), e.array([0]))
    last = e.value("Slice", table, e.array([-1]), e.array([1 << 62]), e.array([0]))
    return e.value("Concat", rest, last, axis=0)


def _anchors(h: int, w: int, stride: int, scales: Sequence[int]) -> NDArray[np.float32]:
    """Return centre and size of each anchor: (scales * H * W, 3), float32."""
    import numpy as np

    scale, y, x = np.indices((len(scales), h, w), np.float32).reshape(3, -1)
    size = _WIDTH * np.array(scales, np.float32)[scale.astype(int)]
    low = 8 - (size - 1) / 2
    return np.stack([low + x * stride + size / 2, low + y * stride + size / 2, size + 1], 1)


def _decoded(e: Emitter, read: Sequence[str], anchors: NDArray[np.float32]) -> str:
    """Emit the rows of one level and image, in order of anchor and pixel: (B, 15)."""
    count = len(anchors)
    scores, boxes, landmarks = (
        e.value(
            "Reshape",
            e.value("Transpose", e.value("Reshape", name, e.array(shape)), perm=[0, 2, 1]),
            e.array([count, shape[1]]),
        )
        for name, shape in zip(
            (cut_along(e, read[0], 1, 2, 4), *read[1:]),
            ([2, 1, count // 2], [2, 4, count // 2], [2, 10, count // 2]),
            strict=True,
        )
    )
    centre, size = e.array(anchors[:, :2]), e.array(anchors[:, 2:])
    middle = e.value("Add", e.value("Mul", cut_along(e, boxes, 1, 0, 2), size), centre)
    whole = e.value("Mul", e.value("Exp", cut_along(e, boxes, 1, 2, 4)), size)
    half = e.value("Mul", e.value("Sub", whole, e.array(1.0)), e.array(0.5))
    points = e.value("Mul", landmarks, size)
    points = e.value("Add", points, e.value("Concat", *[centre] * 5, axis=1))
    ends = [e.value("Sub", middle, half), e.value("Add", middle, half)]
    return e.value("Concat", *ends, scores, points, axis=1)
