"""Caffe's layer types: one class per type, one module per family. Those that only forks have are in
``forks``, which ``LayerType.registry`` loads when it is needed."""

from typing import Any

from protogen import _late
from protogen.layers import (
    activation,
    combining,
    convolution,
    dense,
    elementwise,
    endpoints,
    exact_resize,
    im2col,
    loss,
    measuring,
    normalization,
    ordering,
    pooling,
    recurrent,
    reduction,
    scaling,
    shaping,
    softmax,
)
from protogen.layers.base import (
    POINT,
    Filling,
    LayerType,
    Window,
    kind_of,
    layer_type,
)
from protogen.layers.writing import Emitter

__all__ = [
    "POINT",
    "Emitter",
    "Filling",
    "LayerType",
    "Window",
    "activation",
    "combining",
    "convolution",
    "dense",
    "elementwise",
    "endpoints",
    "exact_resize",
    "im2col",
    "kind_of",
    "layer_type",
    "loss",
    "measuring",
    "normalization",
    "ordering",
    "pooling",
    "recurrent",
    "reduction",
    "scaling",
    "shaping",
    "softmax",
]


def __getattr__(name: str) -> Any:
    """Return the maker of NetSpec layers of this type: ``from protogen import layers as L``, then
    ``L.Convolution(...)``."""
    from importlib.util import find_spec

    if find_spec(f"{__name__}.{name}") is not None:  # a module, not a layer type
        raise AttributeError(name)
    return _late.layer_maker(name)
