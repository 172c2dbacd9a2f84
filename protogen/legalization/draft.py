"""A net as a list of layers with one name for each value, to be changed layer by layer."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from protogen.errors import Diagnostic, ProtogenWarning
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.graph import Graph, Layer, free_name
from protogen.net.targets import tolerant_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[np.floating]]

_WIRING = ("name", "type", "bottom", "top")
_STATE = ("include", "exclude", "phase", "blobs", "loss_weight", "propagate_down", "param")
MARK = "\x01"  # separates a name from a number that makes it unique until the end


@dataclass(frozen=True, eq=False)
class Item:
    """One layer of a draft.

    Attributes:
        params: its LayerParameter without name, type, bottoms and tops.
        reads, writes: its values. A layer in place writes a value of its own.
        weights: its parameter blobs; None if it has none or the net has no weights.
        in_place: whether it works in place on the first value that it reads.
        origin: the layer of the original net that it comes from.
        forms: the forms, as (layer type, text), by which it came from this layer.
    """

    name: str
    type: str
    params: Message
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    weights: Arrays | None = None
    in_place: bool = False
    origin: str = ""
    forms: tuple[tuple[str, str], ...] = ()

    def layer(self) -> Layer:
        """Return the item as a layer that forms read: every value is a blob of its own."""
        message = self.message(self.reads, self.writes)
        return Layer(
            self.name, self.type, self.reads, self.writes, message, "", self.reads, self.writes
        )

    def message(self, bottoms: Sequence[str], tops: Sequence[str]) -> Message:
        """Return the LayerParameter with these blobs."""
        names = {"bottom": list(bottoms), "top": list(tops)}
        message = Message.make("LayerParameter", name=self.name, type=self.type, **names)
        for item in self.params.fields:
            message.append(item)
        return message


@dataclass
class Draft:
    """A net that is being legalized.

    Attributes:
        items: its layers in execution order.
        shapes: the shape of each value; None where it is unknown.
        outputs: the values that are outputs of the net, in order.
        constants: the arrays of values that are constants.
    """

    name: str
    items: list[Item]
    shapes: dict[str, Shape | None]
    outputs: tuple[str, ...]
    constants: dict[str, NDArray[np.floating]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)  # values of the net with other names here
    header: tuple[str, ...] = ()  # comments before the first field of the net
    _counter: list[int] = field(default_factory=lambda: [0])

    def unique(self, base: str) -> str:
        """Return a name that no other layer or value has until the names are final."""
        self._counter[0] += 1
        return f"{base.partition(MARK)[0]}{MARK}{self._counter[0]}"

    def message(self) -> Message:
        """Return the NetParameter, with final names."""
        items = _final(self.items, set(self.outputs))
        message = assemble(self.name, items, (), self.shapes, set(self.outputs))
        message.fields[0].before = self.header
        return message


def draft_of(graph: Graph, weights: Mapping[str, Arrays]) -> Draft:
    """Return the draft of a net in its present form. Layers of other phases are left out."""
    renamed: dict[str, str] = {}
    used = {value for layer in graph.layers for value in layer.writes}
    for layer in graph.layers:
        for top, value in zip(layer.tops, layer.writes, strict=True):
            if value != top:
                renamed[value] = free_name(f"{top}_{layer.name}", used)
    inputs = set(graph.inputs)
    items = []
    for layer in graph.layers:
        reads = tuple(renamed.get(value, value) for value in layer.reads)
        writes = tuple(renamed.get(value, value) for value in layer.writes)
        in_place = bool(layer.tops) and layer.tops[:1] == layer.bottoms[:1]
        params = Message(
            layer.params.kind,
            [one for one in layer.params.fields if one.name not in (*_WIRING, *_STATE)],
        )
        arrays = _weights_of(layer, graph, weights)
        items.append(
            Item(
                layer.name,
                layer.type,
                params,
                reads,
                writes,
                arrays,
                in_place and not (layer.reads and layer.reads[0] in inputs),
                layer.name,
            )
        )
    shapes = {renamed.get(value, value): shape for value, shape in graph.shapes.items()}
    outputs = tuple(renamed.get(value, value) for value in graph.outputs)
    constants = {
        item.writes[0]: item.weights[0]
        for item in items
        if item.type == "Parameter" and item.weights
    }
    return Draft(graph.name, items, shapes, outputs, constants, renamed)


def _weights_of(
    layer: Layer, graph: Graph, weights: Mapping[str, Arrays]
) -> list[NDArray[np.floating]] | None:
    """Return a layer's own copies of its blobs, or those of the layers that it shares them with."""
    if layer.name in weights:
        return list(weights[layer.name])
    shapes = graph.parameter_shapes.get(layer.name) or ()
    owners = [graph.owners.get((layer.name, index)) for index in range(len(shapes))]
    shared = [weights[owner[0]][owner[1]] for owner in owners if owner and owner[0] in weights]
    return shared if shapes and len(shared) == len(shapes) else None


def assemble(
    name: str,
    items: Sequence[Item],
    boundary: Iterable[str],
    shapes: Mapping[str, Shape | None],
    outputs: set[str],
) -> Message:
    """Return the NetParameter of some layers. The values of ``boundary`` become inputs."""
    blobs = blob_names(items, outputs)
    layers = [_input(value, shapes.get(value) or ()) for value in boundary]
    for item in items:
        bottoms = [blobs.get(value, value) for value in item.reads]
        layers.append(item.message(bottoms, [blobs.get(value, value) for value in item.writes]))
    return Message.make("NetParameter", name=name, layer=layers)


def _input(value: str, shape: Shape) -> Message:
    return Message.make(
        "LayerParameter",
        name=value,
        type="Input",
        top=[value],
        input_param={"shape": [{"dim": list(shape)}]},
    )


def blob_names(items: Sequence[Item], outputs: set[str]) -> dict[str, str]:
    """Return the blob of each value that shares the blob of a later value: that of a layer in place.
    A layer works in place only if nobody else reads its bottom."""
    readers = Counter(value for item in items for value in item.reads)
    producers = {value: item for item in items for value in item.writes}
    blobs: dict[str, str] = {}
    for item in reversed(items):
        if not item.in_place or len(item.writes) != 1 or not item.reads:
            continue
        source = item.reads[0]
        producer = producers.get(source)
        if readers[source] == 1 and source not in outputs and producer and producer.type != "Input":
            blobs[source] = blobs.get(item.writes[0], item.writes[0])
    return blobs


def built(message: Message) -> tuple[Graph, list[Diagnostic]]:
    """Build a net although Caffe may refuse layers of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        return tolerant_graph(message, None, {})


def _final(items: Sequence[Item], outputs: set[str]) -> list[Item]:
    """Give layers and values their final names: those of the original net first."""
    used_values = {v for item in items for v in item.writes if MARK not in v} | outputs
    used_names = {item.name for item in items if MARK not in item.name}
    values: dict[str, str] = {}
    result = []
    for item in items:
        writes = []
        for value in item.writes:
            if MARK in value:
                values[value] = free_name(value.partition(MARK)[0], used_values, "_")
            writes.append(values.get(value, value))
        name = item.name
        if MARK in name:
            name = free_name(name.partition(MARK)[0], used_names, "_")
        reads = tuple(values.get(value, value) for value in item.reads)
        result.append(replace(item, name=name, reads=reads, writes=tuple(writes)))
    return result


def params_message(params: Mapping[str, Any]) -> Message:
    """Return a LayerParameter with these fields, to be an item's ``params``."""
    message: Message = Message.make("LayerParameter", **params)
    return message


def without(params: Message, names: Iterable[str]) -> Message:
    """Return a message without some fields."""
    left = set(names)
    return Message(params.kind, [one for one in params.fields if one.name not in left])
