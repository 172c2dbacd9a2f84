"""Random inputs, within the range that the layers which read them require."""

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

INTEGER_ENDS = {"uint8": 256}  # exclusive upper limit of random integers; 2 for any other type


def random_feeds(net: Net, seed: int) -> Arrays:
    """Return a random array for each input of a net.

    An input that a layer reads as labels, positions or regions gets valid ones. Any other input gets
    standard normal numbers.

    Raises:
        InputError: the shape of an input is unknown.
        UnsupportedError: running the net needs more memory than this machine has.
    """
    from protogen.running.runtime import check_room

    check_room(net.graph)
    shapes = {}
    for name in net.inputs:
        shape = net.graph.shapes[name]
        if shape is None:
            advice = f"Give it with --input-shape {name}=N,C,H,W."
            raise InputError("unknown shape", subject=f'input "{name}"', advice=advice)
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
    """Return a random float32 array for each name.

    Args:
        shapes: shapes by name.
        seed: seed of the random generator.
        wanted: arrays by name that are used instead of random ones.
        scale: standard deviation of the normal numbers.
        kinds: element types by name; types other than float get random integers.

    Raises:
        UnsupportedError: the arrays need more memory than this machine has.
    """
    import numpy as np

    from protogen.running.runtime import check_inputs

    check_inputs(shapes)
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in shapes.items():
        element_type = (kinds or {}).get(name, "float32")
        if wanted and name in wanted:
            arrays[name] = wanted[name]
        elif not element_type.startswith(("float", "bfloat", "double")):
            end = INTEGER_ENDS.get(element_type, 2)
            arrays[name] = generator.integers(0, end, shape).astype(np.float32)
        else:
            values = generator.standard_normal(shape, np.float32)
            arrays[name] = values if scale == 1 else values * np.float32(scale)
    return arrays


def wanted_inputs(graph: Graph, seed: int) -> dict[str, Drawn]:
    """Draw the inputs that a layer restricts to a range, such as labels.

    A range also holds for the bottoms of layers that only move values (Split, Reshape, Slice). If
    several layers draw values for one input, the smaller values are used: they are in range for all.
    """
    import numpy as np

    rng = np.random.default_rng([seed, 1])
    input_values = set(graph.inputs)  # the inputs, and values that layers only move
    for layer in graph.layers:
        kind = kind_of(layer)
        if (
            kind is not None
            and _moves_values(kind, layer)
            and input_values.intersection(layer.reads)
        ):
            input_values.update(layer.writes)
    wanted: dict[str, Drawn] = {}
    for layer in reversed(graph.layers):
        kind = kind_of(layer)
        if kind is None or not input_values.intersection(layer.reads):
            continue
        for read, drawn in _drawn_bottoms(kind, layer, graph, wanted, rng):
            if read in input_values:
                wanted[read] = np.minimum(wanted.get(read, drawn), drawn)
    return {name: wanted[name] for name in graph.inputs if name in wanted}


def _moves_values(kind: LayerType, layer: Layer) -> bool:
    """Whether the layer only moves the values of its bottom."""
    return kind.is_view(layer) or type(kind).bottoms_for_tops is not LayerType.bottoms_for_tops


def _drawn_bottoms(
    kind: LayerType, layer: Layer, graph: Graph, wanted: Mapping[str, Drawn], rng: Rng
) -> list[tuple[str, Drawn]]:
    """Draw values for the bottoms that the layer, or the layers after it, restrict to a range."""
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
