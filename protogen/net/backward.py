"""Where training sends gradients (Caffe: the second half of Net::Init)."""

from __future__ import annotations

from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer

Edge = tuple[int, int]  # a layer's number, and the index of one of its bottoms


def gradients(graph: Graph) -> set[Edge]:
    """The bottoms that a gradient is computed for, when the net is trained with its losses."""
    wanted = _wanted(graph)  # without those of layers that nothing trained is before
    readers: dict[str, list[Edge]] = {}
    for number, layer in enumerate(graph.layers):
        for index, read in enumerate(layer.reads):
            readers.setdefault(read, []).append((number, index))
    under_loss: set[Edge] = set()
    found: set[Edge] = set()
    for number in reversed(range(len(graph.layers))):
        layer = graph.layers[number]
        behind = [edge for write in layer.writes for edge in readers.get(write, ())]
        ends = any(write not in readers for write in layer.writes)
        loss = is_loss(layer)
        edges = [(number, index) for index in range(len(layer.reads))]
        if not loss and under_loss.isdisjoint(behind):
            continue
        under_loss.update(edges)
        if loss or ends or not found.isdisjoint(behind):
            found.update(edge for edge in edges if edge in wanted)
    return found


def is_loss(layer: Layer) -> bool:
    """Whether a top counts in the net's loss."""
    return any(loss_of(layer, index) for index in range(max(1, len(layer.tops))))


def loss_of(layer: Layer, index: int) -> bool:
    """Whether this top counts in the net's loss."""
    weights = layer.params.loss_weight
    if not weights:
        kind = kind_of(layer)
        return index == 0 and kind is not None and kind.is_loss
    return index < len(weights) and weights[index] != 0


def _wanted(graph: Graph) -> set[Edge]:
    """The bottoms that depend on what is trained, or of which the text says that they do."""
    trained: set[str] = set()
    made: set[Edge] = set()
    for number, layer in enumerate(graph.layers):
        given = list(layer.params.propagate_down)
        depends = _learns(graph, layer)
        for index, read in enumerate(layer.reads):
            depends = depends or read in trained
            if given[index] if index < len(given) else read in trained:
                made.add((number, index))
        if depends:
            trained.update(layer.writes)
        else:
            made -= {(number, index) for index in range(len(given))}
    return made


def _learns(graph: Graph, layer: Layer) -> bool:
    """Whether the layer has a blob with a learning rate."""
    kind = kind_of(layer)
    blobs = graph.parameter_shapes.get(layer.name) or ()
    if kind is None or not kind.trained:
        return False
    specs = list(layer.params.param)
    return any(index >= len(specs) or specs[index].lr_mult != 0 for index, _ in enumerate(blobs))
