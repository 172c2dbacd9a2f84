"""Detectors of TPU-MLIR's Caffe: decoded boxes after non-maximum suppression.

The tops have keep_topk rows per image, with zeros at the end. The code lowers keep_topk to the number of
boxes of each image, also for the images after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.in_turn import (
    columns,
    common_sides,
    first_rows,
    flat,
    survivors,
    with_dead_row,
)
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.detection.yolo import Grid, check_channels, decoded
from protogen.layers.graph import Layer
from protogen.layers.values import positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


MOST = (1 << 63) - 1  # no limit on the number of rows
_ROOM = 500  # candidates of an image for which YoloDetection has room


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of an image, with a dead row at the end.

    Attributes:
        table: the rows of the top (B, width).
        is_alive: which candidates take part (B).
        boxes, turns, judge: see ``survivors``.
    """

    table: str
    is_alive: str
    boxes: str
    turns: str
    judge: Callable[[Emitter, str, str], tuple[str, str]]


class _Detector(LayerType, abstract=True):
    """Base class of TPU-MLIR's detectors."""

    stock = False
    source = "sophgo/caffe"
    has_round_trip_metadata = True
    width: ClassVar[int]  # of a row

    def keep(self, layer: Layer) -> int:
        """Return keep_topk."""
        raise NotImplementedError

    def images(self, bottoms: Sequence[Shape]) -> int:
        """Return the number of images."""
        return bottoms[0][0]

    def candidates(self, layer: Layer, e: Emitter, image: int) -> Candidates:
        """Emit the candidates of an image."""
        raise NotImplementedError

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if self.keep(layer) < 1:
            raise layer.error(f"keep_topk must be at least 1, got {self.keep(layer)}")
        return [(self.images(bottoms), 1, self.keep(layer), self.width)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        keep, tops = e.array([self.keep(layer)]), []
        for image in range(e.shape(layer.writes[0])[0]):
            one = self.candidates(layer, e, image)
            is_left = survivors(e, one.is_alive, one.boxes, one.turns, one.judge)
            top, keep = first_rows(e, is_left, one.table, keep, self.keep(layer), self.width)
            tops.append(top)
        e.op("Concat", tops, [layer.writes[0]], axis=0)


def rows_where(e: Emitter, is_kept: str, table: str, most: int = MOST) -> str:
    """Emit the first ``most`` rows of a table (B, D) for which ``is_kept`` (B, 1) holds."""
    places = e.value("Squeeze", e.value("NonZero", flat(e, is_kept)), e.array([0]))
    return e.value("Gather", table, cut_along(e, places, 0, 0, most), axis=0)


def _alive(e: Emitter, scores: str) -> str:
    """Emit whether scores (B, 1) are other than 0: the code marks left out boxes with 0."""
    return e.value("Not", e.value("Equal", flat(e, scores), e.array(0.0)))


class YoloDetection(_Detector):
    """YOLO v3 and v4: boxes of bottoms (N, 3 (5 + class_num), H, W). Rows of 6: centre x, centre y,
    width, height, class, score, in the order of bottoms, pixels and anchors.

    A box is a candidate if sigmoid(object) and its product with max softmax(classes), its score, are at
    least obj_threshold. Its centre is (i + sigmoid(x)) / W, its size exp(w) anchor / net_input_w. One
    box after another suppresses later ones of its class whose intersection over union with it is above
    nms_threshold, until a better one suppresses it. ``anchors`` holds 6 numbers per bottom, separated
    by commas; without them there are those of YOLO v3, v4 or tiny. The code has room for 500 candidates
    and 200 boxes of an image, and writes out of bounds with more; here later candidates are left out.
    """

    reads = fields(
        yolo_detection_param=(
            "net_input_h net_input_w nms_threshold obj_threshold keep_topk tiny class_num anchors "
            "yolo_v4"
        ),
    )
    harmless = MappingProxyType({"yolo_detection_param.spp_net": "the code does not use it"})
    width = 6

    def keep(self, layer: Layer) -> int:
        return int(layer.params.yolo_detection_param.keep_topk)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.yolo_detection_param
        if not 1 <= p.class_num <= 80:
            raise layer.error(f"class_num must be from 1 to 80, got {p.class_num}")
        if min(p.net_input_h, p.net_input_w) < 1:
            raise layer.error(
                f"net_input_h and net_input_w must be above 0, got {p.net_input_h} and {p.net_input_w}"
            )
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            check_channels(layer, name, shape, 3, 5 + p.class_num)
            if shape[0] < bottoms[0][0]:
                raise layer.error(
                    f'bottom "{name}" must have {bottoms[0][0]} images, got {shape[0]}'
                )
        count = len(self._anchors(layer))
        if count < 3 * len(bottoms):
            raise layer.error(
                f"{len(bottoms)} bottoms require {6 * len(bottoms)} anchors, got {2 * count}",
                "Set anchors.",
            )
        return super().shapes(layer, bottoms)

    def _anchors(self, layer: Layer) -> list[tuple[float, float]]:
        """Return width and height of the anchors of all bottoms, in pixels of the image.

        Raises:
            InputError: they are not numbers.
        """
        p = layer.params.yolo_detection_param
        values: list[float]
        if p.anchors:
            try:
                values = [float(value) for value in p.anchors.rstrip(",").split(",")]
            except ValueError:
                raise layer.error(
                    f"anchors must be numbers separated by commas, got {p.anchors!r}"
                ) from None
        elif p.tiny:
            values = list(map(float, _TINY))
        else:
            values = list(map(float, _YOLO_V4 if p.yolo_v4 else _YOLO_V3))
        return list(zip(values[::2], values[1::2], strict=False))

    def candidates(self, layer: Layer, e: Emitter, image: int) -> Candidates:
        p = layer.params.yolo_detection_param
        anchors, parts = self._anchors(layer), []
        for i, read in enumerate(layer.reads):
            _, _, h, w = e.shape(read)
            level_anchors = anchors[3 * i : 3 * i + 3]
            grid = Grid(h, w, 5 + p.class_num, level_anchors, p.net_input_w, p.net_input_h)
            parts.append(decoded(e, cut_along(e, read, 0, image, image + 1), grid, e.shape(read)))
        boxes, objects, classes = (
            e.value("Concat", *part, axis=0) for part in zip(*parts, strict=True)
        )
        objects = e.value("Sigmoid", objects)
        scores = e.value("Mul", objects, _largest_share(e, classes))
        limit = e.array(float(p.obj_threshold))
        is_kept = e.value(
            "And",
            e.value("GreaterOrEqual", objects, limit),
            e.value("GreaterOrEqual", scores, limit),
        )
        labels = e.value("Cast", e.value("ArgMax", classes, axis=1), to=FLOAT)
        table = e.value("Concat", boxes, labels, scores, axis=1)
        table = with_dead_row(e, rows_where(e, is_kept, table, _ROOM), 6)
        centre, size, labels, scores = columns(e, table, 2, 2, 1, 1)
        half = e.value("Mul", size, e.array(0.5))
        area = e.value("Mul", *columns(e, size, 1, 1))
        ends = [e.value("Sub", centre, half), e.value("Add", centre, half)]
        boxes = e.value("Concat", *ends, area, labels, scores, axis=1)
        return Candidates(table, _alive(e, scores), boxes, boxes, _judge(p.nms_threshold, True))


def _judge(limit: float, counts_apart: bool) -> Callable[[Emitter, str, str], tuple[str, str]]:
    """Return the ``judge`` of ``survivors`` for boxes of corners, area, class and score: which have the
    same class and an intersection over union above the limit, and which have a higher score.

    With ``counts_apart`` boxes without a common area have the ratio 0, otherwise none.
    """

    def judge(e: Emitter, boxes: str, turn: str) -> tuple[str, str]:
        low, high, area, label, score = columns(e, boxes, 2, 2, 1, 1, 1)
        own_low, own_high, own_area, own_label, own_score = columns(e, turn, 2, 2, 1, 1, 1)
        width, height = common_sides(e, low, high, own_low, own_high, 0.0)
        zero = e.array(0.0)
        common = e.value("Mul", e.value("Max", width, zero), e.value("Max", height, zero))
        ratio = e.value("Div", common, e.value("Sub", e.value("Add", own_area, area), common))
        near = e.value("Greater", ratio, e.array(float(limit)))
        if not counts_apart:
            near = e.value("And", near, e.value("Greater", common, zero))
        near = e.value("And", near, e.value("Equal", label, own_label))
        return flat(e, near), flat(e, e.value("Less", own_score, score))

    return judge


def _largest_share(e: Emitter, classes: str) -> str:
    """Emit the largest softmax of logits (B, classes): (B, 1). If the smallest logit is below -100, the
    code multiplies the differences from the largest one by -100 / the smallest one."""
    largest = e.reduce("ReduceMax", classes, [1])
    smallest = e.reduce("ReduceMin", classes, [1])
    apart = e.value("Sub", classes, largest)
    scaled = e.value("Mul", e.value("Div", apart, smallest), e.array(-100.0))
    apart = e.value("Where", e.value("Less", smallest, e.array(-100.0)), scaled, apart)
    return e.reduce("ReduceMax", e.value("Softmax", apart, axis=1), [1])


_YOLO_V3 = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
_YOLO_V4 = (142, 110, 192, 243, 459, 401, 36, 75, 76, 55, 72, 146, 12, 16, 19, 36, 40, 28)
_TINY = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)


class FrcnDetection(_Detector):
    """Faster R-CNN: boxes from deltas (N R, 4 class_num), scores (N R, class_num) and regions (N, 1, R,
    5). Rows of 6: corners, class, score, in the order of regions and classes.

    A box is a candidate for each class from 1 on whose score is above obj_threshold. One box after
    another suppresses later ones of its class whose overlap with it is above nms_threshold, until a
    better one suppresses it. The overlap is w h / (a + b - w h) with the areas (x1 - x0 + 1) (y1 - y0 +
    1), but without + 1 in w and h. The code has room for R candidates of an image, and writes out of
    bounds with more; here later ones are left out.
    """

    reads = fields(frcn_detection_param="nms_threshold obj_threshold keep_topk class_num")
    width = 6

    def keep(self, layer: Layer) -> int:
        return int(layer.params.frcn_detection_param.keep_topk)

    def images(self, bottoms: Sequence[Shape]) -> int:
        return bottoms[2][0]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[index]) if index == 1 else None

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        p, regions = layer.params.frcn_detection_param, bottoms[2]
        if len(regions) != 4 or (regions[1], regions[3]) != (1, 5):
            raise layer.error(
                f'bottom "{layer.bottoms[2]}" must have shape Nx1xRx5, got {shape_text(regions)}'
            )
        if p.class_num < 1:
            raise layer.error(f"class_num must be at least 1, got {p.class_num}")
        for i, values in ((0, 4 * p.class_num), (1, p.class_num)):
            expected, actual = regions[0] * regions[2] * values, math.prod(bottoms[i])
            if actual != expected:
                raise layer.error(
                    f'bottom "{layer.bottoms[i]}" must have {expected} values for '
                    f"{regions[0] * regions[2]} regions and class_num {p.class_num}, got {actual}"
                )
        return super().shapes(layer, bottoms)

    def candidates(self, layer: Layer, e: Emitter, image: int) -> Candidates:
        p = layer.params.frcn_detection_param
        classes = p.class_num
        images, _, count, _ = e.shape(layer.reads[2])
        table = e.value("Reshape", layer.reads[2], e.array([images, count, 1, 5]))
        regions = cut_along(e, cut_along(e, table, 0, image, image + 1), 3, 1, 5)
        deltas, scores = (
            cut_along(e, e.value("Reshape", read, e.array(shape)), 0, image, image + 1)
            for read, shape in zip(
                layer.reads,
                ([images, count, classes, 4], [images, count, classes, 1]),
                strict=False,
            )
        )
        low, high = (cut_along(e, regions, 3, i, i + 2) for i in (0, 2))
        size = e.value("Add", e.value("Sub", high, low), e.array(1.0))
        centre = e.value("Add", low, e.value("Mul", size, e.array(0.5)))
        centre = e.value("Add", e.value("Mul", cut_along(e, deltas, 3, 0, 2), size), centre)
        half = e.value("Mul", e.value("Exp", cut_along(e, deltas, 3, 2, 4)), size)
        half = e.value("Mul", half, e.array(0.5))
        names = e.value(
            "Expand",
            e.array([[[[float(c)] for c in range(classes)]]]),
            e.array([1, count, classes, 1]),
        )
        ends = [e.value("Sub", centre, half), e.value("Add", centre, half)]
        table = e.value("Concat", *ends, names, scores, axis=3)
        table = e.value("Reshape", cut_along(e, table, 2, 1, classes), e.array([-1, 6]))
        is_kept = e.value("Greater", cut_along(e, table, 1, 5, 6), e.array(float(p.obj_threshold)))
        table = with_dead_row(e, rows_where(e, is_kept, table, count), 6)
        low, high, labels, scores = columns(e, table, 2, 2, 1, 1)
        size = e.value("Add", e.value("Sub", high, low), e.array(1.0))
        area = e.value("Mul", *columns(e, size, 1, 1))
        boxes = e.value("Concat", low, high, area, labels, scores, axis=1)
        return Candidates(table, _alive(e, scores), boxes, boxes, _judge(p.nms_threshold, False))
