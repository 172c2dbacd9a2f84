"""Cost of a net: parameters, multiply-adds, memory, and receptive fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers import POINT, Window, kind_of
from protogen.layers.base import guarded
from protogen.layers.graph import Graph, Layer

if TYPE_CHECKING:
    from fractions import Fraction

    Pixels = int | Fraction  # a distance in the input, as an int if it is a whole number


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one layer. A count is None if a shape is unknown.

    Attributes:
        parameters: values of blobs that the layer owns (a shared blob counts at its first layer).
        multiply_adds: products of data with parameters.
        activations: values of tops, except in-place tops.
        receptive_field, stride: (height, width) in pixels of the input; None if the layer depends
            on the whole input or the net has no pixels.
    """

    layer: Layer
    output: Shape | None
    parameters: int | None
    multiply_adds: int | None
    activations: int | None
    receptive_field: tuple[int, int] | None
    stride: tuple[Pixels, Pixels] | None


@dataclass(frozen=True, slots=True)
class _View:
    """Receptive field of a value: extent and step in input pixels. ``extent`` is None for the whole
    input."""

    extent: tuple[Pixels, Pixels] | None
    step: tuple[Pixels, Pixels]


_START = _View((1, 1), (1, 1))
_ALL = _View(None, (1, 1))


def costs(graph: Graph) -> list[Cost]:
    """Return the cost of every layer, in execution order."""
    views: dict[str, _View] = {}
    rows = []
    for layer in graph.layers:
        bottoms = [graph.shapes[read] for read in layer.reads]
        tops = [graph.shapes[write] for write in layer.writes]
        view = _view(layer, bottoms, views)
        views.update(dict.fromkeys(layer.writes, view))
        rows.append(_cost(graph, layer, bottoms, tops, view))
    return rows


def _cost(
    graph: Graph,
    layer: Layer,
    bottoms: list[Shape | None],
    tops: list[Shape | None],
    view: _View,
) -> Cost:
    kind = kind_of(layer)
    blobs = graph.parameter_shapes[layer.name]
    known_bottoms = [shape for shape in bottoms if shape is not None]
    known_tops = [shape for shape in tops if shape is not None]
    known = len(known_bottoms) == len(bottoms) and len(known_tops) == len(tops)
    work = None
    if kind is not None and known and blobs is not None:
        with guarded(layer, bottoms):
            work = kind.multiply_adds(layer, known_bottoms, known_tops, blobs)
    own = [
        math.prod(shape)
        for index, shape in enumerate(blobs or ())
        if not graph.owners
        or graph.owners.get((layer.name, index), (layer.name, index)) == (layer.name, index)
    ]
    fresh = [
        math.prod(shape)
        for top, shape in zip(layer.tops, tops, strict=True)
        if shape is not None and top not in layer.bottoms
    ]
    spatial = tops and tops[0] is not None and len(tops[0]) == 4 and view.extent is not None
    return Cost(
        layer,
        tops[0] if tops else (),
        None if blobs is None else sum(own),
        work,
        sum(fresh) if len(known_tops) == len(tops) else None,
        (math.ceil(view.extent[0]), math.ceil(view.extent[1])) if spatial and view.extent else None,
        view.step if spatial else None,
    )


def _view(layer: Layer, bottoms: list[Shape | None], views: dict[str, _View]) -> _View:
    """Return the view of a layer: the widest view of its bottoms, extended by its window."""
    if not layer.reads:
        return _START
    bottom_views = [views[read] for read in layer.reads]
    for view in bottom_views:
        if view.extent is None:
            return _ALL
    widest = bottom_views[0]
    if len(bottom_views) > 1:
        widest = max(bottom_views, key=lambda view: view.extent or (0, 0))
    kind = kind_of(layer)
    known = [shape for shape in bottoms if shape is not None]
    if kind is None or len(known) < len(bottoms):
        return widest
    with guarded(layer, bottoms):
        window = kind.window(layer, known)
    if window is None:
        return _ALL
    if window is POINT or window == POINT or len(window.kernel) != 2:
        return widest
    assert widest.extent is not None
    axes = [_through(window, i, widest.extent[i], widest.step[i]) for i in (0, 1)]
    return _View((axes[0][0], axes[1][0]), (axes[0][1], axes[1][1]))


def _through(window: Window, axis: int, extent: Pixels, step: Pixels) -> tuple[Pixels, Pixels]:
    """Return extent and step after a window: r + (d (K - 1)) j and j s. A transposed window reads
    ceil(K / s) pixels and divides the step by s."""
    k, s, d = window.kernel[axis], window.stride[axis], window.dilation[axis]
    if window.transposed:
        reads = -(-(d * (k - 1) + 1) // s)
        from fractions import Fraction

        quotient = Fraction(step, s)
        return extent + (reads - 1) * step, quotient if quotient.denominator > 1 else int(quotient)
    return extent + d * (k - 1) * step, step * s
