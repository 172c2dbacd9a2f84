"""Layers that combine blobs value by value."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.base import (
    Emitter,
    LayerType,
    Mistake,
    Rewriter,
    check_bottoms,
    check_equal,
    fields,
)
from protogen.layers.elementwise import affine, reshape
from protogen.layers.graph import Layer


class Eltwise(LayerType):
    """Caffe: PROD, SUM with coeff, or MAX of two or more bottoms of one shape; no broadcasting."""

    reads = fields(eltwise_param="operation coeff")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, None)
        check_equal(layer, bottoms)
        p = layer.params.eltwise_param
        if p.coeff and len(p.coeff) != len(bottoms):
            raise layer.error(f"has {len(p.coeff)} coeff for {len(bottoms)} bottoms")
        if p.coeff and p.operation == "PROD":
            raise layer.error(
                "has coeff, which PROD does not take",
                "Leave coeff out, or put a Scale or Power layer before it.",
            )
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        # SUM and MAX fill their top before they read the bottoms.
        return layer.params.eltwise_param.operation == "PROD" and layer.tops[0] == layer.bottoms[0]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.eltwise_param
        reads = list(layer.reads)
        if p.operation == "SUM" and p.coeff:
            reads = [affine(e, read, c, 0.0) for read, c in zip(reads, p.coeff, strict=True)]
        if p.operation == "MAX":
            e.op("Max", reads, [layer.writes[0]])
            return
        op = "Mul" if p.operation == "PROD" else "Add"
        total = reads[0]
        for read in reads[1:-1]:
            total = e.value(op, total, read)
        e.op(op, [total, reads[-1]], [layer.writes[0]])

    def mistakes(self, layer: Layer) -> list[Mistake]:
        given = layer.params.eltwise_param.has("coeff")
        return [Mistake("coeff is left out", {"eltwise_param.coeff": []})] if given else []


class Axpy(LayerType):
    """Forks (SENet): a x + y with a of (N, C) or (N, C, 1, 1); bottoms a, x, y."""

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        scale, x, y = bottoms
        if scale[:2] != x[:2] or math.prod(scale[2:]) != 1 or x != y:
            raise layer.error("its bottoms must be a (N, C), x and y (N, C, H, W), x like y")
        return [x]

    def lower(self, layer: Layer, e: Emitter) -> None:
        before = e.shape(layer.reads[0])
        after = (*before[:2], *[1] * (len(e.shape(layer.reads[1])) - 2))
        scale = e.reshape(layer.reads[0], before, after)
        e.op("Add", [e.value("Mul", scale, layer.reads[1]), layer.reads[2]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        a, x, y = layer.bottoms
        flat = a
        if len(r.shape(a)) > 2:
            flat = r.add("Reshape", [a], role="factors", params=reshape([0, r.shape(a)[1]]))
        x = r.add("Scale", [x, flat], role="scaled", params={"scale_param": {"axis": 0}})
        r.add("Eltwise", [x, y], params={"eltwise_param": {"operation": Name("SUM")}})
