"""The registry of functions that lift ONNX's operators, one for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from protogen.layers import LayerType

if TYPE_CHECKING:
    from protogen.onnx.importer.context import Lifter

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
    ("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split",
     "Squeeze", "Tile", "Transpose", "Unsqueeze")
)  # fmt: skip


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


def remembered(to: Lifter, *bottoms: str, layer: str, shapes: Sequence[int]) -> None:
    """A Caffe layer that the model remembers; its bottoms in the shapes that they had."""
    from protogen.formats import prototxt
    from protogen.onnx.importer.forms import reshaped

    (own,) = prototxt.parse(layer, "the model's metadata").layer
    kind = LayerType.registry.get(own.type)
    if kind is None or not (kind.stock or own.type in to.forks):
        raise to.refuse(f"{own.type} is a layer of forks", "Choose their --dialect.")
    numbers = list(shapes)
    reads = []
    for i, bottom in enumerate(bottoms):
        count = numbers.pop(0)
        shape = tuple(numbers[:count])
        del numbers[:count]
        reads.append(reshaped(to, bottom, shape, f"bottom{i}"))
    params = {item.name: item.value for item in own.fields if item.name not in ("name", "type")}
    to.add(own.type, reads, params)
