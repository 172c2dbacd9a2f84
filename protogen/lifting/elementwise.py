"""Operators on each value alone, and those of two or more values with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protogen.graph import Shape
from protogen.lifting.core import Lifter, lifts
from protogen.lifting.forms import reshaped, tiled
from protogen.message import Name

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _plain(onnx: str, caffe: str) -> None:
    """Operators without attributes that are a layer without parameters."""

    @lifts(onnx)
    def lift(to: Lifter, x: str) -> None:
        to.add(caffe, [x])


for _onnx, _caffe in (
    ("Abs", "AbsVal"), ("Exp", "Exp"), ("Log", "Log"), ("Relu", "ReLU"), ("Sigmoid", "Sigmoid"),
    ("Softplus", "BNLL"), ("Tanh", "TanH"),
):  # fmt: skip
    _plain(_onnx, _caffe)


def _powered(onnx: str, **power: float) -> None:
    """Operators that are a Power: (shift + scale x) ^ power."""

    @lifts(onnx)
    def lift(to: Lifter, x: str) -> None:
        to.add("Power", [x], {"power_param": power})


_powered("Sqrt", power=0.5)
_powered("Reciprocal", power=-1.0)
_powered("Neg", scale=-1.0)


@lifts("LeakyRelu")
def leaky_relu(to: Lifter, x: str, *, alpha: float = 0.01) -> None:
    to.add("ReLU", [x], {"relu_param": {"negative_slope": alpha}})


@lifts("PRelu")
def prelu(to: Lifter, x: str, slope: str) -> None:
    """A slope for each channel, or one for all."""
    values = to.wanted(slope, "slope")
    shape = to.shape(x)
    if values.size == 1:
        to.add("PReLU", [x], {"prelu_param": {"channel_shared": True}}, [values.reshape(())])
        return
    if (
        len(shape) < 2
        or values.size != shape[1]
        or _padded(values, len(shape)).shape[1] != shape[1]
    ):
        raise to.refuse("its slopes are no one for each channel")
    to.add("PReLU", [x], {}, [values.reshape(-1)])


@lifts("Elu")
def elu(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    to.add("ELU", [x], {"elu_param": {"alpha": alpha}})


@lifts("Selu")
def selu(to: Lifter, x: str, *, alpha: float = 1.67326319, gamma: float = 1.05070102) -> None:
    """gamma ELU(x)."""
    y = to.add("ELU", [x], {"elu_param": {"alpha": alpha}}, role="elu")
    to.add("Power", [y], {"power_param": {"scale": gamma}})


@lifts("Celu")
def celu(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    """alpha (exp(x / alpha) - 1) below 0: alpha ELU(x / alpha)."""
    y = to.add("Power", [x], {"power_param": {"scale": 1 / alpha}}, role="scaled")
    y = to.add("ELU", [y], {}, role="elu")
    to.add("Power", [y], {"power_param": {"scale": alpha}})


@lifts("HardSigmoid")
def hard_sigmoid(to: Lifter, x: str, *, alpha: float = 0.2, beta: float = 0.5) -> None:
    y = to.add("Power", [x], {"power_param": {"scale": alpha, "shift": beta}}, role="line")
    to.add("Clip", [y], {"clip_param": {"min": 0.0, "max": 1.0}})


@lifts("HardSwish")
def hard_swish(to: Lifter, x: str) -> None:
    to.fork("HardSwish", [x])


@lifts("Mish")
def mish(to: Lifter, x: str) -> None:
    to.fork("Mish", [x])


@lifts("Swish")
def swish(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    to.add("Swish", [x], {"swish_param": {"beta": alpha}})


@lifts("Clip")
def clip(
    to: Lifter, x: str, low: str | None = None, high: str | None = None, *,
    min: float | None = None, max: float | None = None,
) -> None:  # fmt: skip
    """Limits are attributes before operator set 11, and inputs since."""
    least = _limit(to, min, low, -3.4028234663852886e38)
    most = _limit(to, max, high, 3.4028234663852886e38)
    if least == 0 and most > 3e38:
        to.add("ReLU", [x])
    else:
        to.add("Clip", [x], {"clip_param": {"min": least, "max": most}})


def _limit(to: Lifter, given: float | None, name: str | None, otherwise: float) -> float:
    if given is not None:
        return float(given)
    if not name:
        return otherwise
    return float(to.wanted(name, "limit").reshape(()))


@lifts("Pow")
def power(to: Lifter, x: str, exponent: str) -> None:
    values = to.wanted(exponent, "exponent")
    if values.size != 1:
        raise to.refuse("its exponent is no single number")
    to.add("Power", [x], {"power_param": {"power": float(values.reshape(()))}})


@lifts("Add")
def add(to: Lifter, a: str, b: str, *, broadcast: int = 0, axis: int | None = None) -> None:
    _binary(to, a, b, _added, "SUM")


@lifts("Mul")
def multiply(to: Lifter, a: str, b: str, *, broadcast: int = 0, axis: int | None = None) -> None:
    if a == b:
        to.add("Power", [a], {"power_param": {"power": 2.0}})
        return
    _binary(to, a, b, _scaled, "PROD")


@lifts("Sub")
def subtract(to: Lifter, a: str, b: str) -> None:
    left, right = to.constant(a), to.constant(b)
    if right is not None:
        _added(to, a, -right, False)
        return
    if left is not None:
        y = to.add("Power", [b], {"power_param": {"scale": -1.0}}, role="negated")
        _added(to, y, left, False)
        return
    shape = to.shape(to.out)
    params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}
    to.add("Eltwise", [_broadcast(to, a, shape), _broadcast(to, b, shape)], params)


@lifts("Div")
def divide(to: Lifter, a: str, b: str) -> None:
    left, right = to.constant(a), to.constant(b)
    if right is not None:
        _scaled(to, a, 1 / right, False)
        return
    inverse = to.add("Power", [b], {"power_param": {"power": -1.0}}, role="inverse")
    if left is not None:
        _scaled(to, inverse, left, False)
        return
    _binary(to, a, inverse, _scaled, "PROD")


@lifts("Sum")
def total(to: Lifter, *inputs: str) -> None:
    _many(to, inputs, "SUM")


@lifts("Max")
def maximum(to: Lifter, *inputs: str) -> None:
    _many(to, inputs, "MAX")


@lifts("Min")
def minimum(to: Lifter, *inputs: str) -> None:
    """-max(-x, -y)."""
    shape = to.shape(to.out)
    negated = []
    for one in inputs:
        wide = _broadcast(to, one, shape)
        negated.append(to.add("Power", [wide], {"power_param": {"scale": -1.0}}, role="negated"))
    y = to.add("Eltwise", negated, {"eltwise_param": {"operation": Name("MAX")}}, role="max")
    to.add("Power", [y], {"power_param": {"scale": -1.0}})


_Constant = Callable[[Lifter, str, Any, bool], None]


def _many(to: Lifter, inputs: tuple[str, ...], operation: str) -> None:
    if len(inputs) == 1:
        to.same(inputs[0])
        return
    shape = to.shape(to.out)
    wide = [_broadcast(to, one, shape) for one in inputs]
    to.add("Eltwise", wide, {"eltwise_param": {"operation": Name(operation)}})


def _binary(to: Lifter, a: str, b: str, with_constant: _Constant, operation: str) -> None:
    """Of a value and a constant, of two values of one shape, or of values that are broadcast."""
    left, right = to.constant(a), to.constant(b)
    if right is not None:
        with_constant(to, a, right, True)
        return
    if left is not None:
        with_constant(to, b, left, True)
        return
    shape = to.shape(to.out)
    for x, y in ((a, b), (b, a)):
        if to.shape(x) == shape and to.shape(y) != shape and _by_axes(to, x, y, operation):
            return
    params = {"eltwise_param": {"operation": Name(operation)}}
    to.add("Eltwise", [_broadcast(to, a, shape), _broadcast(to, b, shape)], params)


def _by_axes(to: Lifter, x: str, y: str, operation: str) -> bool:
    """Scale or Bias with a second bottom, whose axes are some of the first's, one after another."""
    shape, small = to.shape(x), to.shape(y)
    span = _span(shape, small)
    if span is None or operation not in ("SUM", "PROD"):
        return False
    axis, inner = span
    if small != inner:
        y = to.add("Reshape", [y], {"reshape_param": {"shape": {"dim": list(inner)}}},
                   role="factors", shape=inner)  # fmt: skip
    kind = "Scale" if operation == "PROD" else "Bias"
    to.add(kind, [x, y], {f"{kind.lower()}_param": {"axis": axis}})
    return True


def _span(shape: Shape, small: Shape) -> tuple[int, Shape] | None:
    """(first axis, lengths) of the axes that ``small`` has, if they stand side by side in
    ``shape`` and all others are 1; None otherwise."""
    padded = (1,) * (len(shape) - len(small)) + small
    if len(padded) != len(shape):
        return None
    used = [i for i, n in enumerate(padded) if n != 1]
    if not used:
        return None
    first, last = used[0], used[-1]
    if padded[first : last + 1] != shape[first : last + 1]:
        return None
    return first, padded[first : last + 1]


def _padded(values: NDArray[Any], rank: int) -> NDArray[Any]:
    return values.reshape((1,) * (rank - values.ndim) + values.shape)


def _added(to: Lifter, x: str, values: NDArray[Any], _: bool) -> None:
    _constant_layer(to, x, values, "Bias")


def _scaled(to: Lifter, x: str, values: NDArray[Any], _: bool) -> None:
    _constant_layer(to, x, values, "Scale")


def _constant_layer(to: Lifter, x: str, values: NDArray[Any], kind: str) -> None:
    """Power for one number; Scale or Bias for a number along some axes; else the constant is
    spread over all axes behind the batch."""
    import numpy as np

    shape, wanted = to.shape(x), to.shape(to.out)
    if values.dtype.kind != "f":
        raise to.refuse(f"its constant is {values.dtype}, but Caffe computes in float32")
    if values.size == 1 and len(wanted) == len(shape):
        number = float(values.reshape(()))
        key = "scale" if kind == "Scale" else "shift"
        to.add("Power", [x], {"power_param": {key: number}})
        return
    if shape != wanted:
        x = _broadcast(to, x, wanted)
        shape = wanted
    span = _span(shape, values.shape)
    if span is None:
        full = np.broadcast_to(values, shape)
        if shape[0] != 1 and not (full == full[:1]).all():
            span = 0, shape
        else:
            span = 1, shape[1:]
            full = full[0]
        values = np.ascontiguousarray(full)
    axis, inner = span
    params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
    if len(inner) != 1:
        params["num_axes"] = len(inner)
    blob = values.reshape(inner).astype(np.float32, copy=False)
    to.add(kind, [x], {f"{kind.lower()}_param": params}, [blob])


def _broadcast(to: Lifter, x: str, shape: Shape) -> str:
    """The value in a larger shape: a constant is spread, another value is tiled."""
    import numpy as np

    array = to.constant(x)
    if array is not None:
        name = f"{to.out}_constant"
        to.source.constants[name] = np.ascontiguousarray(np.broadcast_to(array, shape))
        return name
    return tiled(to, x, shape, "wide")
