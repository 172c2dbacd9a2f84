"""The ways to make a resize of stock layers, one class each: an axis in, chains of stages out.

A strategy says how a matrix is made; a correction says what is done about the border, where
Caffe's layers count the outside as 0 and a resize does not:

- ``scale``: the result times a factor for each pixel (the size must be known);
- ``power``: the result divided by what the same layers make of ones (any size);
- ``border``: the edge pixels repeated before (the size must be known).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from protogen import geometry
from protogen.resizing.request import EXACT, Problem, Target, equal, factorisations
from protogen.resizing.stages import (
    Border,
    Chain,
    Conv,
    Deconv,
    Gain,
    Mix,
    Pool,
    Stage,
    product,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

CORRECTIONS = ("", "scale", "power", "border")


class Strategy:
    """One way to make a matrix. ``spare``: how much larger than needed a pad may be, so that
    kernels extended by zeros are tried too (limits of a target may want those)."""

    name: ClassVar[str]
    corrections: ClassVar[tuple[str, ...]] = CORRECTIONS
    needs_size: ClassVar[bool] = False

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        """Chains that have the target's matrix."""
        raise NotImplementedError

    def unfit(self, problem: Problem) -> str:
        """Why the ratio of an axis rules the strategy out; empty where it does not."""
        return ""

    def why_not(self, problem: Problem) -> str:
        """Why there is no chain for an axis whose ratio fits."""
        if problem.inner.taps() is not None:
            return "at the border the outside counts as 0"
        return "one kernel does not make all pixels"


class Deconvolution(Strategy):
    """A Deconvolution whose kernel is what one input pixel adds to its neighbourhood."""

    name = "deconvolution"

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        for stage in deconvolutions(target, spare):
            yield (stage,)

    def unfit(self, problem: Problem) -> str:
        if problem.q == 1 or problem.axis.size == 1:
            return ""
        return f"{_ratio(problem)} is no enlargement by a whole factor"


class Pooling(Strategy):
    """AVE Pooling: windows of equal weights that lie in the input."""

    name = "pooling"
    corrections = ("",)

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        for stage in convolutions(target, 0):
            kernel = tuple(k for k in stage.kernel if k)
            if stage.pad or not kernel or max(kernel) - min(kernel) > EXACT:
                continue
            pool = Pool(len(kernel), stage.stride)
            if equal(pool.matrix(target.matrix.shape[1]), target.matrix):
                yield (pool,)

    def unfit(self, problem: Problem) -> str:
        if problem.p == 1 or problem.axis.out == 1:
            return ""
        return f"{_ratio(problem)} is no reduction by a whole factor"

    def why_not(self, problem: Problem) -> str:
        return "the weights of a window are not equal, or windows cross the border"


class Convolution(Strategy):
    """A strided Convolution, one kernel for all windows."""

    name = "convolution"

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        for stage in convolutions(target, spare):
            yield (stage,)

    def unfit(self, problem: Problem) -> str:
        return Pooling().unfit(problem)


class Fraction(Strategy):
    """Enlarged by p with a Deconvolution, then every q-th pixel or the mean of two beside it."""

    name = "fraction"

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        n = target.matrix.shape[1]
        if target.q == 1:
            for deconv in deconvolutions(target, spare):
                yield deconv, Pool(1, 1)
            return
        if target.p == 1:
            for conv in convolutions(target, spare):
                yield IDENTITY, conv
            for (pool,) in Pooling().chains(target, spare):
                yield IDENTITY, pool
            return
        found = target.taps()
        if found is None:
            return
        first, kernel = found
        length = target.q * (target.matrix.shape[0] - 1) + 1
        halves = _halves(kernel) if target.q % 2 == 0 else None
        for pool, taps in ((Pool(2, target.q), halves), (Pool(1, target.q), kernel)):
            if taps is None:
                continue
            fine = _spread(first, taps, length + pool.window - 1, n, target)
            for deconv in deconvolutions(Target(fine, target.p, 1, target.origin), spare):
                if equal(product((deconv, pool), n), target.matrix):
                    yield deconv, pool
                conv = Conv((1 / pool.window,) * pool.window + (0.0,) * (target.q - pool.window),
                            target.q, 0)  # fmt: skip
                longer = _longer(deconv, target.q - pool.window)
                if equal(product((longer, conv), n), target.matrix):
                    yield longer, conv

    def unfit(self, problem: Problem) -> str:
        return "" if problem.p else f"{_ratio(problem)} is no ratio of small whole numbers"


class Cascade(Strategy):
    """A whole factor as a product: the first stages with kernels that grow no new corners, the
    last one with the rest of the kernel."""

    name = "cascade"

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        if target.q != 1 or target.p < 4:
            return
        found = target.taps()
        if found is None:
            return
        first, kernel = found
        for factors in factorisations(target.p):
            for heads in _heads(factors, kernel):
                yield from _cascade(target, first, factors, heads, spare)

    def unfit(self, problem: Problem) -> str:
        if problem.q == 1 and any(factorisations(problem.p)):
            return ""
        return f"{_ratio(problem)} is no product of whole factors"

    def why_not(self, problem: Problem) -> str:
        return "the kernel is no product of smaller ones, or the border counts as 0"


class Matrices(Strategy):
    """The matrix itself: layers that mix along one axis."""

    name = "matrix"
    corrections = ("",)
    needs_size = True

    def chains(self, target: Target, spare: int) -> Iterator[tuple[Stage, ...]]:
        yield (Mix(target.matrix),)


STRATEGIES: tuple[Strategy, ...] = (
    Deconvolution(),
    Pooling(),
    Convolution(),
    Fraction(),
    Cascade(),
    Matrices(),
)
IDENTITY = Deconv((1.0,), 1, 0)


def corrected(strategy: Strategy, correction: str, problem: Problem, spare: int) -> Iterator[Chain]:
    """Chains of a strategy with a correction that have the problem's matrix, and those of its
    probes where it has any."""
    import numpy as np

    if not correction:
        for stages in strategy.chains(problem.plain, spare):
            yield from _proved(Chain(stages), problem)
        return
    if correction == "border":
        target, before, behind = problem.bordered
        for stages in strategy.chains(target, spare):
            yield from _proved(Chain((Border(before, behind), *stages)), problem)
        return
    inner = problem.inner.matrix
    factors = gains(problem.wanted, inner)
    if factors is None:
        return
    for stages in strategy.chains(problem.inner, spare):
        if correction == "scale":
            yield Chain((*stages, Gain(tuple(factors))))
        elif np.abs(factors * inner.sum(axis=1) - 1).max() <= EXACT:
            yield from _proved(Chain(stages, normalised=True), problem)


def uncorrected(strategy: Strategy, problem: Problem, spare: int) -> Iterator[Chain]:
    """Chains that are the resize inside and count the outside as 0."""
    for stages in strategy.chains(problem.inner, spare):
        yield Chain(stages)


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
        needed = first + len(kernel) + more
        # the kernel may go on with zeros, so that no window is left over
        length = max(needed, n + 2 * more - stride * rows + 1)
        if geometry.conv_out(n, length, stride, more) != rows:
            continue
        taps = [0.0] * (first + more) + [float(k) for k in kernel]
        stage = Conv(tuple(taps) + (0.0,) * (length - len(taps)), stride, more)
        if equal(stage.matrix(n), target.matrix):
            yield stage
            made += 1
            if made > spare:
                return


def _spread(first: int, kernel: Matrix, rows: int, n: int, target: Target) -> Matrix:
    """The fine matrix F[j, n] = kernel[j - p (n - origin)] of an enlargement by p."""
    import numpy as np

    offset = np.arange(rows)[:, None] - target.p * (np.arange(n) - target.origin)[None, :] - first
    inside = (offset >= 0) & (offset < len(kernel))
    made: Matrix = np.where(inside, kernel[np.clip(offset, 0, len(kernel) - 1)], 0)
    return made


def _halves(kernel: Matrix) -> Matrix | None:
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


def _longer(stage: Deconv, zeros: int) -> Deconv:
    return Deconv((*stage.kernel, *(0.0,) * zeros), stage.stride, stage.pad)


def _heads(factors: tuple[int, ...], kernel: Matrix) -> Iterator[list[Matrix]]:
    """For each family of smaller kernels, the kernels of all stages but the last: triangles with
    a tap at every pixel (linear), or boxes (nearest)."""
    import numpy as np

    boxes = np.ptp(kernel) < EXACT
    if boxes:
        yield [np.ones(f) for f in factors[:-1]]
        return
    yield [1 - np.abs(np.arange(1 - f, f)) / f for f in factors[:-1]]


def _cascade(
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


def _proved(chain: Chain, problem: Problem) -> Iterator[Chain]:
    """The chain, if it has the wanted matrix at the problem's size and at its probes."""
    for one in (problem, *problem.probes):
        if not equal(chain.matrix(one.axis.size), one.wanted):
            return
    yield chain


def _ratio(problem: Problem) -> str:
    axis = problem.axis
    return f"a factor of {axis.scale:g}" if problem.probes else f"{axis.size} to {axis.out}"
