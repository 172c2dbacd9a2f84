"""Cumulative sums and products along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.onnx.importer.arithmetic import eltwise, powered
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import MOST_FACTORS, along_axis, cropped, extended
from protogen.onnx.importer.registry import FLOATS, NUMBERS, imports

if TYPE_CHECKING:
    from collections.abc import Sequence


@imports("CumSum", takes=NUMBERS)
def cumulative_sum(
    ctx: ImportContext, x: str, axis: str, *, exclusive: int = 0, reverse: int = 0
) -> None:
    """The product with a triangular matrix of ones."""
    import numpy as np

    at = _axis(ctx, x, axis)
    length = ctx.shape(x)[at]
    if length**2 > MOST_FACTORS:
        raise ctx.unsupported(
            f"takes a matrix of {length} x {length} values, but the limit is {MOST_FACTORS}"
        )
    if length == 1:
        if exclusive:
            powered(ctx, x, scale=0.0)
        else:
            ctx.pass_through(x)
        return
    matrix = np.tril(np.ones((length, length), np.float32), -1 if exclusive else 0)
    note_spread(ctx)
    along_axis(ctx, x, at, matrix.T if reverse else matrix)


@imports("CumProd", takes=FLOATS)
def cumulative_product(
    ctx: ImportContext, x: str, axis: str, *, exclusive: int = 0, reverse: int = 0
) -> None:
    """Products of shifted parts. A result without the value itself begins with 1."""
    at = _axis(ctx, x, axis)
    length = ctx.shape(x)[at]
    if exclusive and length == 1:
        powered(ctx, x, scale=0.0, shift=1.0)
        return
    if not exclusive:
        ctx.pass_through(_products(ctx, x, at, bool(reverse)))
        return
    begin, end = (1, length) if reverse else (0, length - 1)
    y = _products(ctx, cropped(ctx, x, at, begin, end, "others"), at, bool(reverse))
    extended(ctx, y, at, 0 if reverse else 1, 1 if reverse else 0, 1.0)


def _axis(ctx: ImportContext, x: str, axis: str) -> int:
    rank = len(ctx.shape(x))
    at = int(ctx.require_constant(axis, "axis").reshape(-1)[0])
    if not -rank <= at < rank:
        raise ctx.unsupported(f"axis {at} is outside {rank} axes")
    return at % rank


def _products(ctx: ImportContext, x: str, axis: int, reverse: bool) -> str:
    """Multiply each value by all before it (after it, with ``reverse``).

    A short axis is multiplied value by value. A longer one is multiplied by itself, shifted by 1, 2, 4,
    ... values: so a few layers for each doubling of its length.
    """
    length = ctx.shape(x)[axis]
    steps = (length - 1).bit_length()
    if length + 1 <= 4 * steps:
        parts = ctx.split(x, axis, range(1, length), "value")
        order = range(length - 1, -1, -1) if reverse else range(length)
        done: dict[int, str] = {}
        before = ""
        for i in order:
            before = eltwise(ctx, "PROD", [before, parts[i]], f"upto{i}") if before else parts[i]
            done[i] = before
        return _joined(ctx, [done[i] for i in range(length)], axis, "products")
    for step in (2**i for i in range(steps)):
        first, rest = ctx.split(x, axis, [step], f"shift{step}")
        start, end = ctx.split(x, axis, [length - step], f"end{step}")
        product = eltwise(ctx, "PROD", [rest, start], f"product{step}")
        x = _joined(ctx, [product, end] if reverse else [first, product], axis, f"upto{step}")
    return x


def _joined(ctx: ImportContext, parts: Sequence[str], axis: int, role: str) -> str:
    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return ctx.add("Concat", parts, params, role=role)
