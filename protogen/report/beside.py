"""Stubs at the right side of their readers, so that a chain whose layers read far values stays straight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protogen.report.boxes import Box, Part, Point
from protogen.report.layering import GAP

SPACE = 6.0  # pixels between two stubs


def widened(box: Box, stubs: Sequence[Box]) -> Box:
    """Return the box with room for stubs at its right side, and as much at its left side."""
    side = GAP + max(stub.width for stub in stubs)
    return replace(box, width=box.width + 2 * side, height=max(box.height, _height(stubs)))


def with_stubs(part: Part, boxes: Mapping[int, tuple[Box, Sequence[Box]]]) -> Part:
    """Replace the widened boxes of a part by the boxes with their stubs.

    Args:
        part: the part with widened boxes at their places.
        boxes: the box and its stubs, by the index of the box.
    """
    placed: list[Box] = []
    lines = list(part.lines)
    for wide in part.boxes:
        if wide.stub or wide.index not in boxes:
            placed.append(wide)
            continue
        box, stubs = boxes[wide.index]
        box = box.at(wide.x, wide.y)
        placed.append(box)
        bottom = box.y + box.height
        if wide.height > box.height:
            lines.append((((box.x, bottom), (box.x, wide.y + wide.height)), False))
        right = box.x + box.width / 2
        y = wide.y + max(0.0, box.height - _height(stubs)) / 2
        for stub in stubs:
            placed.append(stub.at(right + GAP + stub.width / 2, y))
            middle = y + stub.height / 2
            lines.append((_line(right + GAP, middle, right, min(middle, bottom - 5)), True))
            y += stub.height + SPACE
    return replace(part, boxes=tuple(placed), lines=tuple(lines))


def _height(stubs: Sequence[Box]) -> float:
    return sum(stub.height + SPACE for stub in stubs) - SPACE


def _line(x: float, y: float, to_x: float, to_y: float) -> tuple[Point, ...]:
    """Return a horizontal line, with a step where the ends have different heights."""
    if y == to_y:
        return (x, y), (to_x, to_y)
    turn = (x + to_x) / 2
    return (x, y), (turn, y), (turn, to_y), (to_x, to_y)
