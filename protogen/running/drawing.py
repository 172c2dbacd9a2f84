"""Inputs drawn at random, within the range of the layers that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.layers import kind_of
from protogen.layers.base import LayerType, guarded
from protogen.layers.graph import Graph, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.layers.values import Drawn, Rng
    from protogen.net.net import Net

    Arrays = dict[str, NDArray[Any]]

WHOLE_ENDS = {"uint8": 256}  # where whole numbers of an element type end; 2 for all others


def random_feeds(net: Net, seed: int) -> Arrays:
    """Arrays for all of a net's inputs: what layers want of them (labels, places, regions), and
    standard normal numbers where any will do.

    Raises:
        InputError: the shape of an input is not known.
    """
    from protogen.running.runtime import check_room

    check_room(net.graph)
    shapes = {}
    for name in net.inputs:
        shape = net.graph.shapes[name]
        if shape is None:
            advice = f"Give it: --input {name}=N,C,H,W."
            raise InputError("its shape is not known", subject=f'input "{name}"', advice=advice)
        shapes[name] = shape
    return random_inputs(shapes, seed, wanted_inputs(net.graph, seed))


def random_inputs(
    shapes: Mapping[str, Shape],
    seed: int,
    wanted: Mapping[str, NDArray[Any]] | None = None,
    *,
    scale: float = 1.0,
    kinds: Mapping[str, str] | None = None,
) -> Arrays:
    """Float32 arrays for each name.

    Args:
        shapes: by name.
        seed: of the numbers.
        wanted: arrays that are taken as they are.
        scale: the deviation of numbers that may be any.
        kinds: element types by name; whole numbers are drawn for those that are not float.

    Raises:
        UnsupportedError: they need more memory than there is.
    """
    import numpy as np

    from protogen.running.runtime import check_inputs

    check_inputs(shapes)
    generator = np.random.default_rng(seed)
    made: Arrays = {}
    for name, shape in shapes.items():
        kind = (kinds or {}).get(name, "float32")
        if wanted and name in wanted:
            made[name] = wanted[name]
        elif not kind.startswith(("float", "bfloat", "double")):
            end = WHOLE_ENDS.get(kind, 2)
            made[name] = generator.integers(0, end, shape).astype(np.float32)
        else:
            values = generator.standard_normal(shape, np.float32)
            made[name] = values if scale == 1 else values * np.float32(scale)
    return made


def wanted_inputs(graph: Graph, seed: int) -> dict[str, Drawn]:
    """Inputs that a layer wants something particular of, drawn. Layers that only move values on
    (Split, Reshape, Slice) are followed. Where several layers want something, the smaller counts:
    what is in range for each is then in range for all."""
    import numpy as np

    rng = np.random.default_rng([seed, 1])
    moved = set(graph.inputs)  # values that are the inputs' own
    for layer in graph.layers:
        kind = kind_of(layer)
        if kind is not None and _moves(kind, layer) and moved.intersection(layer.reads):
            moved.update(layer.writes)
    wanted: dict[str, Drawn] = {}
    for layer in reversed(graph.layers):
        kind = kind_of(layer)
        if kind is None or not moved.intersection(layer.reads):
            continue
        for read, drawn in _wants(kind, layer, graph, wanted, rng):
            if read in moved:
                wanted[read] = np.minimum(wanted.get(read, drawn), drawn)
    return {name: wanted[name] for name in graph.inputs if name in wanted}


def _moves(kind: LayerType, layer: Layer) -> bool:
    return kind.is_view(layer) or type(kind).bottoms_for_tops is not LayerType.bottoms_for_tops


def _wants(
    kind: LayerType, layer: Layer, graph: Graph, wanted: Mapping[str, Drawn], rng: Rng
) -> list[tuple[str, Drawn]]:
    """What a layer wants of the values that it reads: for itself, and for those behind it."""
    shapes = [shape for read in layer.reads if (shape := graph.shapes[read]) is not None]
    if len(shapes) < len(layer.reads):
        return []
    with guarded(layer, shapes):
        drawn = [kind.draw(layer, i, shapes, rng) for i in range(len(shapes))]
        tops = [wanted.get(write) for write in layer.writes]
        if any(top is not None for top in tops):
            drawn += kind.bottoms_for_tops(layer, tops, shapes, rng)
    pairs = zip([*layer.reads, *layer.reads], drawn, strict=False)
    return [(read, array) for read, array in pairs if array is not None]
