"""Forms of activation functions."""

from __future__ import annotations

from protogen.layers.forms.blocks import (
    affine,
    channels_of,
    maximum,
    only,
    powered,
    product,
    scale,
    total,
    weights_of,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

_FAR = 1e30  # a limit beyond this is none


@form("Clip", "ReLU6", text="ReLU, Scale, ReLU, Scale")
def clip_by_relus(layer: Layer, r: Rewriter) -> None:
    """high - ReLU((high - low) - ReLU(x - low))."""
    low, high = _limits(layer)
    channels = channels_of(layer, r)
    x = layer.bottoms[0]
    if low <= -_FAR:
        x = affine(r, x, -1, high, channels, role="below")
        x = r.add("ReLU", [x], role="limited")
        affine(r, x, -1, high, channels)
        return
    if low:
        x = affine(r, x, 1, -low, channels, role="above")
    x = r.add("ReLU", [x], role="lower")
    if high >= _FAR:
        affine(r, x, 1, low, channels)
        return
    x = affine(r, x, -1, high - low, channels, role="left")
    x = r.add("ReLU", [x], role="upper")
    affine(r, x, -1, high, channels)


@form("Clip", text="ReLU6 between two Scales")
def clip_by_relu6(layer: Layer, r: Rewriter) -> None:
    """(high - low) / 6 ReLU6(6 (x - low) / (high - low)) + low."""
    low, high = _limits(layer)
    channels = channels_of(layer, r)
    only(layer, -_FAR < low < high < _FAR, "it has only one limit")
    if (low, high) == (0.0, 6.0):
        r.add("ReLU6", layer.bottoms)
        return
    step = (high - low) / 6
    x = layer.bottoms[0]
    if (low, step) != (0.0, 1.0):
        x = affine(r, x, 1 / step, -low / step, channels, role="stretched")
    x = r.add("ReLU6", [x], role="limited")
    affine(r, x, step, low, channels)


@form("ReLU", text="Power copy")
def relu_as_clip(layer: Layer, r: Rewriter) -> None:
    """A ReLU with slope 1 passes its bottom on."""
    only(layer, layer.params.relu_param.negative_slope == 1, "its slope is not 1")
    r.add("Power", layer.bottoms)


def _limits(layer: Layer) -> tuple[float, float]:
    if layer.type == "ReLU6":
        p = layer.params.relu6_param
        only(layer, not p.negative_slope, "it has a negative_slope")
        return 0.0, float(p.threshold) if p.has("threshold") else 6.0
    p = layer.params.clip_param
    return float(p.min), max(float(p.min), float(p.max))


@form("ReLU6", text="ReLU with negative_slope, then Clip")
def leaky_relu6(layer: Layer, r: Rewriter) -> None:
    """min(LeakyReLU(x), threshold)."""
    p = layer.params.relu6_param
    only(layer, bool(p.negative_slope), "it has no negative_slope")
    x = r.add("ReLU", layer.bottoms, role="leaky", params=_leaky(p.negative_slope))
    high = float(p.threshold) if p.has("threshold") else 6.0
    r.add("Clip", [x], params={"clip_param": {"min": -3.4028234e38, "max": high}})


def _leaky(slope: float) -> dict[str, dict[str, float]]:
    return {"relu_param": {"negative_slope": float(slope)}}


@form("ReLU", text="maximum of x and slope x")
def leaky_by_maximum(layer: Layer, r: Rewriter) -> None:
    slope = layer.params.relu_param.negative_slope
    only(layer, 0 < slope <= 1, "its slope is not between 0 and 1")
    x = layer.bottoms[0]
    maximum(r, x, affine(r, x, slope, 0, channels_of(layer, r), role="sloped"))


@form("ReLU", text="PReLU with equal slopes")
def leaky_by_prelu(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    slope = layer.params.relu_param.negative_slope
    only(layer, bool(slope), "it has no negative_slope")
    slopes = np.full(channels_of(layer, r), slope, np.float32)
    r.add("PReLU", layer.bottoms, weights=[slopes])


@form("PReLU", text="PReLU with one slope for each channel")
def prelu_by_channel(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    only(layer, layer.params.prelu_param.channel_shared, "it has one slope for each channel")
    slope = weights_of(layer, r)[0].reshape(-1)[0]
    slopes = np.full(channels_of(layer, r), slope, np.float32)
    r.add("PReLU", layer.bottoms, weights=[slopes], keeps=())


@form("PReLU", text="ReLU with negative_slope")
def prelu_by_relu(layer: Layer, r: Rewriter) -> None:
    slopes = weights_of(layer, r)[0].reshape(-1)
    only(layer, bool((slopes == slopes[0]).all()), "its slopes differ")
    r.add("ReLU", layer.bottoms, params=_leaky(slopes[0]))


@form("PReLU", text="ReLU of x, and Scale of the ReLU of -x")
def prelu_by_relus(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    channels = channels_of(layer, r)
    slopes = np.broadcast_to(weights_of(layer, r)[0].reshape(-1), (channels,))
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    below = r.add("ReLU", [affine(r, x, -1, 0, channels, role="negated")], role="below")
    zeros = np.zeros(channels, np.float32)
    below = scale(r, below, (-slopes).astype(np.float32), zeros, role="sloped")
    total(r, above, below)


@form("AbsVal", text="ReLU with slope -1")
def abs_by_relu(layer: Layer, r: Rewriter) -> None:
    r.add("ReLU", layer.bottoms, params=_leaky(-1))


@form("AbsVal", text="ReLU of x plus ReLU of -x")
def abs_by_relus(layer: Layer, r: Rewriter) -> None:
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    negated = affine(r, x, -1, 0, channels_of(layer, r), role="negated")
    total(r, above, r.add("ReLU", [negated], role="below"))


@form("Swish", text="Sigmoid and product")
def swish_by_sigmoid(layer: Layer, r: Rewriter) -> None:
    beta = layer.params.swish_param.beta
    x = gate = layer.bottoms[0]
    if beta != 1:
        gate = affine(r, x, beta, 0, channels_of(layer, r), role="scaled")
    product(r, x, r.add("Sigmoid", [gate], role="gate"))


@form("HardSigmoid", text="Scale and Clip")
def hard_sigmoid_by_clip(layer: Layer, r: Rewriter) -> None:
    p = layer.params.hardsigmoid_param
    x = affine(r, layer.bottoms[0], p.alpha, p.beta, channels_of(layer, r), role="line")
    r.add("Clip", [x], params={"clip_param": {"min": 0.0, "max": 1.0}})


@form("HardSigmoid", text="Scale, ReLU6, Scale")
def hard_sigmoid_by_relu6(layer: Layer, r: Rewriter) -> None:
    p = layer.params.hardsigmoid_param
    channels = channels_of(layer, r)
    x = affine(r, layer.bottoms[0], 6 * p.alpha, 6 * p.beta, channels, role="line")
    affine(r, r.add("ReLU6", [x], role="limited"), 1 / 6, 0, channels)


@form("HardSwish", text="HardSigmoid and product")
def hard_swish_by_hard_sigmoid(layer: Layer, r: Rewriter) -> None:
    x = layer.bottoms[0]
    params = {"hardsigmoid_param": {"alpha": 1 / 6, "beta": 0.5}}
    product(r, x, r.add("HardSigmoid", [x], role="gate", params=params))


@form("Mish", text="Sigmoid, Scale, product and Power -1")
def mish_by_sigmoid(layer: Layer, r: Rewriter) -> None:
    """x (1 - u^2) / (1 + u^2) with u = sigmoid(-x), because tanh(log(1 + e^x)) is this quotient."""
    channels = channels_of(layer, r)
    x = layer.bottoms[0]
    u = r.add("Sigmoid", [affine(r, x, -1, 0, channels, role="negated")], role="u")
    square = product(r, u, u, role="square")
    above = affine(r, square, -1, 1, channels, role="above")
    below = affine(r, square, 1, 1, channels, role="below")
    quotient = product(r, above, powered(r, below, role="inverse", power=-1.0), role="gate")
    product(r, x, quotient)


@form("ELU", text="ReLU, Sigmoid and Power -1")
def elu_by_sigmoid(layer: Layer, r: Rewriter) -> None:
    """ReLU(x) + alpha (s / (1 - s) - 1) with s = sigmoid(-ReLU(-x)); s / (1 - s) is e^x below 0."""
    channels = channels_of(layer, r)
    alpha = layer.params.elu_param.alpha
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    below = r.add("ReLU", [affine(r, x, -1, 0, channels, role="negated")], role="below")
    s = r.add("Sigmoid", [affine(r, below, -1, 0, channels, role="exponent")], role="s")
    rest = affine(r, s, -1, 1, channels, role="rest")
    power = product(r, s, powered(r, rest, role="inverse", power=-1.0), role="exp")
    total(r, above, affine(r, power, alpha, -alpha, channels, role="curve"))


@form("ELU", text="ReLU and Exp")
def elu_by_exp(layer: Layer, r: Rewriter) -> None:
    """ReLU(x) + alpha (e^-ReLU(-x) - 1)."""
    channels = channels_of(layer, r)
    alpha = layer.params.elu_param.alpha
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    below = r.add("ReLU", [affine(r, x, -1, 0, channels, role="negated")], role="below")
    power = r.add("Exp", [affine(r, below, -1, 0, channels, role="exponent")], role="exp")
    total(r, above, affine(r, power, alpha, -alpha, channels, role="curve"))


@form("TanH", text="Sigmoid between two Scales")
def tanh_by_sigmoid(layer: Layer, r: Rewriter) -> None:
    """2 sigmoid(2 x) - 1."""
    channels = channels_of(layer, r)
    x = affine(r, layer.bottoms[0], 2, 0, channels, role="double")
    affine(r, r.add("Sigmoid", [x], role="s"), 2, -1, channels)
