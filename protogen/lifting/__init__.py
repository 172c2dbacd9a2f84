"""ONNX to Caffe: one function for each operator (``REGISTRY``), and the nets that they make."""

from protogen.lifting import (
    activation,
    convolution,
    dense,
    elementwise,
    normalization,
    padding,
    pooling,
    recurrent,
    reduction,
    shaping,
)
from protogen.lifting.core import REGISTRY, Lifter

__all__ = [
    "REGISTRY",
    "Lifter",
    "activation",
    "convolution",
    "dense",
    "elementwise",
    "normalization",
    "padding",
    "pooling",
    "recurrent",
    "reduction",
    "shaping",
]
