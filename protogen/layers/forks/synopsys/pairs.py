"""Arithmetic of two bottoms, with broadcasting as in TensorFlow (Synopsys' fork)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from protogen.formats.message import Name
from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, check_bottoms, fields
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT, reshape
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import positive, whole
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


def broadcast(layer: Layer, first: Shape, second: Shape) -> Shape:
    """Return the shape of two blobs whose axes are aligned at the end.

    Raises:
        InputError: the lengths of an axis differ, and neither is 1.
    """
    rank = max(len(first), len(second))
    pairs = zip(
        (*[1] * (rank - len(first)), *first), (*[1] * (rank - len(second)), *second), strict=True
    )
    top = tuple(max(pair) for pair in pairs)
    for shape in (first, second):
        if any(n not in (1, m) for n, m in zip(reversed(shape), reversed(top), strict=False)):
            raise layer.error(
                f"the axes of {shape_text(first)} and {shape_text(second)}, aligned at the end, must "
                "have equal lengths or length 1"
            )
    return top


class _Pair(LayerType, abstract=True):
    """Base class of layers of two operands. The second is the second bottom, or a parameter blob. The
    prototxt gives the shape of this blob only for Mul and Pow, or as inline ``blobs``."""

    stock = False
    source = SYNOPSYS
    blob_names = ("operand",)
    inline_blobs = "shapes"
    eltwise: ClassVar[dict[str, Any]] = {}  # of a stock Eltwise for equal shapes

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_tops(layer, 1, 1)
        return [broadcast(layer, bottoms[0], self.second(layer, bottoms))]

    def second(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        """Return the shape of the second operand."""
        return bottoms[1] if len(bottoms) == 2 else self.blob_shape(layer, bottoms[0])

    def blob_shape(self, layer: Layer, bottom: Shape) -> Shape:
        inline = list(layer.params.blobs)
        if not inline:
            raise layer.unsupported(
                "its second operand is a blob of the caffemodel, and the net does not set its shape",
                "Add blobs { shape { dim: ... } data: ... } to the layer.",
            )
        return tuple(inline[0].shape.dim)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [] if len(layer.bottoms) == 2 else [self.blob_shape(layer, bottoms[0])]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling() for _ in blobs]

    def lower(self, layer: Layer, e: Emitter) -> None:
        second = layer.reads[1] if len(layer.reads) == 2 else e.blob(layer, 0)
        self.emit(e, layer.reads[0], second, layer.writes[0])

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        """Emit the operators of two operands."""
        e.op(type(self).__name__, [a, b], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shapes = {r.shape(bottom) for bottom in layer.bottoms}
        if not self.eltwise:
            super().rewrite(layer, r)
        if len(layer.bottoms) == 1:
            raise layer.unsupported("its second operand is a parameter blob")
        if len(shapes) > 1:
            self.rewrite_spread(layer, r)
        else:
            r.add("Eltwise", layer.bottoms, params={"eltwise_param": self.eltwise})

    def rewrite_spread(self, layer: Layer, r: Rewriter) -> None:
        """Replace operands of different shapes by stock layers."""
        raise layer.unsupported("no stock layer computes it with operands of different shapes")


def spread_operand(layer: Layer, r: Rewriter) -> tuple[str, str, int]:
    """Return the operand that has the shape of the top, the other without its axes of length 1, and
    the axis of the first at which the other begins.

    Raises:
        UnsupportedError: the axes that the second operand lacks are not at its ends.
    """
    a, b = layer.bottoms
    top = broadcast(layer, r.shape(a), r.shape(b))
    full, small = (a, b) if r.shape(a) == top else (b, a)
    if r.shape(full) != top:
        raise layer.unsupported("no stock layer repeats the values of both operands")
    lengths = r.shape(small)
    axes = [i for i, n in enumerate(lengths, len(top) - len(lengths)) if n > 1]
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        raise layer.unsupported("no stock layer repeats the values of an operand along such axes")
    lengths_of_axes = tuple(top[i] for i in axes)
    if lengths != lengths_of_axes:
        small = r.add("Reshape", [small], role="operand", params=reshape(lengths_of_axes))
    return full, small, axes[0]


class Add(_Pair):
    """a + b."""

    passes_signal = True
    eltwise: ClassVar[dict[str, Any]] = {"operation": Name("SUM")}

    def rewrite_spread(self, layer: Layer, r: Rewriter) -> None:
        full, small, axis = spread_operand(layer, r)
        r.add("Bias", [full, small], params={"bias_param": {"axis": axis}})


class Sub(_Pair):
    """a - b."""

    passes_signal = True
    eltwise: ClassVar[dict[str, Any]] = {"operation": Name("SUM"), "coeff": [1.0, -1.0]}

    def rewrite_spread(self, layer: Layer, r: Rewriter) -> None:
        full, small, axis = spread_operand(layer, r)
        negative = {"power_param": {"scale": -1.0}}
        x = (
            full
            if full == layer.bottoms[0]
            else r.add("Power", [full], role="first", params=negative)
        )
        y = small if x != full else r.add("Power", [small], role="second", params=negative)
        r.add("Bias", [x, y], params={"bias_param": {"axis": axis}})


class Mul(_Pair):
    """a b. Without a second bottom, b is a parameter blob of the shape ``mul_shape``."""

    reads = fields(mul_param="mul_shape")
    eltwise: ClassVar[dict[str, Any]] = {"operation": Name("PROD")}

    def blob_shape(self, layer: Layer, bottom: Shape) -> Shape:
        return tuple(layer.params.mul_param.mul_shape)

    def rewrite_spread(self, layer: Layer, r: Rewriter) -> None:
        full, small, axis = spread_operand(layer, r)
        r.add("Scale", [full, small], params={"scale_param": {"axis": axis}})


class Div(_Pair):
    """a / b."""

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[1]) if index == 1 else None

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(layer.bottoms) == 1 or len({r.shape(bottom) for bottom in layer.bottoms}) > 1:
            super().rewrite(layer, r)
        inverse = {"power_param": {"power": -1.0}}
        x = r.add("Power", layer.bottoms[1:], role="inverse", params=inverse)
        r.add(
            "Eltwise", [layer.bottoms[0], x], params={"eltwise_param": {"operation": Name("PROD")}}
        )


class FloorDiv(Div):
    """The largest integer that is not above a / b."""

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        e.op("Floor", [e.value("Div", a, b)], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        raise layer.unsupported("no stock layer rounds down")


class FloorMod(Div):
    """a - floor(a / b) b."""

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        whole = e.value("Floor", e.value("Div", a, b))
        e.op("Sub", [a, e.value("Mul", whole, b)], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        raise layer.unsupported("no stock layer rounds down")


class Maximum(_Pair):
    """The larger of a and b."""

    eltwise: ClassVar[dict[str, Any]] = {"operation": Name("MAX")}

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        e.op("Max", [a, b], [write])


class Minimum(_Pair):
    """The smaller of a and b."""

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        e.op("Min", [a, b], [write])


class Pow(_Pair):
    """a to the power of b. Without a second bottom, b is a parameter blob of the shape of a."""

    def blob_shape(self, layer: Layer, bottom: Shape) -> Shape:
        return bottom

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return positive(rng, shapes[0]) if index == 0 else None

    def emit(self, e: Emitter, a: str, b: str, write: str) -> None:
        e.op("Pow", [a, b], [write])


class NotEqual(LayerType):
    """1 where the two bottoms differ, or where the bottom differs from ``comparand``; else 0."""

    reads = fields(not_equal_param="comparand")
    stock = False
    source = SYNOPSYS

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, 3, shapes[index])

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_tops(layer, 1, 1)
        if bottoms[0] != bottoms[-1]:
            raise layer.error(
                f"its bottoms must have the same shape, got {shape_text(bottoms[0])} and "
                f"{shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def lower(self, layer: Layer, e: Emitter) -> None:
        other = (
            layer.reads[1]
            if len(layer.reads) == 2
            else e.array(float(layer.params.not_equal_param.comparand))
        )
        differs = e.value("Not", e.value("Equal", layer.reads[0], other))
        e.op("Cast", [differs], [layer.writes[0]], to=FLOAT)
