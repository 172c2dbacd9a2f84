"""Resizing along one axis as a matrix: output = A input, A of shape (output, input), float64.

Both axes together are Y = A_h X A_w^T. What a Deconvolution computes is such a matrix too, so its
error against a resize is a difference of matrices, known before anything runs.
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
    """How output pixels read input pixels, in the words of ONNX's Resize where it has them.

    Attributes:
        mode: ``nearest``, ``bilinear`` (ONNX: linear), ``cubic``, and beyond ONNX: ``lanczos``,
            ``area`` (mean over the output pixel's exact extent), ``box`` (mean over the pixels
            whose centre lies in it: Pillow) and ``adaptive`` (mean over every pixel that it
            touches: PyTorch's area).
        align: ONNX's coordinate_transformation_mode, or ``opencv_area``, by which OpenCV enlarges
            with INTER_AREA.
        rounding: ONNX's nearest_mode.
        cubic_a: the coefficient of the cubic, ONNX's cubic_coeff_a: -0.75 in PyTorch and OpenCV,
            -0.5 in TensorFlow, Keras and Pillow.
        lobes: of the Lanczos window: 3 unless OpenCV's 4 is wanted.
        exclude_outside: pixels outside of the input weigh nothing and the others make up for
            them; else the edge pixel is repeated.
        antialias: where the output is smaller, the kernel is as wide as an output pixel.
        steps: positions are rounded to 1 / steps of a pixel; 0 for none. TensorFlow's cubic reads
            its weights from a table of 1024 steps.

    Raises:
        InputError: a word is not known.
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
                    f"{value!r} is not known", subject=key, advice=f"Choose {', '.join(known)}."
                )
        if self.antialias and self.mode == "nearest":
            raise InputError(
                "nearest has no kernel to widen", subject="antialias", advice="Choose another mode."
            )

    @property
    def support(self) -> float:
        """How far the kernel reaches, in input pixels."""
        reach = {"bilinear": 1.0, "cubic": 2.0, "lanczos": float(self.lobes), "box": 0.5}
        return reach[self.mode]

    def kernel(self, x: Vector) -> Vector:
        """The kernel at distances ``x``; cubic: Keys 1981."""
        import numpy as np

        d = np.abs(x)
        if self.mode == "bilinear":
            triangle: Vector = np.maximum(1 - d, 0)
            return triangle
        if self.mode == "box":  # half open, so that a pixel between two boxes counts once
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

    ``scale`` is out / size unless the resize was asked for by a scale that does not make whole
    pixels. ``roi`` is the part that tf_crop_and_resize reads, in shares of the input.
    """

    size: int
    out: int
    scale: float
    sampling: Sampling = LINEAR
    roi: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def positions(self) -> Vector:
        """Where each output pixel reads the input, in input pixels."""
        import numpy as np

        i, n = np.arange(self.out, dtype=np.float64), self.size
        length = self.scale * n  # ONNX: not rounded
        align = self.sampling.align
        if align == "align_corners":
            x = i * 0 if length == 1 else i * (n - 1) / (length - 1)
        elif align == "asymmetric":
            x = i / self.scale
        elif align == "tf_crop_and_resize":
            low, high = self.roi
            middle = (high - low) * (n - 1) / 2
            x = i * 0 + middle if length == 1 else i * (high - low) * (n - 1) / (length - 1)
            x = x + low * (n - 1)
        elif align == "tf_half_pixel_for_nn":
            x = (i + 0.5) / self.scale
        elif align == "opencv_area":
            left = np.floor(_snap(i / self.scale))
            share = (i + 1) - (left + 1) * self.scale
            x = left + np.where(share <= 0, 0, share - np.floor(share))
        else:
            x = (i + 0.5) / self.scale - 0.5
            if align == "pytorch_half_pixel" and length == 1:
                x = i * 0  # by ONNX's text; its reference has -0.5, and PyTorch no such rule
            elif align == "half_pixel_symmetric":
                x = x + n / 2 * (1 - self.out / length)
        if steps := self.sampling.steps:
            x = np.floor(x) + np.round((x - np.floor(x)) * steps) / steps
        return _snap(x)

    @cached_property
    def outside(self) -> NDArray[np.bool_]:
        """Output pixels that tf_crop_and_resize fills with its extrapolation value."""
        x = self.positions
        crops = self.sampling.align == "tf_crop_and_resize"
        outside: NDArray[np.bool_] = ((x < 0) | (x > self.size - 1)) & crops
        return outside

    @cached_property
    def taps(self) -> tuple[NDArray[np.int64], Matrix]:
        """Which input pixels each output pixel reads, and their weights: (out, taps) each.

        Pixels may lie outside of the input; each row of weights has the sum 1.
        """
        import numpy as np

        s = self.sampling
        if s.mode in ("area", "adaptive"):
            return self._boxes()
        x = self.positions[:, None]
        if s.mode == "nearest":
            rule: dict[str, Callable[[Vector], Vector]] = {
                "round_prefer_floor": lambda x: np.ceil(x - 0.5),
                "round_prefer_ceil": lambda x: np.floor(x + 0.5),
                "floor": np.floor,
                "ceil": np.ceil,
            }
            index = rule[s.rounding](x).astype(np.int64)
            return index, np.ones(index.shape)
        narrow = min(self.scale, 1.0) if s.antialias else 1.0
        reach = math.ceil(s.support / narrow)
        index = np.floor(x).astype(np.int64) + np.arange(-reach, reach + 2)
        weights = s.kernel((index - x) * narrow)
        empty = ~weights.any(axis=1)
        if empty.any():  # no pixel's centre lies in the box: the nearest stands for it
            weights[empty] = index[empty] == np.round(x[empty])
        return index, weights / weights.sum(axis=1, keepdims=True)

    def _boxes(self) -> tuple[NDArray[np.int64], Matrix]:
        """Taps of the two means over an output pixel's extent."""
        import numpy as np

        low = _snap(np.arange(self.out) / self.scale)[:, None]
        high = _snap(np.arange(1, self.out + 1) / self.scale)[:, None]
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
        """A of shape (out, size). Rows that are extrapolated are zero."""
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
        """The matrix on an input that goes on beyond its ends: its columns, and how many of them
        lie before the first pixel. Nothing is clamped; columns that nobody reads are left out."""
        import numpy as np

        index, weights = self.taps
        weights = np.where(self.outside[:, None], 0, weights)
        read = index[np.abs(weights) > 1e-12]
        before = max(0, -int(read.min(initial=0)))
        behind = max(0, int(read.max(initial=0)) - (self.size - 1))
        matrix = np.zeros((self.out, before + self.size + behind))
        rows = np.broadcast_to(np.arange(self.out)[:, None], index.shape)
        kept = np.abs(weights) > 1e-12
        np.add.at(matrix, (rows[kept], index[kept] + before), weights[kept])
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
    """The matrix of a resize along one axis: float64, shape (out, size).

    By ``out``, ``scale`` or both; ``scale`` alone makes floor(scale * size) pixels, as ONNX does.
    Everything else is explained at ``Sampling``. Both axes of a picture X are A_h X A_w^T; rows
    that tf_crop_and_resize extrapolates are zero.

    Raises:
        InputError: a word is not known, or a length is below 1.
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
    """An Axis from an output length, a scale, or both.

    Raises:
        InputError: a length is below 1.
    """
    if size < 1:
        raise InputError(
            f"{size} is below 1", subject="size", advice="Every length must be 1 or more."
        )
    if scale is not None and not (0 < scale < math.inf):
        raise InputError(f"{scale:g} is no scale", subject="scale", advice="Give a number above 0.")
    if out is None:
        if scale is None:
            raise InputError(
                "neither an output size nor a scale is given", subject="size", advice="Give one."
            )
        out = math.floor(_whole(scale * size))
    if out < 1:
        raise InputError(
            f"{size} pixels become {out}", subject="size", advice="Every length must be 1 or more."
        )
    return Axis(size, out, out / size if scale is None else scale, sampling, roi)


def keep_aspect(
    sizes: Sequence[int], outs: Sequence[int], policy: str
) -> tuple[list[int], list[float]]:
    """Output lengths and scales of axes that keep their ratio (ONNX: keep_aspect_ratio_policy).

    Raises:
        InputError: the policy is not known.
    """
    if policy not in POLICIES:
        raise InputError(
            f"{policy!r} is not known",
            subject="keep_aspect_ratio_policy",
            advice=f"Use {', '.join(POLICIES)}.",
        )
    scales = [out / size for size, out in zip(sizes, outs, strict=True)]
    if policy == "stretch":
        return list(outs), scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [max(1, math.floor(_whole(scale * size + 0.5))) for size in sizes], [scale] * len(sizes)


def linear_matrix(size: int, factor: int) -> Matrix:
    """Linear interpolation by a whole factor with half-pixel centres and a clamped border."""
    return make_axis(size, size * factor).matrix


def nearest_matrix(size: int, factor: int) -> Matrix:
    """Each pixel repeated ``factor`` times."""
    return make_axis(size, size * factor, sampling=Sampling("nearest")).matrix


def deconvolution_matrix(profile: ArrayLike, size: int, stride: int, pad: int) -> Matrix:
    """What a Deconvolution with the kernel ``profile`` computes along one axis."""
    import numpy as np

    kernel = np.asarray(profile, dtype=np.float64)
    length = geometry.deconv_out(size, len(kernel), stride, pad)
    matrix = np.zeros((length + 2 * pad, size))
    for i in range(size):
        matrix[i * stride : i * stride + len(kernel), i] += kernel
    return matrix[pad : pad + length]


def convolution_matrix(profile: ArrayLike, size: int, stride: int, pad: int) -> Matrix:
    """What a Convolution with the kernel ``profile`` computes along one axis."""
    import numpy as np

    kernel = np.asarray(profile, dtype=np.float64)
    length = geometry.conv_out(size, len(kernel), stride, pad)
    matrix = np.zeros((length, size + 2 * pad))
    for i in range(length):
        matrix[i, i * stride : i * stride + len(kernel)] += kernel
    return matrix[:, pad : pad + size]


_NEAR = 1e-9  # positions are sums of a few float64 quotients


def _whole(value: float) -> float:
    """A product that should be whole, without the rounding that keeps it just below."""
    near = round(value)
    return float(near) if abs(value - near) < _NEAR * max(1.0, abs(value)) else value


def _snap(x: Vector) -> Vector:
    """Positions that are whole or half up to rounding made so: ties are decided by the rule."""
    import numpy as np

    near = np.round(2 * x) / 2
    return np.where(np.abs(x - near) < _NEAR * np.maximum(1, np.abs(x)), near, x)
