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
    axis_of,
    check_bottoms,
    fields,
)
from protogen.layers.checking import check_equal
from protogen.layers.elementwise import affine, reshape
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


class Eltwise(LayerType):
    """Caffe: PROD, SUM with coeff, or MAX of two or more bottoms of one shape; no broadcasting.
    Forks: MIN; DIV and SUB of two bottoms; SUM of one bottom (FlowNet2): coeff times the bottom. In
    Synopsys' fork the second bottom may have fewer axes: its axes are those of the first bottom from
    ``axis`` on, and its values are repeated along the others."""

    passes_signal = True

    reads = fields(eltwise_param="operation coeff axis")

    def does_nothing(self, params: Message) -> bool:
        return len(params.bottom) == 1 and not params.eltwise_param.coeff

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.eltwise_param
        allows_one = p.operation in ("SUM", "PROD") and layer.dialect != "bvlc"
        check_bottoms(layer, 1 if allows_one else 2, None)
        if len(bottoms) > 1 and (p.has("axis") or layer.dialect == "synopsys"):
            bottoms = [bottoms[0], self._repeated(layer, bottoms), *bottoms[2:]]
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

    def _repeated(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        """Return the shape of the second bottom when its values are repeated."""
        first, second = bottoms[:2]
        axis = axis_of(layer, layer.params.eltwise_param.axis, len(first)) if first else 0
        if first[axis : axis + len(second)] != second:
            raise layer.error(
                f'its second bottom must have the lengths of the axes of "{layer.bottoms[0]}" '
                f"({shape_text(first)}) from axis {axis} on, got {shape_text(second)}",
                "Set axis.",
            )
        return first

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.eltwise_param
        reads = list(layer.reads)
        first, second = e.shape(reads[0]), e.shape(reads[min(1, len(reads) - 1)])
        if first != second:
            axis = axis_of(layer, p.axis, len(first))
            after = (*second, *[1] * (len(first) - axis - len(second)))
            reads[1] = e.reshape(reads[1], second, after)
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
        if len({r.shape(bottom) for bottom in layer.bottoms}) > 1:
            self._rewrite_repeated(layer, r)
            return
        if layer.params.eltwise_param.has("axis"):
            r.retype("Eltwise", eltwise_param={"axis": None})
            return
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

    def _rewrite_repeated(self, layer: Layer, r: Rewriter) -> None:
        """Replace the product or sum of a bottom and a repeated one by a Scale or a Bias."""
        p = layer.params.eltwise_param
        first, second = layer.bottoms[0], layer.bottoms[-1]
        coeff = list(p.coeff) or [1.0, 1.0]
        if len(layer.bottoms) > 2 or p.operation not in ("PROD", "SUM") or coeff != [1.0, 1.0]:
            raise layer.unsupported("no stock layer repeats the values of its second bottom")
        type_, block = ("Scale", "scale_param") if p.operation == "PROD" else ("Bias", "bias_param")
        r.add(type_, [first, second], params={block: {"axis": p.axis}})

    def mistakes(self, layer: Layer) -> list[Mistake]:
        has_coeff = layer.params.eltwise_param.has("coeff")
        return [Mistake("coeff is left out", {"eltwise_param.coeff": []})] if has_coeff else []


_OPERATORS = {
    "PROD": "Mul", "SUM": "Add", "MAX": "Max", "MIN": "Min", "SUB": "Sub", "DIV": "Div",
}  # fmt: skip


class Axpy(LayerType):
    """Forks (SENet): a x + y with a of (N, C) or (N, C, 1, 1); bottoms a, x, y."""

    stock = False
    source = "hujie-frank/SENet"

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
