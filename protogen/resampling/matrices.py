"""Resizing along one axis as a matrix: output = A input, A of shape (output, input), float64.

Both axes together are Y = A_h X A_w^T. A Deconvolution has such a matrix too. Its error against a
resize is therefore the difference of two matrices, and is known without running the layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.errors import InputError, UnsupportedError
from protogen.resampling.positions import (
    AxisPositions,
    aspect_length,
    output_length,
    snap_half,
    used_scale,
)
from protogen.resampling.sampling import LINEAR, POLICIES, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]


_LARGEST = 2**27  # values of a matrix: 1 GiB


class Axis(AxisPositions):
    """One axis of a resize as a matrix."""

    @cached_property
    def taps(self) -> tuple[NDArray[np.int64], Matrix]:
        """The input pixels that each output pixel reads, and their weights: (out, taps) each.

        Pixels may lie outside of the input. Each row of weights has the sum 1.
        """
        import numpy as np

        s = self.sampling
        if self.copies:
            return np.arange(self.out)[:, None], np.ones((self.out, 1))
        if s.mode == "nearest":
            return self.nearest[:, None], np.ones((self.out, 1))
        if s.mode == "adaptive":
            return self._touched()
        if s.mode == "area":
            return self._extents()
        if s.mode == "box" and s.software == "pillow":
            return self._centres()
        x = self.positions[:, None]
        shrink = min(self.scale, 1.0) if s.antialias else 1.0
        reach = math.ceil(s.support / shrink)
        index = np.floor(x).astype(np.int64) + np.arange(-reach, reach + 2)
        weights = s.kernel((index - x) * shrink)
        is_empty = ~weights.any(axis=1)
        if is_empty.any():  # the box contains no centre of a pixel: use the nearest pixel
            weights[is_empty] = index[is_empty] == np.round(x[is_empty])
        return index, weights / weights.sum(axis=1, keepdims=True)

    def _touched(self) -> tuple[NDArray[np.int64], Matrix]:
        """Return the taps of PyTorch's area: equal weights for all pixels of an extent."""
        import numpy as np

        i = np.arange(self.out)[:, None]
        low, high = i * self.size // self.out, -(-(i + 1) * self.size // self.out)
        index = low + np.arange(int((high - low).max()))
        return index, (index < high) / (high - low)

    def _extents(self) -> tuple[NDArray[np.int64], Matrix]:
        """Return the taps of a mean over the exact extent of an output pixel."""
        import numpy as np

        low = snap_half(np.arange(self.out) / self.scale)[:, None]
        high = snap_half(np.arange(1, self.out + 1) / self.scale)[:, None]
        width = math.ceil(1 / self.scale) + 2
        index = np.floor(low).astype(np.int64) + np.arange(width)
        weights = np.maximum(np.minimum(index + 1, high) - np.maximum(index, low), 0)
        if self.sampling.software == "opencv":
            # Parts of a pixel up to 1e-3 are left out, and so are pixels outside of the input.
            weights[(weights <= 1e-3) | (index >= self.size)] = 0
            return index, weights / np.minimum(1 / self.scale, self.size - low)
        weights[weights < 1e-9] = 0
        return index, weights / weights.sum(axis=1, keepdims=True)

    def _centres(self) -> tuple[NDArray[np.int64], Matrix]:
        """Return the taps of Pillow's box, with Pillow's rounding errors in float64."""
        import numpy as np

        step = self.size / self.out
        widening = max(step, 1.0)
        reach = 0.5 * widening
        centre = (np.arange(self.out) + 0.5)[:, None] * step
        first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
        end = np.minimum((centre + reach + 0.5).astype(np.int64), self.size)
        index = first + np.arange(int((end - first).max()))
        weights = self.sampling.kernel((index - centre + 0.5) * (1 / widening))
        weights = np.where(index < end, weights, 0)
        total = weights.sum(axis=1, keepdims=True)
        return index, weights / np.where(total == 0, 1, total)

    @cached_property
    def matrix(self) -> Matrix:
        """A of shape (out, size). Rows of extrapolated pixels are zero."""
        import numpy as np

        index, weights = self.taps
        if self.sampling.exclude_outside:
            weights = np.where((index >= 0) & (index < self.size), weights, 0)
            total = weights.sum(axis=1, keepdims=True)
            weights = weights / np.where(total == 0, 1, total)
        matrix = np.zeros((self.out, self.size))
        rows = np.broadcast_to(np.arange(self.out)[:, None], index.shape)
        np.add.at(matrix, (rows, np.clip(index, 0, self.size - 1)), weights)
        matrix[self.outside] = 0
        return matrix

    @cached_property
    def extended(self) -> tuple[Matrix, int]:
        """The matrix for an input that continues beyond its ends, without clamping.

        The second value is the number of columns before the first pixel of the input. Outer columns
        without weights are omitted.
        """
        import numpy as np

        index, weights = self.taps
        weights = np.where(self.outside[:, None], 0, weights)
        read = index[np.abs(weights) > 1e-12]
        before = max(0, -int(read.min(initial=0)))
        after = max(0, int(read.max(initial=0)) - (self.size - 1))
        matrix = np.zeros((self.out, before + self.size + after))
        rows = np.broadcast_to(np.arange(self.out)[:, None], index.shape)
        is_read = np.abs(weights) > 1e-12
        np.add.at(matrix, (rows[is_read], index[is_read] + before), weights[is_read])
        return matrix, before


def resampling_matrix(
    size: int,
    *,
    out: int | None = None,
    scale: float | None = None,
    mode: str = "bilinear",
    align: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    cubic_a: float = -0.75,
    lobes: int = 3,
    exclude_outside: bool = False,
    antialias: bool = False,
    roi: tuple[float, float] = (0.0, 1.0),
) -> Matrix:
    """Return the matrix of a resize along one axis: float64, shape (out, size).

    The resize is defined by ``out``, ``scale`` or both. With ``scale`` alone the output has
    floor(scale * size) pixels, as in ONNX. ``Sampling`` explains the other parameters. For both
    axes of an image X the result is A_h X A_w^T. Rows of pixels that tf_crop_and_resize
    extrapolates are zero.

    Raises:
        InputError: a value is unknown, or a length is below 1.
    """
    sampling = Sampling(mode, align, rounding, cubic_a, lobes, exclude_outside, antialias)
    return make_axis(size, out, scale, sampling, roi).matrix


def make_axis(
    size: int,
    out: int | None = None,
    scale: float | None = None,
    sampling: Sampling = LINEAR,
    roi: tuple[float, float] = (0.0, 1.0),
) -> Axis:
    """Return an Axis from an output length, a scale, or both.

    Raises:
        InputError: a length is below 1, the scale is not a number above 0, or both are missing.
        UnsupportedError: the matrix has more than 2^27 values.
    """
    if size < 1:
        raise InputError(f"must be at least 1, got {size}", subject="size")
    if scale is not None and not (0 < scale < math.inf):
        raise InputError(f"must be a finite number above 0, got {scale:g}", subject="scale")
    if out is None:
        if scale is None:
            raise InputError(
                "neither an output size nor a scale is given",
                subject="size",
                advice="Give one of them.",
            )
        out = output_length(size, scale, sampling.software)
    if out < 1:
        raise InputError(
            f"the output length for {size} pixels must be at least 1, got {out}", subject="size"
        )
    if size * out > _LARGEST:
        raise UnsupportedError(
            f"the matrix of {size} to {out} pixels has more than 2^27 values", subject="size"
        )
    return Axis(size, out, used_scale(size, out, scale, sampling), sampling, roi)


def keep_aspect(
    sizes: Sequence[int], outs: Sequence[int], policy: str, software: str = ""
) -> tuple[list[int], list[float]]:
    """Return output lengths and scales that keep the ratio of the axes.

    ``policy`` is ONNX's keep_aspect_ratio_policy. A length is at least 1, but onnxruntime's may be 0.

    Raises:
        InputError: the policy is unknown.
    """
    if policy not in POLICIES:
        raise InputError(
            f"unknown value {policy!r}",
            subject="keep_aspect_ratio_policy",
            advice=f"Known values: {', '.join(POLICIES)}.",
        )
    scales = [out / size for size, out in zip(sizes, outs, strict=True)]
    if policy == "stretch":
        return list(outs), scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    least = 0 if software == "onnxruntime" else 1
    lengths = [max(least, aspect_length(size, scale, software)) for size in sizes]
    return lengths, [scale] * len(sizes)


def linear_matrix(size: int, factor: int) -> Matrix:
    """Return the matrix of linear interpolation by an integer factor.

    It has half-pixel centres and a clamped border.
    """
    return make_axis(size, size * factor).matrix


def nearest_matrix(size: int, factor: int) -> Matrix:
    """Return the matrix that repeats each pixel ``factor`` times."""
    return make_axis(size, size * factor, sampling=Sampling("nearest")).matrix


def deconvolution_matrix(profile: ArrayLike, size: int, stride: int, pad: int) -> Matrix:
    """Return the matrix of a Deconvolution with the kernel ``profile`` along one axis."""
    import numpy as np

    kernel = np.asarray(profile, dtype=np.float64)
    length = geometry.deconv_out(size, len(kernel), stride, pad)
    matrix = np.zeros((length + 2 * pad, size))
    for i in range(size):
        matrix[i * stride : i * stride + len(kernel), i] += kernel
    return matrix[pad : pad + length]


def convolution_matrix(profile: ArrayLike, size: int, stride: int, pad: int) -> Matrix:
    """Return the matrix of a Convolution with the kernel ``profile`` along one axis."""
    import numpy as np

    kernel = np.asarray(profile, dtype=np.float64)
    length = geometry.conv_out(size, len(kernel), stride, pad)
    matrix = np.zeros((length, size + 2 * pad))
    for i in range(length):
        matrix[i, i * stride : i * stride + len(kernel)] += kernel
    return matrix[:, pad : pad + size]
