"""Small nets of detection layers, for test_field_walk.py: parameters and bottom shapes."""

BASES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "DetectionEvaluate": (
        "detection_evaluate_param { num_classes: 4 }",
        ((1, 1, 5, 7), (1, 1, 4, 8)),
    ),
    "DetectionOut": (
        "detection_out_param { num_classes: 2 num_box: 2 side: 3 biases: 1 biases: 2 biases: 3 "
        "biases: 2 }",
        ((1, 14, 3, 3),),
    ),
    "DetectionPoseOutput": (
        "detection_pose_output_param { num_classes: 2 num_poses: 3 }",
        ((1, 40), (1, 20), (1, 30), (1, 2, 40), (1, 3, 4, 4)),
    ),
    "ImageDetect": ("image_detect_param { num_class: 2 }", ((5, 8), (5, 2), (5, 5))),
}
_SIX = "ratio0: 1 ratio1: 1 ratio2: 1 ratio3: 1 ratio4: 1 ratio5: 1"
# Parameters of DetectionOutput with bottoms of each feature map.
BOTTOMS: dict[str, tuple[tuple[int, ...], ...]] = {
    f"detection_output_param {{ num_classes: 2 ratio_permute: true {_SIX} }}": (
        *[(1, 8)] * 6,
        *[(1, 16)] * 6,
        (1, 2, 96),
    ),
    "detection_output_param { num_classes: 2 no_permute: true nbottom: 1 }": (
        (1, 2, 3, 4),
        (1, 12, 2, 2),
        (1, 2, 48),
    ),
}
