"""ONNX to Caffe: one function for each operator (``REGISTRY``), and the nets that they make."""

from protogen.onnx.importer import (
    activation,
    convolution,
    dense,
    elementwise,
    fusion,
    normalization,
    padding,
    patterns,
    pooling,
    recurrent,
    reduction,
    shaping,
)
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.net import Lifted, from_onnx, lift
from protogen.onnx.importer.registry import REGISTRY, lifts
from protogen.onnx.importer.verdicts import Verdict, check_onnx

__all__ = [
    "REGISTRY",
    "Lifted",
    "Lifter",
    "Verdict",
    "activation",
    "check_onnx",
    "convolution",
    "dense",
    "elementwise",
    "from_onnx",
    "fusion",
    "lift",
    "lifts",
    "normalization",
    "padding",
    "patterns",
    "pooling",
    "recurrent",
    "reduction",
    "shaping",
]
