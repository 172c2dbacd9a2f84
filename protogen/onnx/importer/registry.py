"""Registry of the functions that import ONNX operators, by operator type."""

from __future__ import annotations

from collections.abc import Callable

ImportFunction = Callable[..., None]
REGISTRY: dict[str, ImportFunction] = {}
CAFFE = "protogen.caffe"  # domain of operators that hold one Caffe layer as prototxt
# Kinds of values that an operator takes where they are computed. float32 holds every whole number up to
# 2^24, so integers and truth values (0 and 1) can be moved, compared and, with a note, computed.
FLOATS = frozenset(("FLOAT", "FLOAT16", "DOUBLE"))
NUMBERS = FLOATS | {"INT32", "INT64"}
ANY = NUMBERS | {"BOOL", "INT8", "INT16", "UINT8", "UINT16", "UINT32", "UINT64"}
TAKES: dict[str, frozenset[str]] = {}
# Operators that are unsupported whatever their attributes are, with a specific reason.
_GROUPS = {
    "control flow has no equivalent in Caffe: a net runs every layer once": "If",
    "a net runs every layer once, so the number of steps must be known before, and be at most 256": (
        "Loop Scan"
    ),
    "Caffe computes in float32, and the model in integers; --drop-quantisation converts a model of "
    "QuantizeLinear, DequantizeLinear and QLinear operators": (
        "DequantizeLinear QLinearConv QLinearMatMul QuantizeLinear"
    ),
    "Caffe computes in float32, and the model in integers whose scale depends on the data": (
        "ConvInteger DynamicQuantizeLinear MatMulInteger"
    ),
    "the size of its result depends on the data, and Caffe's blobs have fixed shapes": (
        "Compress NonMaxSuppression NonZero Unique"
    ),
    "Caffe has no layer that rounds or cuts off a fraction": "BitShift Ceil Floor Mod Round",
    "Caffe has no trigonometric function but TanH": (
        "Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan"
    ),
    "Caffe has no layer that samples at computed positions": "DeformConv MaxRoiPool RoiAlign",
    "Caffe has no layer for spectra": "BlackmanWindow DFT HannWindow MelWeightMatrix STFT",
    "Caffe has blobs only: a sequence or an optional value is not one": (
        "ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct "
        "SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SplitToSequence"
    ),
    "its values are random": "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike",
}
REASONS = {type_: reason for reason, types in _GROUPS.items() for type_ in types.split()}


def imports(
    *types: str, takes: frozenset[str] = FLOATS
) -> Callable[[ImportFunction], ImportFunction]:
    """Register a function for ONNX operators of these types, whose computed inputs are of these kinds.

    The function's positional arguments are an ImportContext and the operator's inputs (names of
    values, "" or None where absent). Its keyword arguments are the operator's attributes. An
    operator with an attribute that the function does not accept is unsupported; the error names
    the attribute.
    """

    def register(function: ImportFunction) -> ImportFunction:
        for type_ in types:
            if type_ in REGISTRY:
                raise TypeError(f"operator {type_} is registered twice")
            REGISTRY[type_] = function
            TAKES[type_] = takes
        return function

    return register
