"""Words of conditions about global means, and about layers that only reorder numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protogen.errors import InputError
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer

# Layers with one bottom that give each number a factor and a shift, or none.
_LINEAR = frozenset(
    ("Scale", "BatchNorm", "Power", "Permute", "Reshape", "Flatten", "Split", "Dropout")
)


def mean_batch(
    layer: Layer,
    graph: Graph,
    producers: Mapping[str, Layer],
    readers: Mapping[str, Sequence[Layer]],
) -> int:
    """Return the first length of the global mean that the first bottom of a layer is, behind linear
    layers that are each read once; 0 without one."""
    while layer.reads and len(readers.get(layer.reads[0], ())) == 1:
        writer = producers.get(layer.reads[0])
        if writer is None or len(writer.reads) != 1:
            return 0
        shape = graph.shapes.get(writer.reads[0]) or ()
        if _is_mean(writer, shape):
            return shape[0]
        if not _is_linear(writer):
            return 0
        layer = writer
    return 0


def reorders(layer: Layer, graph: Graph) -> bool:
    """Return whether a layer is a Permute that changes the order of axes longer than 1."""
    if layer.type != "Permute" or not layer.reads:
        return False
    shape = graph.shapes.get(layer.reads[0]) or ()
    order = layer.params.permute_param.order
    axes = [axis for axis in order if 0 <= axis < len(shape) and shape[axis] > 1]
    return axes != sorted(axes)


def _is_mean(layer: Layer, shape: Shape) -> bool:
    """Whether a layer computes the means of maps of more than one number."""
    if len(shape) != 4 or shape[2] * shape[3] == 1:
        return False
    if layer.type == "Reduction":
        block = layer.params.reduction_param
        return str(block.operation) == "MEAN" and block.axis == 2
    if layer.type != "Pooling" or str(layer.params.pooling_param.pool) != "AVE":
        return False
    if layer.params.pooling_param.global_pooling:
        return True
    kind = kind_of(layer)
    try:
        window = kind.window(layer, [shape]) if kind else None
    except (InputError, IndexError):
        return False
    return window is not None and tuple(window.kernel) == shape[2:] and not any(window.pad)


def _is_linear(layer: Layer) -> bool:
    if layer.type == "Convolution":
        return bool(layer.params.convolution_param.group > 1)
    return layer.type in _LINEAR and bool(layer.params.power_param.power == 1)
