"""Forms of layers that normalise: MVN, Normalize, LRN."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Name
from protogen.layers.forms.blocks import (
    affine,
    convolve,
    depthwise,
    image,
    only,
    powered,
    product,
    reshape,
    scale,
    total,
    weights_of,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.geometry import Shape

_MEAN: dict[str, Any] = {"pooling_param": {"pool": Name("AVE"), "global_pooling": True}}


def _spread(r: Rewriter, x: str, shape: Shape, factor: float, role: str) -> str:
    """Spread (N, C, 1, 1) over the rows and columns of a shape, times a factor."""
    import numpy as np

    kernel = np.full(shape[2:], factor, np.float32)
    return depthwise(
        r, x, kernel, stride=shape[2:], channels=shape[1], type_="Deconvolution", role=role
    )


def _image(layer: Layer, r: Rewriter, across: bool) -> tuple[str, Shape]:
    """Return the bottom of a MVN as (N, C, H, W), or as (N, 1, C H, W) across the channels."""
    shape = r.shape(layer.bottoms[0])
    full = (*shape, 1, 1, 1)[:4]
    if across:
        full = (full[0], 1, full[1] * full[2], full[3])
    x = layer.bottoms[0]
    return (x if full == shape else reshape(r, x, full, role="image")), full


@form("MVN", text="means by Pooling, and Power")
def mvn_by_pooling(layer: Layer, r: Rewriter) -> None:
    """(x - mean) / (sqrt(variance) + eps); the mean is spread by a Deconvolution of -1."""
    p = layer.params.mvn_param
    x, shape = _image(layer, r, p.across_channels)
    before = (*r.shape(layer.bottoms[0]), 1, 1, 1)[:4]
    mean = r.add("Pooling", [x], role="mean", params=_MEAN)
    centred = total(r, x, _spread(r, mean, shape, -1, "means"), role="centred")
    if p.normalize_variance:
        square = product(r, centred, centred, role="square")
        variance = r.add("Pooling", [square], role="variance", params=_MEAN)
        deviation = powered(r, variance, role="deviation", power=0.5)
        inverse = powered(r, deviation, role="inverse", power=-1.0, shift=float(p.eps))
        centred = product(r, centred, _spread(r, inverse, shape, 1, "factors"), role="unit")
    reshape(r, centred, before)


def _unit(r: Rewriter, x: str, channels: int, share: float, eps: float) -> str:
    """Add x / sqrt(1 + share / eps sum over the channels of x^2) as an LRN whose window has all
    channels. k stays 1, because some toolchains ignore it."""
    size = 2 * channels - 1
    params = {"local_size": size, "alpha": size * share / eps, "beta": 0.5}
    return r.add("LRN", [x], role="lrn", params={"lrn_param": params})


@form("Normalize", text="Normalize with one factor for each channel")
def normalize_by_channel(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    p = layer.params.norm_param
    only(layer, p.channel_shared, "it has one factor for each channel")
    factor = weights_of(layer, r)[0].reshape(-1)[0]
    channels = r.shape(layer.bottoms[0])[1]
    params = {"across_spatial": p.across_spatial, "channel_shared": False, "eps": p.eps}
    blob = np.full(channels, factor, np.float32)
    r.add("Normalize", layer.bottoms, params={"norm_param": params}, weights=[blob])


@form("Normalize", text="squares, Convolution of ones, Power")
def normalize_by_power(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    p = layer.params.norm_param
    only(layer, not p.across_spatial, "it normalises the whole sample")
    _, channels, _, _ = image(layer, r)
    x = layer.bottoms[0]
    square = product(r, x, x, role="square")
    ones = np.ones((1, channels, 1, 1), np.float32)
    norm = convolve(r, square, ones, np.full(1, p.eps, np.float32), role="sum")
    inverse = powered(r, norm, role="inverse", power=-0.5)
    wide = convolve(r, inverse, ones.reshape(channels, 1, 1, 1), role="wide")
    unit = product(r, x, wide, role="unit")
    factors = np.broadcast_to(weights_of(layer, r)[0].reshape(-1), (channels,))
    scale(r, unit, np.array(factors, np.float32), np.zeros(channels, np.float32))


@form("Normalize", text="LRN over all channels")
def normalize_by_lrn(layer: Layer, r: Rewriter) -> None:
    """x / sqrt(eps + sum x^2), where eps is large enough for a factor of float32."""
    import numpy as np

    p = layer.params.norm_param
    only(layer, not p.across_spatial, "it normalises the whole sample")
    only(layer, p.eps >= 1e-12, "its eps is too small")
    _, channels, _, _ = image(layer, r)
    unit = _unit(r, layer.bottoms[0], channels, 1.0, float(p.eps))
    factors = np.broadcast_to(weights_of(layer, r)[0].reshape(-1), (channels,)) / math.sqrt(p.eps)
    scale(r, unit, factors.astype(np.float32), np.zeros(channels, np.float32))


@form("LRN", text="squares, Convolution, Power and product")
def lrn_by_power(layer: Layer, r: Rewriter) -> None:
    """x (k + alpha / n sum x^2)^-beta; the sum is a band of ones across the channels, or a
    depthwise kernel of ones within them."""
    import numpy as np

    p = layer.params.lrn_param
    _, channels, _, _ = image(layer, r)
    x, size = layer.bottoms[0], p.local_size
    square = product(r, x, x, role="square")
    if p.norm_region == "WITHIN_CHANNEL":
        ones = np.full((size, size), p.alpha / (size * size), np.float32)
        bias = np.ones(channels, np.float32)
        pad = ((size - 1) // 2,) * 2
        sums = depthwise(r, square, ones, bias=bias, pad=pad, channels=channels, role="sums")
    else:
        place = np.arange(channels)
        band = np.abs(place[:, None] - place[None, :]) <= (size - 1) // 2
        weight = (band * (p.alpha / size)).astype(np.float32).reshape(channels, channels, 1, 1)
        sums = convolve(r, square, weight, np.full(channels, p.k, np.float32), role="sums")
    product(r, x, powered(r, sums, role="factors", power=-float(p.beta)))


@form("LRN", text="LRN with k 1, and Scale")
def lrn_without_k(layer: Layer, r: Rewriter) -> None:
    """k^-beta x / (1 + alpha / (k n) sum x^2)^beta."""
    p = layer.params.lrn_param
    only(layer, p.k not in (0, 1) and p.norm_region == "ACROSS_CHANNELS", "its k is 1")
    params = {"local_size": p.local_size, "alpha": p.alpha / p.k, "beta": p.beta}
    x = r.add("LRN", layer.bottoms, role="unit", params={"lrn_param": params})
    affine(r, x, float(p.k) ** -float(p.beta), 0, image(layer, r)[1])


def _batch_statistics(layer: Layer, r: Rewriter) -> tuple[str, Shape, int, float]:
    """Return the bottom of a BatchNorm with the statistics of its bottom as (C, n, 1, 1), its shape
    before, n, and eps.

    Raises:
        UnsupportedError: it has stored statistics, or more than one sample.
    """
    p = layer.params.batch_norm_param
    only(layer, p.has("use_global_stats") and not p.use_global_stats, "it has stored statistics")
    shape = r.shape(layer.bottoms[0])
    only(layer, len(shape) > 2 and shape[0] == 1, "it has more than one sample")
    count = prod(shape[2:])
    rows = reshape(r, layer.bottoms[0], (shape[1], count, 1, 1), role="rows")
    return rows, shape, count, float(p.eps)


def _centred(r: Rewriter, rows: str, count: int) -> str:
    """Subtract the mean of each row of (rows, n, 1, 1)."""
    import numpy as np

    mean = convolve(r, rows, np.full((1, count, 1, 1), -1 / count, np.float32), role="mean")
    means = convolve(r, mean, np.ones((count, 1, 1, 1), np.float32), role="means")
    return total(r, rows, means, role="centred")


@form("BatchNorm", text="means by Convolution, and Power")
def statistics_by_convolution(layer: Layer, r: Rewriter) -> None:
    """Each channel becomes a sample whose values are the channels."""
    import numpy as np

    rows, shape, count, eps = _batch_statistics(layer, r)
    centred = _centred(r, rows, count)
    square = product(r, centred, centred, role="square")
    share = np.full((1, count, 1, 1), 1 / count, np.float32)
    variance = convolve(r, square, share, np.full(1, eps, np.float32), role="variance")
    inverse = powered(r, variance, role="inverse", power=-0.5)
    wide = convolve(r, inverse, np.ones((count, 1, 1, 1), np.float32), role="wide")
    reshape(r, product(r, centred, wide, role="unit"), shape)


@form("BatchNorm", text="means by Convolution, and LRN")
def statistics_by_lrn(layer: Layer, r: Rewriter) -> None:
    rows, shape, count, eps = _batch_statistics(layer, r)
    only(layer, eps > 0, "its eps is 0")
    unit = _unit(r, _centred(r, rows, count), count, 1 / count, eps)
    reshape(r, affine(r, unit, 1 / math.sqrt(eps), 0, count, role="unit"), shape)


@form("BatchNorm", text="means by Pooling, and Power")
def statistics_by_pooling(layer: Layer, r: Rewriter) -> None:
    """The means of (1, C, n, 1) by Pooling, spread by a Deconvolution of ones."""
    p = layer.params.batch_norm_param
    only(layer, p.has("use_global_stats") and not p.use_global_stats, "it has stored statistics")
    shape = r.shape(layer.bottoms[0])
    only(layer, len(shape) > 2 and shape[0] == 1, "it has more than one sample")
    full = shape if len(shape) == 4 else (1, shape[1], prod(shape[2:]), 1)
    x = layer.bottoms[0] if full == shape else reshape(r, layer.bottoms[0], full, role="image")
    mean = r.add("Pooling", [x], role="mean", params=_MEAN)
    centred = total(r, x, _spread(r, mean, full, -1, "means"), role="centred")
    square = product(r, centred, centred, role="square")
    variance = r.add("Pooling", [square], role="variance", params=_MEAN)
    inverse = powered(r, variance, role="inverse", power=-0.5, shift=float(p.eps))
    factors = _spread(r, inverse, full, 1, "factors")
    if full == shape:
        product(r, centred, factors)
    else:
        reshape(r, product(r, centred, factors, role="unit"), shape)
