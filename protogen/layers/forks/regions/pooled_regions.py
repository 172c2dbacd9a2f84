"""Parts of layers that pool regions of a map, as ONNX operators.

A region is a row of image, x0, y0, x1, y1. The value of a bin is a sum over the pixels of the map,
with a weight for the row times a weight for the column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protogen.geometry import Shape, shape_text
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


def region_count(layer: Layer, shape: Shape) -> int:
    """Return the number of regions in a bottom of shape (R, 5), (R, 5, 1, 1) or (N, 1, R, 5).

    Raises:
        InputError: a region has not five values.
    """
    if len(shape) == 4 and shape[1] == 1 and shape[3] == 5:
        return shape[0] * shape[2]
    if not shape or math.prod(shape[1:]) != 5:
        raise layer.error(
            f'"{layer.bottoms[1]}" must hold rows of 5 values (image and corners), got shape '
            f"{shape_text(shape)}"
        )
    return shape[0]


def region_rows(layer: Layer, e: Emitter) -> str:
    """Emit the regions as rows: (R, 5)."""
    rois = layer.reads[1]
    return rois if len(e.shape(rois)) == 2 else e.value("Reshape", rois, e.array([-1, 5]))


def columns(e: Emitter, rows: str) -> list[str]:
    """Emit the columns of regions: image, x0, y0, x1 and y1, each (R, 1)."""
    return [cut_along(e, rows, 1, i, i + 1) for i in range(5)]


def rounded(e: Emitter, read: str) -> str:
    """Emit the nearest integers, with halves away from 0 like C's round."""
    size = e.value("Abs", read)
    whole = e.value("Floor", size)
    rest = e.value("Less", e.value("Sub", size, whole), e.array(0.5))
    up = e.value("Add", whole, e.array(1.0))
    return e.value("Mul", e.value("Where", rest, whole, up), e.value("Sign", read))


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of all regions along one axis: names of values of shape (R, bins), and the length of the
    axis."""

    start: str
    end: str
    length: int


def weights_of_pixels(e: Emitter, bins: Bins) -> tuple[str, str]:
    """Emit the pixels of each bin as 1 or 0, (R, bins, length), and their number (R, bins).

    A bin has the pixels from floor(start) to ceil(end) - 1, within the map.
    """

    def within(read: str) -> str:
        return e.value("Max", e.value("Min", read, e.array(float(bins.length))), e.array(0.0))

    low = within(e.value("Floor", bins.start))
    high = within(e.value("Ceil", bins.end))
    count = e.value("Max", e.value("Sub", high, low), e.array(0.0))
    pixels = e.array([float(i) for i in range(bins.length)])
    last = e.array([2])
    after = e.value("GreaterOrEqual", pixels, e.value("Unsqueeze", low, last))
    before = e.value("Less", pixels, e.value("Unsqueeze", high, last))
    return e.value("Cast", e.value("And", after, before), to=FLOAT), count


def position_sensitive(
    e: Emitter, read: str, image: str, rows: str, cols: str, group: int, outputs: int
) -> str:
    """Emit the weighted sums of bins in which each bin reads its own channels: (R, outputs, group,
    group).

    Channel (c * group + i) * group + j of the map belongs to bin (i, j) of output c. ``rows`` and
    ``cols`` are weights (R, group, H) and (R, group, W); ``image`` is (R, 1).
    """
    n, _, height, width = e.shape(read)
    rows = e.value("Transpose", rows, perm=[1, 0, 2])
    cols = e.value("Transpose", cols, perm=[1, 0, 2])
    if n > 1:  # weights of rows of all images: those of other images are 0
        numbers = e.array([float(i) for i in range(n)])
        own = e.value("Cast", e.value("Equal", image, numbers), to=FLOAT)
        own = e.value("Unsqueeze", own, e.array([2]))
        rows = e.value("Mul", own, e.value("Unsqueeze", rows, e.array([2])))
        rows = e.value("Reshape", rows, e.array([group, -1, n * height]))
    rows = e.value("Unsqueeze", rows, e.array([1, 4]))  # (group, 1, R, N * H, 1)
    cols = e.value("Unsqueeze", cols, e.array([0, 3]))  # (1, group, R, 1, W)
    weights = e.value("Mul", rows, cols)
    flat = e.array([group * group, -1, n * height * width])
    weights = e.value("Reshape", weights, flat)
    maps = e.value("Reshape", read, e.array([n, outputs, group * group, height * width]))
    maps = e.value("Transpose", maps, perm=[2, 0, 3, 1])
    maps = e.value("Reshape", maps, e.array([group * group, n * height * width, outputs]))
    sums = e.value("Transpose", e.value("MatMul", weights, maps), perm=[1, 2, 0])
    return e.value("Reshape", sums, e.array([-1, outputs, group, group]))


def sampled(e: Emitter, read: str, image: str, y: str, x: str) -> str:
    """Emit the map at points between pixels, by bilinear interpolation: (R, C, A, B).

    ``y`` (R, A) and ``x`` (R, B) are from 0 to the last pixel; ``image`` is (R, 1).
    """
    n, channels, height, width = e.shape(read)
    pixels = e.value("Transpose", read, perm=[0, 2, 3, 1])
    pixels = e.value("Reshape", pixels, e.array([n * height * width, channels]))
    base = e.value("Unsqueeze", e.value("Mul", image, e.array(float(height * width))), e.array([2]))
    corners: list[list[tuple[str, str]]] = []
    for places, length, axis in ((y, height, 2), (x, width, 1)):
        low = e.value("Floor", places)
        share = e.value("Sub", places, low)
        high = e.value("Min", e.value("Add", low, e.array(1.0)), e.array(float(length - 1)))
        rest = e.value("Sub", e.array(1.0), share)
        at = e.array([axis])
        corners.append(
            [
                (e.value("Unsqueeze", place, at), e.value("Unsqueeze", weight, at))
                for place, weight in ((low, rest), (high, share))
            ]
        )
    parts = []
    for row, row_weight in corners[0]:
        start = e.value("Add", base, e.value("Mul", row, e.array(float(width))))
        for column, column_weight in corners[1]:
            place = e.value("Cast", e.value("Add", start, column), to=7)
            value = e.value("Gather", pixels, place, axis=0)
            weight = e.value("Mul", row_weight, column_weight)
            parts.append(e.value("Mul", value, e.value("Unsqueeze", weight, e.array([3]))))
    return e.value("Transpose", e.value("Sum", *parts), perm=[0, 3, 1, 2])


def grid(e: Emitter, start: str, size: str, numbers: Sequence[float]) -> str:
    """Emit start + number * size for regions (R, 1) and numbers: (R, numbers)."""
    return e.value("Add", e.value("Mul", e.array(list(map(float, numbers))), size), start)
