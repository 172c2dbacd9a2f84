"""Elementwise operators with one input: activations, powers, limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import LARGEST, clipped, eltwise, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import DIFFERENCE, paired
from protogen.onnx.importer.forms import reshaped
from protogen.onnx.importer.registry import ANY, NUMBERS, imports

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

# erf(z) = tanh(ERF_FACTOR z times (z^2 + a)^2 + b for each a and b in ERF_SQUARES) with an error of at most
# ERF_ERROR: a minimax fit of the odd polynomial.
ERF_FACTOR = 1.58960078e-7
ERF_SQUARES = (
    (-20.0548158, 67.2020087),
    (-5.01341968, 235.380129),
    (6.24058884, 19.1040029),
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


@imports("protogen:LogSigmoid")
def log_sigmoid(ctx: ImportContext, x: str) -> None:
    """log(1 / (1 + exp(-x))) = -log(1 + exp(-x)). Caffe's Sigmoid is 0 below about -17, its BNLL exact."""
    y = ctx.add("BNLL", [powered(ctx, x, scale=-1.0, role="negated")], role="softplus")
    powered(ctx, y, scale=-1.0)


@imports("Sqrt")
def square_root(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, power=0.5)


@imports("Reciprocal")
def reciprocal(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, power=-1.0)


@imports("Neg", takes=NUMBERS)
def negative(ctx: ImportContext, x: str) -> None:
    powered(ctx, x, scale=-1.0)


@imports("LeakyRelu")
def leaky_relu(ctx: ImportContext, x: str, *, alpha: float = 0.01) -> None:
    ctx.add("ReLU", [x], {"relu_param": {"negative_slope": alpha}})


@imports("PRelu")
def prelu(ctx: ImportContext, x: str, slope: str) -> None:
    """PReLU for one slope or one slope per channel; else max(x, 0) - slope max(-x, 0)."""
    values, own, shape = ctx.constant(slope), ctx.shape(slope), ctx.shape(x)
    if ctx.source.written < 7 and len(own) == 1 and len(shape) > 1:  # along the channels
        own = (*own, *(1,) * (len(shape) - 2))
    if values is not None and _is_prelu(ctx, x, values.reshape(own)):
        return
    above = ctx.add("ReLU", [x], role="above")
    below = ctx.add("ReLU", [powered(ctx, x, scale=-1.0, role="negated")], role="below")
    if values is not None:
        sloped = with_constant(ctx, below, -values.reshape(own), "Scale", "sloped")
        eltwise(ctx, "SUM", [above, sloped])
        return
    sloped = paired(ctx, below, reshaped(ctx, slope, own, "slope"), "PROD", "sloped")
    ctx.add("Eltwise", [above, sloped], DIFFERENCE)


def _is_prelu(ctx: ImportContext, x: str, slope: NDArray[Any]) -> bool:
    """Add a ReLU or PReLU if the slope is one number, or one for each channel; else return False."""
    shape = ctx.shape(x)
    channels = ((1,) * (len(shape) - slope.ndim) + slope.shape)[1:2]
    prelu_rank = 2 <= len(shape) <= 4  # the ranks that Caffe's PReLU supports
    if slope.size == 1 and not prelu_rank:
        ctx.add("ReLU", [x], {"relu_param": {"negative_slope": float(slope.reshape(-1)[0])}})
    elif slope.size == 1:
        ctx.add("PReLU", [x], {"prelu_param": {"channel_shared": True}}, [slope.reshape(())])
    elif prelu_rank and (slope.size,) == shape[1:2] == channels:
        ctx.add("PReLU", [x], {}, [slope.reshape(-1)])
    else:
        return False
    return True


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
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1)): alpha ELU(x / alpha), if alpha is positive."""
    if alpha == 0:
        raise ctx.unsupported("alpha must not be 0")
    if alpha < 0:  # both terms are 0 on one side
        below = ctx.add("ReLU", [powered(ctx, x, scale=-1.0, role="negated")], role="below")
        y = ctx.add("Exp", [below], {"exp_param": {"scale": -1 / alpha}}, role="exp")
        params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, alpha]}}
        y = ctx.add("Eltwise", [ctx.add("ReLU", [x], role="above"), y], params, role="sum")
        powered(ctx, y, shift=-alpha)
        return
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


@imports("Shrink")
def shrink(ctx: ImportContext, x: str, *, bias: float = 0.0, lambd: float = 0.5) -> None:
    """x + bias below -lambd, x - bias above lambd, else 0."""
    limit = {"threshold_param": {"threshold": lambd}}
    if bias == 0 and lambd >= 0:
        outside = ctx.add("Threshold", [ctx.add("AbsVal", [x], role="size")], limit, role="outside")
        eltwise(ctx, "PROD", [x, outside])
        return
    negated = powered(ctx, x, scale=-1.0, role="negated")
    below = ctx.add("Threshold", [negated], limit, role="below")
    if lambd < 0:  # then every value is below -lambd, which comes first, or above lambd
        coefficients, terms = [1.0, 2 * bias], [powered(ctx, x, shift=-bias, role="shifted"), below]
    else:
        above = ctx.add("Threshold", [x], limit, role="above")
        y = eltwise(ctx, "PROD", [x, eltwise(ctx, "SUM", [above, below], "outside")], "value")
        coefficients, terms = [1.0, -bias, bias], [y, above, below]
    params = {"eltwise_param": {"operation": Name("SUM"), "coeff": coefficients}}
    ctx.add("Eltwise", terms, params)


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
    ctx.add("TanH", [_erf_argument(ctx, x, 1.0, 1.0)])


def _erf_argument(ctx: ImportContext, x: str, scale: float, factor: float) -> str:
    """Return ``factor`` times the number whose tanh is erf(scale x)."""
    text = f"erf is approximated with an error of at most {ERF_ERROR:g} by the tanh of a polynomial"
    ctx.approximated.append((ctx.operator, text))
    square = powered(ctx, x, power=2.0, role="square")
    part = (ERF_FACTOR * scale * factor) ** (1 / len(ERF_SQUARES))  # of the factor, in each square
    factors = [x]
    for i, (shift, term) in enumerate(ERF_SQUARES):
        root = part**0.5
        y = powered(
            ctx, square, power=2.0, scale=root * scale**2, shift=root * shift, role=f"square{i}"
        )
        factors.append(powered(ctx, y, shift=part * term, role=f"factor{i}"))
    return eltwise(ctx, "PROD", factors, "polynomial")


@imports("Gelu")
def gelu(ctx: ImportContext, x: str, *, approximate: str = "none") -> None:
    """x (1 + erf(x / sqrt 2)) / 2; the tanh form tanh(sqrt(2 / pi) (x + 0.044715 x^3)) is exact.

    (1 + tanh(y)) / 2 is Sigmoid(2 y).
    """
    if approximate == "tanh":
        factor = 2 * math.sqrt(2 / math.pi)
        cube = powered(ctx, x, power=3.0, role="cube")
        coefficients = [factor, 0.044715 * factor]
        params = {"eltwise_param": {"operation": Name("SUM"), "coeff": coefficients}}
        y = ctx.add("Eltwise", [x, cube], params, role="inner")
    else:
        y = _erf_argument(ctx, x, math.sqrt(0.5), 2.0)
    eltwise(ctx, "PROD", [x, ctx.add("Sigmoid", [y], role="gate")])


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
