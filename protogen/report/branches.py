"""Layout of a part with many parallel branches: the branches in rows, joined by straight lines.

One line leads from the value that enters down the left side, and along the top of each row to its
branches. Another line leads from the bottom of each row down the right side to the layer that joins
the branches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protogen.report.boxes import Box, Point, port
from protogen.report.layering import GAP, arranged

SHAPE = 1.5  # width of the rows divided by their height
AROUND = 200.0  # pixels: usual height of the boxes above and below the rows
LARGEST = 0.6  # share of the boxes that the largest of parallel branches has at most
LANE = 13.0  # pixels between a horizontal line and the boxes next to it

Line = tuple[tuple[Point, ...], bool]


@dataclass(slots=True)
class _Branch:
    """Boxes between the value that enters and the join. ``entry`` and ``exit`` are x positions."""

    boxes: list[Box]
    edges: list[tuple[Point, ...]]
    width: float
    height: float
    entry: float | None
    exit: float | None

    def move(self, x: float, y: float) -> None:
        """Move the branch."""
        self.boxes = [box.at(box.x + x, box.y + y) for box in self.boxes]
        self.edges = [tuple((a + x, b + y) for a, b in edge) for edge in self.edges]
        self.entry = None if self.entry is None else self.entry + x
        self.exit = None if self.exit is None else self.exit + x


@dataclass(frozen=True, slots=True)
class Rows:
    """Boxes, curves and straight lines of branches in rows, with their width and height.

    The value enters and leaves at x = 0.
    """

    boxes: list[Box]
    edges: list[tuple[Point, ...]]
    lines: list[Line]
    width: float
    height: float


def in_rows(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> Rows | None:
    """Arrange parallel branches in rows; None if the part does not have parallel branches.

    Args:
        boxes: the boxes without positions.
        edges: pairs of indices of boxes.
        entry: the box that represents the value that enters.
        exit_: the box that represents the value that leaves.
    """
    join, groups = _branches(len(boxes), edges, entry, exit_)
    if len(groups) < 2:
        return None
    group_of = {i: number for number, group in enumerate(groups) for i in group}
    inner: list[list[tuple[int, int]]] = [[] for _ in groups]
    for a, b in edges:
        if a in group_of or b in group_of:
            inner[group_of[a] if a in group_of else group_of[b]].append((a, b))
    branches = [
        _branch(group, boxes, own, entry, join) for group, own in zip(groups, inner, strict=True)
    ]
    whole = sum((one.width + GAP) * (one.height + 4 * LANE) for one in branches)
    half = SHAPE * AROUND / 2
    limit = max(half + math.sqrt(half * half + SHAPE * whole), *(one.width for one in branches))
    rows: list[list[_Branch]] = [[]]
    used = 0.0
    for branch in branches:
        if rows[-1] and used + branch.width > limit:
            rows.append([])
            used = 0.0
        rows[-1].append(branch)
        used += branch.width + GAP
    return _stacked(rows, boxes[join] if join is not None else None, (entry, join) in edges)


def parallel(
    count: int, edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> bool:
    """Return whether a part of ``count`` boxes mostly consists of parallel branches."""
    groups = _branches(count, edges, entry, exit_)[1]
    return len(groups) > 1 and max(map(len, groups)) < LARGEST * count


def _branches(
    count: int, edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> tuple[int | None, list[list[int]]]:
    """Return the box that joins the branches, and the boxes of each branch."""
    join = _join(count, edges, entry, exit_)
    if exit_ is not None and (join is None or join == entry):
        return None, []
    return join, _groups(count, edges, {entry, exit_, join})


def _stacked(rows: Sequence[Sequence[_Branch]], join: Box | None, direct: bool) -> Rows:
    """Stack the rows, with the join below. ``direct``: the join also reads the value that enters."""
    width = max(sum(one.width + GAP for one in row) - GAP for row in rows)
    left, right = -width / 2 - GAP, width / 2 + GAP
    lines: list[Line] = []
    y = left_to = 0.0
    if direct or any(one.entry is not None for row in rows for one in row):
        lines.append((((0.0, 0.0), (0.0, LANE), (left, LANE)), False))
        left_to = LANE
        if all(one.entry is None for one in rows[0]):
            y = 2 * LANE
    first_exit: float | None = None
    for row in rows:
        top = y + 2 * LANE if any(one.entry is not None for one in row) else y
        x = -width / 2
        for branch in row:
            branch.move(x + branch.width / 2, top)
            x += branch.width + GAP
        bottom = top + max(one.height for one in row)
        entries = [one.entry for one in row if one.entry is not None]
        if entries:
            lane = y + LANE
            left_to = lane
            lines.append((((left, lane), (max(entries), lane)), False))
            lines += [
                (((at, lane), (at, top)), any(_meets(box, at, top) for box in one.boxes))
                for one in row
                if (at := one.entry) is not None
            ]
        y = bottom
        exits = [(one.exit, top + one.height) for one in row if one.exit is not None]
        if exits and join is not None:
            y = bottom + LANE
            lines.append((((min(x for x, _ in exits), y), (right, y)), False))
            lines += [(((x, end), (x, y)), False) for x, end in exits]
            first_exit = y if first_exit is None else first_exit
        y += LANE
    boxes = [box for row in rows for one in row for box in one.boxes]
    edges = [edge for row in rows for one in row for edge in one.edges]
    if join is not None:
        if first_exit is not None:
            lines.append((((right, first_exit), (right, y), (0.0, y), (0.0, y + 2 * LANE)), True))
        if direct:
            left_to = y
            lines.append((((left, y), (0.0, y)), False))
        boxes.append(join.at(0.0, y + 2 * LANE))
        y += 2 * LANE + join.height
    if left_to > LANE:
        lines.append((((left, LANE), (left, left_to)), False))
    return Rows(boxes, edges, lines, width + 4 * GAP, y)


def _join(
    count: int, edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> int | None:
    """Return the box that joins the branches: the one that leaves, or the last that ends the net."""
    if exit_ is not None:
        before = [a for a, b in edges if b == exit_]
        join = before[0] if len(before) == 1 else None
    else:
        reads = [0] * count
        for _, b in edges:
            reads[b] += 1
        join = max((i for i in range(count) if reads[i] > 1), default=None)
    if join is not None and any(a == join and b != exit_ for a, b in edges):
        return None
    return join


def _groups(
    count: int, edges: Sequence[tuple[int, int]], without: set[int | None]
) -> list[list[int]]:
    """Return the connected groups of boxes, without some boxes, each in the order of the net."""
    root = list(range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for a, b in edges:
        if a not in without and b not in without:
            one, other = sorted((find(a), find(b)))
            root[other] = one
    groups: dict[int, list[int]] = {}
    for i in range(count):
        if i not in without:
            groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _branch(
    group: Sequence[int],
    boxes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    entry: int | None,
    join: int | None,
) -> _Branch:
    """Lay out one branch with the points at which it begins and ends."""
    index = {i: k for k, i in enumerate(group)}
    inside = [boxes[i] for i in group]
    pairs = [(index[a], index[b]) for a, b in edges if a in index and b in index]
    heads = [index[b] for a, b in edges if a == entry and b in index]
    tails = [index[a] for a, b in edges if b == join and a in index]
    start = end = None
    if heads and entry is not None:
        start = len(inside)
        inside.append(port())
        pairs += [(start, head) for head in heads]
    if tails and join is not None:
        end = len(inside)
        inside.append(port())
        pairs += [(tail, end) for tail in tails]
    positions, routes, width, height = arranged(inside, pairs, start, end)
    return _Branch(
        [box for box in positions if box.width],
        routes,
        width,
        height,
        None if start is None else positions[start].x,
        None if end is None else positions[end].x,
    )


def _meets(box: Box, x: float, y: float) -> bool:
    return abs(box.y - y) < 0.5 and abs(box.x - x) < 0.5
