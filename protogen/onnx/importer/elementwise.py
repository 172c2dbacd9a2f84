"""Elementwise operators with two or more inputs, with ONNX's broadcasting."""

from __future__ import annotations

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.onnx.importer.arithmetic import (
    LARGEST,
    clipped,
    constant_operand,
    eltwise,
    floats,
    powered,
    span,
    with_constant,
)
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import reshaped, tiled
from protogen.onnx.importer.registry import ANY, NUMBERS, imports

DIFFERENCE = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}


@imports("Add", takes=NUMBERS)
def add(ctx: ImportContext, a: str, b: str) -> None:
    if (pair := constant_operand(ctx, a, b)) is not None:
        with_constant(ctx, *pair, "Bias")
        return
    paired(ctx, a, b, "SUM")


@imports("Mul", takes=NUMBERS)
def multiply(ctx: ImportContext, a: str, b: str) -> None:
    if a == b:
        powered(ctx, a, power=2.0)
        return
    if (pair := constant_operand(ctx, a, b)) is not None:
        with_constant(ctx, *pair, "Scale")
        return
    paired(ctx, a, b, "PROD")


@imports("protogen:Scale")
def scale(ctx: ImportContext, x: str, factors: str, terms: str) -> None:
    """A Scale with its bias (see ``fusion``)."""
    with_constant(
        ctx,
        x,
        ctx.require_constant(factors, "factors"),
        "Scale",
        bias=ctx.require_constant(terms, "terms"),
    )


@imports("Sub", takes=NUMBERS)
def subtract(ctx: ImportContext, a: str, b: str) -> None:
    subtracted(ctx, a, b)


def subtracted(ctx: ImportContext, a: str, b: str, role: str = "") -> str:
    """Add the layers of a - b."""
    left, right = ctx.constant(a), ctx.constant(b)
    shape = ctx.shape(ctx.out)
    if right is not None:
        return with_constant(ctx, a, -floats(ctx, right), "Bias", role)
    if left is not None and left.size == 1 and ctx.shape(b) == shape:
        return powered(ctx, b, scale=-1.0, shift=float(left.reshape(())), role=role)
    if left is not None:
        return with_constant(ctx, powered(ctx, b, scale=-1.0, role="negated"), left, "Bias", role)
    if ctx.shape(a) == shape != ctx.shape(b) and span(shape, ctx.shape(b)) is not None:
        return paired(ctx, a, powered(ctx, b, scale=-1.0, role="negated"), "SUM", role)
    wide = [tiled(ctx, one, shape, "wide") for one in (a, b)]
    return ctx.add("Eltwise", wide, DIFFERENCE, role=role)


@imports("Div")
def divide(ctx: ImportContext, a: str, b: str) -> None:
    """Multiply by the inverse."""
    import numpy as np

    left, right = ctx.constant(a), ctx.constant(b)
    if right is not None:
        if not right.all():
            raise ctx.unsupported("the divisor is a constant that contains 0")
        inverse_of = (1 / right.astype(np.float64)).astype(right.dtype)
        with_constant(ctx, a, inverse_of, "Scale")
        return
    inverse = powered(ctx, b, power=-1.0, role="inverse")
    if left is not None:
        with_constant(ctx, inverse, left, "Scale")
    else:
        paired(ctx, a, inverse, "PROD")


@imports("Sum", takes=NUMBERS)
def total(ctx: ImportContext, *inputs: str) -> None:
    _eltwise_of_all(ctx, inputs, "SUM")


@imports("Mean")
def mean(ctx: ImportContext, *inputs: str) -> None:
    """A sum with the coefficient 1 / n."""
    if len(inputs) == 1:
        ctx.pass_through(inputs[0])
        return
    params = {"operation": Name("SUM"), "coeff": [1 / len(inputs)] * len(inputs)}
    ctx.add("Eltwise", broadcast(ctx, inputs), {"eltwise_param": params})


@imports("Max", takes=ANY)
def maximum(ctx: ImportContext, *inputs: str) -> None:
    if not _clip_by_constant(ctx, inputs, -1):
        _eltwise_of_all(ctx, inputs, "MAX")


@imports("Min", takes=ANY)
def minimum(ctx: ImportContext, *inputs: str) -> None:
    """Clip if one input is a constant number, else -max(-x, -y)."""
    if _clip_by_constant(ctx, inputs, 1):
        return
    if len(inputs) == 1:
        ctx.pass_through(inputs[0])
        return
    negated = [powered(ctx, one, scale=-1.0, role="negated") for one in broadcast(ctx, inputs)]
    powered(ctx, eltwise(ctx, "MAX", negated, "max"), scale=-1.0)


def _clip_by_constant(ctx: ImportContext, inputs: tuple[str, ...], side: int) -> bool:
    """Import Max or Min with a constant number as a Clip; return whether that is possible."""
    if len(inputs) != 2:
        return False
    for x, other in (inputs, inputs[::-1]):
        values = ctx.constant(other)
        if values is not None and values.size == 1 and ctx.shape(x) == ctx.shape(ctx.out):
            number = float(values.reshape(()))
            clipped(ctx, x, *((number, LARGEST) if side < 0 else (-LARGEST, number)))
            return True
    return False


def _eltwise_of_all(ctx: ImportContext, inputs: tuple[str, ...], operation: str) -> None:
    if len(inputs) == 1:
        ctx.pass_through(inputs[0])
    else:
        eltwise(ctx, operation, broadcast(ctx, inputs))


def broadcast(ctx: ImportContext, inputs: tuple[str, ...]) -> list[str]:
    """Broadcast the inputs to the output's shape; a constant becomes a Parameter."""
    return [widened(ctx, one, ctx.shape(ctx.out)) for one in inputs]


def paired(ctx: ImportContext, a: str, b: str, operation: str, role: str = "") -> str:
    """Combine two values by SUM or PROD.

    Two values of the same shape: Eltwise. If the axes of one value are consecutive axes of the
    other: Scale or Bias with a second bottom. Otherwise both are tiled to the output's shape.
    """
    shape = ctx.shape(ctx.out)
    for x, y in ((a, b), (b, a)):
        axes = span(shape, ctx.shape(y))
        if ctx.shape(x) == shape != ctx.shape(y) and axes is not None:
            axis, inner = axes
            if axis == 1 and ctx.shape(y)[0] == shape[0] and len(ctx.shape(y)) == len(shape):
                axis, inner = 0, (shape[0], *inner)  # so that the batch can be changed later
            kind = "Scale" if operation == "PROD" else "Bias"
            y = reshaped(ctx, y, inner, "factors" if operation == "PROD" else "terms")
            params = {f"{kind.lower()}_param": {"axis": axis}} if axis != 1 else {}
            return ctx.add(kind, [x, y], params, role=role)
    wide = [tiled(ctx, one, shape, "wide") for one in (a, b)]
    return eltwise(ctx, operation, wide, role)


def widened(ctx: ImportContext, x: str, shape: Shape) -> str:
    """Broadcast a value to this shape; a computed value is tiled."""
    import numpy as np

    array = ctx.constant(x)
    if array is None:
        return tiled(ctx, x, shape, "wide")
    values = np.broadcast_to(floats(ctx, array), shape)
    return ctx.parameter(ctx.new_value("constant"), np.ascontiguousarray(values))
