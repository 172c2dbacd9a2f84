"""Resizing along one axis as a matrix: output = A input, A of shape (output, input), float64.

Both axes together are Y = A_h X A_w^T. A Deconvolution has such a matrix too. Its error against a
resize is therefore the difference of two matrices, and is known without running the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

MODES = ("nearest", "bilinear", "cubic", "lanczos", "area", "box", "adaptive")
ALIGNS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
    "opencv_area",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")


@dataclass(frozen=True)
class Sampling:
    """How output pixels read input pixels. The terms are those of ONNX's Resize where it has them.

    Attributes:
        mode: ``nearest``, ``bilinear`` (ONNX: linear), ``cubic``, and not in ONNX: ``lanczos``,
            ``area`` (mean over the exact extent of the output pixel), ``box`` (mean over the
            pixels whose centre lies in this extent: Pillow) and ``adaptive`` (mean over every
            pixel that this extent touches: PyTorch's area).
        align: ONNX's coordinate_transformation_mode, or ``opencv_area``: the rule by which OpenCV
            enlarges with INTER_AREA.
        rounding: ONNX's nearest_mode.
        cubic_a: the coefficient of the cubic, ONNX's cubic_coeff_a: -0.75 in PyTorch and OpenCV,
            -0.5 in TensorFlow, Keras and Pillow.
        lobes: number of lobes of the Lanczos window: 3, or 4 in OpenCV.
        exclude_outside: pixels outside of the input have the weight 0, and the other weights are
            scaled to the sum 1. Otherwise the edge pixel is repeated.
        antialias: where the output is smaller, the kernel is as wide as an output pixel.
        steps: positions are rounded to 1 / steps of a pixel; 0 for no rounding. TensorFlow's cubic
            reads its weights from a table of 1024 steps.

    Raises:
        InputError: a value is unknown, or ``antialias`` is used with nearest.
    """

    mode: str = "bilinear"
    align: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    lobes: int = 3
    exclude_outside: bool = False
    antialias: bool = False
    steps: int = 0

    def __post_init__(self) -> None:
        for key, value, known in (
            ("mode", self.mode, MODES),
            ("align", self.align, ALIGNS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise InputError(
                    f"unknown value {value!r}",
                    subject=key,
                    advice=f"Known values: {', '.join(known)}.",
                )
        if self.antialias and self.mode == "nearest":
            raise InputError(
                "not supported for mode nearest, which has no kernel",
                subject="antialias",
                advice="Choose another mode.",
            )

    @property
    def support(self) -> float:
        """Half of the width of the kernel, in input pixels."""
        reach = {"bilinear": 1.0, "cubic": 2.0, "lanczos": float(self.lobes), "box": 0.5}
        return reach[self.mode]

    def kernel(self, x: Vector) -> Vector:
        """Return the values of the kernel at the distances ``x``; cubic: Keys 1981."""
        import numpy as np

        d = np.abs(x)
        if self.mode == "bilinear":
            triangle: Vector = np.maximum(1 - d, 0)
            return triangle
        if self.mode == "box":  # half-open: a pixel between two boxes belongs to one of them
            return ((x > -0.5) & (x <= 0.5)).astype(np.float64)
        if self.mode == "cubic":
            a = self.cubic_a
            near = ((a + 2) * d - (a + 3)) * d * d + 1
            far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            return np.where(d <= 1, near, np.where(d < 2, far, 0))
        return np.where(d < self.lobes, np.sinc(x) * np.sinc(x / self.lobes), 0)


LINEAR = Sampling()


@dataclass(frozen=True)
class Axis:
    """One axis of a resize: from ``size`` to ``out`` pixels.

    ``scale`` is out / size, unless the user gave a scale that does not lead to a whole number of
    pixels. ``roi`` is the part that tf_crop_and_resize reads, as fractions of the input.
    """

    size: int
    out: int
    scale: float
    sampling: Sampling = LINEAR
    roi: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def positions(self) -> Vector:
        """The position where each output pixel reads the input, in input pixels."""
        import numpy as np

        i, size = np.arange(self.out, dtype=np.float64), self.size
        length = self.scale * size  # not rounded, as in ONNX
        align = self.sampling.align
        if align == "align_corners":
            x = i * 0 if length == 1 else i * (size - 1) / (length - 1)
        elif align == "asymmetric":
            x = i / self.scale
        elif align == "tf_crop_and_resize":
            low, high = self.roi
            middle = (high - low) * (size - 1) / 2
            x = i * 0 + middle if length == 1 else i * (high - low) * (size - 1) / (length - 1)
            x = x + low * (size - 1)
        elif align == "tf_half_pixel_for_nn":
            x = (i + 0.5) / self.scale
        elif align == "opencv_area":
            left = np.floor(_snap_half(i / self.scale))
            share = (i + 1) - (left + 1) * self.scale
            x = left + np.where(share <= 0, 0, share - np.floor(share))
        else:
            x = (i + 0.5) / self.scale - 0.5
            if align == "pytorch_half_pixel" and length == 1:
                # ONNX's specification. Its reference has -0.5, and PyTorch has no such rule.
                x = i * 0
            elif align == "half_pixel_symmetric":
                x = x + size / 2 * (1 - self.out / length)
        if steps := self.sampling.steps:
            x = np.floor(x) + np.round((x - np.floor(x)) * steps) / steps
        return _snap_half(x)

    @cached_property
    def outside(self) -> NDArray[np.bool_]:
        """Mask of the output pixels that tf_crop_and_resize fills with the extrapolation value."""
        x = self.positions
        crops = self.sampling.align == "tf_crop_and_resize"
        outside: NDArray[np.bool_] = ((x < 0) | (x > self.size - 1)) & crops
        return outside

    @cached_property
    def taps(self) -> tuple[NDArray[np.int64], Matrix]:
        """The input pixels that each output pixel reads, and their weights: (out, taps) each.

        Pixels may lie outside of the input. Each row of weights has the sum 1.
        """
        import numpy as np

        s = self.sampling
        if s.mode in ("area", "adaptive"):
            return self._boxes()
        x = self.positions[:, None]
        if s.mode == "nearest":
            rounding_rules: dict[str, Callable[[Vector], Vector]] = {
                "round_prefer_floor": lambda x: np.ceil(x - 0.5),
                "round_prefer_ceil": lambda x: np.floor(x + 0.5),
                "floor": np.floor,
                "ceil": np.ceil,
            }
            index = rounding_rules[s.rounding](x).astype(np.int64)
            return index, np.ones(index.shape)
        shrink = min(self.scale, 1.0) if s.antialias else 1.0
        reach = math.ceil(s.support / shrink)
        index = np.floor(x).astype(np.int64) + np.arange(-reach, reach + 2)
        weights = s.kernel((index - x) * shrink)
        is_empty = ~weights.any(axis=1)
        if is_empty.any():  # the box contains no centre of a pixel: use the nearest pixel
            weights[is_empty] = index[is_empty] == np.round(x[is_empty])
        return index, weights / weights.sum(axis=1, keepdims=True)

    def _boxes(self) -> tuple[NDArray[np.int64], Matrix]:
        """Return the taps of the two modes that average over the extent of an output pixel."""
        import numpy as np

        low = _snap_half(np.arange(self.out) / self.scale)[:, None]
        high = _snap_half(np.arange(1, self.out + 1) / self.scale)[:, None]
        width = math.ceil(1 / self.scale) + 2
        index = np.floor(low).astype(np.int64) + np.arange(width)
        if self.sampling.mode == "adaptive":
            weights = (index < np.ceil(high)).astype(np.float64)
        else:
            weights = np.maximum(np.minimum(index + 1, high) - np.maximum(index, low), 0)
            weights[weights < 1e-9] = 0
        return index, weights / weights.sum(axis=1, keepdims=True)

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
        out = math.floor(_snap_integer(scale * size))
    if out < 1:
        raise InputError(
            f"the output length for {size} pixels must be at least 1, got {out}", subject="size"
        )
    return Axis(size, out, out / size if scale is None else scale, sampling, roi)


def keep_aspect(
    sizes: Sequence[int], outs: Sequence[int], policy: str
) -> tuple[list[int], list[float]]:
    """Return output lengths and scales that keep the ratio of the axes.

    ``policy`` is ONNX's keep_aspect_ratio_policy.

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
    return [max(1, math.floor(_snap_integer(scale * size + 0.5))) for size in sizes], [scale] * len(
        sizes
    )


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


_SNAP_TOLERANCE = 1e-9  # a position is a sum of a few float64 quotients


def _snap_integer(value: float) -> float:
    """Return the nearest integer if the value differs from it only by rounding, else the value."""
    nearest = round(value)
    return (
        float(nearest) if abs(value - nearest) < _SNAP_TOLERANCE * max(1.0, abs(value)) else value
    )


def _snap_half(x: Vector) -> Vector:
    """Snap positions to integers and halves from which they differ only by rounding.

    The rounding rule then decides ties, and not the rounding error.
    """
    import numpy as np

    nearest = np.round(2 * x) / 2
    return np.where(np.abs(x - nearest) < _SNAP_TOLERANCE * np.maximum(1, np.abs(x)), nearest, x)
