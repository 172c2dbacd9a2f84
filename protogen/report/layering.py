"""Layered layout of a part of a net, with igraph's Sugiyama method: ranks, columns, edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from protogen.formats.weightfiles import missing
from protogen.report.boxes import Box, Point

GAP = 26.0  # pixels between ranks, and between the boxes of a rank


def arranged(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> tuple[list[Box], list[tuple[Point, ...]], float, float]:
    """Return the boxes with positions, the points of the edges, width and height."""
    ranks = ranks_of(len(boxes), edges, entry, exit_)
    rank_heights = [0.0] * (max(ranks) + 1)
    for box, rank in zip(boxes, ranks, strict=True):
        rank_heights[rank] = max(rank_heights[rank], box.height)
    alone = sum(box.width > 0 for box in boxes) == 1
    tops = [0.0]
    for above, below in itertools.pairwise(rank_heights):
        gap = GAP if above and below else 0.0 if alone else GAP / 2
        tops.append(tops[-1] + above + gap)
    total = tops[-1] + rank_heights[-1]
    xs, edge_xs = _columns(boxes, edges, ranks)
    low = min(x - box.width / 2 for x, box in zip(xs, boxes, strict=True))
    high = max(x + box.width / 2 for x, box in zip(xs, boxes, strict=True))
    for passes in edge_xs:
        low, high = min([low, *passes]), max([high, *passes])
    ports = [xs[port] for port in (entry, exit_) if port is not None]
    middle = sum(ports) / len(ports) if ports else (low + high) / 2
    placed = [b.at(x - middle, tops[rank]) for b, x, rank in zip(boxes, xs, ranks, strict=True)]
    routes = []
    for (a, b), passes in zip(edges, edge_xs, strict=True):
        start = (placed[a].x, placed[a].y + placed[a].height)
        points = [start]
        for step, x in enumerate(passes, ranks[a] + 1):
            points += [(x - middle, tops[step]), (x - middle, tops[step] + rank_heights[step])]
        points.append((placed[b].x, placed[b].y))
        if points[0] != points[-1]:
            routes.append(tuple(points))
    return placed, routes, 2 * max(high - middle, middle - low), total


def _columns(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], ranks: Sequence[int]
) -> tuple[list[float], list[list[float]]]:
    """Return the x of each box's middle, and of each edge in every rank that the edge passes."""
    if len(set(ranks)) == len(ranks) and all(ranks[b] == ranks[a] + 1 for a, b in edges):
        return [0.0] * len(boxes), [[] for _ in edges]  # a chain
    rows = list(ranks)
    pairs: list[tuple[int, int]] = []
    passing: list[list[int]] = []
    for a, b in edges:
        dummies, before = [], a
        for rank in range(ranks[a] + 1, ranks[b]):
            pairs.append((before, len(rows)))
            before = len(rows)
            dummies.append(before)
            rows.append(rank)
        pairs.append((before, b))
        passing.append(dummies)
    layered = _igraph().Graph(n=len(rows), edges=pairs, directed=True)
    points = layered.layout_sugiyama(layers=rows, hgap=1, vgap=1).coords[: len(rows)]
    columns = _apart([x for x, _ in points], rows)
    widths = [box.width for box in boxes] + [0.0] * (len(rows) - len(boxes))
    right = _packed(columns, rows, widths)
    left = [-x for x in _packed([-x for x in columns], rows, widths)]
    shift = max(right) - max(left)
    xs = [(a + b + shift) / 2 for a, b in zip(right, left, strict=True)]
    return xs[: len(boxes)], [[xs[dummy] for dummy in dummies] for dummies in passing]


def _packed(columns: Sequence[float], rows: Sequence[int], widths: Sequence[float]) -> list[float]:
    """Convert columns to pixels, as far to the left as the widths of the boxes allow.

    Boxes with the same column stay aligned.
    """
    xs: list[float] = [0.0] * len(columns)
    ends: dict[int, float] = {}  # the right edge of each row
    least = -math.inf
    order = sorted(range(len(columns)), key=lambda i: columns[i])
    for _, group in itertools.groupby(order, key=lambda i: round(columns[i], 3)):
        same = list(group)
        starts = [ends[rows[i]] + GAP + widths[i] / 2 for i in same if rows[i] in ends]
        start = max([least, *starts])
        least = 0.0 if math.isinf(start) else start
        for i in same:
            xs[i] = least
            ends[rows[i]] = least + widths[i] / 2
    return xs


def _apart(columns: Sequence[float], rows: Sequence[int]) -> list[float]:
    """Shift a column slightly to the right if igraph gives two boxes of a row the same position."""
    used: set[tuple[int, float]] = set()
    distinct = []
    for x, row in zip(columns, rows, strict=True):
        while (row, round(x, 3)) in used:
            x += 0.002
        used.add((row, round(x, 3)))
        distinct.append(x)
    return distinct


def ranks_of(
    count: int, edges: Sequence[tuple[int, int]], entry: int | None, exit_: int | None
) -> list[int]:
    """Return the rank of each box: its longest path from above, or right above its first reader."""
    outgoing: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for a, b in edges:
        outgoing[a].append(b)
        waiting[b] += 1
    ranks = [0] * count
    ready = [i for i in range(count) if not waiting[i]]
    starts = [i for i in ready if i != entry]
    while ready:
        current = ready.pop()
        for after in outgoing[current]:
            ranks[after] = max(ranks[after], ranks[current] + 1)
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    for start in starts:
        if outgoing[start]:
            ranks[start] = max(0, min(ranks[after] for after in outgoing[start]) - 1)
    if exit_ is not None:
        ranks[exit_] = max(ranks[i] for i in range(count) if i != exit_) + 1 if count > 1 else 0
    return ranks


def _igraph() -> Any:
    try:
        import igraph
    except ImportError:
        raise missing("igraph, which lays out drawings,", "report") from None
    return igraph
