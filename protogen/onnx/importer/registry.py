"""The registry of functions that lift ONNX's operators, one for each."""

from __future__ import annotations

from collections.abc import Callable

Lift = Callable[..., None]
REGISTRY: dict[str, Lift] = {}
CAFFE = "protogen.caffe"  # domain of operators that stand for a layer of Caffe's
FLOATS = frozenset(("FLOAT", "FLOAT16", "BFLOAT16"))  # what float32 holds without loss
# Whole numbers pass through these as they are; below 2^24 float32 holds each of them.
# Why operators have no form whatever their attributes are, where there is more to say.
REASONS = {
    "GRU": "Caffe's recurrent layers are LSTM and RNN, and neither has a GRU's gates",
    "If": "control flow has no form in Caffe, whose nets run every layer",
    "Loop": "control flow has no form in Caffe, whose nets run every layer once",
    "Scan": "control flow has no form in Caffe, whose nets run every layer once",
}
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


def lifts(*types: str) -> Callable[[Lift], Lift]:
    """Registers a function for operators of ONNX. Its positional arguments are a Lifter and the
    operator's inputs (names of values, "" or None where absent), its keywords the attributes; an
    attribute that it has no keyword for is refused by name."""

    def register(function: Lift) -> Lift:
        for one in types:
            if one in REGISTRY:
                raise TypeError(f"the operator {one} is lifted twice")
            REGISTRY[one] = function
        return function

    return register
