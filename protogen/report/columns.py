"""Places of the parts of a drawing: one stack, or columns from left to right with lines between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protogen.report.boxes import Part, Point

PAGE = 1400.0  # pixels: a drawing that is too large for one stack is wrapped if it is higher
LEAD = 13.0  # pixels above and below each part, for the edge to the next part
GUTTER = 48.0  # pixels between two columns
TRIES = 60  # heights of the columns that are compared
SHAPE = 1.5  # width of a drawing divided by its height
_TURN = 14.0  # pixels above and below the columns, for the lines between them


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of parts: x of the middle and y of the upper edge. ``links`` connect the columns."""

    places: list[Point]
    links: list[tuple[Point, ...]]
    width: float
    height: float


def stacked(parts: Sequence[Part]) -> Columns:
    """Stack the parts from top to bottom."""
    places, y = [], 0.0
    for part in parts:
        places.append((0.0, y))
        y += _height(part)
    return Columns(places, [], max([0.0, *(part.width for part in parts)]), y)


def wrapped(parts: Sequence[Part]) -> Columns:
    """Wrap the parts into columns, so that the drawing fits the smallest page of shape 3:2."""
    extents = [extent_of(part) for part in parts]
    heights = [_height(part) for part in parts]
    least, most = max(heights), sum(heights)
    best, side = [0], math.inf
    for i in range(TRIES + 1):
        cuts = _cuts(heights, least * (most / least) ** (i / TRIES))
        width, height = _size(extents, heights, cuts)
        if max(width, SHAPE * height) < side:
            best, side = cuts, max(width, SHAPE * height)
    return _placed(parts, extents, best)


def extent_of(part: Part) -> tuple[float, float]:
    """Return how far a part extends to the left and to the right of x = 0."""
    left = [box.x - box.width / 2 for box in part.boxes]
    right = [box.x + box.width / 2 for box in part.boxes]
    points = [x for edge in part.edges for x, _ in edge]
    points += [x for line, _ in part.lines for x, _ in line]
    return -min([0.0, *left, *points]), max([0.0, *right, *points])


def _height(part: Part) -> float:
    return part.height + 2 * LEAD


def _cuts(heights: Sequence[float], most: float) -> list[int]:
    """Return where each column begins that is at most this high."""
    cuts, y = [0], 0.0
    for i, height in enumerate(heights):
        if y and y + height > most + 0.1:
            cuts.append(i)
            y = 0.0
        y += height
    return cuts


def _widths(extents: Sequence[Point], cuts: Sequence[int]) -> list[Point]:
    """Return how far each column extends to the left and to the right of its parts' x = 0."""
    widths = []
    for start, end in zip(cuts, [*cuts[1:], len(extents)], strict=True):
        run = extents[start:end]
        widths.append((max(left for left, _ in run), max(right for _, right in run)))
    return widths


def _size(
    extents: Sequence[Point], heights: Sequence[float], cuts: Sequence[int]
) -> tuple[float, float]:
    width = sum(left + right + GUTTER for left, right in _widths(extents, cuts)) - GUTTER
    ends = [*cuts[1:], len(heights)]
    return width, max(sum(heights[a:b]) for a, b in zip(cuts, ends, strict=True))


def _placed(parts: Sequence[Part], extents: Sequence[Point], cuts: Sequence[int]) -> Columns:
    """Place the columns side by side; x = 0 is the middle of the drawing."""
    width, height = _size(extents, [_height(part) for part in parts], cuts)
    places: list[Point] = []
    links: list[tuple[Point, ...]] = []
    edge = -width / 2
    before: Point | None = None  # the end of the column before
    ends = [*cuts[1:], len(parts)]
    for start, end, (left, right) in zip(cuts, ends, _widths(extents, cuts), strict=True):
        x, y = edge + left, 0.0
        if before is not None and parts[start].entry is not None:
            lane = edge - GUTTER / 2
            links.append(
                (
                    before,
                    (before[0], before[1] + _TURN),
                    (lane, before[1] + _TURN),
                    (lane, -_TURN),
                    (x, -_TURN),
                    (x, 0.0),
                )
            )
        for part in parts[start:end]:
            places.append((x, y))
            y += _height(part)
        before = (x, y)
        edge += left + right + GUTTER
    return Columns(places, links, width, height + (_TURN if links else 0.0))
