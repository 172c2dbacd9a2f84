"""Operators on each value alone: activations, powers, limits."""

from __future__ import annotations

import math

from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import LARGEST, clipped, eltwise, powered, with_constant
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.registry import lifts

# erf(z) = tanh(z (c0 + c1 z^2 + ... + c6 z^12)) to ERF_ERROR, a minimax fit of the odd polynomial.
ERF_TERMS = (
    1.12837971,
    1.02765481e-1,
    -1.84383720e-4,
    -6.25719545e-4,
    8.97125748e-5,
    -5.98568836e-6,
    1.58960078e-7,
)
ERF_ERROR = 1e-7


def _plain(onnx: str, caffe: str) -> None:
    """Operators without attributes that are a layer without parameters."""

    @lifts(onnx)
    def lift(to: Lifter, x: str) -> None:
        to.add(caffe, [x])


for _onnx, _caffe in (
    ("Abs", "AbsVal"),
    ("Exp", "Exp"),
    ("Log", "Log"),
    ("Relu", "ReLU"),
    ("Sigmoid", "Sigmoid"),
    ("Softplus", "BNLL"),
    ("Tanh", "TanH"),
):
    _plain(_onnx, _caffe)


@lifts("Sqrt")
def square_root(to: Lifter, x: str) -> None:
    powered(to, x, power=0.5)


@lifts("Reciprocal")
def reciprocal(to: Lifter, x: str) -> None:
    powered(to, x, power=-1.0)


@lifts("Neg")
def negative(to: Lifter, x: str) -> None:
    powered(to, x, scale=-1.0)


@lifts("Pow")
def power(to: Lifter, x: str, exponent: str) -> None:
    values = to.wanted(exponent, "exponent")
    if values.size != 1:
        raise to.refuse("its exponents are many, but Caffe's Power has one")
    powered(to, x, power=float(values.reshape(())))


@lifts("LeakyRelu")
def leaky_relu(to: Lifter, x: str, *, alpha: float = 0.01) -> None:
    to.add("ReLU", [x], {"relu_param": {"negative_slope": alpha}})


@lifts("PRelu")
def prelu(to: Lifter, x: str, slope: str) -> None:
    """PReLU for one slope or one a channel; else max(x, 0) - slope max(-x, 0)."""
    values = to.wanted(slope, "slope")
    shape = to.shape(x)
    if to.source.written < 7 and values.ndim == 1 and len(shape) > 1:  # then along the channels
        values = values.reshape(-1, *(1,) * (len(shape) - 2))
    padded = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    fits = 2 <= len(shape) <= 4  # Caffe's PReLU takes no other blobs
    if values.size == 1 and not fits:
        to.add("ReLU", [x], {"relu_param": {"negative_slope": float(values.reshape(-1)[0])}})
        return
    if values.size == 1:
        to.add("PReLU", [x], {"prelu_param": {"channel_shared": True}}, [values.reshape(())])
        return
    if fits and values.size == shape[1] == padded.shape[1]:
        to.add("PReLU", [x], {}, [values.reshape(-1)])
        return
    above = to.add("ReLU", [x], role="above")
    below = to.add("ReLU", [powered(to, x, scale=-1.0, role="negated")], role="below")
    eltwise(to, "SUM", [above, with_constant(to, below, -padded, "Scale", "sloped")])


@lifts("Elu")
def elu(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    to.add("ELU", [x], {"elu_param": {"alpha": alpha}})


@lifts("Selu")
def selu(to: Lifter, x: str, *, alpha: float = 1.67326319, gamma: float = 1.05070102) -> None:
    """gamma ELU(x)."""
    y = to.add("ELU", [x], {"elu_param": {"alpha": alpha}}, role="elu")
    powered(to, y, scale=gamma)


@lifts("Celu")
def celu(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    """alpha (exp(x / alpha) - 1) below 0: alpha ELU(x / alpha)."""
    y = powered(to, x, scale=1 / alpha, role="scaled")
    y = to.add("ELU", [y], {}, role="elu")
    powered(to, y, scale=alpha)


@lifts("HardSigmoid")
def hard_sigmoid(to: Lifter, x: str, *, alpha: float = 0.2, beta: float = 0.5) -> None:
    y = powered(to, x, scale=alpha, shift=beta, role="line")
    to.add("Clip", [y], {"clip_param": {"min": 0.0, "max": 1.0}})


@lifts("HardSwish")
def hard_swish(to: Lifter, x: str) -> None:
    to.fork("HardSwish", [x])


@lifts("Mish")
def mish(to: Lifter, x: str) -> None:
    to.fork("Mish", [x])


@lifts("Swish")
def swish(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    """x Sigmoid(alpha x)."""
    to.add("Swish", [x], {"swish_param": {"beta": alpha}} if alpha != 1 else {})


@lifts("Softsign")
def softsign(to: Lifter, x: str) -> None:
    """x / (1 + |x|)."""
    y = powered(to, to.add("AbsVal", [x], role="abs"), shift=1.0, power=-1.0, role="inverse")
    eltwise(to, "PROD", [x, y])


@lifts("ThresholdedRelu")
def thresholded_relu(to: Lifter, x: str, *, alpha: float = 1.0) -> None:
    """x where it is above alpha, else 0."""
    y = to.add("Threshold", [x], {"threshold_param": {"threshold": alpha}}, role="above")
    eltwise(to, "PROD", [x, y])


@lifts("Sign")
def sign(to: Lifter, x: str) -> None:
    """1 where x > 0, less 1 where -x > 0."""
    above = to.add("Threshold", [x], role="above")
    below = to.add("Threshold", [powered(to, x, scale=-1.0, role="negated")], role="below")
    params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}
    to.add("Eltwise", [above, below], params)


@lifts("Erf")
def erf(to: Lifter, x: str) -> None:
    """No layer of Caffe's: tanh of a polynomial, to 1e-7."""
    _erf(to, x, "")


def _erf(to: Lifter, z: str, role: str) -> str:
    to.approximated.append(
        (to.operator, f"erf by tanh of a polynomial, off by {ERF_ERROR:g} at most")
    )
    square = powered(to, z, power=2.0, role="square")
    *terms, second, first = ERF_TERMS
    y = powered(to, square, scale=first, shift=second, role=f"term{len(terms)}")
    for i, term in reversed(list(enumerate(terms))):
        y = eltwise(to, "PROD", [square, y], role=f"product{i}")
        y = powered(to, y, shift=term, role=f"term{i}")
    y = eltwise(to, "PROD", [z, y], role="polynomial")
    return to.add("TanH", [y], role=role)


@lifts("Gelu")
def gelu(to: Lifter, x: str, *, approximate: str = "none") -> None:
    """x (1 + erf(x / sqrt 2)) / 2; the tanh form is exact: tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    if approximate == "tanh":
        cube = powered(to, x, power=3.0, role="cube")
        params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, 0.044715]}}
        y = to.add("Eltwise", [x, cube], params, role="inner")
        y = to.add(
            "TanH", [powered(to, y, scale=math.sqrt(2 / math.pi), role="scaled")], role="tanh"
        )
    else:
        y = _erf(to, powered(to, x, scale=math.sqrt(0.5), role="scaled"), "erf")
    eltwise(to, "PROD", [x, powered(to, y, scale=0.5, shift=0.5, role="gate")])


@lifts("Clip")
def clip(
    to: Lifter,
    x: str,
    low: str | None = None,
    high: str | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> None:
    """Limits are attributes before operator set 11, and inputs since."""
    clipped(to, x, _limit(to, min, low, -LARGEST), _limit(to, max, high, LARGEST))


def _limit(to: Lifter, given: float | None, name: str | None, otherwise: float) -> float:
    if given is not None:
        return float(given)
    if not name:
        return otherwise
    return float(to.wanted(name, "limit").reshape(()))
