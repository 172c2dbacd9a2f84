"""Cleans up the layers of an import: merges reshapes, drops layers without effect, silences tops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.onnx.importer.forms import view_of

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx.importer.source import OnnxGraph

VIEWS = frozenset(("Flatten", "Reshape"))  # their tops share memory with the bottoms


def silence_unread(source: OnnxGraph, layers: list[Message]) -> None:
    """Add a Silence layer for unused tops, which would otherwise be outputs of the net."""
    read = {bottom for layer in layers for bottom in layer.bottom} | set(source.outputs)
    unread = [
        top for layer in layers for top in layer.top if top not in read and layer.type != "Input"
    ]
    if unread:
        layers.append(
            Message.make("LayerParameter", name="unread_values", type="Silence", bottom=unread)
        )


def merge_views(
    layers: list[Message], shapes: Mapping[str, Shape | None], outputs: Sequence[str]
) -> list[Message]:
    """Merge consecutive views (Reshape, Flatten) into one; remove views that keep the shape."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {layer.top[0]: layer for layer in layers if layer.type in VIEWS}
    replaced: dict[str, str] = {}
    removed: set[int] = set()
    for layer in layers:
        for entry in layer.all("bottom"):
            entry.value = replaced.get(entry.value, entry.value)
        previous = makers.get(layer.bottom[0]) if layer.type in VIEWS else None
        if previous is None or id(previous) in removed:
            continue
        bottom, top = previous.bottom[0], layer.top[0]
        before, after = shapes.get(bottom), shapes.get(top)
        if before is None or after is None:
            continue
        if readers[previous.top[0]] == 1 and previous.top[0] not in outputs:
            removed.add(id(previous))
        if before == after and top not in outputs:
            replaced[top] = bottom
            readers[bottom] += readers[top]
            removed.add(id(layer))
            continue
        type_, params = view_of(before, after)
        layer.all("bottom")[0].value = bottom
        layer.all("type")[0].value = type_
        for key in ("reshape_param", "flatten_param"):
            layer.remove(key)
        for key, value in params.items():
            layer.add(key, value)
    return [layer for layer in layers if id(layer) not in removed]


def drop_flattens(layers: list[Message], outputs: Sequence[str]) -> list[Message]:
    """Remove a Flatten before an InnerProduct, which flattens its bottom anyway."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    flattens = {layer.top[0]: layer for layer in layers if layer.type == "Flatten"}
    removed: set[int] = set()
    for layer in layers:
        flatten = flattens.get(layer.bottom[0]) if layer.type == "InnerProduct" else None
        if flatten is None or layer.inner_product_param.axis != 1 or flatten.has("flatten_param"):
            continue
        if readers[flatten.top[0]] == 1 and flatten.top[0] not in outputs:
            layer.all("bottom")[0].value = flatten.bottom[0]
            removed.add(id(flatten))
    return [layer for layer in layers if id(layer) not in removed]
