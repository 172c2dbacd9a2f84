"""Detection outputs of OpenVINO's training toolbox, with the place of each box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from protogen.geometry import Shape, shape_text
from protogen.layers.base import check_bottoms
from protogen.layers.forks.detection.decoding import decoded, prior_boxes
from protogen.layers.forks.detection.ssd import Selected
from protogen.layers.forks.detection.suppression import MOST_STEPS
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


class DetectionOutputExtended(Selected):
    """OpenVINO's training toolbox: DetectionOutput of two classes, 0 of them the background, for one
    feature map; bottoms location (N, H, W, 4 A), confidence, priors.

    Rows of 10 hold image, label, score, corners, and the prior of the box: its number of A, x and y.
    """

    source = "openvinotoolkit/training_toolbox_caffe"
    harmless = MappingProxyType(
        {"detection_output_param.background_label_id": "class 0 is the background"}
    )
    limits = f"not an eta with more than {MOST_STEPS} steps"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        p = layer.params.detection_output_param
        if p.num_classes != 2:
            raise layer.error(f"num_classes must be 2, got {p.num_classes}")
        if not p.share_location:
            raise layer.error("share_location must be true", "Caffe counts its priors wrong.")
        count = self.count(layer, bottoms)
        _, h, w, values = bottoms[0]
        if count != h * w * (values // 4) or values % 4:
            raise layer.error(
                f'bottom "{layer.bottoms[0]}" must have shape N, H, W, 4 * A with {count} priors '
                f"H * W * A, got {shape_text(bottoms[0])}"
            )
        if math.prod(bottoms[1][1:]) != 2 * count:
            raise layer.error(
                f'bottom "{layer.bottoms[1]}" must have {2 * count} values per image, got '
                f"{shape_text(bottoms[1])}"
            )
        return [(1, 1, 1, 10)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p = layer.params.detection_output_param
        rule = self.rule(layer, 0)
        images, h, w, values = e.shape(layer.reads[0])
        count = h * w * (values // 4)
        prior, variance = prior_boxes(e, layer.reads[2], count, 1)
        location = e.value("Reshape", layer.reads[0], e.array([images, count, 4]))
        corners = decoded(e, p, location, prior, variance)
        y, x, anchor = np.indices((h, w, values // 4), np.float32).reshape(3, -1)
        places = np.stack([anchor, x, y], 1)[None]
        every = e.value("Expand", e.array(places), e.array([images, count, 3]))
        content = e.value("Concat", corners, every, axis=-1)
        scores = e.value("Reshape", layer.reads[1], e.array([images, count, 2]))
        scores = e.value("Transpose", scores, perm=[0, 2, 1])
        self.emit(layer, e, rule, corners, content, scores, count)
