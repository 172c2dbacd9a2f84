"""One class per Caffe layer type, a module per family."""

from typing import Any

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
    reduction,
    resizing,
    shaping,
)
from protogen.layers.base import (
    POINT,
    Emitter,
    Filling,
    LayerType,
    Window,
    kind_of,
    layer_type,
)

__all__ = [
    "POINT",
    "Emitter",
    "Filling",
    "LayerType",
    "Window",
    "convolution",
    "dense",
    "detection",
    "elementwise",
    "endpoints",
    "kind_of",
    "layer_type",
    "loss",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "resizing",
    "shaping",
]


def __getattr__(name: str) -> Any:
    """``from protogen import layers as L; L.Convolution(...)``: layers for a NetSpec."""
    from protogen.net.netspec import layers

    return getattr(layers, name)
