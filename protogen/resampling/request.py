"""Resize requests, and the problem that each axis of a request poses to the strategies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.resampling.matrices import Axis, make_axis
from protogen.resampling.positions import copies_blob
from protogen.resampling.sampling import LINEAR, Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

EXACT = 1e-9  # two matrices are equal if no entry differs by more
PROBES = (6, 1, 2, 3, 4, 5, 7, 9)  # the sizes at which a plan for any size is checked
_LARGEST_TERM = 64  # the largest p and q of a ratio p / q that strategies try
_COPY = Sampling("nearest", "asymmetric", "floor")  # with the scale 1


@dataclass(frozen=True)
class ResizeRequest:
    """A resize of (N, channels, H, W). Pairs are (height, width).

    Attributes:
        sampling: how output pixels read input pixels.
        batch, channels: N and C of the input.
        size: (H, W), or None for a plan that holds for any size.
        scale: factors; None where only ``out`` defines the resize.
        out: output sizes; None where the scales define them.
        roi: for tf_crop_and_resize, the part (low, high) of each axis.
        extrapolation: the value that tf_crop_and_resize writes outside of the input.

    Raises:
        InputError: a value is below 1, or sizes and scales are missing.
    """

    sampling: Sampling = LINEAR
    batch: int = 1
    channels: int = 3
    size: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    out: tuple[int, int] | None = None
    roi: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0))
    extrapolation: float = 0.0

    @classmethod
    def of_image(
        cls,
        shape: Sequence[int],
        sizes: Sequence[int],
        roi: Sequence[float],
        sampling: Sampling,
        scale: tuple[float, float] | None,
        extrapolation: float,
    ) -> ResizeRequest:
        """Return the resize of a blob of ``shape`` (N, C, H, W) to ``sizes`` (H, W).

        ``roi`` is (top, left, bottom, right), each a fraction of the input.
        """
        return cls(
            sampling,
            batch=shape[0],
            channels=shape[1],
            size=(shape[2], shape[3]),
            scale=scale,
            out=(sizes[0], sizes[1]),
            roi=((roi[0], roi[2]), (roi[1], roi[3])),
            extrapolation=extrapolation,
        )

    def __post_init__(self) -> None:
        if self.channels < 1 or self.batch < 1:
            key, value = ("channels", self.channels) if self.channels < 1 else ("batch", self.batch)
            raise InputError(f"must be at least 1, got {value}", subject=key)
        if self.size is None and self.out is not None:
            raise InputError(
                "required for a resize to a fixed output size",
                subject="--input-shape",
                advice="Give --input-shape N,C,H,W, or a factor.",
            )
        if self.size is None and self.scale is None:
            raise InputError(
                "neither a factor nor a size is given",
                subject="factor",
                advice="Give one of them.",
            )
        if self.size is not None:
            self.axes  # noqa: B018 (raises InputError for invalid sizes)

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """The axes of height and width; for an unknown size, those of the first probe size."""
        return self._axes(self.size or PROBES[:1] * 2)

    def _axes(self, size: Sequence[int]) -> tuple[Axis, Axis]:
        height, width = (self._axis(i, size[i]) for i in (0, 1))
        if self.sampling.software == "opencv" and copies_blob((height, width)):
            return Axis(height.size, height.size, 1.0, _COPY), Axis(
                width.size, width.size, 1.0, _COPY
            )
        return height, width

    def _axis(self, index: int, size: int) -> Axis:
        out = self.out[index] if self.out else None
        scale = self.scale[index] if self.scale else None
        return make_axis(size, out, scale, self.sampling, self.roi[index])

    @property
    def output(self) -> tuple[int, int]:
        """Output height and width; for an unknown size, those of the first probe size."""
        return self.axes[0].out, self.axes[1].out

    @property
    def rounds_by_size(self) -> bool:
        """Whether rounding errors of the software change a nearest pixel at some size: up to 4096
        pixels, and 65,536 output pixels. A plan for any size cannot have these."""
        import numpy as np

        if self.sampling.mode != "nearest" or not self.sampling.software or not self.scale:
            return False
        exact = replace(self.sampling, software="")
        for index, scale in enumerate(self.scale):
            size = min(4096, int(65536 / scale))
            if int(size * scale) < 1:
                continue
            axis = self._axis(index, size)
            if not np.array_equal(axis.nearest, replace(axis, sampling=exact).nearest):
                return True
        return False

    def problem(self, index: int) -> Problem:
        """Return the height (0) or the width (1) as a problem for the strategies."""
        first = self.axes[index]
        if self.size is not None:
            return Problem(first)
        others = []
        for size in PROBES[1:]:
            if (self.scale or (1, 1))[index] * size >= 1:
                others.append(Problem(self._axis(index, size)))
        return Problem(first, tuple(others))

    def wanted(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the exact resize of an input of shape (N, C, H, W), in float64."""
        import numpy as np

        height, width = self._axes(x.shape[2:])
        result: Matrix = np.matmul(height.matrix, np.matmul(x.astype(np.float64), width.matrix.T))
        outside = height.outside[:, None] | width.outside[None, :]
        result[:, :, outside] = self.extrapolation
        return result


class Problem:
    """One axis of a request, as the strategies read it.

    Attributes:
        wanted: the requested matrix A, shape (out, size).
        p, q: the ratio p / q of output to input pixels if it is one of small integers, else 0.
        probes: the same problem at other sizes, if the plan must hold for any size.
    """

    def __init__(self, axis: Axis, probes: tuple[Problem, ...] = ()) -> None:
        self.axis = axis
        self.probes = probes
        self.wanted: Matrix = axis.matrix
        self.p, self.q = (1, 1) if _is_identity(self.wanted) else _ratio(axis)

    @cached_property
    def plain(self) -> Target:
        """Target without a correction: the requested matrix."""
        return Target(self.wanted, self.p, self.q, 0)

    @cached_property
    def inner(self) -> Target:
        """Target with zero padding, as in Caffe's layers: weights outside are dropped."""
        extended, before = self.axis.extended
        return Target(
            extended[:, before : before + self.axis.size], self.p, self.q, 0, extended, before
        )

    @cached_property
    def bordered(self) -> tuple[Target, int, int]:
        """Target after the edge pixels are repeated, and the numbers of pixels before and after."""
        extended, before = self.axis.extended
        after = extended.shape[1] - before - self.axis.size
        return Target(extended, self.p, self.q, before), before, after


@dataclass(frozen=True, eq=False)
class Target:
    """The matrix that a chain of layers must have.

    Attributes:
        p, q: the ratio p / q of the axis.
        origin: the column of the first pixel of the input.
        whole: the matrix with the columns outside of the input, or None. The kernel is determined
            from it, because ``matrix`` may have too few columns.
        whole_origin: the column of the first pixel of the input in ``whole``.
    """

    matrix: Matrix
    p: int
    q: int
    origin: int
    whole: Matrix | None = None
    whole_origin: int = 0

    def taps(self) -> tuple[int, Matrix] | None:
        """Return (first offset, kernel) with entry (i, n) = kernel(q i - p (n - origin)).

        It is None where entries with the same offset differ: no kernel has the matrix.
        """
        if not self.p:
            return None
        if self.whole is not None:
            return kernel_by_offset(self.whole, self.q, self.p, self.whole_origin)
        return kernel_by_offset(self.matrix, self.q, self.p, self.origin)


def kernel_by_offset(matrix: Matrix, q: int, p: int, origin: int) -> tuple[int, Matrix] | None:
    """Return (first offset, values) of the kernel k with matrix[i, n] = k[q i - p (n - origin)]."""
    import numpy as np

    rows, columns = matrix.shape
    offset = q * np.arange(rows)[:, None] - p * (np.arange(columns) - origin)[None, :]
    low = int(offset.min())
    flat = (offset - low).ravel()
    length = int(flat.max()) + 1
    most, least = np.full(length, -np.inf), np.full(length, np.inf)
    np.maximum.at(most, flat, matrix.ravel())
    np.minimum.at(least, flat, matrix.ravel())
    occurs = most >= least
    if (most[occurs] - least[occurs] > EXACT).any():
        return None
    values = np.where(occurs, most, 0)
    values[np.abs(values) < EXACT] = 0
    nonzero = np.flatnonzero(values)
    if not nonzero.size:
        return None
    return low + int(nonzero[0]), values[nonzero[0] : nonzero[-1] + 1]


def equal(a: Matrix, b: Matrix) -> bool:
    """Return whether two matrices are equal up to float64 rounding."""
    import numpy as np

    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= EXACT)


def factorisations(number: int) -> Iterator[tuple[int, ...]]:
    """Yield the ordered factorisations of the number into two or more factors above 1."""
    for first in range(2, number):
        if number % first == 0:
            yield first, number // first
            for rest in factorisations(number // first):
                yield first, *rest


def _is_identity(matrix: Matrix) -> bool:
    import numpy as np

    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))


def _ratio(axis: Axis) -> tuple[int, int]:
    """Return p and q in lowest terms: p output for q input pixels; 0, 0 if too large."""
    if axis.out == 1 or axis.size == 1:
        ratio = Fraction(axis.out, axis.size)
    else:
        x = axis.positions
        step = float(x[-1] - x[0]) / (axis.out - 1)
        if axis.sampling.mode in ("area", "adaptive"):
            step = 1 / axis.scale
        if step <= 0:
            return 0, 0
        ratio = Fraction(1 / step).limit_denominator(_LARGEST_TERM)
        if ratio == 0 or abs(float(ratio) * step - 1) > EXACT:
            return 0, 0
    if max(ratio.numerator, ratio.denominator) > _LARGEST_TERM:
        return 0, 0
    return ratio.numerator, ratio.denominator
