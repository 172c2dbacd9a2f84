"""Words of conditions about global means, and about layers that only reorder numbers."""

from __future__ import annotations

from protogen.errors import InputError
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer

# Layers with one bottom that give each number a factor and a shift, or none.
_LINEAR = frozenset(
    ("Scale", "BatchNorm", "Power", "Permute", "Reshape", "Flatten", "Split", "Dropout")
)


def length_of_mean(layer: Layer, shape: Shape) -> int:
    """Return the first length of the global mean that a layer computes of a bottom of this shape; 0 if it
    computes none."""
    return shape[0] if _is_mean(layer, shape) else 0


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


def is_linear(layer: Layer) -> bool:
    """Return whether a layer with one bottom gives each number a factor and a shift, or none."""
    if layer.type == "Convolution":
        return bool(layer.params.convolution_param.group > 1)
    return layer.type in _LINEAR and bool(layer.params.power_param.power == 1)
