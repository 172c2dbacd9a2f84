"""Loss of SSD and its forks."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields, four_axes
from protogen.layers.graph import Layer


class MultiBoxLoss(LayerType):
    """SSD: loss of the boxes and classes of priors; bottoms location, confidence, priors, labels
    (RefineDet has up to 3 more: confidence and location of its refinement, and more)."""

    is_loss = True
    stock = False
    source = "weiliu89/caffe"
    required = ("multibox_loss_param.num_classes",)
    reads = fields(
        multibox_loss_param=(
            "loc_loss_type conf_loss_type loc_weight num_classes share_location match_type "
            "overlap_threshold use_prior_for_matching background_label_id use_difficult_gt "
            "do_neg_mining neg_pos_ratio neg_overlap code_type encode_variance_in_target "
            "map_object_to_agnostic ignore_cross_boundary_bbox bp_inside mining_type nms_param "
            "sample_size use_prior_for_nms objectness_score use_polygon ignore_difficult_gt"
        ),
        loss_param="normalization normalize",
    )
    refusal = (
        "the loss depends on which priors fit which labels, and on the priors with the largest loss",
        "End the net at its first two bottoms with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 4, 7)
        p = layer.params.multibox_loss_param
        count = four_axes(layer, bottoms[2])[2] // 4
        sets = 1 if p.share_location else p.num_classes
        widths = (4, 9, 12)  # TextBoxes++ has 9 or 12 locations per prior
        location, confidence = (math.prod(shape[1:]) for shape in bottoms[:2])
        if location not in [count * sets * width for width in widths]:
            raise layer.error(
                f'bottom "{layer.bottoms[0]}" must have {count * sets * 4} values per sample for '
                f"{count} priors, got {shape_text(bottoms[0])}"
            )
        if confidence != count * p.num_classes:
            raise layer.error(
                f'bottom "{layer.bottoms[1]}" must have {count * p.num_classes} values per sample for '
                f"{count} priors and num_classes {p.num_classes}, got {shape_text(bottoms[1])}"
            )
        return [()]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        if bottoms[0][0] != bottoms[1][0]:
            raise layer.error(
                f"its first two bottoms must have the same number of images, got {bottoms[0][0]} and "
                f"{bottoms[1][0]}"
            )

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(2, len(layer.bottoms))

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
