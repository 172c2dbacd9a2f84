"""ONNX to Caffe: one function for each operator (``REGISTRY``), and the nets that they make."""

from protogen.lifting import (
    activation,
    convolution,
    dense,
    elementwise,
    merging,
    normalization,
    padding,
    patterns,
    pooling,
    recurrent,
    reduction,
    shaping,
)
from protogen.lifting.core import Lifter
from protogen.lifting.files import Imported, convert_onnx
from protogen.lifting.net import DIALECTS, Lifted, from_onnx, lift
from protogen.lifting.registry import REGISTRY, lifts
from protogen.lifting.verdicts import Verdict, check_onnx

__all__ = [
    "DIALECTS",
    "REGISTRY",
    "Imported",
    "Lifted",
    "Lifter",
    "Verdict",
    "activation",
    "check_onnx",
    "convert_onnx",
    "convolution",
    "dense",
    "elementwise",
    "from_onnx",
    "lift",
    "lifts",
    "merging",
    "normalization",
    "padding",
    "patterns",
    "pooling",
    "recurrent",
    "reduction",
    "shaping",
]
