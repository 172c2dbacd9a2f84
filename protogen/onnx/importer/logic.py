"""Comparisons, truth values, choices between values, and casts. A truth value is 0 or 1 in float32."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from protogen.onnx.importer.arithmetic import (
    LARGEST,
    constant_operand,
    eltwise,
    floats,
    powered,
    with_constant,
)
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import broadcast, paired, subtracted, widened
from protogen.onnx.importer.finite import can_be_unbounded
from protogen.onnx.importer.forms import cropped, tiled
from protogen.onnx.importer.registry import ANY, FLOATS, imports

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_HIDES = (
    "infinity and NaN in the value that is not chosen are not hidden, because Caffe has no layer that "
    "chooses: it computes c a + (1 - c) b"
)
# Operators that only move values, so that their result is whole if the input is.
_MOVERS = frozenset(
    ("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile",
     "Transpose", "Unsqueeze", "protogen:Split")
)  # fmt: skip


# Comparisons


@imports("Greater", takes=ANY)
def greater(ctx: ImportContext, a: str, b: str) -> None:
    """a > b: a Threshold of a - b."""
    _above(ctx, a, b, "")


@imports("Less", takes=ANY)
def less(ctx: ImportContext, a: str, b: str) -> None:
    """a < b: b > a."""
    _above(ctx, b, a, "")


@imports("GreaterOrEqual", takes=ANY)
def greater_or_equal(ctx: ImportContext, a: str, b: str) -> None:
    """a >= b: not b > a. True where a value is NaN, unlike in ONNX."""
    _negated(ctx, _above(ctx, b, a, "below"), "")


@imports("LessOrEqual", takes=ANY)
def less_or_equal(ctx: ImportContext, a: str, b: str) -> None:
    """a <= b: not a > b. True where a value is NaN, unlike in ONNX."""
    _negated(ctx, _above(ctx, a, b, "above"), "")


@imports("Equal", takes=ANY)
def equal(ctx: ImportContext, a: str, b: str) -> None:
    """a = b: not |a - b| > 0, because float32 subtraction gives 0 for equal numbers only. True where a
    value is NaN, unlike in ONNX. Equal infinities are equal: their difference, NaN, is not above 0."""
    difference = ctx.add("AbsVal", [subtracted(ctx, a, b, "difference")], role="distance")
    _negated(ctx, _threshold(ctx, difference, 0.0, "differs"), "")


def _above(ctx: ImportContext, a: str, b: str, role: str) -> str:
    """Add the layers of a > b."""
    left, right = ctx.constant(a), ctx.constant(b)
    out = ctx.shape(ctx.out)
    if right is not None and right.size == 1 and ctx.shape(a) == out:
        return _threshold(ctx, a, float(floats(ctx, right).reshape(())), role)
    if left is not None and left.size == 1 and ctx.shape(b) == out:
        number = float(floats(ctx, left).reshape(()))
        negative = powered(ctx, b, scale=-1.0, role=f"{role or 'not'}_negated")
        return _threshold(ctx, negative, -number, role)
    difference = subtracted(ctx, a, b, f"{role or 'value'}_difference")
    return _threshold(ctx, difference, 0.0, role)


def _threshold(ctx: ImportContext, x: str, threshold: float, role: str) -> str:
    params = {"threshold_param": {"threshold": threshold}} if threshold else {}
    return ctx.add("Threshold", [x], params, role=role)


@imports("IsInf")
def is_infinite(
    ctx: ImportContext, x: str, *, detect_negative: int = 1, detect_positive: int = 1
) -> None:
    """|x| above the largest float32; x or -x for one sign."""
    if not (detect_negative or detect_positive):
        powered(ctx, _threshold(ctx, x, 0.0, "above"), scale=0.0)
        return
    if detect_negative and detect_positive:
        x = ctx.add("AbsVal", [x], role="size")
    elif detect_negative:
        x = powered(ctx, x, scale=-1.0, role="negated")
    _threshold(ctx, x, LARGEST, "")


@imports("IsNaN")
def is_nan(ctx: ImportContext, x: str) -> None:
    """Not |x| > -1, which is true for every number."""
    _negated(ctx, _threshold(ctx, ctx.add("AbsVal", [x], role="size"), -1.0, "number"), "")


# Truth values


@imports("Not", takes=ANY)
def negation(ctx: ImportContext, x: str) -> None:
    """1 - x."""
    _negated(ctx, x, "")


def _negated(ctx: ImportContext, x: str, role: str) -> str:
    return powered(ctx, x, scale=-1.0, shift=1.0, role=role)


@imports("And", takes=ANY)
def conjunction(ctx: ImportContext, a: str, b: str) -> None:
    """a b."""
    if (pair := constant_operand(ctx, a, b)) is not None:
        with_constant(ctx, *pair, "Scale")
        return
    paired(ctx, a, b, "PROD")


@imports("Or", takes=ANY)
def disjunction(ctx: ImportContext, a: str, b: str) -> None:
    """max(a, b); with a constant c it is (1 - c) x + c."""
    if (pair := constant_operand(ctx, a, b)) is not None:
        x, values = pair[0], floats(ctx, pair[1])
        _affine(ctx, x, 1 - values, values)
        return
    eltwise(ctx, "MAX", broadcast(ctx, (a, b)))


@imports("Xor", takes=ANY)
def exclusive_disjunction(ctx: ImportContext, a: str, b: str) -> None:
    """|a - b|; with a constant c it is (1 - 2 c) x + c."""
    if (pair := constant_operand(ctx, a, b)) is not None:
        x, values = pair[0], floats(ctx, pair[1])
        _affine(ctx, x, 1 - 2 * values, values)
        return
    ctx.add("AbsVal", [subtracted(ctx, a, b, "difference")])


def _affine(ctx: ImportContext, x: str, factors: NDArray[Any], terms: NDArray[Any]) -> None:
    """Add factors x + terms, where both have the same shape."""
    if factors.size == 1 and ctx.shape(x) == ctx.shape(ctx.out):
        scale, shift = (float(one.reshape(())) for one in (factors, terms))
        powered(ctx, x, scale=scale, shift=shift)
    else:
        with_constant(ctx, x, factors, "Scale", bias=terms)


# Choices


@imports("Where", takes=ANY)
def where(ctx: ImportContext, condition: str, a: str, b: str) -> None:
    """c a + (1 - c) b with the condition c, exact for finite values: one of the terms is 0."""
    import numpy as np

    chosen = ctx.constant(condition)
    if chosen is not None:
        flags = np.asarray(chosen, bool)
        if not _hides_infinity(ctx, a, b) or not _chosen_parts(ctx, flags, a, b):
            _where_constant(ctx, flags, a, b)
        return
    shape = ctx.shape(ctx.out)
    if _hides_infinity(ctx, a, b):
        ctx.approximated.append((ctx.operator, _HIDES))
    c = tiled(ctx, condition, shape, "condition")
    terms: list[tuple[str, float]] = []
    for value, mask, role in ((a, c, "then"), (b, "", "else")):
        constant = ctx.constant(value)
        if constant is not None and not constant.any():
            continue
        mask = mask or _negated(ctx, c, "otherwise")
        if constant is None:
            wide = tiled(ctx, value, shape, f"{role}_wide")
            terms.append((eltwise(ctx, "PROD", [mask, wide], f"{role}_part"), 1.0))
        elif constant.size == 1:
            terms.append(_number_term(ctx, c, mask, float(floats(ctx, constant).reshape(())), role))
        else:
            terms.append((_constant_term(ctx, mask, constant, role), 1.0))
    _sum(ctx, c, terms)


def _hides_infinity(ctx: ImportContext, a: str, b: str) -> bool:
    """Whether the value that is not chosen may be infinite or NaN."""
    return any(ctx.constant(one) is None and can_be_unbounded(ctx, one) for one in (a, b))


MOST_RUNS = 64  # of a constant condition along one axis


def _chosen_parts(ctx: ImportContext, chosen: NDArray[Any], a: str, b: str) -> bool:
    """Join the parts of a and b that a condition along one axis chooses; return whether that is possible.
    This hides infinity and NaN."""
    import numpy as np

    shape = ctx.shape(ctx.out)
    axes = [axis - chosen.ndim for axis, length in enumerate(chosen.shape) if length > 1]
    if len(axes) != 1:
        return False
    axis, flags = len(shape) + axes[0], chosen.reshape(-1)
    edges = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist(), len(flags)]
    if len(edges) > MOST_RUNS:
        return False
    parts = []
    for begin, end in pairwise(edges):
        value, role = (a if flags[begin] else b), f"part{begin}"
        constant = ctx.constant(value)
        if constant is None:
            wide = tiled(ctx, value, shape, f"{role}_wide")
            parts.append(cropped(ctx, wide, axis, begin, end, role))
        else:
            values = np.broadcast_to(floats(ctx, constant), shape)
            index = (slice(None),) * axis + (slice(begin, end),)
            part = np.ascontiguousarray(values[index])
            parts.append(ctx.parameter(ctx.new_value(role), part))
    ctx.add("Concat", parts, {"concat_param": {"axis": axis}} if axis != 1 else {})
    return True


def _number_term(
    ctx: ImportContext, c: str, mask: str, number: float, role: str
) -> tuple[str, float]:
    """Return (value, coefficient) of a number where the mask is 1, and 0 elsewhere.

    An infinite number is the logarithm of 0: the logarithm of 1 - mask is 0 or -infinity.
    """
    import math

    if math.isfinite(number):
        return mask, number
    if math.isnan(number):
        raise ctx.unsupported("a value to choose is NaN")
    opposite = c if mask != c else _negated(ctx, c, "otherwise_too")
    return ctx.add("Log", [opposite], role=f"{role}_infinite"), -math.copysign(1.0, number)


def _constant_term(ctx: ImportContext, mask: str, constant: NDArray[Any], role: str) -> str:
    import numpy as np

    values = floats(ctx, constant)
    if not np.isfinite(values).all():
        raise ctx.unsupported("a constant to choose from has infinite values or NaN")
    return with_constant(ctx, mask, values, "Scale", f"{role}_part")


def _sum(ctx: ImportContext, c: str, terms: list[tuple[str, float]]) -> None:
    """Add the sum of terms (value, coefficient) as the operator's output."""
    if not terms:
        powered(ctx, c, scale=0.0)
    elif len(terms) == 1:
        value, coefficient = terms[0]
        if coefficient == 1:
            ctx.pass_through(value)
        else:
            powered(ctx, value, scale=coefficient)
    else:
        coefficients = [coefficient for _, coefficient in terms]
        params: dict[str, Any] = {"coeff": coefficients} if set(coefficients) != {1.0} else {}
        ctx.add(
            "Eltwise", [value for value, _ in terms], {"eltwise_param": params} if params else {}
        )


def _where_constant(ctx: ImportContext, chosen: NDArray[Any], a: str, b: str) -> None:
    """A choice by a constant mask m: m a + (1 - m) b, where a constant part is a Bias."""
    import numpy as np

    shape = ctx.shape(ctx.out)
    first, second = ctx.constant(a), ctx.constant(b)
    if chosen.all() or not chosen.any():
        value = a if chosen.all() else b
        ctx.pass_through(widened(ctx, value, shape))
        return
    if _hides_infinity(ctx, a, b):
        ctx.approximated.append((ctx.operator, _HIDES))
    mask = chosen.astype(np.float32)
    if first is None and second is None:
        parts = []
        for value, factors, role in ((a, mask, "then"), (b, 1 - mask, "else")):
            wide = tiled(ctx, value, shape, f"{role}_wide")
            parts.append(with_constant(ctx, wide, factors, "Scale", f"{role}_part"))
        eltwise(ctx, "SUM", parts)
        return
    if first is None:
        value, constant, factors = a, second, mask
    else:
        value, constant, factors = b, first, 1 - mask
    assert constant is not None
    fixed = np.where(factors == 0, floats(ctx, constant), np.float32(0)).astype(np.float32)
    if not fixed.any():
        with_constant(ctx, value, factors, "Scale")
        return
    small = np.broadcast_shapes(factors.shape, fixed.shape)
    factors, fixed = (np.broadcast_to(one, small) for one in (factors, fixed))
    with_constant(ctx, value, factors, "Scale", bias=fixed)


# Casts


@imports("Cast", takes=ANY)
def cast(
    ctx: ImportContext, x: str, *, to: int = 1, saturate: int = 1, round_mode: str = ""
) -> None:
    """To a truth value: |x| > 0. From whole numbers, and between types that float32 holds: no layer."""
    kind, source_kind = ctx.kind(ctx.out), ctx.kind(x)
    if kind == "BOOL" and source_kind != "BOOL":
        _threshold(ctx, ctx.add("AbsVal", [x], role="size"), 0.0, "")
    elif kind in FLOATS or source_kind == "BOOL":
        if kind == "FLOAT16" and source_kind in FLOATS:
            ctx.notes["the model rounds to float16; Caffe computes in float32"] = None
        ctx.pass_through(x)
    elif source_kind in FLOATS and not is_whole(ctx, x):
        raise ctx.unsupported(
            f"a cast from {source_kind} to {kind} cuts off the fraction, and Caffe has no layer for that"
        )
    elif source_kind not in FLOATS and not _holds(kind, source_kind):
        raise ctx.unsupported(
            f"a cast from {source_kind} to {kind} keeps the last bits only, and Caffe has no layer for that"
        )
    else:
        ctx.pass_through(x)


def _holds(kind: str, source: str) -> bool:
    """Whether an integer type holds all numbers of another one that float32 holds exactly too."""

    def ends(name: str) -> tuple[int, int]:
        bits = min(int(name.lstrip("UINT")), 25)
        return (0, 2**bits) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1))

    (low, high), (source_low, source_high) = ends(kind), ends(source)
    return low <= source_low and source_high <= high


def is_whole(ctx: ImportContext, value: str) -> bool:
    """Whether a value in floating point has whole numbers only, because it was a cast of integers."""
    stack = [value]
    while stack:
        name = stack.pop()
        constant = ctx.constant(name)
        operator = ctx.producers.get(name)
        if constant is not None:
            if (constant % 1).any():
                return False
        elif ctx.kind(name) not in FLOATS:
            continue
        elif operator is None or operator.type not in (*_MOVERS, "Cast"):
            return False
        else:
            stack += operator.inputs if operator.type == "Concat" else operator.inputs[:1]
    return True


@imports("CastLike", takes=ANY)
def cast_like(ctx: ImportContext, x: str, other: str, *, saturate: int = 1) -> None:
    cast(ctx, x)
