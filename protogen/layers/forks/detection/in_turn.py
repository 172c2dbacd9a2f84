"""Suppression of boxes in the order in which they come, as ONNX operators. TPU-MLIR's Caffe has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.writing import Emitter


def columns(e: Emitter, table: str, *widths: int) -> list[str]:
    """Emit the columns of a table (B, D), or the parts of a row (D), as parts of these widths."""
    parts, start = [], 0
    for width in widths:
        parts.append(cut_along(e, table, -1, start, start + width))
        start += width
    return parts


def with_dead_row(e: Emitter, table: str, width: int) -> str:
    """Emit a table (B, D) with a row of zeros at its end, so that it is never empty."""
    return e.value("Concat", table, e.array([[0.0] * width]), axis=0)


def survivors(
    e: Emitter,
    is_alive: str,
    boxes: str,
    turns: str,
    judge: Callable[[Emitter, str, str], tuple[str, str]],
) -> str:
    """Emit which boxes are left (B), of type bool.

    One box after another, if it is still alive, kills each later box that it overlaps, up to the first
    living one that is better, which kills it.

    Args:
        e: the emitter.
        is_alive: which boxes take part (B), of type bool; not empty.
        boxes: values of the boxes (B, D), float32.
        turns: values of the box whose turn it is (B, T), float32.
        judge: emits for ``boxes`` and a row of ``turns``: which boxes it overlaps (B), and which are
            better (B); an empty name for none.
    """
    count = e.value("Squeeze", e.value("Shape", is_alive), e.array([0]))
    number = e.value("Cast", e.value("Range", e.array(0), count, e.array(1)), to=FLOAT)

    def step(inner: Emitter, states: Sequence[str], rows: Sequence[str]) -> Sequence[str]:
        alive, numbers, table = states
        own, turn = rows
        is_own = inner.value("Equal", numbers, own)
        acting = inner.value("Cast", inner.value("And", alive, is_own), to=FLOAT)
        acts = inner.value("Cast", inner.reduce("ReduceMax", acting, [0]), to=BOOL)
        near, is_better = judge(inner, table, turn)
        near = inner.value("And", near, inner.value("Greater", numbers, own))
        near = inner.value("And", inner.value("And", near, alive), acts)
        killed = near
        if is_better:
            better = inner.value("Cast", inner.value("And", near, is_better), to=FLOAT)
            seen = inner.value("CumSum", better, inner.array(0))  # better ones up to this box
            killed = inner.value("And", near, inner.value("Less", seen, inner.array(0.5)))
            dies = inner.value("Cast", inner.reduce("ReduceMax", better, [0]), to=BOOL)
            killed = inner.value("Or", killed, inner.value("And", is_own, dies))
        left = inner.value("And", alive, inner.value("Not", killed))
        return [left, inner.value("Identity", numbers), inner.value("Identity", table)]

    states = [(is_alive, BOOL), (number, FLOAT), (boxes, FLOAT)]
    return e.scan(states, [(number, FLOAT), (turns, FLOAT)], step)[0]


def common_sides(
    e: Emitter, low: str, high: str, other_low: str, other_high: str, more: float
) -> tuple[str, str]:
    """Emit width and height that boxes (B, 2) and (2) have in common, plus ``more``: (B, 1) each."""
    sides = e.value("Sub", e.value("Min", high, other_high), e.value("Max", low, other_low))
    if more:
        sides = e.value("Add", sides, e.array(more))
    return cut_along(e, sides, 1, 0, 1), cut_along(e, sides, 1, 1, 2)


def flat(e: Emitter, column: str) -> str:
    """Emit a column (B, 1) as (B)."""
    return e.value("Squeeze", column, e.array([1]))


def first_rows(e: Emitter, is_left: str, table: str, keep: str, size: int, width: int) -> list[str]:
    """Emit the rows of the boxes that are left, in their order: (1, 1, size, width), with zeros at the
    end, and how many there are.

    Args:
        e: the emitter.
        is_left: which boxes are left (B).
        table: the boxes (B, width).
        keep: the most rows, an array of one number.
        size: the number of rows of the result.
        width: the number of columns.
    """
    places = e.value("Squeeze", e.value("NonZero", is_left), e.array([0]))
    count = e.value("Min", keep, first_length(e, places))
    rows = e.value("Gather", table, places, axis=0)
    rows = e.value("Slice", rows, e.array([0]), count, e.array([0]))
    none = e.value("Expand", e.array(0.0), e.array([size, width]))
    rows = cut_along(e, e.value("Concat", rows, none, axis=0), 0, 0, size)
    return [e.value("Reshape", rows, e.array([1, 1, size, width])), count]
