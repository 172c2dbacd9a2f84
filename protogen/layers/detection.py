"""The forks' detection layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from protogen.graph import Layer, Shape
from protogen.layers.base import Emitter, LayerType, Window, check_bottoms
from protogen.message import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def aspect_ratios(p: Message) -> list[float]:
    """1, every aspect ratio, and its inverse with ``flip``; ratios that repeat count once."""
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios.append(ratio)
            if p.flip:
                ratios.append(1.0 / ratio)
    return ratios


def prior_count(p: Message) -> int:
    """Boxes that PriorBox makes a pixel: one a ratio for each min_size, one for each max_size."""
    return len(aspect_ratios(p)) * len(p.min_size) + len(p.max_size)


def box_sizes(p: Message) -> Iterator[tuple[float, float]]:
    """Width and height of a pixel's boxes, in Caffe's order."""
    ratios = aspect_ratios(p)
    for i, size in enumerate(p.min_size):
        yield size, size
        if p.max_size:
            between = math.sqrt(size * p.max_size[i])
            yield between, between
        for ratio in ratios:
            if abs(ratio - 1) >= 1e-6:
                yield size * math.sqrt(ratio), size / math.sqrt(ratio)


class PriorBox(LayerType):
    """SSD: default boxes of a map (corners, then variances); bottoms map and image."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.prior_box_param
        if not p.min_size:
            raise layer.error("has no min_size", "Give one or more.")
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise layer.error(f"has {len(p.min_size)} min_size, but {len(p.max_size)} max_size")
        h, w = bottoms[0][2:4]
        return [(1, 2, h * w * prior_count(p) * 4)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [e.array(self.boxes(layer, e))], [layer.writes[0]])

    def boxes(self, layer: Layer, e: Emitter) -> NDArray[np.float32]:
        """The boxes, which depend on sizes alone: (1, 2, H W boxes 4), corners and variances."""
        import numpy as np

        p = layer.params.prior_box_param
        h, w = e.shape(layer.reads[0])[2:4]
        image_h, image_w = e.shape(layer.reads[1])[2:4]
        if p.img_size:
            image_h = image_w = p.img_size
        elif p.img_h and p.img_w:
            image_h, image_w = p.img_h, p.img_w
        step_h = p.step_h or p.step or image_h / h
        step_w = p.step_w or p.step or image_w / w
        sizes = np.array(list(box_sizes(p)), np.float64)
        y = (np.arange(h) + p.offset) * step_h
        x = (np.arange(w) + p.offset) * step_w
        boxes = np.empty((h, w, len(sizes), 4))
        boxes[..., 0::2] = x[None, :, None, None]
        boxes[..., 1::2] = y[:, None, None, None]
        half = np.stack([sizes[:, 0], sizes[:, 1]], 1) / 2
        boxes += np.concatenate([-half, half], 1)
        boxes /= np.array([image_w, image_h, image_w, image_h])
        if p.clip:
            boxes = boxes.clip(0, 1)
        variance = list(p.variance) or [0.1]
        variances = np.broadcast_to(variance * (4 // len(variance)), boxes.shape)
        made = np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]
        return made.astype(np.float32)


class _Rows(LayerType, abstract=True):
    """Boxes as rows of 7: image, label, score, corners. How many, only data decides; Caffe says 1
    before it runs."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, 1, 7)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class DetectionOutput(_Rows):
    """SSD: decoded boxes after non-maximum suppression; bottoms location, confidence, priors."""


class YoloDetectionOutput(_Rows):
    """YOLO v2: decoded boxes after non-maximum suppression."""


class Yolov3DetectionOutput(_Rows):
    """YOLO v3: decoded boxes after non-maximum suppression."""


class Proposal(LayerType):
    """Faster R-CNN: regions (R, 5) of scores, deltas and im_info; a second top holds scores."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        count = layer.params.proposal_param.post_nms_topn
        made: list[Shape] = [(count, 5), (count, 1)]
        return made[: len(layer.tops)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
