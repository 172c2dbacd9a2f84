"""A net as it runs: layers in order, each with the values it reads and writes, shapes known.

Plain data. ``net/build.py`` is the one place where a Graph is born; nobody changes one afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from protogen.errors import Diagnostic, InputError, Place, UnsupportedError, did_you_mean
from protogen.formats.message import Message
from protogen.geometry import Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a net.

    ``bottoms`` and ``tops`` are Caffe's blob names. ``reads`` and ``writes`` name the values: a
    blob that layers work on in place has one value per writer, and the last keeps the blob's name.
    ``params`` is the LayerParameter; ``place`` is where the layer stands; ``phase`` is
    TRAIN or TEST: its own where it has one, else the net's. ``dialect`` is the fork that the net was
    written for, where the user said so.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Message
    place: Place | str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    phase: str = "TEST"
    dialect: str = ""

    @property
    def subject(self) -> str:
        """How messages call this layer."""
        return f'layer "{self.name}" ({self.type})'

    def error(self, problem: str, advice: str = "") -> InputError:
        """An InputError that names the file, the line and the layer."""
        return InputError(
            problem, where=self.place, subject=self.subject, advice=advice, layer=self.name
        )

    def unsupported(self, problem: str, advice: str = "") -> UnsupportedError:
        """An UnsupportedError that names the file, the line and the layer."""
        return UnsupportedError(
            problem, where=self.place, subject=self.subject, advice=advice, layer=self.name
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole net in execution order.

    ``shapes`` holds every value's shape by name (see ``Layer.writes``); None where a layer of
    unknown type stands before it. ``parameter_shapes`` holds each layer's blobs in Caffe's order.
    ``owners`` names, for a blob (layer, index) that is shared by ``param { name }``, the layer and
    index that used the name first. ``ignored_fields`` are those that the user takes the
    responsibility for (``block.field``). ``assumed`` says what the net leaves open and was taken
    for granted.
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape | None]
    parameter_shapes: dict[str, tuple[Shape, ...] | None] = field(default_factory=dict)
    owners: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    ignored_fields: frozenset[str] = frozenset()
    assumed: tuple[Diagnostic, ...] = ()

    def last(self, names: Iterable[str]) -> list[str]:
        """The values that blobs hold when all layers have run. Only for an input that a layer works
        on in place is that another name than the blob's, which is the input itself."""
        made: dict[str, str] = {}
        for layer in self.layers:
            made.update((t, v) for t, v in zip(layer.tops, layer.writes, strict=True) if t != v)
        fed = set(self.inputs)
        return [made.get(name, name) if name in fed else name for name in names]


def free_name(wanted: str, taken: set[str], between: str = "") -> str:
    """The name, or the name with a number where it is taken; it is then taken."""
    name = wanted
    if name in taken:
        # Doubled, then halved: thousands of one name must not be counted through by each.
        used, free = 1, 2
        while f"{wanted}{between}{free}" in taken:
            used, free = free, 2 * free
        while free - used > 1:
            middle = (used + free) // 2
            if f"{wanted}{between}{middle}" in taken:
                used = middle
            else:
                free = middle
        name = f"{wanted}{between}{free}"
    taken.add(name)
    return name


def cut(graph: Graph, outputs: Sequence[str]) -> Graph:
    """The part of a graph that these values need, in the same order. An input's name stands for
    what its blob holds at the end.

    Raises:
        InputError: the graph makes no value of such a name.
    """
    for name in outputs:
        if name not in graph.shapes:
            advice = did_you_mean(name, graph.shapes)
            raise InputError("the net has no such blob", subject=f'"{name}"', advice=advice)
    outputs = graph.last(outputs)
    needed = set(outputs)
    kept = []
    for layer in reversed(graph.layers):
        if needed.intersection(layer.writes):
            needed.update(layer.reads)
            kept.append(layer)
    kept.reverse()
    inputs = tuple(name for name in graph.inputs if name in needed)
    made = (name for layer in kept for name in layer.writes)
    shapes = {name: graph.shapes[name] for name in (*inputs, *made)}
    parameters = {layer.name: graph.parameter_shapes[layer.name] for layer in kept}
    return replace(
        graph,
        layers=tuple(kept),
        inputs=inputs,
        outputs=tuple(dict.fromkeys(outputs)),
        shapes=shapes,
        parameter_shapes=parameters,
    )
