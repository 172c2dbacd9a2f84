"""Layers with one factor or addend per channel: PReLU, Scale and Bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.errors import quantity
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.elementwise import _Same
from protogen.layers.graph import Layer
from protogen.layers.normalization import channels_of
from protogen.layers.writing import Emitter


class PReLU(_Same):
    """x, or slope x below 0; one slope per channel, or one for all (channel_shared)."""

    written_in_place = True

    activation = "rectifier"

    reads = fields(prelu_param="channel_shared")

    blob_names = ("slope",)
    inline_blobs = "counts"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 2, 4)
        return super().shapes(layer, bottoms)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        shared = layer.params.prelu_param.channel_shared
        return [()] if shared else [(channels_of(bottoms[0]),)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("prelu_param.filler", value=0.25)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        rank = len(e.shape(layer.reads[0]))
        slope = e.array(e.weight(layer, 0).reshape(-1, *[1] * (rank - 2)))
        e.op("PRelu", [layer.reads[0], slope], [layer.writes[0]])


class _ByAxis(LayerType, abstract=True):
    """Base of Scale and Bias: the second operand is a bottom or a blob. Its axes match the axes of
    the first bottom from ``axis`` on."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        if len(bottoms) == 1:
            axis_of(layer, self.param(layer).axis, len(bottoms[0]))  # even where num_axes is 0
        operand = self._operand(layer, bottoms)
        axis = self._axis(layer, bottoms, operand)
        expected = bottoms[0][axis : axis + len(operand)]
        if operand != expected:
            raise layer.error(
                f'"{layer.bottoms[1]}" must match the axes of "{layer.bottoms[0]}" from axis '
                f"{axis} on: expected {shape_text(expected)}, got {shape_text(operand)}"
            )
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        return True

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._operand(layer, bottoms)] if len(bottoms) == 1 else []

    def param(self, layer: Layer) -> Message:
        """Return the parameter block of the layer."""
        raise NotImplementedError

    def operand(self, layer: Layer, e: Emitter) -> tuple[str, int, int]:
        """Emit the second operand, reshaped to broadcast along its axes.

        Return its value, the number of its axes, and the number of axes appended after them.
        """
        bottoms = [e.shape(read) for read in layer.reads]
        shape = self._operand(layer, bottoms)
        after = len(bottoms[0]) - self._axis(layer, bottoms, shape) - len(shape)
        after = after if shape else 0
        if len(bottoms) == 2:
            name = layer.reads[1]
            if after:
                name = e.reshape(name, shape, (*shape, *[1] * after))
            return name, len(shape), after
        return e.array(e.weight(layer, 0).reshape((*shape, *[1] * after))), len(shape), after

    def _axis(self, layer: Layer, bottoms: Sequence[Shape], operand: Shape) -> int:
        # Caffe uses axis 0 for a scalar operand, so that a bottom without axes is valid too.
        return 0 if not operand else axis_of(layer, self.param(layer).axis, len(bottoms[0]))

    def _operand(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        """Return the shape of the second operand."""
        if len(bottoms) == 2:
            return bottoms[1]
        p = self.param(layer)
        count: int = p.num_axes
        if count == 0:
            return ()
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        if count == -1:
            return bottoms[0][axis:]
        if count < -1 or axis + count > len(bottoms[0]):
            raise layer.error(
                f"num_axes {count} from axis {axis} is out of range for a bottom with "
                f"{quantity(len(bottoms[0]), 'axis', 'axes')}"
            )
        return bottoms[0][axis : axis + count]


class Scale(_ByAxis):
    """x times a blob or a second bottom, plus a bias with ``bias_term``. Forks clip the factors to
    ``min_value`` and ``max_value``."""

    written_in_place = True

    passes_signal = True

    reads = fields(scale_param="axis num_axes bias_term min_value max_value")

    def param(self, layer: Layer) -> Message:
        p: Message = layer.params.scale_param
        return p

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        bias = [self._operand(layer, bottoms)] if self.param(layer).bias_term else []
        return super().blobs(layer, bottoms) + bias

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        factors = [Filling("scale_param.filler", value=1.0)] if len(bottoms) == 1 else []
        return [*factors, Filling("scale_param.bias_filler")][: len(blobs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(tops[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        scale, axes, after = self.operand(layer, e)
        p = self.param(layer)
        for name, op in (("min_value", "Max"), ("max_value", "Min")):
            if p.has(name):
                scale = e.value(op, scale, e.array(float(getattr(p, name))))
        if not self.param(layer).bias_term:
            e.op("Mul", [layer.reads[0], scale], [layer.writes[0]])
            return
        bias = e.weight(layer, 2 - len(layer.reads))
        shaped = e.array(bias.reshape((*bias.shape[:axes], *[1] * after)))
        e.op("Add", [e.value("Mul", layer.reads[0], scale), shaped], [layer.writes[0]])


class Bias(_ByAxis):
    """x plus a blob or a second bottom."""

    passes_signal = True

    reads = fields(bias_param="axis num_axes")

    blob_names = ("bias",)

    def param(self, layer: Layer) -> Message:
        p: Message = layer.params.bias_param
        return p

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("bias_param.filler")][: len(blobs)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Add", [layer.reads[0], self.operand(layer, e)[0]], [layer.writes[0]])
