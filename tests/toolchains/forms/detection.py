"""Layers of detectors."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets, singles

PRIOR_BOX = """
min-size         1x2x4x7,1x3x32x56 min_size: 12 variance: 0.1
ratios           1x2x4x7,1x3x32x56 min_size: 12 max_size: 20 aspect_ratio: 2 flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
clip             1x2x4x7,1x3x32x56 min_size: 20 max_size: 40 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
step-offset      1x2x4x7,1x3x32x56 min_size: 12 max_size: 20 flip: false step: 8 offset: 0.25 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
no-flip          1x2x4x7,1x3x32x56 min_size: 12 aspect_ratio: 2 flip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
"""
ROI_POOLING = """
plain            1x3x6x8,2x5:rois pooled_h: 2 pooled_w: 3 spatial_scale: 0.25
rank-4           1x3x6x8,2x5x1x1:rois pooled_h: 2 pooled_w: 3 spatial_scale: 0.25
"""
DETECTION = """
center           1x32,1x32:scores,1x2x32:boxes num_classes: 4 share_location: true background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CENTER_SIZE keep_top_k: 50 confidence_threshold: 0.3
corner           1x32,1x32:scores,1x2x32:boxes num_classes: 4 share_location: true background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CORNER keep_top_k: 50 confidence_threshold: 0.3
keep-3           1x32,1x32:scores,1x2x32:boxes num_classes: 4 share_location: true background_label_id: 0 nms_param { nms_threshold: 0.3 top_k: 5 } code_type: CENTER_SIZE keep_top_k: 3 confidence_threshold: 0.3
"""
PROPOSAL = """
plain            1x6x4x7:scores,1x12x4x7:small feat_stride: 16 anchor_base_size: 16 rpn_obj_threshold: 0.1 rpn_nms_threshold: 0.7 rpn_nms_post_top_n: 10 net_input_h: 64 net_input_w: 112
"""
NETS = """
prior-box-concat | PriorBox | two, Concat axis 2 | a 1x2x4x7; b 1x2x2x4; image 1x3x32x56
  p = PriorBox(a, image) min_size: 12 max_size: 20 aspect_ratio: 2 flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
  q = PriorBox(b, image) min_size: 20 max_size: 40 aspect_ratio: 2 flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2
  y = Concat(p, q) axis: 2
"""


def forms() -> Iterator[Form]:
    """Yield the forms of this module."""
    yield from singles("prior-box", "PriorBox", PRIOR_BOX)
    yield from nets("prior-box", NETS)
    yield from singles("roi-pooling", "ROIPooling", ROI_POOLING)
    yield from singles("detection-output", "DetectionOutput", DETECTION)
    yield from singles("proposal", "Proposal", PROPOSAL)
