"""Weights of a net: those in its text, and the shapes and values of those from outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from protogen.errors import ProtogenWarning, warn
from protogen.geometry import Shape, shape_text
from protogen.layers.graph import Graph, Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, list[NDArray[np.float32]]]


def fit(layer: Layer, index: int, array: NDArray[np.floating], shape: Shape) -> NDArray[np.float32]:
    """Return the array in the expected shape. Caffe accepts an equal shape, or four axes with
    leading 1s (from old files, whose blobs always had four axes, or five in C3D 1.0)."""
    if array.shape == shape:
        return array
    legacy = ((1,) * (axes - len(shape)) + shape for axes in (4, 5))
    if array.shape not in legacy:
        raise layer.error(
            f"blob {index} of the weights has shape {shape_text(array.shape)}, "
            f"expected {shape_text(shape)}",
            "The weights belong to another net, or num_output or a kernel was changed.",
        )
    return array.reshape(shape)


def check_values(layer: Layer, index: int, piece: NDArray[np.floating], at: int) -> None:
    """Raise an error for NaN, and warn of infinite values, in a piece of a blob.

    Args:
        at: index in the blob of the first value of the piece.
    """
    import numpy as np

    bad = np.flatnonzero(np.isnan(piece))
    if bad.size:
        raise layer.error(
            f"blob {index} of the weights contains NaN (at index {at + int(bad[0])})",
            "The training diverged before this snapshot: use an earlier one.",
        )
    if np.isinf(piece).any():
        warning = ProtogenWarning(
            f"blob {index} of the weights contains infinite values",
            where=layer.place,
            subject=layer.subject,
        )
        warn(warning)


def text_weights(graph: Graph) -> Weights:
    """Return the parameter blobs in the text of the net, which Caffe reads, too."""
    weights: Weights = {}
    for layer in graph.layers:
        if not layer.params.has("blobs"):
            continue
        blobs, shapes = layer.params.blobs, graph.parameter_shapes[layer.name]
        if shapes is None or len(blobs) != len(shapes):
            continue
        import numpy as np

        arrays = [np.asarray(blob.data or blob.double_data, np.float32) for blob in blobs]
        counts = [math.prod(shape) for shape in shapes]
        if [array.size for array in arrays] == counts:  # otherwise there is an error or a warning
            weights[layer.name] = [a.reshape(s) for a, s in zip(arrays, shapes, strict=True)]
    return weights
