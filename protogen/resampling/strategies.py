"""The ways to make a resize of stock layers, one class each: an axis in, chains of stages out.

A strategy says how a matrix is made; a correction says what is done about the border, where
Caffe's layers count the outside as 0 and a resize does not:

- ``scale``: the result times a factor for each pixel (the size must be known);
- ``power``: the result divided by what the same layers make of ones (any size);
- ``border``: the edge pixels repeated before (the size must be known).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from protogen.resampling.kernels import (
    cascade,
    convolutions,
    deconvolutions,
    gains,
    halves,
    heads,
    longer,
    spread,
)
from protogen.resampling.request import EXACT, Problem, Target, equal, factorisations
from protogen.resampling.stages import Border, Chain, Conv, Deconv, Gain, Mix, Pool, Stage, product

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
                yield deconv, Conv((1.0,), 1, 0)
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
        mean = halves(kernel) if target.q % 2 == 0 else None
        for pool, taps in ((Pool(2, target.q), mean), (Pool(1, target.q), kernel)):
            if taps is None:
                continue
            fine = spread(first, taps, length + pool.window - 1, n, target)
            for deconv in deconvolutions(Target(fine, target.p, 1, target.origin), spare):
                if equal(product((deconv, pool), n), target.matrix):
                    yield deconv, pool
                conv = Conv(
                    (1 / pool.window,) * pool.window + (0.0,) * (target.q - pool.window),
                    target.q,
                    0,
                )
                extended = longer(deconv, target.q - pool.window)
                if equal(product((extended, conv), n), target.matrix):
                    yield extended, conv

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
            for first_kernels in heads(factors, kernel):
                yield from cascade(target, first, factors, first_kernels, spare)

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
        chain = Chain(stages)
        if all(chain.out(probe.axis.size) == probe.axis.out for probe in problem.probes):
            yield chain


def _proved(chain: Chain, problem: Problem) -> Iterator[Chain]:
    """The chain, if it has the wanted matrix at the problem's size and at its probes."""
    for one in (problem, *problem.probes):
        if not equal(chain.matrix(one.axis.size), one.wanted):
            return
    yield chain


def _ratio(problem: Problem) -> str:
    axis = problem.axis
    return f"a factor of {axis.scale:g}" if problem.probes else f"{axis.size} to {axis.out}"
