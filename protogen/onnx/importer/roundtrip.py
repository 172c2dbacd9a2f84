"""Caffe layers that a model remembers (``onnx.metadata``), back in a net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats import prototxt
from protogen.layers import LayerType
from protogen.onnx.importer.forms import reshaped

if TYPE_CHECKING:
    from protogen.onnx.importer.context import Lifter


def remembered(to: Lifter, *bottoms: str, layer: str, shapes: Sequence[int]) -> None:
    """A Caffe layer that the model remembers; its bottoms in the shapes that they had."""
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
