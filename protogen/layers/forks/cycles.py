"""Arithmetic of Cambricon's fork: the square root, products of two bottoms, and bottoms of which one
has a single value for each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import PRODUCT, _Same, reshape
from protogen.layers.graph import Layer
from protogen.layers.values import positive
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

_SOURCE = "Cambricon/caffe"


class Sqrt(_Same):
    """Forks (Cambricon): the square root; NaN below 0."""

    stock = False
    source = _SOURCE

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Sqrt", [layer.reads[0]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        r.add("Power", layer.bottoms, params={"power_param": {"power": 0.5}})


class Mult(LayerType):
    """Forks (Cambricon): the product of two bottoms with equally many values."""

    stock = False
    source = _SOURCE

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        if math.prod(bottoms[0]) != math.prod(bottoms[1]):
            raise layer.error(
                f"its bottoms must have equally many values, got {shape_text(bottoms[0])} and "
                f"{shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def lower(self, layer: Layer, e: Emitter) -> None:
        first, second = (e.shape(read) for read in layer.reads)
        other = layer.reads[1]
        if first != second:
            other = e.reshape(other, second, first)
        e.op("Mul", [layer.reads[0], other], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        first, other = layer.bottoms
        if r.shape(first) != r.shape(other):
            other = r.add("Reshape", [other], role="as_first", params=reshape(r.shape(first)))
        r.add("Eltwise", [first, other], params=PRODUCT)


class _Cycle(LayerType, abstract=True):
    """Base class of layers whose second bottom has one value for each channel: 1 x C x 1 x 1."""

    stock = False
    source = _SOURCE
    operator: ClassVar[str] = ""
    replacement: ClassVar[tuple[str, dict[str, Any]]] = ("", {})  # of stock Caffe
    sign: ClassVar[float] = 1.0  # of the second bottom in the replacement

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        channels = four_axes(layer, bottoms[0])[1]
        if four_axes(layer, bottoms[1]) != (1, channels, 1, 1):
            raise layer.error(
                f"its second bottom must have the shape 1x{channels}x1x1, got "
                f"{shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        return layer.bottoms[0] == layer.tops[0] and layer.bottoms[1] != layer.tops[0]

    def lower(self, layer: Layer, e: Emitter) -> None:
        first = e.shape(layer.reads[0])
        channels = (*first, 1)[1]
        per_channel = [channels, *[1] * (len(first) - 2)]
        if len(first) < 2:
            per_channel = [1]
        second = e.value("Reshape", layer.reads[1], e.array(per_channel))
        e.op(self.operator, [layer.reads[0], second], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(r.shape(layer.bottoms[0])) < 2:
            raise layer.unsupported("its first bottom has no axis of channels")
        second = layer.bottoms[1]
        if self.sign != 1:
            minus = {"power_param": {"scale": self.sign}}
            second = r.add("Power", [second], role="minus", params=minus)
        second = r.add("Reshape", [second], role="per_channel", params=reshape([-1]))
        type_, params = self.replacement
        r.add(type_, [layer.bottoms[0], second], params=params)


class CycleAdd(_Cycle):
    """Forks (Cambricon): the first bottom plus a value for each channel."""

    operator = "Add"
    replacement = ("Bias", {})


class CycleSub(_Cycle):
    """Forks (Cambricon): the first bottom minus a value for each channel."""

    operator = "Sub"
    replacement = ("Bias", {})
    sign = -1.0


class CycleMult(_Cycle):
    """Forks (Cambricon): the first bottom times a value for each channel."""

    operator = "Mul"
    replacement = ("Scale", {})
