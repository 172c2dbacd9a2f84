"""Operators of two or more values, with ONNX's broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.onnx.importer.arithmetic import (
    LARGEST,
    clipped,
    eltwise,
    powered,
    span,
    with_constant,
)
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import reshaped, tiled
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    pass

DIFFERENCE = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}


@lifts("Add")
def add(to: Lifter, a: str, b: str) -> None:
    for x, other in ((a, b), (b, a)):
        values = to.constant(other)
        if values is not None:
            with_constant(to, x, values, "Bias")
            return
    paired(to, a, b, "SUM")


@lifts("Mul")
def multiply(to: Lifter, a: str, b: str) -> None:
    if a == b:
        powered(to, a, power=2.0)
        return
    for x, other in ((a, b), (b, a)):
        values = to.constant(other)
        if values is not None:
            with_constant(to, x, values, "Scale")
            return
    paired(to, a, b, "PROD")


@lifts("protogen:Scale")
def scale(to: Lifter, x: str, factors: str, terms: str) -> None:
    """Scale with its bias (see ``fusion``)."""
    with_constant(to, x, to.wanted(factors, "factors"), "Scale", bias=to.wanted(terms, "terms"))


@lifts("Sub")
def subtract(to: Lifter, a: str, b: str) -> None:
    left, right = to.constant(a), to.constant(b)
    if right is not None:
        with_constant(to, a, -right, "Bias")
    elif left is not None and left.size == 1 and to.shape(b) == to.shape(to.out):
        powered(to, b, scale=-1.0, shift=float(left.reshape(())))
    elif left is not None:
        with_constant(to, powered(to, b, scale=-1.0, role="negated"), left, "Bias")
    else:
        shape = to.shape(to.out)
        if to.shape(a) == to.shape(b):
            to.add("Eltwise", [a, b], DIFFERENCE)
        elif to.shape(a) == shape and span(shape, to.shape(b)) is not None:
            paired(to, a, powered(to, b, scale=-1.0, role="negated"), "SUM")
        else:
            to.add(
                "Eltwise", [tiled(to, a, shape, "wide"), tiled(to, b, shape, "wide")], DIFFERENCE
            )


@lifts("Div")
def divide(to: Lifter, a: str, b: str) -> None:
    """The product with the inverse."""
    import numpy as np

    left, right = to.constant(a), to.constant(b)
    if right is not None:
        if right.dtype.kind == "f" and not right.all():
            raise to.refuse("it divides by a constant that is 0")
        with_constant(
            to,
            a,
            (1 / right.astype(np.float64)).astype(right.dtype)
            if right.dtype.kind == "f"
            else right,
            "Scale",
        )
        return
    inverse = powered(to, b, power=-1.0, role="inverse")
    if left is not None:
        with_constant(to, inverse, left, "Scale")
    else:
        paired(to, a, inverse, "PROD")


@lifts("Sum")
def total(to: Lifter, *inputs: str) -> None:
    _many(to, inputs, "SUM")


@lifts("Mean")
def mean(to: Lifter, *inputs: str) -> None:
    """A sum with the coefficient 1 / n."""
    if len(inputs) == 1:
        to.same(inputs[0])
        return
    params = {"operation": Name("SUM"), "coeff": [1 / len(inputs)] * len(inputs)}
    to.add("Eltwise", _spread(to, inputs), {"eltwise_param": params})


@lifts("Max")
def maximum(to: Lifter, *inputs: str) -> None:
    if not _limited(to, inputs, -1):
        _many(to, inputs, "MAX")


@lifts("Min")
def minimum(to: Lifter, *inputs: str) -> None:
    """Clip where the other is one constant, else -max(-x, -y)."""
    if _limited(to, inputs, 1):
        return
    if len(inputs) == 1:
        to.same(inputs[0])
        return
    negated = [powered(to, one, scale=-1.0, role="negated") for one in _spread(to, inputs)]
    powered(to, eltwise(to, "MAX", negated, "max"), scale=-1.0)


def _limited(to: Lifter, inputs: tuple[str, ...], side: int) -> bool:
    """Max or Min with a constant number is a Clip."""
    if len(inputs) != 2:
        return False
    for x, other in (inputs, inputs[::-1]):
        values = to.constant(other)
        if values is not None and values.size == 1 and to.shape(x) == to.shape(to.out):
            number = float(values.reshape(()))
            clipped(to, x, *((number, LARGEST) if side < 0 else (-LARGEST, number)))
            return True
    return False


def _many(to: Lifter, inputs: tuple[str, ...], operation: str) -> None:
    if len(inputs) == 1:
        to.same(inputs[0])
    else:
        eltwise(to, operation, _spread(to, inputs))


def _spread(to: Lifter, inputs: tuple[str, ...]) -> list[str]:
    """The values in the output's shape."""
    return [widened(to, one, to.shape(to.out)) for one in inputs]


def paired(to: Lifter, a: str, b: str, operation: str) -> None:
    """Two values: Eltwise where they have one shape; Scale or Bias with a second bottom where that
    one's axes stand side by side in the other; else both are tiled to the output's shape."""
    shape = to.shape(to.out)
    for x, y in ((a, b), (b, a)):
        found = span(shape, to.shape(y))
        if to.shape(x) == shape != to.shape(y) and found is not None:
            axis, inner = found
            kind = "Scale" if operation == "PROD" else "Bias"
            y = reshaped(to, y, inner, "factors" if operation == "PROD" else "terms")
            params = {f"{kind.lower()}_param": {"axis": axis}} if axis != 1 else {}
            to.add(kind, [x, y], params)
            return
    eltwise(to, operation, [tiled(to, a, shape, "wide"), tiled(to, b, shape, "wide")])


def widened(to: Lifter, x: str, shape: Shape) -> str:
    """The value in this shape: a constant is spread, another value is tiled."""
    import numpy as np

    array = to.constant(x)
    if array is None:
        return tiled(to, x, shape, "wide")
    if array.dtype.kind != "f":
        raise to.refuse(f"its constant is {array.dtype}, but Caffe computes in float32")
    return to.parameter(to.value("constant"), np.ascontiguousarray(np.broadcast_to(array, shape)))
