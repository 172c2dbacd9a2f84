"""Finds the bottoms that need a gradient in training (Caffe: the second half of Net::Init)."""

from __future__ import annotations

from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer

Edge = tuple[int, int]  # the index of a layer, and the index of one of its bottoms


def gradients(graph: Graph) -> set[Edge]:
    """Return the bottoms for which training computes a gradient of the losses."""
    candidates = _candidates(graph)
    readers: dict[str, list[Edge]] = {}
    for number, layer in enumerate(graph.layers):
        for index, read in enumerate(layer.reads):
            readers.setdefault(read, []).append((number, index))
    under_loss: set[Edge] = set()
    with_gradient: set[Edge] = set()
    for number in reversed(range(len(graph.layers))):
        layer = graph.layers[number]
        consumers = [edge for write in layer.writes for edge in readers.get(write, ())]
        ends = any(write not in readers for write in layer.writes)
        loss = is_loss(layer)
        edges = [(number, index) for index in range(len(layer.reads))]
        if not loss and under_loss.isdisjoint(consumers):
            continue
        under_loss.update(edges)
        if loss or ends or not with_gradient.isdisjoint(consumers):
            with_gradient.update(edge for edge in edges if edge in candidates)
    return with_gradient


def is_loss(layer: Layer) -> bool:
    """Return whether any top of the layer is part of the net's loss."""
    return any(loss_of(layer, index) for index in range(max(1, len(layer.tops))))


def loss_of(layer: Layer, index: int) -> bool:
    """Return whether this top is part of the net's loss."""
    if not layer.params.has("loss_weight"):
        kind = kind_of(layer)
        return index == 0 and kind is not None and kind.is_loss
    weights = layer.params.loss_weight
    return index < len(weights) and weights[index] != 0


def _candidates(graph: Graph) -> set[Edge]:
    """Return the bottoms that depend on trained parameters, or that propagate_down selects."""
    trained: set[str] = set()
    candidates: set[Edge] = set()
    for number, layer in enumerate(graph.layers):
        flags = list(layer.params.propagate_down)
        depends = _learns(graph, layer)
        for index, read in enumerate(layer.reads):
            depends = depends or read in trained
            if flags[index] if index < len(flags) else read in trained:
                candidates.add((number, index))
        if depends:
            trained.update(layer.writes)
        else:
            candidates -= {(number, index) for index in range(len(flags))}
    return candidates


def _learns(graph: Graph, layer: Layer) -> bool:
    """Return whether the layer has a blob with a learning rate other than 0."""
    kind = kind_of(layer)
    blobs = graph.parameter_shapes.get(layer.name) or ()
    if kind is None or not kind.trained:
        return False
    specs = list(layer.params.param)
    return any(index >= len(specs) or specs[index].lr_mult != 0 for index, _ in enumerate(blobs))
