"""Forms of Reduction and ArgMax."""

from __future__ import annotations

from math import prod
from typing import Any

from protogen.formats.message import Name
from protogen.layers.forms.blocks import (
    affine,
    convolve,
    image,
    maximum,
    only,
    product,
    reshape,
    total,
)
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

_GLOBAL = {"MEAN": "AVE", "SUM": "AVE", "SUMSQ": "AVE", "ASUM": "AVE", "MAX": "MAX"}


def _pooling(layer: Layer) -> dict[str, Any]:
    operation = str(layer.params.reduction_param.operation)
    only(layer, operation in _GLOBAL, f"no Pooling computes {operation}")
    return {"pooling_param": {"pool": Name(_GLOBAL[operation]), "global_pooling": True}}


def _prepared(layer: Layer, r: Rewriter) -> tuple[str, int, float]:
    """Return the bottom (squared, or its absolute value), the first reduced axis, and the factor by
    which a mean becomes the reduction."""
    p = layer.params.reduction_param
    shape = r.shape(layer.bottoms[0])
    axis = p.axis + len(shape) if p.axis < 0 else p.axis
    only(layer, axis > 0, "its top has no axes")
    x = layer.bottoms[0]
    if p.operation == "SUMSQ":
        x = product(r, x, x, role="square")
    elif p.operation == "ASUM":
        x = r.add("AbsVal", [x], role="abs")
    factor = float(p.coeff)
    if p.operation in ("SUM", "SUMSQ", "ASUM"):
        factor *= prod(shape[axis:])
    return x, axis, factor


def _finish(layer: Layer, r: Rewriter, x: str, channels: int, axis: int, factor: float) -> None:
    shape = r.shape(layer.bottoms[0])
    if factor != 1:
        x = affine(r, x, factor, 0, channels, role="scaled")
    reshape(r, x, shape[:axis])


@form("Reduction", text="global Pooling")
def reduction_by_pooling(layer: Layer, r: Rewriter) -> None:
    params = _pooling(layer)
    shape = r.shape(layer.bottoms[0])
    x, axis, factor = _prepared(layer, r)
    only(layer, axis == 2 and len(shape) in (3, 4), "it does not reduce the axes after channels")
    if len(shape) == 3:
        x = reshape(r, x, (*shape, 1), role="image")
    x = r.add("Pooling", [x], role="pooled", params=params)
    _finish(layer, r, x, shape[1], axis, factor)


@form("Reduction", text="global Pooling between Reshapes")
def reduction_reshaped(layer: Layer, r: Rewriter) -> None:
    params = _pooling(layer)
    shape = r.shape(layer.bottoms[0])
    x, axis, factor = _prepared(layer, r)
    before = prod(shape[:axis])
    x = reshape(r, x, (1, before, prod(shape[axis:]), 1), role="rows")
    x = r.add("Pooling", [x], role="pooled", params=params)
    _finish(layer, r, x, before, axis, factor)


@form("Reduction", text="Pooling and Convolution of the channels")
def reduction_by_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    only(layer, _pooling(layer)["pooling_param"]["pool"] == "AVE", "it is not a mean or a sum")
    x, axis, factor = _prepared(layer, r)
    shape = image(layer, r)
    only(layer, axis == 1, "it does not reduce the channels")
    x = r.add("Pooling", [x], role="pooled", params=_pooling(layer))
    weight = np.full((1, shape[1], 1, 1), factor / shape[1], np.float32)
    reshape(r, convolve(r, x, weight, role="sum"), shape[:1])


@form("Reduction", text="Reduction and Scale")
def reduction_without_coeff(layer: Layer, r: Rewriter) -> None:
    p = layer.params.reduction_param
    only(layer, p.coeff != 1, "its coeff is 1")
    params = {"reduction_param": {"operation": p.operation, "axis": p.axis}}
    x = r.add("Reduction", layer.bottoms, role="reduced", params=params)
    r.add("Power", [x], params={"power_param": {"scale": p.coeff}})


@form("ArgMax", text="comparison with the maximum", error=1e-4, float32=True)
def index_by_comparison(layer: Layer, r: Rewriter) -> None:
    """The sum of c ReLU(1 + 10^4 (x_c - max)): exact where the two largest values differ by 1e-4."""
    import numpy as np

    p = layer.params.argmax_param
    only(layer, p.top_k == 1 and not p.out_max_val, "it has more than one index, or values")
    only(layer, p.has("axis") and p.axis in (1, -3), "it does not search the channels")
    _, channels, _, _ = image(layer, r)
    x = layer.bottoms[0]
    largest, count, level = x, channels, 0
    while count > 1:
        half = count // 2
        points = [half, 2 * half] if count % 2 else [half]
        parts = r.split(largest, f"level{level}", 1, points)
        largest = maximum(r, parts[0], parts[1], role=f"largest{level}")
        if count % 2:
            largest = r.add("Concat", [largest, parts[2]], role=f"with_last{level}")
        count, level = half + count % 2, level + 1
    weight = np.full((channels, 1, 1, 1), -1, np.float32)
    negated = convolve(r, largest, weight, role="negated")
    gap = total(r, x, negated, role="gap")
    hit = r.add("ReLU", [affine(r, gap, 1e4, 1, channels, role="near")], role="hit")
    index = np.arange(channels, dtype=np.float32).reshape(1, channels, 1, 1)
    convolve(r, hit, index)
