"""Layers of FlowNet2: optical flow."""

from protogen.layers.forks.flow import (
    augmentation,
    correlation,
    flow_files,
    flow_losses,
    flow_resampling,
)

__all__ = [
    "augmentation",
    "correlation",
    "flow_files",
    "flow_losses",
    "flow_resampling",
]
