"""Finds the kernels of Deconvolutions and Convolutions that have a given matrix along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from protogen import geometry
from protogen.resampling.request import EXACT, Target, equal
from protogen.resampling.stages import Conv, Deconv, Stage, product

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

_ZERO = 1e-8  # a leading coefficient of a remainder that is not larger is 0, as for numpy


def gains(expected: Matrix, inner: Matrix) -> Matrix | None:
    """Return the row factors that turn ``inner`` into ``expected``; None where none exist."""
    import numpy as np

    norms = (inner * inner).sum(axis=1)
    is_zero = norms < EXACT
    factors = np.where(is_zero, 1, (expected * inner).sum(axis=1) / np.where(is_zero, 1, norms))
    return factors if equal(factors[:, None] * inner, expected) else None


def deconvolutions(target: Target, extra_pad: int) -> Iterator[Deconv]:
    """Yield the Deconvolutions with the matrix of the target, the smallest pad first.

    The weight of input n in output i is kernel[i - s n + pad]. The output length is
    s (size - 1) + K - 2 pad, so a larger pad needs a kernel that is extended with zeros.

    Args:
        extra_pad: how much larger than the smallest pad the pad may be.
    """
    rows, n = target.matrix.shape
    if n == 1:  # the kernel is the only column, for every factor
        first, kernel, stride = 0, target.matrix[:, 0], max(1, target.p)
    else:
        first_and_kernel = target.taps() if target.q == 1 else None
        if first_and_kernel is None:
            return
        (first, kernel), stride = first_and_kernel, target.p
        first -= stride * target.origin
    last = first + len(kernel) - 1
    cropped_length = rows - stride * (n - 1)  # K - 2 pad
    smallest_pad = max(0, -first, last + 1 - cropped_length, -((cropped_length - 1) // 2))
    for pad in range(smallest_pad, smallest_pad + extra_pad + 1):
        taps = [0.0] * (cropped_length + 2 * pad)
        for j, value in enumerate(kernel):
            if 0 <= first + j + pad < len(taps):
                taps[first + j + pad] = float(value)
        stage = Deconv(tuple(taps), stride, pad)
        if equal(stage.matrix(n), target.matrix):
            yield stage


def convolutions(target: Target, extra_pad: int) -> Iterator[Conv]:
    """Yield the Convolutions with the matrix of the target, the smallest pad first.

    The weight of input n in output i is kernel[n - s i + pad]. The output length is
    floor((size + 2 pad - K) / s) + 1.

    Args:
        extra_pad: at most this number of further Convolutions follows the first one.
    """
    rows, n = target.matrix.shape
    if rows == 1:
        first, kernel, stride = 0, target.matrix[0], max(1, target.q)
    else:
        first_and_kernel = target.taps() if target.p == 1 else None
        if first_and_kernel is None:
            return
        # An offset is q i - n, but the index of a tap is n - q i.
        (first_offset, values), stride = first_and_kernel, target.q
        first, kernel = target.origin - (first_offset + len(values) - 1), values[::-1]
    smallest_pad = max(0, -first)
    count = 0
    for pad in range(smallest_pad, smallest_pad + extra_pad + stride + len(kernel) + 1):
        taps = [0.0] * (first + pad) + [float(k) for k in kernel]
        # Zeros at the end of the kernel avoid an additional window.
        shortest = max(len(taps), n + 2 * pad - stride * rows + 1)
        for length in range(shortest, n + 2 * pad - stride * (rows - 1) + 1):
            stage = Conv(tuple(taps) + (0.0,) * (length - len(taps)), stride, pad)
            if equal(stage.matrix(n), target.matrix):
                yield stage
                count += 1
                if count > extra_pad:
                    return


def enlargement(first: int, kernel: Matrix, rows: int, n: int, target: Target) -> Matrix:
    """Return the matrix F[j, n] = kernel[j - p (n - origin)] of an enlargement by p."""
    import numpy as np

    offset = np.arange(rows)[:, None] - target.p * (np.arange(n) - target.origin)[None, :] - first
    inside = (offset >= 0) & (offset < len(kernel))
    matrix: Matrix = np.where(inside, kernel[np.clip(offset, 0, len(kernel) - 1)], 0)
    return matrix


def without_mean(kernel: Matrix) -> Matrix | None:
    """Return the kernel g with kernel[d] = (g[d] + g[d + 1]) / 2; None without a finite g >= 0."""
    values = []
    last = 0.0
    for value in kernel:
        last = 2 * float(value) - last
        values.append(last)
    if abs(values[-1]) > EXACT or min(values) < -EXACT:
        return None
    import numpy as np

    return np.array([0.0, *values[:-1]])  # kernel[d] determines g[d + 1]; the first value of g is 0


def with_zeros(stage: Deconv, zeros: int) -> Deconv:
    """Return the Deconvolution with zeros after its kernel; its output is longer by as many."""
    return Deconv((*stage.kernel, *(0.0,) * zeros), stage.stride, stage.pad)


def leading_kernels(factors: tuple[int, ...], kernel: Matrix) -> Iterator[list[Matrix]]:
    """Yield the kernels of all stages of a cascade but the last.

    They are boxes for a box kernel (nearest), else triangles with a tap at every pixel (linear).
    """
    import numpy as np

    is_box = np.ptp(kernel) < EXACT
    if is_box:
        yield [np.ones(f) for f in factors[:-1]]
        return
    yield [1 - np.abs(np.arange(1 - f, f)) / f for f in factors[:-1]]


def cascade(
    target: Target, first: int, factors: tuple[int, ...], leading: list[Matrix], extra_pad: int
) -> Iterator[tuple[Stage, ...]]:
    """Yield the stages of a kernel that is the product of dilated leading kernels and a last one.

    Args:
        first: the first offset of the kernel.
        leading: the kernels of all stages but the last.
        extra_pad: how much larger than the smallest pad the pad of the last stage may be.
    """
    import numpy as np

    n = target.matrix.shape[1]
    first_and_kernel = target.taps()
    assert first_and_kernel is not None
    last_kernel = first_and_kernel[1]
    step = target.p
    for kernel, factor in zip(leading, factors, strict=False):
        step //= factor
        dilated = np.zeros((len(kernel) - 1) * step + 1)
        dilated[::step] = kernel
        if len(dilated) > len(last_kernel):
            return
        last_kernel, remainder = _divided(last_kernel, dilated)
        if np.abs(remainder).max(initial=0) > EXACT:
            return
    stages: list[Stage] = []
    size = n
    # The offset of the fine pixels from the first output of the first stage.
    shift = target.p * target.origin - first
    step = target.p
    for kernel, factor in zip(leading, factors, strict=False):
        step //= factor
        # The pad crops the rows that the later stages do not need, the same number on each side.
        uncropped = geometry.deconv_out(size, len(kernel), factor)
        reach = sum(
            (len(h) - 1) * s for h, s in _later(leading, factors, len(stages) + 1, target.p)
        )
        reach += len(last_kernel) - 1
        unneeded_low = max(0, -(-(shift - reach) // step))
        unneeded_high = max(0, uncropped - 1 - (target.matrix.shape[0] - 1 + shift) // step)
        pad = min(unneeded_low, unneeded_high, len(kernel) - 1)
        stages.append(Deconv(tuple(map(float, kernel)), factor, pad))
        size = uncropped - 2 * pad
        shift -= pad * step
    rows = target.matrix.shape[0]
    offset = np.arange(rows)[:, None] + shift - factors[-1] * np.arange(size)[None, :]
    inside = (offset >= 0) & (offset < len(last_kernel))
    last_matrix = np.where(inside, last_kernel[np.clip(offset, 0, len(last_kernel) - 1)], 0)
    for stage in deconvolutions(Target(last_matrix, factors[-1], 1, 0), extra_pad):
        chain = (*stages, stage)
        if equal(product(chain, n), target.matrix):
            yield chain


def _divided(dividend: Matrix, divisor: Matrix) -> tuple[Matrix, Matrix]:
    """Return quotient and remainder of two polynomials, with the numbers of ``numpy.polydiv``, which
    calls ``allclose`` for each leading zero of the remainder."""
    import numpy as np

    count = len(dividend) - len(divisor) + 1
    scale = 1.0 / divisor[0]
    quotient, remainder = np.zeros(count), dividend.astype(np.float64)
    for k in range(count):
        factor = scale * remainder[k]
        quotient[k] = factor
        remainder[k : k + len(divisor)] -= factor * divisor
    nonzero = np.flatnonzero(np.abs(remainder) > _ZERO)
    return quotient, remainder[nonzero[0] if len(nonzero) else -1 :]


def _later(
    leading: list[Matrix], factors: tuple[int, ...], begin: int, step: int
) -> Iterator[tuple[Matrix, int]]:
    """Yield the leading kernels from ``begin`` on, each with its step in fine pixels."""
    for i, (kernel, factor) in enumerate(zip(leading, factors, strict=False)):
        step //= factor
        if i >= begin:
            yield kernel, step
