"""Resizing along one axis as a matrix: output = A input, A of shape (output, input), float64.

Both axes together are Y = A_h X A_w^T. What a Deconvolution computes is such a matrix too, so its
error against a resize is a difference of matrices, known before anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen import geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def linear_matrix(size: int, factor: int) -> NDArray[np.float64]:
    """Linear interpolation by a whole factor with half-pixel centres and a clamped border.

    Output i reads position (i + 0.5) / f - 0.5 (ONNX Resize: linear, half_pixel).
    """
    import numpy as np

    out = np.arange(size * factor)
    position = (out + 0.5) / factor - 0.5
    left = np.floor(position).astype(np.int64)
    share = position - left
    matrix = np.zeros((size * factor, size))
    np.add.at(matrix, (out, np.clip(left, 0, size - 1)), 1 - share)
    np.add.at(matrix, (out, np.clip(left + 1, 0, size - 1)), share)
    return matrix


def nearest_matrix(size: int, factor: int) -> NDArray[np.float64]:
    """Each pixel repeated ``factor`` times (ONNX Resize: nearest, asymmetric, floor)."""
    import numpy as np

    return np.repeat(np.eye(size), factor, axis=0)


def deconvolution_matrix(
    profile: ArrayLike, size: int, stride: int, pad: int
) -> NDArray[np.float64]:
    """What a Deconvolution with the kernel ``profile`` computes along one axis."""
    import numpy as np

    kernel = np.asarray(profile, dtype=np.float64)
    length = geometry.deconv_out(size, len(kernel), stride, pad)
    matrix = np.zeros((length + 2 * pad, size))
    for i in range(size):
        matrix[i * stride : i * stride + len(kernel), i] += kernel
    return matrix[pad : pad + length]
