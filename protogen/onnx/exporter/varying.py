"""Axes whose length depends on data: shapes of the values that have them, and a check that the
operators of the layers after them hold at any length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from protogen.errors import InputError, UnsupportedError
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.base import LayerType, guarded
from protogen.layers.graph import Graph, Layer
from protogen.onnx.program import Node

if TYPE_CHECKING:
    from protogen.onnx.exporter.emitter import OnnxEmitter
    from protogen.onnx.program import Lengths


def longer_shapes(graph: Graph) -> dict[str, Shape | None]:
    """Return the shapes of the values with one more entry along each axis whose length depends on data.
    Values that do not depend on such a length are left out; None: it is unknown how the shape depends
    on it."""
    longer: dict[str, Shape | None] = {}
    for layer in graph.layers:
        kind = kind_of(layer)
        axis = kind.data_axis if kind else None
        depends = any(read in longer for read in layer.reads)
        if not depends and axis is None:
            continue
        tops = (
            _longer_tops(graph, layer, longer)
            if depends
            else [graph.shapes[n] for n in layer.writes]
        )
        for name, top in zip(layer.writes, tops, strict=True):
            if top is not None and axis is not None:
                top = tuple(n + (i == axis) for i, n in enumerate(top))
            longer[name] = top
    return longer


def _longer_tops(
    graph: Graph, layer: Layer, longer: Mapping[str, Shape | None]
) -> Sequence[Shape | None]:
    """Return the shapes of a layer's tops for the longer shapes of its bottoms; None for unknown ones."""
    kind = kind_of(layer)
    unknown: list[Shape | None] = [None] * len(layer.writes)
    bottoms = [longer[read] if read in longer else graph.shapes[read] for read in layer.reads]
    known = [shape for shape in bottoms if shape is not None]
    if kind is None or len(known) < len(bottoms):
        return unknown
    try:
        with guarded(layer, known):
            tops = list(kind.shapes(layer, known))[: len(layer.writes)]
    except InputError:
        return unknown
    ranks = [len(graph.shapes[name] or ()) for name in layer.writes]
    fits = [len(top or ()) for top in tops] == ranks
    return tops if fits else unknown


def free_axes_of(
    name: str, shape: Shape | None, longer: Shape | None
) -> tuple[int | str, ...] | None:
    """Return a shape with names for the axes that differ in the longer shape; for all axes if it is
    unknown."""
    if shape is None:
        return None
    if longer is None:
        return tuple(f"{name}.axis{i}" for i in range(len(shape)))
    return tuple(a if a == b else f"{name}.found" for a, b in zip(shape, longer, strict=True))


def longer_graph(graph: Graph) -> Graph | None:
    """Return the graph with the longer shapes, as far as they are known; None if no layer reads a value
    whose length depends on data."""
    longer = longer_shapes(graph)
    if not any(read in longer for layer in graph.layers for read in layer.reads):
        return None
    known = {name: shape for name, shape in longer.items() if shape is not None}
    return replace(graph, shapes={**graph.shapes, **known})


def known_lengths(
    graph: Graph, others: Mapping[str, Shape | None] | None = None
) -> dict[str, Lengths]:
    """Return the lengths of the axes of all values, with None for those that depend on data or that differ
    in ``others``. Values whose lengths are unknown are left out."""
    known: dict[str, Lengths] = {}
    more = [longer_shapes(graph), *([others] if others is not None else [])]
    for name, shape in graph.shapes.items():
        shapes = [one[name] for one in more if name in one]
        if shape is None or any(one is None or len(one) != len(shape) for one in shapes):
            continue
        known[name] = tuple(
            length if all(one is None or one[i] == length for one in shapes) else None
            for i, length in enumerate(shape)
        )
    return known


def shape_errors(graph: Graph) -> list[UnsupportedError]:
    """Return an error for each layer whose top or parameter blobs do not suit another length of a
    bottom whose length depends on data."""
    shapes, errors = longer_shapes(graph), []
    for layer, kind in _dependent(graph, shapes):
        bottoms = [shapes.get(read) or graph.shapes[read] for read in layer.reads]
        known = [shape for shape in bottoms if shape is not None]
        is_unknown = any(shapes.get(name) is None for name in layer.writes)
        if is_unknown or tuple(kind.blobs(layer, known)) != graph.parameter_shapes[layer.name]:
            errors.append(_error(layer, shapes))
    return errors


def operator_errors(graph: Graph, a: OnnxEmitter, b: OnnxEmitter) -> list[UnsupportedError]:
    """Return an error for each layer whose operators or constants contain a length that depends on data.
    ``a`` and ``b`` hold the operators of the graph and of its ``longer_graph``."""
    shapes = longer_shapes(graph)
    before, after = (_by_layer(emitter.nodes) for emitter in (a, b))
    return [
        _error(layer, shapes)
        for layer, _ in _dependent(graph, shapes)
        if not _same(before.get(layer.name, []), after.get(layer.name, []), a, b)
    ]


def _dependent(
    graph: Graph, shapes: Mapping[str, Shape | None]
) -> Iterator[tuple[Layer, LayerType]]:
    """Yield the layers that read a value whose length depends on data, and do not write a new such
    length. A layer after one with an error is left out."""
    for layer in graph.layers:
        kind = kind_of(layer)
        varying = [read for read in layer.reads if read in shapes]
        is_known = bool(varying) and all(shapes[read] is not None for read in varying)
        if kind is not None and kind.data_axis is None and is_known:
            yield layer, kind


def _error(layer: Layer, shapes: Mapping[str, Shape | None]) -> UnsupportedError:
    name = next(b for b, read in zip(layer.bottoms, layer.reads, strict=True) if read in shapes)
    return layer.unsupported(
        f'the length of "{name}" depends on data, but the export of this layer holds for one length',
        f"End the net before it with --to-blob {name}.",
    )


def _by_layer(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    by_layer: dict[str, list[Node]] = {}
    for node in nodes:
        by_layer.setdefault(node.layer, []).append(node)
    return by_layer


def _same(before: Sequence[Node], after: Sequence[Node], a: OnnxEmitter, b: OnnxEmitter) -> bool:
    """Return whether the operators and constants of a layer are the same in both exports."""
    if before != after:
        return False
    for name in {read for node in before for read in node.reads if read in a.tensors}:
        first, second = a.tensors[name], b.tensors[name]
        if first.source is second.source:
            continue
        if not np.array_equal(first.array(), second.array(), equal_nan=True):
            return False
    return True
