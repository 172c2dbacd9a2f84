"""Layers of forks for detectors of one stage: SSD and its forks, YOLO, and their default boxes."""

from protogen.layers.forks.detection import (
    detectnet,
    detectors,
    evaluation,
    extended_detection,
    mlu_detection,
    mtcnn,
    ohem,
    priors,
    retinaface,
    smooth_l1,
    ssd,
    ssd_training,
    yolo,
    yolo_training,
)

__all__ = [
    "detectnet",
    "detectors",
    "evaluation",
    "extended_detection",
    "mlu_detection",
    "mtcnn",
    "ohem",
    "priors",
    "retinaface",
    "smooth_l1",
    "ssd",
    "ssd_training",
    "yolo",
    "yolo_training",
]
