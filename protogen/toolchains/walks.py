"""Walks from a layer to those before and behind it, for the words of conditions (see ``words``)."""

from __future__ import annotations

from collections.abc import Mapping

from protogen.layers.graph import Layer
from protogen.toolchains.words import Text, Values

PASS_ON = frozenset(("Permute", "Reshape", "Flatten", "Split", "Dropout"))
# Layers whose tops have the axes of their bottoms, and no number from another place of an image.
_SAME_AXES = frozenset(
    ("Permute", "Split", "Dropout", "ReLU", "ReLU6", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal",
     "Power", "Exp", "Log", "Clip", "Swish", "Mish", "Eltwise", "Scale", "Bias", "BatchNorm",
     "Softmax", "Concat", "Slice")
)  # fmt: skip
_CHANGE_EACH = (_SAME_AXES | {"Reshape", "Flatten"}) - {"Permute"}

Producers = Mapping[str, Layer]


def computed_by(layer: Layer, producers: Producers) -> Text:
    """Return the type of the layer that computes the first bottom; empty for an input."""
    writer = producers.get(layer.reads[0]) if layer.reads else None
    while writer is not None and writer.type in PASS_ON and writer.reads:
        writer = producers.get(writer.reads[0])
    return Text("" if writer is None or writer.type == "Input" else writer.type)


def computed_from(layer: Layer, producers: Producers) -> Values:
    """Return the types of the layers before a layer, up to those whose tops have other axes."""
    types: dict[Text, None] = {}
    values, seen = list(layer.reads), set(layer.reads)
    while values:
        writer = producers.get(values.pop())
        if writer is None:
            continue
        types[Text(writer.type)] = None
        if writer.type in _SAME_AXES:
            values += [value for value in writer.reads if value not in seen]
            seen.update(writer.reads)
    return Values(types)


def used_by(layer: Layer, readers: Mapping[str, list[Layer]]) -> Values:
    """Return the types of the layers that read a layer's tops, or what is only passed on of them."""
    types: dict[Text, None] = {}
    values = list(layer.writes)
    while values:
        for reader in readers.get(values.pop(), ()):
            types[Text(reader.type)] = None
            if reader.type in PASS_ON:
                values += reader.writes
    return Values(types)


def origin(writer: Layer | None, producers: Producers) -> Layer | None:
    """Return the layer that computes what layers of one bottom change, reshape or pass on."""
    while writer is not None and len(writer.reads) == 1 and writer.type in _CHANGE_EACH:
        writer = producers.get(writer.reads[0])
    return writer
