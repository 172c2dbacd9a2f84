"""Layers that reduce any axes (Synopsys' fork)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from protogen.formats.message import Message, Name
from protogen.geometry import Shape
from protogen.layers.base import LayerType, Window, axis_of, check_bottoms, fields
from protogen.layers.elementwise import FLOAT, reshape
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import whole
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Reduce(LayerType, abstract=True):
    """Base class of reductions over the axes ``axis``, or over all axes if there is none. The axes are
    removed, or kept with length 1 (``keepdims``)."""

    stock = False
    source = SYNOPSYS
    operator: ClassVar[str] = ""  # of ONNX
    stock_operation: ClassVar[str] = ""  # of a stock Reduction
    inner_power: ClassVar[float] = 1.0  # the power of the sum

    def block(self, layer: Layer) -> Message:
        """Return the parameter block of the type."""
        value: Message = getattr(layer.params, next(iter(self.reads)))
        return value

    def axes(self, layer: Layer, shape: Shape) -> list[int]:
        """Return the reduced axes in ascending order.

        Raises:
            InputError: an axis is out of range or repeated.
        """
        p = self.block(layer)
        listed = list(p.axes if "axes" in self.reads[next(iter(self.reads))] else p.axis)
        axes = sorted(axis_of(layer, axis, len(shape)) for axis in listed)
        if len(set(axes)) < len(axes):
            raise layer.error(f"an axis is repeated in {listed}")
        return axes or list(range(len(shape)))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        axes = self.axes(layer, bottoms[0])
        if self.block(layer).keepdims == 1:
            return [tuple(1 if i in axes else n for i, n in enumerate(bottoms[0]))]
        return [tuple(n for i, n in enumerate(bottoms[0]) if i not in axes)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        axes = self.axes(layer, bottoms[0])
        return super().window(layer, bottoms) if axes == [1] else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        axes = self.axes(layer, e.shape(layer.reads[0]))
        x = self.before(e, layer.reads[0])
        if axes:
            x = e.reduce(self.operator, x, axes, keepdims=self.block(layer).keepdims == 1)
        self.after(e, x, layer.writes[0])

    def before(self, e: Emitter, x: str) -> str:
        """Emit what is reduced."""
        return x

    def after(self, e: Emitter, x: str, write: str) -> None:
        """Emit the function of the reduced value."""
        e.op("Identity", [x], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        axes = self.axes(layer, shape)
        if not self.stock_operation or axes != list(range(len(shape) - len(axes), len(shape))):
            raise layer.unsupported("no stock layer reduces these axes so")
        top = self.shapes(layer, [shape])[0]
        block: dict[str, Any] = {"operation": Name(self.stock_operation)}
        block |= {"axis": axes[0]} if axes and axes[0] else {}
        params = {"reduction_param": block}
        keeps, power = top != shape[: len(shape) - len(axes)], self.inner_power
        role = "reduced" if keeps or power != 1 else ""
        x = r.add("Reduction", layer.bottoms, role=role, params=params)
        if power != 1:
            root = {"power_param": {"power": power}}
            x = r.add("Power", [x], role="root" if keeps else "", params=root)
        if keeps:
            r.add("Reshape", [x], params=reshape(top))


class ReduceSum(_Reduce):
    """The sum."""

    reads = fields(reduce_sum_param="axis keepdims")
    operator = "ReduceSum"
    stock_operation = "SUM"


class ReduceMean(_Reduce):
    """The mean."""

    reads = fields(reduce_mean_param="axis keepdims")
    operator = "ReduceMean"
    stock_operation = "MEAN"


class ReduceMax(_Reduce):
    """The largest value."""

    reads = fields(reduce_max_param="axis keepdims")
    operator = "ReduceMax"


class ReduceMin(_Reduce):
    """The smallest value."""

    reads = fields(reduce_min_param="axis keepdims")
    operator = "ReduceMin"


class ReduceProd(_Reduce):
    """The product."""

    reads = fields(reduce_prod_param="axis keepdims")
    operator = "ReduceProd"


class ReduceL1(_Reduce):
    """The sum of |x|."""

    reads = fields(reduce_l1_param="axes keepdims")
    operator = "ReduceSum"
    stock_operation = "ASUM"

    def before(self, e: Emitter, x: str) -> str:
        return e.value("Abs", x)


class ReduceL2(_Reduce):
    """The square root of the sum of x^2."""

    reads = fields(reduce_l2_param="axes keepdims")
    operator = "ReduceSum"
    stock_operation = "SUMSQ"
    inner_power = 0.5

    def before(self, e: Emitter, x: str) -> str:
        return e.value("Mul", x, x)

    def after(self, e: Emitter, x: str, write: str) -> None:
        e.op("Sqrt", [x], [write])


class ReduceLogSumExp(_Reduce):
    """The logarithm of the sum of exp(x)."""

    reads = fields(reduce_logsumexp_param="axis keepdims")
    operator = "ReduceSum"

    def before(self, e: Emitter, x: str) -> str:
        return e.value("Exp", x)

    def after(self, e: Emitter, x: str, write: str) -> None:
        e.op("Log", [x], [write])


class _Count(_Reduce, abstract=True):
    """Base class of layers that read which values are not 0."""

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, 4, shapes[0])

    def before(self, e: Emitter, x: str) -> str:
        return e.value("Cast", e.value("Not", e.value("Equal", x, e.array(0.0))), to=FLOAT)


class ReduceAll(_Count):
    """1 if no value is 0, else 0."""

    reads = fields(reduce_all_param="axis keepdims")
    operator = "ReduceMin"


class ReduceAny(_Count):
    """1 if a value is not 0, else 0."""

    reads = fields(reduce_any_param="axis keepdims")
    operator = "ReduceMax"


class CountNonzero(_Count):
    """The number of values that are not 0."""

    reads = fields(count_nonzero_param="axis keepdims")
    operator = "ReduceSum"
