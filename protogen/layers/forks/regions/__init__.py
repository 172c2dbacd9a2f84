"""Layers of forks for detectors of two stages: proposals, pooling over regions, MS-CNN."""

from protogen.layers.forks.regions import (
    cascade,
    mscnn,
    mscnn_training,
    proposals,
    roi_pooling,
)

__all__ = [
    "cascade",
    "mscnn",
    "mscnn_training",
    "proposals",
    "roi_pooling",
]
