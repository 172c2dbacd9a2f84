"""A net in execution order: layers, the values that each reads and writes, and their shapes.

Immutable data. Only ``net/build.py`` builds a Graph from a NetParameter.
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

    Attributes:
        bottoms: names of the bottom blobs in Caffe.
        tops: names of the top blobs in Caffe.
        params: the LayerParameter.
        place: position of the layer in its file.
        reads: names of the values that the layer reads. A blob that layers change in place has one
            value per writer; the value of the last writer has the blob's name.
        writes: names of the values that the layer writes.
        phase: TRAIN or TEST; the layer's own if it is set, otherwise that of the net.
        dialect: fork that the net was written for, if the user set it, or if only this fork explains
            the net and the meaning of the type depends on it.
        candidates: the forks that the net can be of, if they differ in what the layer computes.
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
    candidates: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Name of this layer in messages."""
        return f'layer "{self.name}" ({self.type})'

    def error(self, problem: str, advice: str = "") -> InputError:
        """Return an InputError with the file, the line and the layer."""
        return InputError(
            problem, where=self.place, subject=self.subject, advice=advice, layer=self.name
        )

    def unsupported(self, problem: str, advice: str = "") -> UnsupportedError:
        """Return an UnsupportedError with the file, the line and the layer."""
        return UnsupportedError(
            problem, where=self.place, subject=self.subject, advice=advice, layer=self.name
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole net in execution order.

    Attributes:
        shapes: shape of each value by name (see ``Layer.writes``); None after a layer of unknown
            type.
        parameter_shapes: shapes of the parameter blobs of each layer, in Caffe's order.
        owners: for each blob (layer, index) that is shared through ``param { name }``, the layer
            and index that used the name first.
        ignored_fields: fields (``block.field``) that the user chose to ignore.
        assumed: assumptions about what the net does not define.
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
        """Return the names of the values that blobs hold after all layers. Such a name differs from
        the blob's only for an input that a layer changes in place: there the blob's name means the
        input value."""
        renamed: dict[str, str] = {}
        for layer in self.layers:
            renamed.update((t, v) for t, v in zip(layer.tops, layer.writes, strict=True) if t != v)
        inputs = set(self.inputs)
        return [renamed.get(name, name) if name in inputs else name for name in names]


def free_name(base: str, used_names: set[str], between: str = "") -> str:
    """Return ``base``, with a number after ``between`` if the name is used, and add it to the set."""
    name = base
    if name in used_names:
        # Exponential, then binary search: with thousands of one name, a linear count is too slow.
        used, free = 1, 2
        while f"{base}{between}{free}" in used_names:
            used, free = free, 2 * free
        while free - used > 1:
            middle = (used + free) // 2
            if f"{base}{between}{middle}" in used_names:
                used = middle
            else:
                free = middle
        name = f"{base}{between}{free}"
    used_names.add(name)
    return name


def cut(graph: Graph, outputs: Sequence[str]) -> Graph:
    """Return the part of a graph that computes these outputs, in the same order. For an input, the
    output is the value of its blob after all layers.

    Raises:
        InputError: the graph has no value of such a name.
    """
    for name in outputs:
        if name not in graph.shapes:
            advice = did_you_mean(name, graph.shapes)
            raise InputError("unknown blob", subject=f'"{name}"', advice=advice)
    outputs = graph.last(outputs)
    needed = set(outputs)
    layers = []
    for layer in reversed(graph.layers):
        if needed.intersection(layer.writes):
            needed.update(layer.reads)
            layers.append(layer)
    layers.reverse()
    inputs = tuple(name for name in graph.inputs if name in needed)
    values = (name for layer in layers for name in layer.writes)
    shapes = {name: graph.shapes[name] for name in (*inputs, *values)}
    parameters = {layer.name: graph.parameter_shapes[layer.name] for layer in layers}
    return replace(
        graph,
        layers=tuple(layers),
        inputs=inputs,
        outputs=tuple(dict.fromkeys(outputs)),
        shapes=shapes,
        parameter_shapes=parameters,
    )
