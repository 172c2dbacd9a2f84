"""Why two runs differ: each known mistake is made on purpose, and the one that gives the other
side's numbers is the cause."""

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
    found: NDArray[Any],
    agreeing: set[str],
    tolerance: float,
) -> str:
    """The likely cause, or an empty text.

    Args:
        net: the net that is right.
        feeds: its inputs.
        blob: the first of its blobs that differs.
        found: what the other side has there.
        agreeing: blobs before it that do not differ.
        tolerance: of the blob's largest magnitude.
    """
    layers = list(_between(net, blob, agreeing))
    for layer in layers:
        kind = kind_of(layer)
        for mistake in kind.mistakes(layer) if kind else ():
            try:
                made = _run_with(net, feeds, blob, layer, mistake)
            except ProtogenError:
                continue  # made so, the layer does not fit the net: then it was not this
            if _same(made, found, tolerance):
                return f"{mistake.cause} ({layer.subject})"
    return _swapped(net, feeds, blob, found, layers, tolerance) or _border(
        net, feeds, blob, found, layers, tolerance
    )


def _between(net: Net, blob: str, agreeing: set[str]) -> Iterator[Layer]:
    """Layers on the way to a blob from values that agree, the last first."""
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
    message = changed(net.message, layer.name, mistake.changes) if mistake.changes else net.message
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


def changed(net: Message, layer: str, changes: Mapping[str, Any]) -> Message:
    """A NetParameter in which one layer has other parameters, by path."""

    def set_path(message: Message, path: list[str], value: Any) -> Message:
        name, *rest = path
        made = Message(message.kind, (item for item in message.fields if item.name != name))
        if rest:
            inner = getattr(message, name)
            made.append(Field(name, set_path(inner, rest, value), _type(message, name)))
        else:
            for item in value if isinstance(value, list) else [value]:
                made.add(name, item)
        return made

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


def _swapped(
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
    blob: str,
    found: NDArray[Any],
    layers: list[Layer],
    tolerance: float,
) -> str:
    """Whether the other side's colours come in the other order."""
    import numpy as np

    from protogen.running.runtime import run

    for name in {read for layer in layers for read in layer.reads}.intersection(feeds):
        if feeds[name].ndim == 4 and feeds[name].shape[1] == 3:
            other = {**feeds, name: np.ascontiguousarray(feeds[name][:, ::-1])}
            if _same(run(net, other, [blob])[blob], found, tolerance):
                return f'channels of "{name}" come in the other order (RGB for BGR)'
    return ""


def _border(
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
    blob: str,
    found: NDArray[Any],
    layers: list[Layer],
    tolerance: float,
) -> str:
    """Whether an upsampling differs along the border only."""
    import numpy as np

    from protogen.running.runtime import run

    upsampling = next((x for x in layers if x.type == "Deconvolution"), None)
    mine = run(net, feeds, [blob])[blob] if upsampling is not None else found
    if upsampling is None or mine.shape != found.shape or mine.ndim != 4:
        return ""
    kind = kind_of(upsampling)
    shapes = [net.graph.shapes[read] or () for read in upsampling.reads]
    window = kind.window(upsampling, shapes) if kind else None
    h, w = window.stride[-2:] if window and len(window.stride) == 2 else (0, 0)
    if mine.shape[2] <= 2 * h or mine.shape[3] <= 2 * w or not h:
        return ""
    inner = np.s_[:, :, h:-h, w:-w]
    if not _same(mine[inner], found[inner], tolerance):
        return ""
    return (
        f"it differs along the border only ({upsampling.subject}): the layer counts the outside "
        "as 0, and the other side repeats the edge"
    )


def _same(made: NDArray[Any], found: NDArray[Any], tolerance: float) -> bool:
    return difference("", "", found, made, tolerance).passed
