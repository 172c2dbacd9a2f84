"""Registry of the functions that import ONNX operators, by operator type."""

from __future__ import annotations

from collections.abc import Callable

ImportFunction = Callable[..., None]
REGISTRY: dict[str, ImportFunction] = {}
CAFFE = "protogen.caffe"  # domain of operators that hold one Caffe layer as prototxt
FLOATS = frozenset(("FLOAT", "FLOAT16", "BFLOAT16"))  # float32 represents their values exactly
# Operators that are unsupported whatever their attributes are, with a specific reason.
REASONS = {
    "GRU": "Caffe's recurrent layers are LSTM and RNN; neither has the gates of a GRU",
    "If": "control flow has no equivalent in Caffe: a net runs every layer",
    "Loop": "control flow has no equivalent in Caffe: a net runs every layer once",
    "Scan": "control flow has no equivalent in Caffe: a net runs every layer once",
}
# Operators that move values without arithmetic. They accept integers, because float32 represents
# every integer below 2^24 exactly.
MOVERS = frozenset(
    (
        "Cast",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )
)


def imports(*types: str) -> Callable[[ImportFunction], ImportFunction]:
    """Register a function for ONNX operators of these types.

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
        return function

    return register
