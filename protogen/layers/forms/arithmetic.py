"""Forms of Power, Scale, Bias, Eltwise and BatchNorm."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from protogen.layers.forms.blocks import (
    affine,
    channels_of,
    depthwise,
    flat,
    image,
    only,
    powered,
    product,
    reshape,
    scale,
    weights_of,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.layers.forms.blocks import Array


TINY = 1e-24  # far below the square of any value that matters, and above float32's smallest


@form("Power", text="Scale")
def power_by_scale(layer: Layer, r: Rewriter) -> None:
    p = layer.params.power_param
    only(layer, p.power == 1, "its power is not 1")
    affine(r, layer.bottoms[0], p.scale, p.shift, channels_of(layer, r))


@form("Power", text="a Scale, then Power alone")
def power_apart(layer: Layer, r: Rewriter) -> None:
    p = layer.params.power_param
    only(layer, p.power != 1 and (p.scale, p.shift) != (1, 0), "it has no scale and shift")
    x = affine(r, layer.bottoms[0], p.scale, p.shift, channels_of(layer, r), role="base")
    powered(r, x, power=p.power)


@form("Power", text="products")
def power_by_products(layer: Layer, r: Rewriter) -> None:
    p = layer.params.power_param
    only(layer, p.power in (2, 3, 4), "its power is not 2, 3 or 4")
    x = layer.bottoms[0]
    if (p.scale, p.shift) != (1, 0):
        x = affine(r, x, p.scale, p.shift, channels_of(layer, r), role="base")
    if p.power == 2:
        product(r, x, x)
        return
    square = product(r, x, x, role="square")
    product(r, square, square if p.power == 4 else x)


@form("Power", text="Power of half, and product")
def square_root_by_power(layer: Layer, r: Rewriter) -> None:
    """1 / x as the square of x^-1/2."""
    p = layer.params.power_param
    only(layer, p.power == -1 and (p.scale, p.shift) == (1, 0), "it is not 1 / x")
    root = powered(r, layer.bottoms[0], role="root", power=-0.5)
    product(r, root, root)


@form("Power", text="Power with a power below 1, and product")
def power_with_product(layer: Layer, r: Rewriter) -> None:
    """x^p = x x^(p - 1)."""
    p = layer.params.power_param
    only(layer, 1 < p.power < 3 and p.power != 2, "its power is not between 1 and 3")
    x = layer.bottoms[0]
    if (p.scale, p.shift) != (1, 0):
        x = affine(r, x, p.scale, p.shift, channels_of(layer, r), role="base")
    product(r, x, powered(r, x, role="rest", power=p.power - 1))


@form("Power", text="LRN of one channel")
def power_by_lrn(layer: Layer, r: Rewriter) -> None:
    """x^p = x (x^2)^-(1 - p)/2 for x above 0: LRN with one channel in its window, alpha 1 and a tiny
    k, with which the result for 0 is 0.

    A power that is not whole has no value below 0 anyway.
    """
    p = layer.params.power_param
    only(layer, p.power < 1 and p.power not in (0, -2, -4), "its power is not below 1, or even")
    x, shape = layer.bottoms[0], r.shape(layer.bottoms[0])
    if (p.scale, p.shift) != (1, 0):
        x = affine(r, x, p.scale, p.shift, channels_of(layer, r), role="base")
    params = {"lrn_param": {"local_size": 1, "alpha": 1.0, "beta": (1 - p.power) / 2, "k": TINY}}
    if len(shape) == 4 and shape[1] == 1:  # of several channels, the running sum loses digits
        r.add("LRN", [x], params=params)
        return
    x = reshape(r, x, (shape[0], 1, prod(shape[1:]), 1), role="image")
    reshape(r, r.add("LRN", [x], role="power", params=params), shape)


@form("Scale", "Bias", text="depthwise convolution")
def scale_by_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    only(layer, len(layer.bottoms) == 1, "it has two bottoms")
    _, channels, _, _ = image(layer, r)
    factors, addends = _factors(layer, r)
    scales_channels = _axes(layer, r, factors.ndim) == (1, 1) or factors.size == 1
    only(layer, scales_channels, "it does not scale the channels")
    kernel = np.broadcast_to(factors.reshape(-1, 1, 1), (channels, 1, 1))
    bias = np.ascontiguousarray(np.broadcast_to(addends.reshape(-1), (channels,)))
    depthwise(r, layer.bottoms[0], kernel, bias=bias, channels=channels)


@form("Scale", "Bias", text="Scale along the channels between two Reshapes")
def scale_reshaped(layer: Layer, r: Rewriter) -> None:
    """The axes of the factors become the channels of (before, axes, after, 1)."""
    only(layer, len(layer.bottoms) == 1, "it has two bottoms")
    shape = r.shape(layer.bottoms[0])
    factors, addends = _factors(layer, r)
    axis, axes = _axes(layer, r, factors.ndim)
    only(layer, (axis, axes) != (1, 1) or len(shape) != 4, "it scales the channels already")
    if not axes:
        affine(r, layer.bottoms[0], float(factors), float(addends), channels_of(layer, r))
        return
    x = reshape(r, layer.bottoms[0], flat(shape, axis, axes), role="flat")
    x = scale(r, x, factors.reshape(-1), addends.reshape(-1), role="scaled")
    reshape(r, x, shape)


def _axes(layer: Layer, r: Rewriter, ndim: int) -> tuple[int, int]:
    """Return the first axis of the factors, and their number of axes."""
    block = layer.params.scale_param if layer.type == "Scale" else layer.params.bias_param
    rank = len(r.shape(layer.bottoms[0]))
    axis = block.axis + rank if block.axis < 0 else block.axis
    return axis, ndim


def _factors(layer: Layer, r: Rewriter) -> tuple[Array, Array]:
    """Return the factors and addends of a Scale or Bias, of the same shape."""
    import numpy as np

    blobs = weights_of(layer, r)
    first = np.asarray(blobs[0], np.float32)
    if layer.type == "Bias":
        return np.ones_like(first), first
    return first, np.asarray(blobs[1], np.float32) if len(blobs) > 1 else np.zeros_like(first)


@form("Scale", text="Scale with a bias of 0")
def scale_with_bias(layer: Layer, r: Rewriter) -> None:
    factors, addends = _factors(layer, r)
    only(layer, len(layer.bottoms) == 1, "it has two bottoms")
    only(layer, not layer.params.scale_param.bias_term, "it has a bias already")
    p = layer.params.scale_param
    params = {"axis": p.axis, "num_axes": p.num_axes, "bias_term": True}
    r.add("Scale", layer.bottoms, params={"scale_param": params}, weights=[factors, addends])


@form("Bias", text="Scale with factors of 1")
def bias_by_scale(layer: Layer, r: Rewriter) -> None:
    only(layer, len(layer.bottoms) == 1, "it has two bottoms")
    factors, addends = _factors(layer, r)
    p = layer.params.bias_param
    params = {"axis": p.axis, "num_axes": p.num_axes, "bias_term": True}
    r.add("Scale", layer.bottoms, params={"scale_param": params}, weights=[factors, addends])


@form("Eltwise", text="a Scale before the sum")
def sum_without_coefficients(layer: Layer, r: Rewriter) -> None:
    p = layer.params.eltwise_param
    only(layer, p.operation == "SUM" and any(c != 1 for c in p.coeff), "it has no coeff")
    channels = channels_of(layer, r)
    parts = [
        x if c == 1 else affine(r, x, c, 0, channels, role=f"scaled{i}")
        for i, (x, c) in enumerate(zip(layer.bottoms, p.coeff, strict=True))
    ]
    if len(parts) == 1:
        r.add("Power", parts)
    else:
        r.add("Eltwise", parts)


@form("Eltwise", text="a chain of layers of two bottoms")
def eltwise_in_pairs(layer: Layer, r: Rewriter) -> None:
    p = layer.params.eltwise_param
    only(layer, len(layer.bottoms) > 2, "it has two bottoms")
    only(layer, all(c == 1 for c in p.coeff), "it has coeff")
    params = {"eltwise_param": {"operation": p.operation}} if p.operation != "SUM" else {}
    x = layer.bottoms[0]
    for i, other in enumerate(layer.bottoms[1:-1]):
        x = r.add("Eltwise", [x, other], role=f"pair{i}", params=params)
    r.add("Eltwise", [x, layer.bottoms[-1]], params=params)


@form("Eltwise", text="spread the smaller bottom")
def eltwise_spread(layer: Layer, r: Rewriter) -> None:
    """Bottoms that other toolchains broadcast get one shape by Tile layers."""
    shapes = [r.shape(bottom) for bottom in layer.bottoms]
    only(layer, len(set(shapes)) > 1, "its bottoms have one shape")
    only(layer, len({len(shape) for shape in shapes}) == 1, "its bottoms differ in rank")
    out = tuple(map(max, zip(*shapes, strict=True)))
    parts = []
    for i, (x, shape) in enumerate(zip(layer.bottoms, shapes, strict=True)):
        for axis, (n, m) in enumerate(zip(shape, out, strict=True)):
            if n != m:
                only(layer, n == 1, "its bottoms cannot be broadcast")
                params = {"tile_param": {"axis": axis, "tiles": m}}
                x = r.add("Tile", [x], role=f"wide{i}_{axis}", params=params)
        parts.append(x)
    p = layer.params.eltwise_param
    params = {"eltwise_param": {"operation": p.operation}} if p.operation != "SUM" else {}
    r.add("Eltwise", parts, params=params)


@form("BatchNorm", text="Scale")
def batch_norm_by_scale(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    p = layer.params.batch_norm_param
    only(
        layer,
        not p.has("use_global_stats") or p.use_global_stats,
        "it computes the statistics of its bottom",
    )
    mean, variance, factor = (np.asarray(b, np.float64).reshape(-1) for b in weights_of(layer, r))
    share = 0.0 if factor[0] == 0 else 1.0 / float(factor[0])
    scales = 1.0 / np.sqrt(variance * share + p.eps)
    addends = -mean * share * scales
    scale(r, layer.bottoms[0], scales.astype(np.float32), addends.astype(np.float32))
