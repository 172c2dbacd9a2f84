"""One class per Caffe layer type, a module per family."""

from protogen.layers import (
    convolution,
    dense,
    detection,
    elementwise,
    endpoints,
    loss,
    normalization,
    pooling,
    recurrent,
    shaping,
)
from protogen.layers.base import POINT, Emitter, LayerType, Window, layer_type

__all__ = [
    "POINT",
    "Emitter",
    "LayerType",
    "Window",
    "convolution",
    "dense",
    "detection",
    "elementwise",
    "endpoints",
    "layer_type",
    "loss",
    "normalization",
    "pooling",
    "recurrent",
    "shaping",
]
