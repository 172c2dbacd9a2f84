"""Layers of Synopsys' fork that add, remove, repeat, pad or stack axes, as in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.checking import check_equal, check_tops
from protogen.layers.elementwise import reshape
from protogen.layers.forks.moving import _Padding
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.values import split_array
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Reshaped(LayerType, abstract=True):
    """Base class of layers that change the shape only."""

    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def is_view(self, layer: Layer) -> bool:
        return True

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(layer.reads[0], before, after)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = self.shapes(layer, [r.shape(layer.bottoms[0])])[0]
        assert shape is not None
        r.add("Reshape", layer.bottoms, params=reshape(shape))


class Squeeze(_Reshaped):
    """Removes the axes ``axis``, which have length 1, or all axes of length 1."""

    reads = fields(squeeze_param="axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = bottoms[0]
        axes = {axis_of(layer, axis, len(shape)) for axis in layer.params.squeeze_param.axis}
        for axis in sorted(axes):
            if shape[axis] != 1:
                raise layer.error(f"axis {axis} must have length 1, got shape {shape_text(shape)}")
        axes = axes or set(range(len(shape)))
        return [tuple(n for i, n in enumerate(shape) if n != 1 or i not in axes)]


class ExpandDimsND(_Reshaped):
    """Inserts axes of length 1. Entry i of ``axis``, plus i, is the position of the new axis; a
    negative entry counts from the end of the bottom: -1 is after its last axis."""

    reads = fields(expand_dims_nd_param="axis")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape = list(bottoms[0])
        for i, axis in enumerate(layer.params.expand_dims_nd_param.axis):
            place = axis_of(layer, axis, len(bottoms[0]), end=True)
            shape.insert(place + i, 1)
        return [tuple(shape)]


class Stack(LayerType):
    """The bottoms, which have one shape, along a new axis ``axis``."""

    reads = fields(stack_param="axis")
    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_equal(layer, bottoms)
        axis = axis_of(layer, layer.params.stack_param.axis, len(bottoms[0]), end=True)
        return [(*bottoms[0][:axis], len(bottoms), *bottoms[0][axis:])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = self._axis(layer, e.shape(layer.reads[0]))
        parts = [e.value("Unsqueeze", read, e.array([axis])) for read in layer.reads]
        e.op("Concat", parts, [layer.writes[0]], axis=axis)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        axis = self._axis(layer, shape)
        params = reshape((*shape[:axis], 1, *shape[axis:]))
        parts = [r.add("Reshape", [x], role="part", params=params) for x in layer.bottoms]
        r.add("Concat", parts, params={"concat_param": {"axis": axis}})

    def _axis(self, layer: Layer, shape: Shape) -> int:
        return axis_of(layer, layer.params.stack_param.axis, len(shape), end=True)

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        top = tops[0]
        if top is None:
            return [None] * len(shapes)
        axis = self._axis(layer, shapes[0])
        parts = split_array(top, [1] * len(shapes), axis)
        return [part.reshape(shapes[0]) for part in parts]


class Unstack(LayerType):
    """The parts of the bottom along ``axis``, one for each top; the axis is removed."""

    reads = fields(unstack_param="axis")
    harmless = MappingProxyType({"unstack_param.num": "the fork counts the tops"})
    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1)
        axis = axis_of(layer, layer.params.unstack_param.axis, len(bottoms[0]))
        if len(layer.tops) > bottoms[0][axis]:
            raise layer.error(f"has {len(layer.tops)} tops, but axis {axis} has {bottoms[0][axis]}")
        return [(*bottoms[0][:axis], *bottoms[0][axis + 1 :])] * len(layer.tops)

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = axis_of(layer, layer.params.unstack_param.axis, len(e.shape(layer.reads[0])))
        for i, write in enumerate(layer.writes):
            e.op("Gather", [layer.reads[0], e.array(i)], [write], axis=axis)


class Pad(_Padding):
    """A constant around each axis: ``paddings`` has two numbers per axis, before and after it."""

    reads = fields(pad_param="paddings constant_values")
    required = ("pad_param.paddings",)
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 1, 32)
        paddings = checked_paddings(layer, layer.params.pad_param.paddings, bottoms[0])
        return [padded(bottoms[0], paddings)]

    def pads(self, layer: Layer) -> tuple[int, int, int, int]:
        top, bottom, left, right = list(layer.params.pad_param.paddings)[4:8]
        return top, left, bottom, right

    def value(self, layer: Layer) -> float:
        return float(layer.params.pad_param.constant_values)

    def lower(self, layer: Layer, e: Emitter) -> None:
        paddings = list(layer.params.pad_param.paddings)
        pads = e.array([*paddings[::2], *paddings[1::2]])
        e.op("Pad", [layer.reads[0], pads, e.array(self.value(layer))], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        paddings = checked_paddings(layer, layer.params.pad_param.paddings, shape)
        if len(shape) != 4 or any(paddings[:4]):
            raise layer.unsupported("no stock layers pad other axes than 2 and 3 of 4")
        super().rewrite(layer, r)


def checked_paddings(layer: Layer, paddings: Sequence[int], shape: Shape) -> list[int]:
    """Return the paddings.

    Raises:
        InputError: there are not two per axis.
    """
    if len(paddings) != 2 * len(shape):
        raise layer.error(
            f"paddings must have two numbers per axis of {shape_text(shape)}, got {len(paddings)}"
        )
    return list(paddings)


def padded(shape: Shape, paddings: Sequence[int]) -> Shape:
    """Return the shape with the paddings before and after each axis."""
    return tuple(n + a + b for n, a, b in zip(shape, paddings[::2], paddings[1::2], strict=True))


_MODES = {"CONSTANT": "constant", "REFLECT": "reflect", "EDGE": "edge"}


class MirrorPad(LayerType):
    """Padding by ``mode``: CONSTANT, EDGE (the last value), REFLECT (mirrored without the last value)
    or SYMMETRIC (mirrored with it). ``paddings`` has two numbers per axis."""

    reads = fields(mirror_pad_param="paddings constant_values mode")
    required = ("mirror_pad_param.paddings",)
    stock = False
    source = SYNOPSYS
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 1, 32)
        p = layer.params.mirror_pad_param
        paddings = checked_paddings(layer, p.paddings, bottoms[0])
        if p.mode not in (*_MODES, "SYMMETRIC"):
            raise layer.error(f"mode must be CONSTANT, EDGE, REFLECT or SYMMETRIC, got {p.mode!r}")
        most = {"REFLECT": -1, "SYMMETRIC": 0}.get(p.mode)
        for axis, n in enumerate(bottoms[0]):
            pads = paddings[2 * axis : 2 * axis + 2]
            if most is not None and max(pads) > n + most:
                raise layer.error(
                    f"mode {p.mode} pads axis {axis} of length {n} by at most {n + most}, got "
                    f"{max(pads)}"
                )
        return [padded(bottoms[0], paddings)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, x = layer.params.mirror_pad_param, layer.reads[0]
        paddings = list(p.paddings)
        if p.mode != "SYMMETRIC":
            value = [e.array(float(p.constant_values))] if p.mode == "CONSTANT" else []
            pads = e.array([*paddings[::2], *paddings[1::2]])
            e.op("Pad", [x, pads, *value], [layer.writes[0]], mode=_MODES[p.mode])
            return
        for axis, n in enumerate(e.shape(layer.reads[0])):
            before, after = paddings[2 * axis : 2 * axis + 2]
            rows = [*range(before - 1, -1, -1), *range(n), *range(n - 1, n - 1 - after, -1)]
            if before or after:
                x = e.value("Gather", x, e.array(rows), axis=axis)
        e.op("Identity", [x], [layer.writes[0]])


class TileND(LayerType):
    """Repeats the bottom along each axis; ``multiples`` has one number per axis."""

    reads = fields(tile_nd_param="multiples")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        multiples = list(layer.params.tile_nd_param.multiples)
        if len(multiples) != len(bottoms[0]) or min(multiples, default=1) < 1:
            raise layer.error(
                f"multiples must have one number above 0 per axis of {shape_text(bottoms[0])}, got "
                f"{multiples}"
            )
        return [tuple(n * m for n, m in zip(bottoms[0], multiples, strict=True))]

    def lower(self, layer: Layer, e: Emitter) -> None:
        multiples = list(layer.params.tile_nd_param.multiples)
        e.op("Tile", [layer.reads[0], e.array(multiples)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        tile(layer, r, layer.bottoms[0], list(layer.params.tile_nd_param.multiples))


def tile(layer: Layer, r: Rewriter, x: str, multiples: Sequence[int]) -> None:
    """Replace the layer by a Tile for each axis that is repeated."""
    repeated = [(axis, count) for axis, count in enumerate(multiples) if count > 1] or [(0, 1)]
    for axis, count in repeated:
        params = {"tile_param": {"axis": axis, "tiles": count}}
        x = r.add("Tile", [x], role="" if axis == repeated[-1][0] else "tile", params=params)


class BroadcastTo(LayerType):
    """Repeats axes of length 1 to the lengths ``shape``; axes are aligned at the end."""

    reads = fields(broadcast_to_param="shape")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape, before = tuple(layer.params.broadcast_to_param.shape), bottoms[0]
        fits = len(shape) >= len(before) and min(shape, default=1) > 0
        ends = zip(before, shape[len(shape) - len(before) :], strict=False)
        if not fits or any(n not in (1, m) for n, m in ends):
            raise layer.error(f"cannot repeat {shape_text(before)} to {shape_text(shape)}")
        return [shape]

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape = list(layer.params.broadcast_to_param.shape)
        e.op("Expand", [layer.reads[0], e.array(shape)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        before, x = r.shape(layer.bottoms[0]), layer.bottoms[0]
        shape = self.shapes(layer, [before])[0]
        if len(before) < len(shape):
            before = (*[1] * (len(shape) - len(before)), *before)
            x = r.add("Reshape", [x], role="axes", params=reshape(before))
        tile(layer, r, x, [m // n for n, m in zip(before, shape, strict=True)])
