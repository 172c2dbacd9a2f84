"""Layers that multiply by a matrix or look up its rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.activation import rectify, rewrite_rectified
from protogen.layers.base import (
    Filling,
    LayerType,
    Mistake,
    Window,
    axis_of,
    check_bottoms,
    fields,
)
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

no_bias = Mistake(
    "the bias is left out", blobs=lambda blobs: [*blobs[:1], *(0 * b for b in blobs[1:])]
)


class InnerProduct(LayerType):
    """Caffe: Y = X W^T + b over all axes from ``axis`` on; W is (N, K), or (K, N) with
    ``transpose``. Forks: ReLU with ``relu`` (Intel); with ``normalize``, each row of W is divided by
    its length; a second bottom holds W instead of a blob, and a third b (happynear, OpenVINO)."""

    weighted = True

    reads = fields(
        inner_product_param="num_output bias_term axis transpose relu negative_slope normalize"
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1 if layer.dialect == "bvlc" else 3)
        p = layer.params.inner_product_param
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        if len(bottoms) > 1:
            self._check_weights(layer, bottoms, math.prod(bottoms[0][axis:]))
            return [(*bottoms[0][:axis], bottoms[1][0])]
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Set it to the number of outputs.")
        return [(*bottoms[0][:axis], p.num_output)]

    def _check_weights(self, layer: Layer, bottoms: Sequence[Shape], length: int) -> None:
        """Check weights that are bottoms: W must be (N, K), and b must be the third bottom."""
        p, weight = layer.params.inner_product_param, bottoms[1]
        if not weight or math.prod(weight) != weight[0] * length or p.transpose:
            raise layer.error(
                f'its weights "{layer.bottoms[1]}" must be rows of {length} values without transpose, '
                f"got {shape_text(weight)}"
            )
        if (len(bottoms) == 3) != bool(p.bias_term):
            raise layer.error(
                "with weights as a bottom, the bias must be a third bottom",
                "Set bias_term: false, or add the bias.",
            )
        if len(bottoms) == 3 and math.prod(bottoms[2]) != weight[0]:
            raise layer.error(
                f'its bias "{layer.bottoms[2]}" must have {weight[0]} values, got '
                f"{shape_text(bottoms[2])}"
            )

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.inner_product_param
        if len(bottoms) > 1:
            return []
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        k = math.prod(bottoms[0][axis:])
        weight = (k, p.num_output) if p.transpose else (p.num_output, k)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def by_output(self, layer: Layer, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        return weights.T if layer.params.inner_product_param.transpose else weights

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        n: int = layer.params.inner_product_param.num_output
        if not blobs:
            return []
        k = math.prod(blobs[0]) // n
        weight = Filling("inner_product_param.weight_filler", fan_in=k, fan_out=n)
        return [weight, Filling("inner_product_param.bias_filler")][: len(blobs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(bottoms[0]) * tops[0][-1]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.inner_product_param
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        axis = axis_of(layer, p.axis, len(before))
        x = layer.reads[0]
        if len(before) != 2 or axis != 1:
            x = e.value("Flatten", x, axis=axis)
        if len(layer.reads) > 1:
            shapes = [(after[-1], math.prod(before[axis:])), (after[-1],)]
            blobs = [
                e.value("Reshape", read, e.array(list(shape)))
                for read, shape in zip(layer.reads[1:], shapes, strict=False)
            ]
        else:
            blobs = [e.blob(layer, i) for i in range(2 if p.bias_term else 1)]
        if p.normalize and len(layer.reads) == 1:
            blobs[0] = e.array(self._normalized(layer, e))
        attrs = {"transB": int(not p.transpose)}
        write = f"{layer.writes[0]}@sum" if p.relu else layer.writes[0]
        if axis == 1:
            e.op("Gemm", [x, *blobs], [write], **attrs)
        else:
            rows = math.prod(before[:axis])
            y = e.reshape(e.value("Gemm", x, *blobs, **attrs), (rows, after[-1]), after)
            e.op("Identity", [y], [write])
        if p.relu:
            rectify(e, write, layer.writes[0], p.negative_slope)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(layer.bottoms) > 1:
            raise layer.unsupported("no stock layer multiplies by weights that are a bottom")
        if layer.params.inner_product_param.normalize:
            raise layer.unsupported(
                "no stock layer divides the rows of the weights by their lengths (normalize: true)"
            )
        rewrite_rectified(layer, r, "inner_product_param")

    def _normalized(self, layer: Layer, e: Emitter) -> NDArray[np.float32]:
        """Return the weights with rows scaled to length 1, as the CPU code of the forks computes them."""
        import numpy as np

        if layer.params.inner_product_param.transpose:
            raise layer.unsupported(
                "normalize together with transpose is unsupported: the fork then divides values of "
                "different rows",
                "Store the weights without transpose.",
            )
        weight = e.weight(layer, 0).astype(np.float32)
        length = np.sqrt((weight * weight).sum(axis=1, keepdims=True) + np.float32(1e-6))
        unit_rows: NDArray[np.float32] = weight / length
        return unit_rows

    def mistakes(self, layer: Layer) -> list[Mistake]:
        def transposed(blobs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            return [blobs[0].reshape(blobs[0].shape[::-1]).T, *blobs[1:]]

        return [
            Mistake(
                "the dense weights are read transposed (Y = XW instead of Y = XW^T)",
                blobs=transposed,
            ),
            no_bias,
        ]


class Embed(LayerType):
    """Caffe: row i of W (input_dim, N) for each index i, plus b."""

    reads = fields(embed_param="num_output input_dim bias_term")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (0,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.embed_param
        if p.num_output < 1 or p.input_dim < 1:
            raise layer.error(
                f"num_output and input_dim must be at least 1, got {p.num_output} and {p.input_dim}"
            )
        return [(*bottoms[0], p.num_output)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.embed_param
        weight = (p.input_dim, p.num_output)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def by_output(self, layer: Layer, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        return weights.T

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        weight = Filling("embed_param.weight_filler", fan_in=1, fan_out=blobs[0][1])
        return [weight, Filling("embed_param.bias_filler")][: len(blobs)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, layer.params.embed_param.input_dim, shapes[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        index = e.value("Cast", layer.reads[0], to=INT64)
        if layer.params.embed_param.bias_term:
            rows = e.value("Gather", e.blob(layer, 0), index, axis=0)
            e.op("Add", [rows, e.blob(layer, 1)], [layer.writes[0]])
        else:
            e.op("Gather", [e.blob(layer, 0), index], [layer.writes[0]], axis=0)


class Parameter(LayerType):
    """A learned blob as a top; no bottoms. Forks fill it before training: ``filler`` of OpenVINO's
    training toolbox, ``blob_filler`` of happynear; BVLC Caffe with zeros."""

    reads = fields(parameter_param="shape")

    harmless = MappingProxyType({"parameter_param.norm_axis": "the fork's source does not read it"})

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 0, 0)
        return [tuple(layer.params.parameter_param.shape.dim)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return self.shapes(layer, bottoms)

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        p = layer.params.parameter_param
        names = [name for name in ("filler", "blob_filler") if p.has(name)]
        return [Filling(f"parameter_param.{name}") for name in names[:1]] or [Filling()]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [e.blob(layer, 0)], [layer.writes[0]])


INT64 = 7  # ONNX's number for int64, used by Cast
