"""Strategies: the ways to express a resize along one axis as chains of stages, one class each.

A strategy finds chains with a given matrix. A correction handles the border: Caffe's layers treat
pixels outside of the input as 0, and a resize does not. The corrections are:

- ``scale``: multiply the result by a factor for each pixel (needs a known size);
- ``power``: divide the result by the output of the same layers for ones (any size);
- ``border``: repeat the edge pixels before the layers (needs a known size).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from protogen.resampling.kernels import (
    cascade,
    convolutions,
    deconvolutions,
    enlargement,
    gains,
    leading_kernels,
    with_zeros,
    without_mean,
)
from protogen.resampling.request import EXACT, Problem, Target, equal, factorisations
from protogen.resampling.stages import Border, Chain, Conv, Deconv, Gain, Mix, Pool, Stage, product

CORRECTIONS = ("", "scale", "power", "border")


class Strategy:
    """One way to find chains with a given matrix.

    ``extra_pad`` is how much larger than needed a pad may be. A larger pad gives kernels that are
    extended with zeros, which the limits of a target may require.
    """

    name: ClassVar[str]
    corrections: ClassVar[tuple[str, ...]] = CORRECTIONS
    needs_size: ClassVar[bool] = False

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
        """Yield the chains that have the matrix of the target."""
        raise NotImplementedError

    def unfit(self, problem: Problem) -> str:
        """Return why the ratio of the axis excludes the strategy; empty where it does not."""
        return ""

    def why_not(self, problem: Problem) -> str:
        """Return why there is no chain for an axis whose ratio fits."""
        if problem.inner.taps() is not None:
            return "inexact at the border (zero padding)"
        return "no single kernel produces all output pixels"


class Deconvolution(Strategy):
    """A Deconvolution. Its kernel is what one input pixel adds to the output."""

    name = "deconvolution"

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
        for stage in deconvolutions(target, extra_pad):
            yield (stage,)

    def unfit(self, problem: Problem) -> str:
        if problem.q == 1 or problem.axis.size == 1:
            return ""
        return f"{_ratio(problem)} is not an enlargement by an integer factor"


class Pooling(Strategy):
    """AVE Pooling: windows of equal weights inside the input."""

    name = "pooling"
    corrections = ("",)

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
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
        return f"{_ratio(problem)} is not a reduction by an integer factor"

    def why_not(self, problem: Problem) -> str:
        return "the weights of a window are not equal, or windows cross the border"


class Convolution(Strategy):
    """A strided Convolution with one kernel for all windows."""

    name = "convolution"

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
        for stage in convolutions(target, extra_pad):
            yield (stage,)

    def unfit(self, problem: Problem) -> str:
        return Pooling().unfit(problem)


class Fraction(Strategy):
    """A Deconvolution enlarges by p. Then every q-th pixel, or the mean of two pixels, is taken."""

    name = "fraction"

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
        n = target.matrix.shape[1]
        if target.q == 1:
            for deconv in deconvolutions(target, extra_pad):
                yield deconv, Pool(1, 1)
                yield deconv, Conv((1.0,), 1, 0)
            return
        if target.p == 1:
            for conv in convolutions(target, extra_pad):
                yield IDENTITY, conv
            for (pool,) in Pooling().chains(target, extra_pad):
                yield IDENTITY, pool
            return
        first_and_kernel = target.taps()
        if first_and_kernel is None:
            return
        first, kernel = first_and_kernel
        length = target.q * (target.matrix.shape[0] - 1) + 1
        mean = without_mean(kernel) if target.q % 2 == 0 else None
        for pool, taps in ((Pool(2, target.q), mean), (Pool(1, target.q), kernel)):
            if taps is None:
                continue
            enlarged = enlargement(first, taps, length + pool.window - 1, n, target)
            for deconv in deconvolutions(Target(enlarged, target.p, 1, target.origin), extra_pad):
                if equal(product((deconv, pool), n), target.matrix):
                    yield deconv, pool
                conv = Conv(
                    (1 / pool.window,) * pool.window + (0.0,) * (target.q - pool.window),
                    target.q,
                    0,
                )
                extended = with_zeros(deconv, target.q - pool.window)
                if equal(product((extended, conv), n), target.matrix):
                    yield extended, conv

    def unfit(self, problem: Problem) -> str:
        return "" if problem.p else f"{_ratio(problem)} is not a ratio of small integers"


class Cascade(Strategy):
    """A product of smaller factors: one Deconvolution for each of them.

    The kernels of all stages but the last are triangles or boxes. The last stage has the quotient
    of the whole kernel and these.
    """

    name = "cascade"

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
        if target.q != 1 or target.p < 4:
            return
        first_and_kernel = target.taps()
        if first_and_kernel is None:
            return
        first, kernel = first_and_kernel
        for factors in factorisations(target.p):
            for leading in leading_kernels(factors, kernel):
                yield from cascade(target, first, factors, leading, extra_pad)

    def unfit(self, problem: Problem) -> str:
        if problem.q == 1 and any(factorisations(problem.p)):
            return ""
        return f"{_ratio(problem)} is not an enlargement by a composite factor (4, 6, 8, ...)"

    def why_not(self, problem: Problem) -> str:
        return (
            "the kernel is not a product of smaller ones, or inexact at the border (zero padding)"
        )


class Matrices(Strategy):
    """The matrix as the weights of a layer that mixes along the axis."""

    name = "matrix"
    corrections = ("",)
    needs_size = True

    def chains(self, target: Target, extra_pad: int) -> Iterator[tuple[Stage, ...]]:
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


def corrected(
    strategy: Strategy, correction: str, problem: Problem, extra_pad: int
) -> Iterator[Chain]:
    """Yield the chains of a strategy with a correction that have the matrix of the problem.

    They also have the matrices of the probes of the problem.
    """
    import numpy as np

    if not correction:
        for stages in strategy.chains(problem.plain, extra_pad):
            yield from _if_exact(Chain(stages), problem)
        return
    if correction == "border":
        target, before, after = problem.bordered
        for stages in strategy.chains(target, extra_pad):
            yield from _if_exact(Chain((Border(before, after), *stages)), problem)
        return
    inner = problem.inner.matrix
    factors = gains(problem.wanted, inner)
    if factors is None:
        return
    for stages in strategy.chains(problem.inner, extra_pad):
        if correction == "scale":
            yield Chain((*stages, Gain(tuple(factors))))
        elif np.abs(factors * inner.sum(axis=1) - 1).max() <= EXACT:
            yield from _if_exact(Chain(stages, normalised=True), problem)


def uncorrected(strategy: Strategy, problem: Problem, extra_pad: int) -> Iterator[Chain]:
    """Yield chains that equal the resize inside and treat pixels outside of the input as 0."""
    for stages in strategy.chains(problem.inner, extra_pad):
        chain = Chain(stages)
        if all(chain.out(probe.axis.size) == probe.axis.out for probe in problem.probes):
            yield chain


def _if_exact(chain: Chain, problem: Problem) -> Iterator[Chain]:
    """Yield the chain if it has the requested matrix for the problem and for its probes."""
    for size_problem in (problem, *problem.probes):
        if not equal(chain.matrix(size_problem.axis.size), size_problem.wanted):
            return
    yield chain


def _ratio(problem: Problem) -> str:
    axis = problem.axis
    return f"a factor of {axis.scale:g}" if problem.probes else f"{axis.size} to {axis.out}"
