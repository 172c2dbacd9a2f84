"""The forks' detection layers."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, Window, check_bottoms
from protogen.message import Message


def prior_count(p: Message) -> int:
    """Boxes that PriorBox makes a pixel: every aspect ratio (and its inverse with ``flip``) for
    each min_size, and one for each max_size. Ratios that repeat count once."""
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios.append(ratio)
            if p.flip:
                ratios.append(1.0 / ratio)
    return len(ratios) * len(p.min_size) + len(p.max_size)


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
