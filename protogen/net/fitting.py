"""Weights from outside of a net: their shapes and values against those that a layer needs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from protogen.errors import ProtogenWarning
from protogen.geometry import Shape, shape_text
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fit(layer: Layer, index: int, array: NDArray[np.floating], shape: Shape) -> NDArray[np.float32]:
    """Return the array in the expected shape. Caffe accepts an equal shape, or four axes with
    leading 1s (from old files, whose blobs always had four axes, or five in C3D 1.0)."""
    legacy = ((1,) * (axes - len(shape)) + shape for axes in (4, 5))
    if array.shape not in (shape, *legacy):
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
        warnings.warn(warning, stacklevel=3)
