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
REASONS = {
    "GRU": "Caffe's recurrent layers are LSTM and RNN; neither has the gates of a GRU",
    "If": "control flow has no equivalent in Caffe: a net runs every layer",
    "Loop": "control flow has no equivalent in Caffe: a net runs every layer once",
    "Scan": "control flow has no equivalent in Caffe: a net runs every layer once",
}


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
