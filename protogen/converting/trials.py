"""The inputs that a comparison tries, and the values that both models compute from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protogen.converting.sides import Arrays, Feeder, Side

# Standard deviations of the inputs, one after the other: the first two for all blobs, the others
# for blobs that prove nothing yet. Small inputs avoid saturation; large inputs make weights visible
# that a bias hides.
SCALES = (1.0, 1.0, 0.1, 10.0, 0.01, 100.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """One input and what both models compute from it.

    Attributes:
        seed, scale: the seed of the input and its standard deviation.
        feeds: the input under the names of the first model.
        first, second: the values of each model, by their names in it.
    """

    seed: int
    scale: float
    feeds: Arrays
    first: Arrays
    second: Arrays


def trials(
    sides: tuple[Side, Side],
    evaluators: Sequence[Callable[[Arrays], Arrays]],
    feeder: Feeder,
    seed: int,
    single: bool,
    wanted: Callable[[], bool],
) -> Iterator[Trial]:
    """Run both models on one input after the other.

    The first model runs on the first two inputs, before the second model does: each model then reads
    its weights once for both, and the weights of only one model are in memory at a time.

    Args:
        evaluators: a function for each side that computes its values.
        seed: the seed of the first input; each further input has the next seed.
        single: try one input only.
        wanted: is asked before further inputs: whether to go on.
    """
    plan = [(seed + count, scale) for count, scale in enumerate(SCALES[: 1 if single else None])]
    for group in (plan[:2], *([one] for one in plan[2:])):
        if not wanted():
            return
        drawn = [feeder.draw(*one) for one in group]
        firsts = [evaluators[0](feeds[0]) for feeds in drawn]
        sides[0].release()
        for (seed_of_input, scale), feeds in zip(group, drawn, strict=True):
            yield Trial(seed_of_input, scale, feeds[0], firsts.pop(0), evaluators[1](feeds[1]))
        sides[1].release()
