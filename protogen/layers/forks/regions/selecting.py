"""Parts of layers that decode and select regions, as ONNX operators.

Boxes are rows of corners x0 y0 x1 y1 in pixels. The last pixel belongs to a box: its width is
x1 - x0 + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOWEST = float("-inf")  # score of a box that is left out


@dataclass(frozen=True, slots=True)
class Choice:
    """Which boxes a layer selects.

    Attributes:
        before: number of boxes, those with the highest scores, that suppression reads; 0 for all.
        after: number of selected boxes; 0 for all.
        overlap: a box whose intersection over union with a better box is above it is left out.
    """

    before: int
    after: int
    overlap: float


def by_pixel(e: Emitter, read: str, width: int, by_anchor: bool = False) -> str:
    """Emit a map (1, A * width, H, W) as rows of ``width`` values: (H * W * A, width), the anchors of
    a pixel side by side, or with ``by_anchor`` the pixels of an anchor."""
    _, channels, height, columns = e.shape(read)
    count = channels // width
    if by_anchor:
        split = e.value("Reshape", read, e.array([count, width, height * columns]))
        moved = e.value("Transpose", split, perm=[0, 2, 1])
    else:
        moved = e.value("Transpose", read, perm=[0, 2, 3, 1])
    return e.value("Reshape", moved, e.array([-1, width]))


def decode(e: Emitter, deltas: str, anchors: NDArray[np.float32], offset: float = 1.0) -> str:
    """Emit boxes (n, 4) from deltas dx dy dw dh (n, 4) of anchors (n, 4): dx w + centre, exp(dw) w.
    ``offset`` is the width of a box whose corners are equal."""
    import numpy as np

    low, high = anchors[:, :2], anchors[:, 2:]
    size = high - low + np.float32(offset)
    centre = low + np.float32(0.5) * size
    return decode_around(e, deltas, e.array(size), e.array(centre))


def decode_around(e: Emitter, deltas: str, size: str, centre: str) -> str:
    """Emit boxes (n, 4) from deltas (n, 4), sizes (n, 2) and centres (n, 2)."""
    move, grow = cut_along(e, deltas, 1, 0, 2), cut_along(e, deltas, 1, 2, 4)
    centre = e.value("Add", e.value("Mul", move, size), centre)
    half = e.value("Mul", e.value("Mul", e.value("Exp", grow), size), e.array(0.5))
    ends = e.value("Sub", centre, half), e.value("Add", centre, half)
    return e.value("Concat", *ends, axis=1)


def clip(e: Emitter, boxes: str, last: str) -> str:
    """Emit boxes whose corners are from 0 to ``last``, (4,)."""
    return e.value("Max", e.value("Min", boxes, last), e.array(0.0))


def sizes(e: Emitter, boxes: str) -> str:
    """Emit widths and heights of boxes: (n, 2)."""
    extent = e.value("Sub", cut_along(e, boxes, 1, 2, 4), cut_along(e, boxes, 1, 0, 2))
    return e.value("Add", extent, e.array(1.0))


def is_least(e: Emitter, boxes: str, least: str) -> str:
    """Emit whether width and height of each box are at least ``least``: bool (n,)."""
    small = e.value("Cast", e.value("Less", sizes(e, boxes), least), to=FLOAT)
    count = e.reduce("ReduceSum", small, [1], keepdims=False)
    return e.value("Less", count, e.array(0.5))


def keep_scores(e: Emitter, is_valid: str, scores: str) -> str:
    """Emit the scores (n,), and minus infinity for boxes that are not valid."""
    return e.value("Where", is_valid, scores, e.array(LOWEST))


def select(
    e: Emitter, boxes: str, scores: str, count: int, choice: Choice, extent: float = 1.0
) -> tuple[str, str]:
    """Emit the selected boxes (R, 4) and their scores (R,), in descending order of scores.

    A score of minus infinity leaves a box out. ``count`` is the number of boxes. Suppression of
    ONNX measures boxes without their last pixel, so they are widened by ``extent``.
    """
    if 0 < choice.before < count:
        names = [f"{scores}@best", f"{scores}@places"]
        e.op("TopK", [scores, e.array([choice.before])], names, axis=0)
        scores = names[0]
        boxes = e.value("Gather", boxes, names[1], axis=0)
    wide = e.value("Add", boxes, e.array([0.0, 0.0, extent, extent])) if extent else boxes
    # The operator takes a threshold from 0 to 1. No overlap is above 1; all are above a negative one.
    most = choice.after or count
    selected = e.value(
        "NonMaxSuppression",
        e.value("Unsqueeze", wide, e.array([0])),
        e.value("Unsqueeze", scores, e.array([0, 1])),
        e.array([1 if choice.overlap < 0 else most]),
        e.array([min(1.0, max(0.0, choice.overlap))]),
        e.array([-3.4028234663852886e38]),
    )
    place = e.value("Squeeze", cut_along(e, selected, 1, 2, 3), e.array([1]))
    return e.value("Gather", boxes, place, axis=0), e.value("Gather", scores, place, axis=0)


def regions(e: Emitter, boxes: str, image: int, scores: str = "") -> str:
    """Emit rows of image, x0, y0, x1, y1 from boxes (R, 4), with ``scores`` as the last column."""
    first = cut_along(e, boxes, 1, 0, 1)
    column = e.value("Add", e.value("Mul", first, e.array(0.0)), e.array(float(image)))
    parts = [column, boxes]
    if scores:
        parts.append(e.value("Unsqueeze", scores, e.array([1])))
    return e.value("Concat", *parts, axis=1)


def or_row(e: Emitter, rows: str, row: Sequence[float]) -> str:
    """Emit the rows, or this one row if there are none."""
    length = first_length(e, rows)
    end = e.value("Where", e.value("Equal", length, e.array([0])), e.array([1]), length)
    both = e.value("Concat", rows, e.array([list(map(float, row))]), axis=0)
    return e.value("Slice", both, e.array([0]), end, e.array([0]))


def compared(e: Emitter, op_type: str, a: str, b: str) -> str:
    """Emit a comparison as 1 or 0."""
    return e.value("Cast", e.value(op_type, a, b), to=FLOAT)


def as_bool(e: Emitter, read: str) -> str:
    """Emit numbers as bool."""
    return e.value("Cast", read, to=BOOL)
