"""Layers that reduce axes: Reduction and ArgMax."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from protogen.geometry import Shape
from protogen.layers.base import (
    POINT,
    LayerType,
    Window,
    axis_of,
    check_bottoms,
    fields,
)
from protogen.layers.elementwise import FLOAT, affine
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


class Reduction(LayerType):
    """SUM, ASUM, SUMSQ or MEAN over the axes from ``axis`` on, which are removed. Forks: MAX and
    MIN."""

    reads = fields(reduction_param="operation axis coeff")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        axis = axis_of(layer, layer.params.reduction_param.axis, len(bottoms[0]))
        return [bottoms[0][:axis]]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.reduction_param
        rank = len(e.shape(layer.reads[0]))
        axes = list(range(axis_of(layer, p.axis, rank), rank))
        x = layer.reads[0]
        if p.operation == "ASUM":
            x = e.value("Abs", x)
        elif p.operation == "SUMSQ":
            x = e.value("Mul", x, x)
        others = {"MEAN": "ReduceMean", "MAX": "ReduceMax", "MIN": "ReduceMin"}
        op = others.get(p.operation, "ReduceSum")
        total = e.reduce(op, x, axes, keepdims=False)
        e.op("Identity", [affine(e, total, p.coeff, 0.0)], [layer.writes[0]])


class ArgMax(LayerType):
    """The top_k largest values along ``axis`` or of each sample: their indices, values, or both.
    Forks (Synopsys): the smallest values with ``min_first``."""

    computes = False

    top_may_be_unused = True

    reads = fields(argmax_param="out_max_val top_k axis min_first")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (0,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.argmax_param
        shape = bottoms[0]
        if p.has("axis"):
            axis = axis_of(layer, p.axis, len(shape))
            over = shape[axis]
            top = [*shape[:axis], p.top_k, *shape[axis + 1 :]]
        else:
            over = math.prod(shape[1:])
            top = [1] * max(len(shape), 3)
            top[0], top[2] = shape[0], p.top_k
            top[1] = 2 if p.out_max_val else 1
        if not 1 <= p.top_k <= over:
            raise layer.error(f"top_k must be from 1 to {over}, got {p.top_k}")
        return [tuple(top)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return POINT if layer.params.argmax_param.has("axis") else None

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        raise layer.unsupported("of equal values, stock ArgMax takes the last, not the first")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.argmax_param
        x, shape, axis = layer.reads[0], e.shape(layer.reads[0]), 1
        if p.has("axis"):
            axis = axis_of(layer, p.axis, len(shape))
        else:
            shape = (shape[0], math.prod(shape[1:]))
            x = e.value("Flatten", x, axis=1)
        top = [f"{layer.writes[0]}@values", f"{layer.writes[0]}@indices"]
        if p.min_first:
            e.op("TopK", [x, e.array([p.top_k])], top, axis=axis, largest=0)
            index = e.value("Cast", top[1], to=FLOAT)
        else:
            # Of equal values, Caffe takes the last and TopK the first, so it reads the reversed axis.
            backward = [e.array([values]) for values in (-1, -(shape[axis] + 1), axis, -1)]
            e.op("TopK", [e.value("Slice", x, *backward), e.array([p.top_k])], top, axis=axis)
            index = e.value("Cast", e.value("Sub", e.array(shape[axis] - 1), top[1]), to=FLOAT)
        after = e.shape(layer.writes[0])
        if p.has("axis"):
            e.op("Identity", [top[0] if p.out_max_val else index], [layer.writes[0]])
            return
        joined = e.value("Concat", index, top[0], axis=1) if p.out_max_val else index
        flat = (shape[0], p.top_k * (2 if p.out_max_val else 1))
        e.op("Identity", [e.reshape(joined, flat, after)], [layer.writes[0]])
