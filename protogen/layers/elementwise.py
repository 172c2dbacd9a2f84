"""Layers that compute each output value from one input value."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Message, Name
from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    check_bottoms,
    fields,
)
from protogen.layers.graph import Layer
from protogen.layers.values import above_0
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Same(LayerType, abstract=True):
    """Base class of layers whose top has the shape of the bottom."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        return True


class AbsVal(_Same):
    """|x|."""

    def in_place(self, layer: Layer) -> bool:
        return False

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Abs", [layer.reads[0]], [layer.writes[0]])


class Dropout(_Same):
    """Caffe scales in training, so in phase TEST it is the identity. In phase TRAIN each value is
    randomly 0 or x / (1 - ratio). Forks: with ``scale_train: false`` (TextBoxes++), TRAIN does not
    scale, and TEST is (1 - ratio) x; with ``sample_weights_test`` (SegNet), TEST is the same as
    TRAIN."""

    computes = False

    passes_signal = True

    reads = fields(dropout_param="dropout_ratio scale_train sample_weights_test")

    def random(self, layer: Layer) -> bool:
        p = layer.params.dropout_param
        return bool(p.dropout_ratio) and (layer.phase == "TRAIN" or bool(p.sample_weights_test))

    def does_nothing(self, params: Message) -> bool:
        return bool(params.dropout_param.dropout_ratio == 0)

    def lower(self, layer: Layer, e: Emitter) -> None:
        scale = self._scale(layer)
        e.op("Identity", [affine(e, layer.reads[0], scale, 0.0)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        r.add("Power", layer.bottoms, params={"power_param": {"scale": self._scale(layer)}})

    def _scale(self, layer: Layer) -> float:
        """Return the factor of the mean value in phase TEST."""
        p = layer.params.dropout_param
        return 1.0 if p.scale_train else 1.0 - float(p.dropout_ratio)


class Exp(_Same):
    """base ^ (shift + scale x); base -1 means e."""

    written_in_place = True

    reads = fields(exp_param="base scale shift")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        _log_base(layer, layer.params.exp_param.base)
        return super().shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.exp_param
        factor = _log_base(layer, p.base)
        x = affine(e, layer.reads[0], factor * p.scale, factor * p.shift)
        e.op("Exp", [x], [layer.writes[0]])


class Log(_Same):
    """log_base(shift + scale x); base -1 means e."""

    written_in_place = True

    reads = fields(log_param="base scale shift")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if _log_base(layer, layer.params.log_param.base) == 0:
            raise layer.error(
                "base must not be 1: its logarithm is 0", "Set another base, or -1 for e."
            )
        return super().shapes(layer, bottoms)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.log_param
        return above_0(rng, shapes[0], p.scale, p.shift)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.log_param
        x = e.value("Log", affine(e, layer.reads[0], p.scale, p.shift))
        e.op("Mul", [x, e.array(1 / _log_base(layer, p.base))], [layer.writes[0]])


class Power(_Same):
    """(shift + scale x) ^ power."""

    written_in_place = True

    passes_signal = True

    reads = fields(power_param="power scale shift")

    def does_nothing(self, params: Message) -> bool:
        p = params.power_param
        return bool(p.power == 1 and p.scale == 1 and p.shift == 0)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.power_param
        return above_0(rng, shapes[0], p.scale, p.shift) if p.power % 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.power_param
        if p.scale == 0 or p.power == 0:  # Caffe then writes a constant and ignores the input
            import numpy as np

            # As C's pow: 0 to a negative power is infinite, a root of a negative number is NaN.
            value = np.power(np.float32(p.shift), np.float32(p.power)) if p.power else 1.0
            constant = e.array(value)
            shape = e.value("Shape", layer.reads[0])
            e.op("Expand", [constant, shape], [layer.writes[0]])
            return
        x = affine(e, layer.reads[0], p.scale, p.shift)
        if p.power == 1:
            e.op("Identity", [x], [layer.writes[0]])
        else:
            e.op("Pow", [x, e.array(float(p.power))], [layer.writes[0]])


class Threshold(_Same):
    """1 where x > threshold, else 0."""

    written_in_place = True

    reads = fields(threshold_param="threshold")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (0,)

    def lower(self, layer: Layer, e: Emitter) -> None:
        threshold = e.array(layer.params.threshold_param.threshold)
        is_above = e.value("Greater", layer.reads[0], threshold)
        e.op("Cast", [is_above], [layer.writes[0]], to=FLOAT)


class ShuffleChannel(_Same):
    """Forks (ShuffleNet): channels as (group, C / group), transposed."""

    reads = fields(shuffle_channel_param="group")

    stock = False
    source = "farmingyard/ShuffleNet"

    def in_place(self, layer: Layer) -> bool:
        return False

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape = e.shape(layer.reads[0])
        group = self._group(layer, shape)
        split = (shape[0], group, shape[1] // group, *shape[2:])
        x = e.reshape(layer.reads[0], shape, split)
        x = e.value("Transpose", x, perm=[0, 2, 1, *range(3, len(split))])
        swapped = (split[0], split[2], split[1], *split[3:])
        e.op("Identity", [e.reshape(x, swapped, shape)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape = r.shape(layer.bottoms[0])
        group = self._group(layer, shape)
        pixels = math.prod(shape[2:])
        dims = [-1, group, shape[1] // group, 1, pixels]
        x = r.add("Reshape", layer.bottoms, role="groups", params=reshape(dims))
        parts = r.split(x, "group", 1, range(1, group))
        x = r.add("Concat", parts, role="shuffled", params={"concat_param": {"axis": 3}})
        r.add("Reshape", [x], params=reshape([-1, *shape[1:]]))

    def _group(self, layer: Layer, shape: Shape) -> int:
        group: int = layer.params.shuffle_channel_param.group
        if group < 1 or shape[1] % group:
            raise layer.error(f"group {group} does not divide {shape[1]} channels")
        return group


PRODUCT = {"eltwise_param": {"operation": Name("PROD")}}


def reshape(dims: Sequence[int]) -> dict[str, Any]:
    """Return the parameters of a Reshape: 0 copies an axis, -1 is inferred from the other axes."""
    return {"reshape_param": {"shape": {"dim": list(dims)}}}


FLOAT = 1  # ONNX's number for float32, used by Cast
BOOL = 9  # ONNX's number for bool, used by Cast


def affine(e: Emitter, x: str, scale: float, shift: float) -> str:
    """Emit scale x + shift, without operators that have no effect."""
    if scale != 1:
        x = e.value("Mul", x, e.array(float(scale)))
    return e.value("Add", x, e.array(float(shift))) if shift != 0 else x


def _log_base(layer: Layer, base: float) -> float:
    """Return ln(base); base -1 means e, as in Caffe."""
    if base == -1:
        return 1.0
    if not 0 < base < math.inf:
        raise layer.error(f"base must be a positive number, or -1 for e, got {base:g}")
    return math.log(base)
