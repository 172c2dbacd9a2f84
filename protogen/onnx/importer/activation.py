"""Elementwise operators with one input: activations, powers, limits."""

from __future__ import annotations

import math

from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import LARGEST, clipped, eltwise, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.registry import ANY, NUMBERS, imports

# erf(z) = tanh(z (c0 + c1 z^2 + ... + c6 z^12)) with an error of at most ERF_ERROR: a minimax fit
# of the odd polynomial.
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
    """Register an operator without attributes that becomes a layer without parameters."""

    @imports(onnx)
    def import_operator(ctx: ImportContext, x: str) -> None:
        ctx.add(caffe, [x])


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


@imports("Sqrt")
def square_root(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, power=0.5)


@imports("Reciprocal")
def reciprocal(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, power=-1.0)


@imports("Neg", takes=NUMBERS)
def negative(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, scale=-1.0)


@imports("Pow")
def power(ctx: ImportContext, x: str, exponent: str) -> None:
    values = ctx.require_constant(exponent, "exponent")
    if values.size != 1:
        raise ctx.unsupported(f"the exponent must be one number, got {values.size} values")
    powered(ctx, x, power=float(values.reshape(())))


@imports("LeakyRelu")
def leaky_relu(ctx: ImportContext, x: str, *, alpha: float = 0.01) -> None:
    ctx.add("ReLU", [x], {"relu_param": {"negative_slope": alpha}})


@imports("PRelu")
def prelu(ctx: ImportContext, x: str, slope: str) -> None:
    """PReLU for one slope or one slope per channel; else max(x, 0) - slope max(-x, 0)."""
    values = ctx.require_constant(slope, "slope")
    shape = ctx.shape(x)
    if (
        ctx.source.written < 7 and values.ndim == 1 and len(shape) > 1
    ):  # before set 7: along the channels
        values = values.reshape(-1, *(1,) * (len(shape) - 2))
    padded = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    prelu_rank = 2 <= len(shape) <= 4  # the ranks that Caffe's PReLU supports
    if values.size == 1 and not prelu_rank:
        ctx.add("ReLU", [x], {"relu_param": {"negative_slope": float(values.reshape(-1)[0])}})
        return
    if values.size == 1:
        ctx.add("PReLU", [x], {"prelu_param": {"channel_shared": True}}, [values.reshape(())])
        return
    if prelu_rank and values.size == shape[1] == padded.shape[1]:
        ctx.add("PReLU", [x], {}, [values.reshape(-1)])
        return
    above = ctx.add("ReLU", [x], role="above")
    below = ctx.add("ReLU", [powered(ctx, x, scale=-1.0, role="negated")], role="below")
    eltwise(ctx, "SUM", [above, with_constant(ctx, below, -padded, "Scale", "sloped")])


@imports("Elu")
def elu(ctx: ImportContext, x: str, *, alpha: float = 1.0) -> None:
    ctx.add("ELU", [x], {"elu_param": {"alpha": alpha}})


@imports("Selu")
def selu(
    ctx: ImportContext, x: str, *, alpha: float = 1.67326319, gamma: float = 1.05070102
) -> None:
    """gamma ELU(x)."""
    y = ctx.add("ELU", [x], {"elu_param": {"alpha": alpha}}, role="elu")
    powered(ctx, y, scale=gamma)


@imports("Celu")
def celu(ctx: ImportContext, x: str, *, alpha: float = 1.0) -> None:
    """alpha (exp(x / alpha) - 1) below 0: alpha ELU(x / alpha)."""
    y = powered(ctx, x, scale=1 / alpha, role="scaled")
    y = ctx.add("ELU", [y], {}, role="elu")
    powered(ctx, y, scale=alpha)


@imports("HardSigmoid")
def hard_sigmoid(ctx: ImportContext, x: str, *, alpha: float = 0.2, beta: float = 0.5) -> None:
    params = {"hardsigmoid_param": {"alpha": alpha, "beta": beta}}
    ctx.add_fork_layer("HardSigmoid", [x], params)


@imports("HardSwish")
def hard_swish(ctx: ImportContext, x: str) -> None:
    ctx.add_fork_layer("HardSwish", [x])


@imports("Mish")
def mish(ctx: ImportContext, x: str) -> None:
    ctx.add_fork_layer("Mish", [x])


@imports("Swish")
def swish(ctx: ImportContext, x: str, *, alpha: float = 1.0) -> None:
    """x Sigmoid(alpha x)."""
    ctx.add("Swish", [x], {"swish_param": {"beta": alpha}} if alpha != 1 else {})


@imports("Softsign")
def softsign(ctx: ImportContext, x: str) -> None:
    """x / (1 + |x|)."""
    y = powered(ctx, ctx.add("AbsVal", [x], role="abs"), shift=1.0, power=-1.0, role="inverse")
    eltwise(ctx, "PROD", [x, y])


@imports("ThresholdedRelu")
def thresholded_relu(ctx: ImportContext, x: str, *, alpha: float = 1.0) -> None:
    """x where it is above alpha, else 0."""
    y = ctx.add("Threshold", [x], {"threshold_param": {"threshold": alpha}}, role="above")
    eltwise(ctx, "PROD", [x, y])


@imports("Sign", takes=NUMBERS)
def sign(ctx: ImportContext, x: str) -> None:
    """(1 where x > 0, else 0) - (1 where -x > 0, else 0)."""
    above = ctx.add("Threshold", [x], role="above")
    below = ctx.add("Threshold", [powered(ctx, x, scale=-1.0, role="negated")], role="below")
    params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}
    ctx.add("Eltwise", [above, below], params)


@imports("Erf")
def erf(ctx: ImportContext, x: str) -> None:
    """tanh of a polynomial, with an error of at most 1e-7, because Caffe has no layer for erf."""
    _erf(ctx, x, "")


def _erf(ctx: ImportContext, z: str, role: str) -> str:
    text = f"erf is approximated with an error of at most {ERF_ERROR:g} by the tanh of a polynomial"
    ctx.approximated.append((ctx.operator, text))
    square = powered(ctx, z, power=2.0, role="square")
    *terms, second, first = ERF_TERMS
    y = powered(ctx, square, scale=first, shift=second, role=f"term{len(terms)}")
    for i, term in reversed(list(enumerate(terms))):
        y = eltwise(ctx, "PROD", [square, y], role=f"product{i}")
        y = powered(ctx, y, shift=term, role=f"term{i}")
    y = eltwise(ctx, "PROD", [z, y], role="polynomial")
    return ctx.add("TanH", [y], role=role)


@imports("Gelu")
def gelu(ctx: ImportContext, x: str, *, approximate: str = "none") -> None:
    """x (1 + erf(x / sqrt 2)) / 2; the tanh form tanh(sqrt(2 / pi) (x + 0.044715 x^3)) is exact."""
    if approximate == "tanh":
        cube = powered(ctx, x, power=3.0, role="cube")
        params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, 0.044715]}}
        y = ctx.add("Eltwise", [x, cube], params, role="inner")
        y = ctx.add(
            "TanH", [powered(ctx, y, scale=math.sqrt(2 / math.pi), role="scaled")], role="tanh"
        )
    else:
        y = _erf(ctx, powered(ctx, x, scale=math.sqrt(0.5), role="scaled"), "erf")
    eltwise(ctx, "PROD", [x, powered(ctx, y, scale=0.5, shift=0.5, role="gate")])


@imports("Clip", takes=ANY)
def clip(
    ctx: ImportContext,
    x: str,
    low: str | None = None,
    high: str | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> None:
    """The limits are attributes before operator set 11, and inputs from 11 on."""
    clipped(ctx, x, _limit(ctx, min, low, -LARGEST), _limit(ctx, max, high, LARGEST))


def _limit(ctx: ImportContext, attribute: float | None, name: str | None, default: float) -> float:
    if attribute is not None:
        return float(attribute)
    if not name:
        return default
    return float(ctx.require_constant(name, "limit").reshape(()))
