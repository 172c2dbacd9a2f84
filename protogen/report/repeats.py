"""Finds blocks that a net repeats: the same sequence of parts, several times in a row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

LONGEST = 64  # parts of a block at most
LEAST = 3  # parts that folding a block removes from the drawing at least


@dataclass(frozen=True, slots=True)
class Repeat:
    """``times`` blocks of ``period`` items each, from item ``start`` on."""

    start: int
    period: int
    times: int

    @property
    def end(self) -> int:
        """The first item after the blocks."""
        return self.start + self.period * self.times


def repeats(items: Sequence[Hashable], sizes: Sequence[int]) -> list[Repeat]:
    """Return the repeated blocks of a sequence, from left to right and without overlap.

    At each place the block is chosen that removes most when it is folded, and among these the
    shortest one.

    Args:
        items: the sequence; items are equal if they look the same.
        sizes: what folding an item removes, such as its number of boxes.
    """
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(item, len(numbers)) for item in items]
    total = [0]
    for size in sizes:
        total.append(total[-1] + size)
    same = _same(codes)
    result: list[Repeat] = []
    at = 0
    while at < len(codes):
        best, most = None, LEAST - 1
        for period in range(1, min(LONGEST, (len(codes) - at) // 2) + 1):
            times = same[period - 1][at] // period + 1
            removed = total[at + period * times] - total[at + period]
            if times > 1 and removed > most:
                best, most = Repeat(at, period, times), removed
        if best is not None:
            result.append(best)
        at = best.end if best is not None else at + 1
    return result


def _same(codes: Sequence[int]) -> list[list[int]]:
    """Return for each period and place how many items from there on equal the item a period later."""
    rows = []
    for period in range(1, min(LONGEST, len(codes) // 2) + 1):
        row = [0] * len(codes)
        for i in range(len(codes) - period - 1, -1, -1):
            if codes[i] == codes[i + period]:
                row[i] = row[i + 1] + 1
        rows.append(row)
    return rows
