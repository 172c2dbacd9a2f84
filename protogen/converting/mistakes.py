"""Likely cause of a difference: tries known mistakes one by one and reports the one that reproduces
the other model's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.converting.proving import difference
from protogen.errors import ProtogenError
from protogen.formats.message import Field, Message
from protogen.layers import kind_of
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.layers.base import Mistake
    from protogen.net.net import Net


def likely_cause(
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
    blob: str,
    other_values: NDArray[Any],
    agreeing: set[str],
    tolerance: float,
) -> str:
    """Return the likely cause of a difference; empty if no known mistake reproduces it.

    Args:
        net: the reference net.
        feeds: its inputs.
        blob: the first blob that differs.
        other_values: the other model's values of this blob.
        agreeing: blobs that do not differ.
        tolerance: relative to the blob's largest magnitude.
    """
    layers = list(_layers_between(net, blob, agreeing))
    for layer in layers:
        kind = kind_of(layer)
        for mistake in kind.mistakes(layer) if kind else ():
            try:
                values = _run_with(net, feeds, blob, layer, mistake)
            except ProtogenError:
                continue  # with this mistake the net is invalid, so it is not the cause
            if _same(values, other_values, tolerance):
                return f"{mistake.cause} ({layer.subject})"
    return _channel_order(net, feeds, blob, other_values, layers, tolerance) or _border_difference(
        net, feeds, blob, other_values, layers, tolerance
    )


def _layers_between(net: Net, blob: str, agreeing: set[str]) -> Iterator[Layer]:
    """Yield the layers between the agreeing values and a blob, the last layer first."""
    open_values, seen = {blob}, set()
    for layer in reversed(net.layers):
        if open_values.intersection(layer.writes) and layer.name not in seen:
            seen.add(layer.name)
            open_values.update(read for read in layer.reads if read not in agreeing)
            yield layer


def _run_with(
    net: Net, feeds: Mapping[str, NDArray[Any]], blob: str, layer: Layer, mistake: Mistake
) -> NDArray[Any]:
    from protogen.net.net import Net as _Net
    from protogen.onnx import lower
    from protogen.running.runtime import run_program

    weights = dict(net.weights)
    if mistake.blobs is not None:
        weights[layer.name] = mistake.blobs(weights[layer.name])
    message = (
        with_parameters(net.message, layer.name, mistake.changes)
        if mistake.changes
        else net.message
    )
    shapes = {name: array.shape for name, array in feeds.items()}
    other = _Net(message, weights, input_shapes=shapes, tolerant=True)
    program = lower(other, outputs=[blob], fold=False)
    nodes = [
        node
        if node.layer != layer.name
        else replace(node, op_type="Identity", reads=node.reads[:1], attributes={})
        if node.op_type in mistake.without
        else replace(
            node, attributes={**node.attributes, **mistake.attributes.get(node.op_type, {})}
        )
        for node in program.nodes
    ]
    program = program.with_nodes(nodes, program.tensors)
    needed = {value.name: feeds[value.name] for value in program.inputs}
    return run_program(program, needed)[blob]


def with_parameters(net: Message, layer: str, changes: Mapping[str, Any]) -> Message:
    """Return a copy of a NetParameter in which one layer has other parameters, by path."""

    def set_path(message: Message, path: list[str], value: Any) -> Message:
        name, *rest = path
        copy = Message(message.kind, (item for item in message.fields if item.name != name))
        if rest:
            inner = getattr(message, name)
            copy.append(Field(name, set_path(inner, rest, value), _type(message, name)))
        else:
            for item in value if isinstance(value, list) else [value]:
                copy.add(name, item)
        return copy

    fields = []
    for item in net.fields:
        if item.name == "layer" and item.value.name == layer:
            params = item.value
            for path, value in changes.items():
                params = set_path(params, path.split("."), value)
            item = Field(item.name, params, item.type)
        fields.append(item)
    return Message(net.kind, fields)


def _type(message: Message, name: str) -> Any:
    return message.kind.fields.get(name) if message.kind else None


def _channel_order(
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
    blob: str,
    other_values: NDArray[Any],
    layers: list[Layer],
    tolerance: float,
) -> str:
    """Return a cause if the other model has the colour channels in reverse order."""
    import numpy as np

    from protogen.running.runtime import run

    for name in {read for layer in layers for read in layer.reads}.intersection(feeds):
        if feeds[name].ndim == 4 and feeds[name].shape[1] == 3:
            swapped_feeds = {**feeds, name: np.ascontiguousarray(feeds[name][:, ::-1])}
            if _same(run(net, swapped_feeds, [blob])[blob], other_values, tolerance):
                return f'the channels of "{name}" are in reverse order (RGB instead of BGR)'
    return ""


def _border_difference(
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
    blob: str,
    other_values: NDArray[Any],
    layers: list[Layer],
    tolerance: float,
) -> str:
    """Return a cause if an upsampling differs only along the border."""
    import numpy as np

    from protogen.running.runtime import run

    upsampling = next((x for x in layers if x.type == "Deconvolution"), None)
    values = run(net, feeds, [blob])[blob] if upsampling is not None else other_values
    if upsampling is None or values.shape != other_values.shape or values.ndim != 4:
        return ""
    kind = kind_of(upsampling)
    shapes = [net.graph.shapes[read] or () for read in upsampling.reads]
    window = kind.window(upsampling, shapes) if kind else None
    h, w = window.stride[-2:] if window and len(window.stride) == 2 else (0, 0)
    if values.shape[2] <= 2 * h or values.shape[3] <= 2 * w or not h:
        return ""
    inner = np.s_[:, :, h:-h, w:-w]
    if not _same(values[inner], other_values[inner], tolerance):
        return ""
    return (
        f"the values differ only along the border ({upsampling.subject}): the layer treats the "
        "outside as 0, and the other model repeats the edge"
    )


def _same(values: NDArray[Any], other_values: NDArray[Any], tolerance: float) -> bool:
    return difference("", "", other_values, values, tolerance).passed
