"""Suppression of boxes in their given order, as TPU-MLIR's Proposal does it (sophgo/caffe)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.layers.base import check_room
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection import anchors as boxes_of
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.forks.regions import proposing, selecting
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


def suppressed_in_order(layer: Layer, e: Emitter, anchors: NDArray[np.floating]) -> None:
    """Emit the regions of each image: (N, 1, rpn_nms_post_top_n, 5), with zeros after the last.

    The boxes with a score of at least rpn_obj_threshold are compared in order of anchor, row and
    column. Of two that overlap by more than rpn_nms_threshold, the one with the lower score is
    removed at once, so it cannot remove others. The first ones that remain are the regions.
    """
    p = layer.params.proposal_param
    images, _, height, width = e.shape(layer.reads[0])
    count = len(anchors) * height * width
    check_room(layer, 4 * count)
    every = boxes_of.shifted(anchors, height, width, p.feat_stride, True)
    # Its centres count the last pixel only half: x0 + (width - 1) / 2.
    size = e.array(every[:, 2:] - every[:, :2] + 1)
    centre = e.array((every[:, :2] + every[:, 2:]) / 2)
    last = [float(p.net_input_w - 1), float(p.net_input_h - 1)] * 2
    post = p.rpn_nms_post_top_n
    parts = []
    for image in range(images):
        maps = [cut_along(e, read, 0, image, image + 1) for read in layer.reads[:2]]
        scores, deltas = (
            _rows(e, read, len(anchors), height * width, values)
            for read, values in zip(maps, (1, 4), strict=True)
        )
        boxes = selecting.decode_around(e, deltas, size, centre)
        boxes = selecting.clip(e, boxes, e.array(last))
        high = e.value("GreaterOrEqual", scores, e.array(float(p.rpn_obj_threshold)))
        boxes = e.value("Compress", boxes, high, axis=0)
        scores = e.value("Compress", scores, high, axis=0)
        is_valid = _survivors(e, boxes, scores, float(p.rpn_nms_threshold))
        boxes = e.value("Compress", boxes, is_valid, axis=0)
        parts.append(proposing.filled(e, selecting.regions(e, boxes, image), post))
    rows = e.value("Concat", *parts, axis=0)
    e.op("Reshape", [rows, e.array([images, 1, post, 5])], [layer.writes[0]])


def _rows(e: Emitter, read: str, anchors: int, pixels: int, values: int) -> str:
    """Emit the last ``anchors`` * ``values`` channels of a map of one image in order of anchor and
    pixel: (n, values), or (n,) for one value."""
    split = e.value("Reshape", read, e.array([-1, values, pixels]))
    split = cut_along(e, split, 0, -anchors, 1 << 31)
    if values == 1:
        return e.value("Reshape", split, e.array([anchors * pixels]))
    moved = e.value("Transpose", split, perm=[0, 2, 1])
    return e.value("Reshape", moved, e.array([anchors * pixels, values]))


def _survivors(e: Emitter, boxes: str, scores: str, overlap: float) -> str:
    """Emit which boxes remain: bool (n,).

    A Loop over the boxes: a box that is still there removes the later boxes that it overlaps, up to
    the first of them with a higher score, which removes the box itself.
    """
    corners = [e.value("Squeeze", cut_along(e, boxes, 1, i, i + 1), e.array([1])) for i in range(4)]
    x0, y0, x1, y1 = corners
    one = e.array(1.0)
    width, height = (e.value("Add", e.value("Sub", b, a), one) for a, b in ((x0, x1), (y0, y1)))
    area = e.value("Mul", width, height)
    count = e.value("Squeeze", first_length(e, boxes), e.array([0]))
    order = e.value("Cast", e.value("Range", e.array(0), count, e.array(1)), to=FLOAT)
    there = e.value("Add", e.value("Mul", order, e.array(0.0)), one)

    def step(index: str, states: Sequence[str]) -> list[str]:
        there, x0, y0, x1, y1, area, scores, order = states
        own = {name: e.value("Gather", name, index, axis=0) for name in states}
        sides = []
        for low, high in ((x0, x1), (y0, y1)):
            end, start = e.value("Min", high, own[high]), e.value("Max", low, own[low])
            sides.append(e.value("Max", e.value("Sub", end, start), e.array(0.0)))
        shared = e.value("Mul", *sides)
        union = e.value("Sub", e.value("Add", own[area], area), shared)
        over = selecting.compared(e, "Greater", e.value("Div", shared, union), e.array(overlap))
        later = selecting.compared(e, "Greater", order, own[order])
        met = e.value("Mul", e.value("Mul", over, later), e.value("Mul", there, own[there]))
        higher = e.value("Mul", met, selecting.compared(e, "Greater", scores, own[scores]))
        # The order number of the first box with a higher score, or a number above all others.
        far = e.value("Where", selecting.as_bool(e, higher), order, e.array(float(1 << 30)))
        bound = e.array([float(1 << 30)])
        first = e.reduce("ReduceMin", e.value("Concat", far, bound, axis=0), [0], keepdims=True)
        removed = e.value("Mul", met, selecting.compared(e, "Less", order, first))
        loses = selecting.compared(e, "Less", first, bound)
        itself = e.value("Mul", selecting.compared(e, "Equal", order, own[order]), loses)
        there = e.value("Sub", e.value("Sub", there, removed), itself)
        return [there, *states[1:]]

    last = e.loop(count, [there, *corners, area, scores, order], step)[0]
    return selecting.as_bool(e, last)
