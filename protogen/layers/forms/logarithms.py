"""Forms of exponential functions and logarithms: Exp, Log, BNLL."""

from __future__ import annotations

import math

from protogen.layers.forms.blocks import affine, channels_of, only, powered, product, total
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

ROOT = 16  # the root that is taken before the series of the logarithm


def _series(r: Rewriter, z: str, terms: int, factor: float, channels: int, top: str = "") -> str:
    """Add factor (z + z^3 / 3 + z^5 / 5 + ...), which is factor atanh(z)."""
    square = product(r, z, z, role="square")
    y = affine(
        r, square, factor / (2 * terms - 1), factor / (2 * terms - 3), channels, role="term1"
    )
    for i in range(2, terms):
        y = product(r, square, y, role=f"product{i}")
        y = affine(r, y, 1, factor / (2 * (terms - i) - 1), channels, role=f"term{i}")
    return product(r, z, y, role="" if top else "series", top=top)


@form("BNLL", text="ReLU, Sigmoid and Log")
def softplus_by_log(layer: Layer, r: Rewriter) -> None:
    """ReLU(x) - log(sigmoid(|x|))."""
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    s = r.add("Sigmoid", [r.add("AbsVal", [x], role="size")], role="s")
    log = r.add("Log", [s], role="log")
    total(r, above, affine(r, log, -1, 0, channels_of(layer, r), role="rest"))


@form("BNLL", text="ReLU, Sigmoid, Power -1 and a polynomial", error=3e-6)
def softplus_by_series(layer: Layer, r: Rewriter) -> None:
    """ReLU(x) + log(1 + u) with u = e^-|x|: log(1 + u) = 2 atanh(u / (2 + u)), and u / (2 + u) is
    s / (2 - s) with s = sigmoid(-|x|). The argument is at most 1/3, so five terms are enough."""
    channels = channels_of(layer, r)
    x = layer.bottoms[0]
    above = r.add("ReLU", [x], role="above")
    size = r.add("AbsVal", [x], role="size")
    s = r.add("Sigmoid", [affine(r, size, -1, 0, channels, role="negated")], role="s")
    rest = affine(r, s, -1, 2, channels, role="rest")
    z = product(r, s, powered(r, rest, role="inverse", power=-1.0), role="z")
    total(r, above, _series(r, z, 5, 2.0, channels))


@form("Exp", text="Exp without base, scale and shift")
def exp_plain(layer: Layer, r: Rewriter) -> None:
    """base^(shift + scale x) as e^(c x + d)."""
    p = layer.params.exp_param
    log = 1.0 if p.base == -1 else math.log(p.base)
    c, d = log * p.scale, log * p.shift
    only(layer, (p.base, c, d) != (-1, 1, 0), "it has no base, scale and shift")
    x = affine(r, layer.bottoms[0], c, d, channels_of(layer, r), role="exponent")
    r.add("Exp", [x])


@form("Exp", text="Sigmoid and Power -1")
def exp_by_sigmoid(layer: Layer, r: Rewriter) -> None:
    """sigmoid(x) / sigmoid(-x), which loses no digits at both ends."""
    p = layer.params.exp_param
    channels = channels_of(layer, r)
    log = 1.0 if p.base == -1 else math.log(p.base)
    x = layer.bottoms[0]
    if (log * p.scale, p.shift) != (1, 0):
        x = affine(r, x, log * p.scale, log * p.shift, channels, role="exponent")
    s = r.add("Sigmoid", [x], role="s")
    rest = r.add("Sigmoid", [affine(r, x, -1, 0, channels, role="negated")], role="rest")
    product(r, s, powered(r, rest, role="inverse", power=-1.0))


def _argument(layer: Layer, r: Rewriter) -> str:
    """Add scale x + shift of a Log."""
    p = layer.params.log_param
    if (p.scale, p.shift) == (1, 0):
        return layer.bottoms[0]
    return affine(r, layer.bottoms[0], p.scale, p.shift, channels_of(layer, r), role="argument")


@form("Log", text="Log with base e")
def log_with_base(layer: Layer, r: Rewriter) -> None:
    """The base e as a number: some toolchains have no default."""
    only(layer, not layer.params.log_param.has("base"), "its base is set")
    r.add("Log", [_argument(layer, r)], params={"log_param": {"base": math.e}})


@form("Log", text="Log without base, scale and shift")
def log_plain(layer: Layer, r: Rewriter) -> None:
    p = layer.params.log_param
    only(layer, (p.base, p.scale, p.shift) != (-1, 1, 0), "it has no base, scale and shift")
    x = _argument(layer, r)
    if p.base == -1:
        r.add("Log", [x])
        return
    x = r.add("Log", [x], role="natural")
    affine(r, x, 1 / math.log(p.base), 0, channels_of(layer, r))


@form("Log", text="Power 1/16, Power -1 and a polynomial", error=3e-5)
def log_by_series(layer: Layer, r: Rewriter) -> None:
    """log(x) = 16 log(y) with y = x^(1/16), and log(y) = 2 atanh((y - 1) / (y + 1)). For x from 1e-6
    to 1e6 the argument is at most 0.41, so six terms are enough."""
    p = layer.params.log_param
    channels = channels_of(layer, r)
    y = powered(r, _argument(layer, r), role="root", power=1 / ROOT)
    inverse = powered(r, affine(r, y, 1, 1, channels, role="sum"), role="inverse", power=-1.0)
    z = product(r, affine(r, y, 1, -1, channels, role="difference"), inverse, role="z")
    factor = 2.0 * ROOT / (1 if p.base == -1 else math.log(p.base))
    _series(r, z, 6, factor, channels, top=layer.tops[0])
