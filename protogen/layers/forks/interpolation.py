"""Bilinear samples of maps at positions that the net computes, in ONNX operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the pixels outside of a map are: "zero": 0; "edge": positions from 0 up to the length take the
# last pixel after it, and all others are 0; "inside": positions beyond the first and last pixel are 0.
Outside = Literal["zero", "edge", "inside"]


@dataclass(frozen=True, slots=True)
class Maps:
    """Pixels of several maps as rows.

    Attributes:
        rows: (maps x height x width, channels).
        first: the row of the first pixel of the map of each position, int64, of a shape that
            broadcasts to that of the positions.
        size: height, width.
    """

    rows: str
    first: str
    size: tuple[int, int]


def bilinear(e: Emitter, maps: Maps, positions: Sequence[str], outside: Outside) -> str:
    """Emit the values at positions.

    Args:
        positions: y and x in pixels of the map: float32, of one shape.

    Returns:
        The values: the shape of the positions, then channels.
    """
    rows, columns = (
        _neighbours(e, position, length, outside)
        for position, length in zip(positions, maps.size, strict=True)
    )
    total = ""
    for row, share in rows:
        start = e.value("Mul", row, e.array(maps.size[1]))
        start = e.value("Add", start, maps.first)
        for column, part in columns:
            pixels = e.value("Gather", maps.rows, e.value("Add", start, column), axis=0)
            weight = e.value("Unsqueeze", e.value("Mul", share, part), e.array([-1]))
            pixels = e.value("Mul", pixels, weight)
            total = e.value("Add", total, pixels) if total else pixels
    return total


def _neighbours(e: Emitter, position: str, length: int, outside: Outside) -> list[tuple[str, str]]:
    """Emit the two pixels beside positions along an axis, and their weights."""
    last = e.array(float(length - 1))
    clipped = position if outside == "zero" else e.value("Clip", position, e.array(0.0), last)
    low = e.value("Floor", clipped)
    share = e.value("Sub", clipped, low)
    weights = [e.value("Sub", e.array(1.0), share), share]
    pixels = [low, e.value("Add", low, e.array(1.0))]
    if outside == "zero":
        masks = [_between(e, pixel, last, "LessOrEqual") for pixel in pixels]
    elif outside == "inside":
        masks = [_between(e, position, last, "LessOrEqual")] * 2
    else:
        masks = [_between(e, position, e.array(float(length)), "Less")] * 2
    return [
        (
            e.value("Cast", e.value("Clip", pixel, e.array(0.0), last), to=INT64),
            e.value("Mul", weight, mask),
        )
        for pixel, weight, mask in zip(pixels, weights, masks, strict=True)
    ]


def _between(e: Emitter, position: str, end: str, below: str) -> str:
    """Emit 1 for positions from 0 to ``end``, and 0 for the others."""
    above = e.value("GreaterOrEqual", position, e.array(0.0))
    return e.value("Cast", e.value("And", above, e.value(below, position, end)), to=FLOAT)
