"""Import of ONNX models into Caffe: one function per operator (``REGISTRY``)."""

from protogen.onnx.importer import (
    activation,
    convolution,
    dense,
    elementwise,
    fusion,
    logic,
    normalization,
    padding,
    patterns,
    pooling,
    recurrent,
    reduction,
    shaping,
)
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.net import ImportedNet, from_onnx, import_model
from protogen.onnx.importer.registry import REGISTRY, imports
from protogen.onnx.importer.verdicts import check_onnx

__all__ = [
    "REGISTRY",
    "ImportContext",
    "ImportedNet",
    "activation",
    "check_onnx",
    "convolution",
    "dense",
    "elementwise",
    "from_onnx",
    "fusion",
    "import_model",
    "imports",
    "logic",
    "normalization",
    "padding",
    "patterns",
    "pooling",
    "recurrent",
    "reduction",
    "shaping",
]
