"""ONNX to Caffe: one function for each operator (``REGISTRY``), and the nets that they make."""

from protogen.lifting import (
    convolution,
    dense,
    elementwise,
    normalization,
    pooling,
    shaping,
)
from protogen.lifting.core import REGISTRY, Lifter

__all__ = [
    "REGISTRY",
    "Lifter",
    "convolution",
    "dense",
    "elementwise",
    "normalization",
    "pooling",
    "shaping",
]
