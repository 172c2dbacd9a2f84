"""Cleans up the layers of an import: merges reshapes, drops layers without effect, silences tops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Message
from protogen.layers import LayerType
from protogen.layers.graph import free_name
from protogen.onnx.importer.forms import view_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx.importer.source import OnnxGraph

VIEWS = frozenset(("Flatten", "Reshape"))  # their tops share memory with the bottoms


def cleaned(
    layers: list[Message],
    shapes: dict[str, Shape | None],
    weights: dict[str, list[NDArray[np.floating]]],
    outputs: Sequence[str],
    reasons: dict[str, str],
) -> list[Message]:
    """Return the layers of an import without those that have no effect or can be joined with others."""
    layers = merge_views(layers, shapes, outputs)
    layers = part_concats(layers, shapes, outputs)
    layers = merge_views(layers, shapes, outputs)
    layers = join_powers(layers, outputs)
    layers = drop_flattens(layers, outputs)
    return multiply_pixels(layers, shapes, weights, outputs, reasons)


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
        unread: Message | None = layer
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


def join_powers(layers: list[Message], outputs: Sequence[str]) -> list[Message]:
    """Join two consecutive Powers, (shift + scale x) ^ power each, where one computes the same: scale,
    then shift, then power."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {layer.top[0]: layer for layer in layers if layer.type == "Power"}
    removed: set[int] = set()
    for layer in layers:
        bottom = layer.bottom[0] if layer.type == "Power" else ""
        first = makers.get(bottom)
        if first is None or readers[bottom] != 1 or bottom in outputs:
            continue
        a, b = first.power_param, layer.power_param
        joins = b.scale == 1 and a.power == 1 and not (a.shift and b.shift)
        if not joins and not (a.shift == 0 and a.power == 1 and b.shift == 0 and b.power == 1):
            continue
        numbers = {"power": b.power, "scale": a.scale * b.scale, "shift": a.shift + b.shift}
        defaults = {"power": 1.0, "scale": 1.0, "shift": 0.0}
        params = {key: value for key, value in numbers.items() if value != defaults[key]}
        layer.all("bottom")[0].value = first.bottom[0]
        layer.remove("power_param")
        if params:
            layer.add("power_param", params)
        removed.add(id(first))
    return [layer for layer in layers if id(layer) not in removed]


def multiply_pixels(
    layers: list[Message],
    shapes: dict[str, Shape | None],
    weights: dict[str, list[NDArray[np.floating]]],
    outputs: Sequence[str],
    reasons: dict[str, str],
) -> list[Message]:
    """Make a 1x1 Convolution of one pixel an InnerProduct where its result is then reshaped to rows.

    So the Reshape is not needed: gates per channel (squeeze and excitation) are rows for a Scale.
    """
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    makers = {top: layer for layer in layers for top in layer.top}
    replaced: dict[str, str] = {}
    renamed: dict[str, str] = {}
    names = set(shapes)
    removed: set[int] = set()
    for layer in layers:
        for entry in layer.all("bottom"):
            entry.value = replaced.get(entry.value, entry.value)
        if layer.type not in VIEWS or layer.top[0] in outputs:
            continue
        bottom = layer.bottom[0]
        before, after = shapes.get(bottom), shapes.get(layer.top[0])
        if before is None or after is None or (*after, 1, 1) != before or len(after) != 2:
            continue
        chain = [bottom]
        while (maker := makers.get(chain[-1])) is not None and readers[chain[-1]] == 1:
            if not LayerType.registry[maker.type].written_in_place or len(maker.bottom) != 1:
                break
            chain.append(maker.bottom[0])
        if maker is None or any(readers[one] != 1 or one in outputs for one in chain):
            continue
        if not _is_product_of_pixels(maker, shapes):
            continue
        _make_inner_product(maker, weights)
        reasons[maker.name] += ": it has one pixel, and its result is read as rows"
        for value in chain:  # with another shape it is not the model's value of this name
            renamed[value] = free_name(f"{value}_rows", names)
            shapes[renamed[value]] = after
        replaced[layer.top[0]] = bottom
        readers[bottom] += readers[layer.top[0]] - 1
        removed.add(id(layer))
    for layer in layers if renamed else ():
        for entry in (*layer.all("bottom"), *layer.all("top")):
            entry.value = renamed.get(entry.value, entry.value)
    return [layer for layer in layers if id(layer) not in removed]


def _is_product_of_pixels(layer: Message, shapes: Mapping[str, Shape | None]) -> bool:
    if layer.type != "Convolution":
        return False
    before, after = shapes.get(layer.bottom[0]), shapes.get(layer.top[0])
    p = layer.convolution_param
    return (
        before is not None
        and after is not None
        and before[2:] == after[2:] == (1, 1)
        and list(p.kernel_size) == [1]
        and p.group == 1
        and not p.has("pad")
    )


def _make_inner_product(layer: Message, weights: dict[str, list[NDArray[np.floating]]]) -> None:
    old = layer.convolution_param
    params: dict[str, Any] = {"num_output": old.num_output}
    if not old.bias_term:
        params["bias_term"] = False
    layer.all("type")[0].value = "InnerProduct"
    layer.remove("convolution_param")
    layer.add("inner_product_param", params)
    blobs = weights[layer.name]
    weights[layer.name] = [blobs[0].reshape(blobs[0].shape[:2]), *blobs[1:]]


def drop_flattens(layers: list[Message], outputs: Sequence[str]) -> list[Message]:
    """Remove a Flatten that only InnerProducts read, which flatten their bottom anyway."""
    readers = Counter(bottom for layer in layers for bottom in layer.bottom)
    flattens = {
        layer.top[0]: layer
        for layer in layers
        if layer.type == "Flatten"
        and not layer.has("flatten_param")
        and layer.top[0] not in outputs
    }
    products = [
        layer
        for layer in layers
        if layer.type == "InnerProduct"
        and layer.inner_product_param.axis == 1
        and layer.bottom[0] in flattens
    ]
    by_products = Counter(layer.bottom[0] for layer in products)
    removed: set[int] = set()
    for layer in products:
        top = layer.bottom[0]
        if readers[top] == by_products[top]:
            layer.all("bottom")[0].value = flattens[top].bottom[0]
            removed.add(id(flattens[top]))
    return [layer for layer in layers if id(layer) not in removed]
