"""Layers that are matrix products or look-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, Window, axis_of, check_bottoms


class InnerProduct(LayerType):
    """Caffe: Y = X W^T + b over all axes from ``axis`` on; W is (N, K), or (K, N) with
    ``transpose``."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.inner_product_param
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Give the number of outputs.")
        axis = axis_of(layer, p.axis, len(bottoms[0]), end=True)
        return [(*bottoms[0][:axis], p.num_output)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.inner_product_param
        axis = axis_of(layer, p.axis, len(bottoms[0]), end=True)
        k = math.prod(bottoms[0][axis:])
        weight = (k, p.num_output) if p.transpose else (p.num_output, k)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        num_output: int = layer.params.inner_product_param.num_output
        return math.prod(bottoms[0]) * num_output

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class Embed(LayerType):
    """Caffe: row i of W (input_dim, N) for each index i, plus b."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.embed_param
        if p.num_output < 1 or p.input_dim < 1:
            raise layer.error("num_output and input_dim must be at least 1")
        return [(*bottoms[0], p.num_output)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.embed_param
        weight = (p.input_dim, p.num_output)
        return [weight, (p.num_output,)] if p.bias_term else [weight]


class Parameter(LayerType):
    """A learned blob as a top, without bottoms."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(layer.params.parameter_param.shape.dim)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return self.shapes(layer, bottoms)
