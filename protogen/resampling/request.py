"""What a resize is asked to be, and what that means along each axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.resampling.matrices import LINEAR, Axis, Sampling, make_axis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

EXACT = 1e-9  # two matrices are one where no entry differs by more
PROBES = (6, 1, 2, 3, 4, 5, 7, 9)  # sizes that stand for any size
_FINEST = 64  # largest p and q of a ratio that a Deconvolution is tried for


@dataclass(frozen=True)
class ResizeRequest:
    """A resize of (N, channels, H, W). Pairs are (height, width).

    Attributes:
        sampling: how pixels are read.
        batch, channels: of the input.
        size: (H, W), or None for a plan that holds for any size.
        scale: factors; None where ``out`` gives sizes alone.
        out: output sizes; None where the scales decide.
        roi: for tf_crop_and_resize, the part (low, high) of each axis.
        extrapolation: what tf_crop_and_resize writes outside.

    Raises:
        InputError: sizes and scales do not fit each other.
    """

    sampling: Sampling = LINEAR
    batch: int = 1
    channels: int = 3
    size: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    out: tuple[int, int] | None = None
    roi: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0))
    extrapolation: float = 0.0

    def __post_init__(self) -> None:
        if self.channels < 1 or self.batch < 1:
            raise InputError(
                f"{min(self.channels, self.batch)} is below 1",
                subject="channels",
                advice="Give more.",
            )
        if self.size is None and self.out is not None:
            raise InputError(
                "a size is wanted of an input of unknown size",
                subject="input-shape",
                advice="Give --input-shape N,C,H,W, or a factor.",
            )
        if self.size is None and self.scale is None:
            raise InputError(
                "neither a factor nor a size is given", subject="factor", advice="Give one."
            )
        if self.size is not None:
            self.axes  # noqa: B018 (refuses what is wrong)

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """Height and width; of a plan for any size, those of a sample of it."""
        height, width = (self._axis(i, (self.size or PROBES[:1] * 2)[i]) for i in (0, 1))
        return height, width

    def _axis(self, index: int, size: int) -> Axis:
        out = self.out[index] if self.out else None
        scale = self.scale[index] if self.scale else None
        return make_axis(size, out, scale, self.sampling, self.roi[index])

    @property
    def output(self) -> tuple[int, int]:
        """Output height and width, of a sample where the size is not known."""
        return self.axes[0].out, self.axes[1].out

    def problem(self, index: int) -> Problem:
        """Height (0) or width (1) as a problem for the strategies."""
        first = self.axes[index]
        if self.size is not None:
            return Problem(first)
        others = []
        for size in PROBES[1:]:
            if (self.scale or (1, 1))[index] * size >= 1:
                others.append(Problem(self._axis(index, size)))
        return Problem(first, tuple(others))

    def wanted(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """The true result for an input of shape (N, C, H, W), in float64."""
        import numpy as np

        height, width = (self._axis(i, x.shape[2 + i]) for i in (0, 1))
        made: Matrix = np.matmul(height.matrix, np.matmul(x.astype(np.float64), width.matrix.T))
        outside = height.outside[:, None] | width.outside[None, :]
        made[:, :, outside] = self.extrapolation
        return made


class Problem:
    """One axis for the strategies: the matrix that is wanted, and what it is beyond the border.

    Attributes:
        wanted: A, shape (out, size).
        p, q: the ratio out / in where it is one of small whole numbers, else 0.
        probes: the same problem at other sizes, where a plan must hold for any.
    """

    def __init__(self, axis: Axis, probes: tuple[Problem, ...] = ()) -> None:
        self.axis = axis
        self.probes = probes
        self.wanted: Matrix = axis.matrix
        self.p, self.q = _ratio(axis)

    @cached_property
    def plain(self) -> Target:
        """The wanted matrix itself."""
        return Target(self.wanted, self.p, self.q, 0)

    @cached_property
    def inner(self) -> Target:
        """What remains where the outside counts as 0, as it does for Caffe's layers."""
        extended, before = self.axis.extended
        return Target(
            extended[:, before : before + self.axis.size], self.p, self.q, 0, extended, before
        )

    @cached_property
    def bordered(self) -> tuple[Target, int, int]:
        """What remains where the edge is repeated first, and by how many pixels on each side."""
        extended, before = self.axis.extended
        behind = extended.shape[1] - before - self.axis.size
        return Target(extended, self.p, self.q, before), before, behind


@dataclass(frozen=True, eq=False)
class Target:
    """A matrix that a chain of layers shall have, with the ratio p / q of its axis and the column
    of the input's first pixel. ``whole`` is the matrix with the columns outside of the input,
    from which kernels are read where too few pixels show them."""

    matrix: Matrix
    p: int
    q: int
    origin: int
    whole: Matrix | None = None
    whole_origin: int = 0

    def taps(self) -> tuple[int, Matrix] | None:
        """(first offset, kernel) with entry (i, n) = kernel(q i - p (n - origin)); None where
        entries of one offset differ, so that no kernel makes the matrix."""
        if not self.p:
            return None
        if self.whole is not None:
            return offsets(self.whole, self.q, self.p, self.whole_origin)
        return offsets(self.matrix, self.q, self.p, self.origin)


def offsets(matrix: Matrix, q: int, p: int, origin: int) -> tuple[int, Matrix] | None:
    """The kernel k with matrix[i, n] = k[q i - p (n - origin)], as (first offset, values)."""
    import numpy as np

    rows, columns = matrix.shape
    distance = q * np.arange(rows)[:, None] - p * (np.arange(columns) - origin)[None, :]
    low = int(distance.min())
    flat = (distance - low).ravel()
    length = int(flat.max()) + 1
    most, least = np.full(length, -np.inf), np.full(length, np.inf)
    np.maximum.at(most, flat, matrix.ravel())
    np.minimum.at(least, flat, matrix.ravel())
    seen = most >= least
    if (most[seen] - least[seen] > EXACT).any():
        return None
    values = np.where(seen, most, 0)
    values[np.abs(values) < EXACT] = 0
    used = np.flatnonzero(values)
    if not used.size:
        return None
    return low + int(used[0]), values[used[0] : used[-1] + 1]


def equal(a: Matrix, b: Matrix) -> bool:
    """Whether two matrices are one up to float64's rounding."""
    import numpy as np

    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= EXACT)


def factorisations(number: int) -> Iterator[tuple[int, ...]]:
    """Ordered factors above 1 whose product is the number, two or more of them."""
    for first in range(2, number):
        if number % first == 0:
            yield first, number // first
            for rest in factorisations(number // first):
                yield first, *rest


def _ratio(axis: Axis) -> tuple[int, int]:
    """p / q in lowest terms: output pixels an input pixel."""
    if axis.out == 1 or axis.size == 1:
        exact = Fraction(axis.out, axis.size)
    else:
        x = axis.positions
        step = float(x[-1] - x[0]) / (axis.out - 1)
        if axis.sampling.mode in ("area", "adaptive"):
            step = 1 / axis.scale
        if step <= 0:
            return 0, 0
        exact = Fraction(1 / step).limit_denominator(_FINEST)
        if exact == 0 or abs(float(exact) * step - 1) > EXACT:
            return 0, 0
    if max(exact.numerator, exact.denominator) > _FINEST:
        return 0, 0
    return exact.numerator, exact.denominator
