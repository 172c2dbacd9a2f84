"""Cleans up the layers of an import: merges reshapes, drops layers without effect, silences tops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.layers.graph import free_name
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


def part_concats(
    layers: list[Message], shapes: Mapping[str, Shape | None], outputs: Sequence[str]
) -> list[Message]:
    """Replace each Slice that undoes a Concat by Reshapes of the Concat's bottoms, which copy nothing.

    A view may lie between the two: a channel shuffle of joined branches is a Concat, a Reshape and a
    Slice into the branches.
    """
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {top: layer for layer in layers for top in layer.top}
    names = {layer.name for layer in layers}
    removed: set[int] = set()
    result: list[Message] = []
    for layer in layers:
        pieces = _pieces(layer, makers, shapes) if layer.type == "Slice" else None
        if pieces is None:
            result.append(layer)
            continue
        for number, (piece, top) in enumerate(zip(pieces, layer.top, strict=True)):
            before, after = shapes[piece], shapes[top]
            assert before is not None
            assert after is not None
            type_, params = view_of(before, after)
            name = layer.name if not number else free_name(f"{layer.name}_{number}", names, "_")
            fields = {"name": name, "type": type_, "bottom": [piece], "top": [top], **params}
            result.append(new := Message.make("LayerParameter", **fields))
            makers[top] = new
            readers[piece] += 1
        unread = layer
        while unread is not None and unread.type in (*VIEWS, "Slice"):
            (bottom,) = unread.bottom
            readers[bottom] -= 1
            unread = None if readers[bottom] or bottom in outputs else makers[bottom]
            if unread is not None:
                removed.add(id(unread))
        if unread is not None:  # the Concat
            for bottom in unread.bottom:
                readers[bottom] -= 1
    return [layer for layer in result if id(layer) not in removed]


MOST_PIECES = 8  # more Reshapes are worse than a Slice and a Concat


def _pieces(
    layer: Message, makers: Mapping[str, Message], shapes: Mapping[str, Shape | None]
) -> list[str] | None:
    """Return the bottoms of the Concat that a Slice undoes, one for each of its tops; else None."""
    name = layer.bottom[0]
    source = makers.get(name)
    while source is not None and source.type in VIEWS:
        source = makers.get(source.bottom[0])
    tops = list(layer.top)
    if source is None or source.type != "Concat" or not 1 < len(tops) <= MOST_PIECES:
        return None
    pieces, whole, view = list(source.bottom), shapes.get(source.top[0]), shapes.get(name)
    sizes = [shapes.get(one) for one in (*pieces, *tops)]
    if len(pieces) != len(tops) or None in (whole, view, *sizes):
        return None
    assert whole is not None
    assert view is not None
    lengths = [prod(size) for size in sizes if size is not None]
    outer = prod(whole[: source.concat_param.axis % len(whole)])
    if outer != prod(view[: layer.slice_param.axis % len(view)]):
        return None
    return pieces if lengths[: len(pieces)] == lengths[len(pieces) :] else None


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
