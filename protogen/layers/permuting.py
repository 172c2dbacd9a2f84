"""A permutation of axes as moves of single axes, each a Reshape, a Slice and a Concat: the cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt, prod
from typing import NamedTuple

MOST_SLICES = 2048  # the most tops of a Slice
# What a move costs beside its slices, in slices: it copies the whole blob twice.
COPIES = 32


class Move(NamedTuple):
    """One move of an axis.

    Attributes:
        shape: the shape before the move, with an axis of length 1 where the moved axis goes to.
        axis: the axis that moves. It is sliced.
        to: the axis of length 1. The slices are concatenated along it.
    """

    shape: tuple[int, ...]
    axis: int
    to: int

    @property
    def slices(self) -> int:
        return self.shape[self.axis]


def moves(shape: Sequence[int], order: Sequence[int]) -> list[Move]:
    """Return the cheapest moves that permute axes; empty if a Reshape is enough.

    Axes that travel together are merged, so they move as one. The axes that stay in their order are
    those whose moves would cost most. A long axis moves as several factors of its length: an axis of
    8000 takes 80 + 100 slices in two moves. The first axis is merged with no other if it stays the
    first, so that the batch can be changed later.

    Args:
        shape: lengths of the axes.
        order: the axes in their new order.
    """
    lengths, target = _merged(shape, order)
    cost = [_best_factors(n)[0] for n in lengths]
    moving = set(range(len(lengths))) - _heaviest_rise(target, cost, keeps_first=target[:1] == [0])
    # Replace each moving axis by its factors, which keep their order among themselves.
    factors = {axis: _best_factors(lengths[axis])[1] for axis in moving}
    parts = [(axis, i) for axis in range(len(lengths)) for i in range(len(factors.get(axis, "1")))]
    size = {(axis, i): factors.get(axis, (lengths[axis],))[i] for axis, i in parts}
    goal = [(axis, i) for axis in target for i in range(len(factors.get(axis, "1")))]
    now = list(parts)
    result: list[Move] = []
    settled = {part for part in parts if part[0] not in moving}
    for part in goal:
        if part in settled:
            continue
        settled.add(part)
        at = now.index(part)
        # It goes after the part that is before it in the goal. This one is settled already.
        before = goal.index(part) - 1
        to = now.index(goal[before]) + 1 if before >= 0 else 0
        dims = [size[one] for one in now]
        dims.insert(to, 1)
        result.append(Move(tuple(dims), at + (to <= at), to))
        now.remove(part)
        now.insert(to - (at < to), part)
    return result


def _merged(shape: Sequence[int], order: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the lengths and the new order without axes of length 1, where axes that are neighbours
    before and after are one axis."""
    batch = bool(order) and order[0] == 0
    long_axes = [axis for axis in range(len(shape)) if shape[axis] > 1 or (batch and axis == 0)]
    place = {axis: i for i, axis in enumerate(long_axes)}
    target = [place[axis] for axis in order if axis in place]
    groups: list[list[int]] = []
    for axis in target:
        if groups and groups[-1][-1] == axis - 1 and not (batch and axis == 1):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    in_order = sorted(groups)
    lengths = [prod(shape[long_axes[axis]] for axis in group) for group in in_order]
    return lengths, [in_order.index(group) for group in groups]


def axis_factors(length: int) -> tuple[int, ...]:
    """Return factors of the length of an axis, so that slices of one factor after the other are the
    cheapest way to move all of its values."""
    return _best_factors(length)[1]


@lru_cache(maxsize=1024)
def _best_factors(length: int) -> tuple[int, tuple[int, ...]]:
    """Return the cost of moving an axis, and the factors of its length that move one after the other."""
    best: tuple[int, tuple[int, ...]] = (length + COPIES, (length,))
    for first in range(2, isqrt(length) + 1):
        if length % first == 0:
            cost, factors = _best_factors(length // first)
            best = min(best, (first + COPIES + cost, (first, *factors)))
    return best


def _heaviest_rise(target: Sequence[int], cost: Sequence[int], keeps_first: bool) -> set[int]:
    """Return the axes of the rising subsequence of ``target`` with the largest sum of costs; with
    ``keeps_first`` it contains the first."""
    best: list[tuple[int, list[int]]] = []
    for i, axis in enumerate(target):
        rises = [best[j] for j in range(i) if target[j] < axis]
        weight, chain = max(rises, key=lambda one: one[0], default=(0, []))
        best.append((weight + cost[axis], [*chain, axis]))
    if keeps_first:
        best = [one for one in best if one[1][0] == target[0]]
    return set(max(best, key=lambda one: one[0], default=(0, []))[1])
