"""Layers that combine blobs element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.errors import quantity
from protogen.formats.message import Message, Name
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Mistake,
    check_bottoms,
    fields,
)
from protogen.layers.checking import check_equal
from protogen.layers.elementwise import affine, reshape
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


class Eltwise(LayerType):
    """Caffe: PROD, SUM with coeff, or MAX of two or more bottoms of one shape; no broadcasting.
    Forks: MIN; DIV and SUB of two bottoms; SUM of one bottom (FlowNet2): coeff times the bottom."""

    passes_signal = True

    reads = fields(eltwise_param="operation coeff")

    def does_nothing(self, params: Message) -> bool:
        return len(params.bottom) == 1 and not params.eltwise_param.coeff

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.eltwise_param
        allows_one = p.operation == "SUM" and layer.dialect != "bvlc"
        check_bottoms(layer, 1 if allows_one else 2, None)
        check_equal(layer, bottoms)
        if p.operation in ("DIV", "SUB"):
            check_bottoms(layer, 2, 2)
        if p.coeff and len(p.coeff) != len(bottoms):
            raise layer.error(
                f"has {len(p.coeff)} coeff for {quantity(len(bottoms), 'bottom')}",
                "Set one per bottom.",
            )
        if p.coeff and p.operation not in ("SUM", "MAX"):
            raise layer.error(
                f"coeff is not allowed with operation {p.operation}",
                "Remove coeff, or put a Scale or Power layer before this layer.",
            )
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        # SUM and MAX overwrite their top before they read the bottoms.
        return layer.params.eltwise_param.operation == "PROD" and layer.tops[0] == layer.bottoms[0]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.eltwise_param
        reads = list(layer.reads)
        if p.operation == "SUM" and p.coeff:
            reads = [affine(e, read, c, 0.0) for read, c in zip(reads, p.coeff, strict=True)]
        op = _OPERATORS[p.operation]
        if op in ("Max", "Min"):
            e.op(op, reads, [layer.writes[0]])
            return
        total = reads[0]
        for read in reads[1:-1]:
            total = e.value(op, total, read)
        if len(reads) == 1:
            e.op("Identity", [total], [layer.writes[0]])
        else:
            e.op(op, [total, reads[-1]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        operation = layer.params.eltwise_param.operation
        if operation == "SUB":
            params = {"eltwise_param": {"operation": Name("SUM"), "coeff": [1.0, -1.0]}}
            r.add("Eltwise", layer.bottoms, params=params)
        elif operation == "DIV":
            inverse = {"power_param": {"power": -1.0}}
            divisor = r.add("Power", layer.bottoms[1:], role="inverse", params=inverse)
            product = {"eltwise_param": {"operation": Name("PROD")}}
            r.add("Eltwise", [layer.bottoms[0], divisor], params=product)
        elif operation != "MIN":
            super().rewrite(layer, r)
        else:
            negative = {"power_param": {"scale": -1.0}}
            parts = [
                r.add("Power", [bottom], role="negative", params=negative)
                for bottom in layer.bottoms
            ]
            largest = {"eltwise_param": {"operation": Name("MAX")}}
            maximum = r.add("Eltwise", parts, role="largest", top=layer.tops[0], params=largest)
            r.add("Power", [maximum], params=negative)

    def mistakes(self, layer: Layer) -> list[Mistake]:
        has_coeff = layer.params.eltwise_param.has("coeff")
        return [Mistake("coeff is left out", {"eltwise_param.coeff": []})] if has_coeff else []


_OPERATORS = {
    "PROD": "Mul", "SUM": "Add", "MAX": "Max", "MIN": "Min", "SUB": "Sub", "DIV": "Div",
}  # fmt: skip


class Axpy(LayerType):
    """Forks (SENet): a x + y with a of (N, C) or (N, C, 1, 1); bottoms a, x, y."""

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        scale, x, y = bottoms
        if scale[:2] != x[:2] or math.prod(scale[2:]) != 1 or x != y:
            raise layer.error(
                "expected bottoms of shapes (N, C), (N, C, H, W) and (N, C, H, W), got "
                + ", ".join(map(shape_text, bottoms))
            )
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
