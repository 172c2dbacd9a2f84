"""Finds the kernels whose Deconvolution or Convolution has a given matrix along an axis."""

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


def gains(wanted: Matrix, inner: Matrix) -> Matrix | None:
    """The factor of each row that makes ``inner`` the wanted matrix; None where there is none."""
    import numpy as np

    square = (inner * inner).sum(axis=1)
    empty = square < EXACT
    factors = np.where(empty, 1, (wanted * inner).sum(axis=1) / np.where(empty, 1, square))
    return factors if equal(factors[:, None] * inner, wanted) else None


def deconvolutions(target: Target, spare: int) -> Iterator[Deconv]:
    """Deconvolutions with the target's matrix, the smallest pad first.

    Output i gets kernel[i - s n + pad] of input n; out = s (size - 1) + K - 2 pad, so a larger pad
    means a kernel that is extended by zeros.
    """
    rows, n = target.matrix.shape
    if n == 1:  # whatever the factor is, the kernel is the only column there is
        first, kernel, stride = 0, target.matrix[:, 0], max(1, target.p)
    else:
        found = target.taps() if target.q == 1 else None
        if found is None:
            return
        (first, kernel), stride = found, target.p
        first -= stride * target.origin
    last = first + len(kernel) - 1
    fit = rows - stride * (n - 1)  # K - 2 pad
    pad = max(0, -first, last + 1 - fit, -((fit - 1) // 2))
    for more in range(pad, pad + spare + 1):
        taps = [0.0] * (fit + 2 * more)
        for j, value in enumerate(kernel):
            if 0 <= first + j + more < len(taps):
                taps[first + j + more] = float(value)
        stage = Deconv(tuple(taps), stride, more)
        if equal(stage.matrix(n), target.matrix):
            yield stage


def convolutions(target: Target, spare: int) -> Iterator[Conv]:
    """Convolutions with the target's matrix, the smallest pad first.

    Output i reads input n with kernel[n - s i + pad]; out = floor((size + 2 pad - K) / s) + 1.
    """
    rows, n = target.matrix.shape
    if rows == 1:
        first, kernel, stride = 0, target.matrix[0], max(1, target.q)
    else:
        found = target.taps() if target.p == 1 else None
        if found is None:
            return
        # offsets count q i - n; a kernel's taps count n - q i
        (low, values), stride = found, target.q
        first, kernel = target.origin - (low + len(values) - 1), values[::-1]
    pad = max(0, -first)
    made = 0
    for more in range(pad, pad + spare + stride + len(kernel) + 1):
        taps = [0.0] * (first + more) + [float(k) for k in kernel]
        # The kernel may go on with zeros, so that no window is left over.
        least = max(len(taps), n + 2 * more - stride * rows + 1)
        for length in range(least, n + 2 * more - stride * (rows - 1) + 1):
            stage = Conv(tuple(taps) + (0.0,) * (length - len(taps)), stride, more)
            if equal(stage.matrix(n), target.matrix):
                yield stage
                made += 1
                if made > spare:
                    return


def spread(first: int, kernel: Matrix, rows: int, n: int, target: Target) -> Matrix:
    """The fine matrix F[j, n] = kernel[j - p (n - origin)] of an enlargement by p."""
    import numpy as np

    offset = np.arange(rows)[:, None] - target.p * (np.arange(n) - target.origin)[None, :] - first
    inside = (offset >= 0) & (offset < len(kernel))
    made: Matrix = np.where(inside, kernel[np.clip(offset, 0, len(kernel) - 1)], 0)
    return made


def halves(kernel: Matrix) -> Matrix | None:
    """The kernel g with kernel[d] = (g[d] + g[d + 1]) / 2; None where there is no finite one."""
    made = []
    last = 0.0
    for value in kernel:
        last = 2 * float(value) - last
        made.append(last)
    if abs(made[-1]) > EXACT or min(made) < -EXACT:
        return None
    import numpy as np

    return np.array([0.0, *made[:-1]])  # g[d + 1] from kernel[d]; what is before it is 0


def longer(stage: Deconv, zeros: int) -> Deconv:
    """The same kernel with zeros behind it, so that the output is as much longer."""
    return Deconv((*stage.kernel, *(0.0,) * zeros), stage.stride, stage.pad)


def heads(factors: tuple[int, ...], kernel: Matrix) -> Iterator[list[Matrix]]:
    """For each family of smaller kernels, the kernels of all stages but the last: triangles with
    a tap at every pixel (linear), or boxes (nearest)."""
    import numpy as np

    boxes = np.ptp(kernel) < EXACT
    if boxes:
        yield [np.ones(f) for f in factors[:-1]]
        return
    yield [1 - np.abs(np.arange(1 - f, f)) / f for f in factors[:-1]]


def cascade(
    target: Target, first: int, factors: tuple[int, ...], heads: list[Matrix], spare: int
) -> Iterator[tuple[Stage, ...]]:
    """Stages of a kernel that is the product of the heads, spread, and a rest."""
    import numpy as np

    n = target.matrix.shape[1]
    found = target.taps()
    assert found is not None
    rest = found[1]
    step = target.p
    for head, factor in zip(heads, factors, strict=False):
        step //= factor
        spread = np.zeros((len(head) - 1) * step + 1)
        spread[::step] = head
        if len(spread) > len(rest):
            return
        quotient, left = np.polydiv(rest, spread)
        rest = quotient.astype(np.float64)
        if np.abs(left).max(initial=0) > EXACT:
            return
    stages: list[Stage] = []
    size = n
    shift = (
        target.p * target.origin - first
    )  # of the fine pixels against the first stage's first output
    step = target.p
    for head, factor in zip(heads, factors, strict=False):
        step //= factor
        # Rows that the later stages do not need are cropped by the pad, as many on each side.
        full = geometry.deconv_out(size, len(head), factor)
        reach = sum((len(h) - 1) * s for h, s in _later(heads, factors, len(stages) + 1, target.p))
        reach += len(rest) - 1
        unneeded_low = max(0, -(-(shift - reach) // step))
        unneeded_high = max(0, full - 1 - (target.matrix.shape[0] - 1 + shift) // step)
        pad = min(unneeded_low, unneeded_high, len(head) - 1)
        stages.append(Deconv(tuple(map(float, head)), factor, pad))
        size = full - 2 * pad
        shift -= pad * step
    rows = target.matrix.shape[0]
    offset = np.arange(rows)[:, None] + shift - factors[-1] * np.arange(size)[None, :]
    inside = (offset >= 0) & (offset < len(rest))
    last = np.where(inside, rest[np.clip(offset, 0, len(rest) - 1)], 0)
    for stage in deconvolutions(Target(last, factors[-1], 1, 0), spare):
        chain = (*stages, stage)
        if equal(product(chain, n), target.matrix):
            yield chain


def _later(
    heads: list[Matrix], factors: tuple[int, ...], begin: int, step: int
) -> Iterator[tuple[Matrix, int]]:
    """The heads from ``begin`` on, each with the fine pixels between its taps."""
    for i, (head, factor) in enumerate(zip(heads, factors, strict=False)):
        step //= factor
        if i >= begin:
            yield head, step
