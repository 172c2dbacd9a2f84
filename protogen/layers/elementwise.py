"""Layers that work on each value alone, and Eltwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.base import (
    Emitter,
    LayerType,
    Mistake,
    Rewriter,
    check_bottoms,
    check_equal,
)
from protogen.layers.graph import Layer
from protogen.layers.values import above_0

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Same(LayerType, abstract=True):
    """The top has the bottom's shape."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        return [bottoms[0]] * len(layer.tops)

    def in_place(self, layer: Layer) -> bool:
        return True


class AbsVal(_Same):
    """|x|."""

    def in_place(self, layer: Layer) -> bool:
        return False

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Abs", [layer.reads[0]], [layer.writes[0]])


class BNLL(_Same):
    """log(1 + exp(x))."""

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Softplus", [layer.reads[0]], [layer.writes[0]])


class Clip(_Same):
    """max(min, min(x, max)): min everywhere where min is above max."""

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        return (layer.params.clip_param.min, layer.params.clip_param.max)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.clip_param
        # ONNX gives max where the two cross.
        limits = [e.array(p.min), e.array(max(p.min, p.max))]
        e.op("Clip", [layer.reads[0], *limits], [layer.writes[0]])


class Dropout(_Same):
    """Caffe scales while training, so in the TEST phase it is the identity. In phase TRAIN every
    value is 0 or x / (1 - ratio), by chance."""

    def random(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN" and bool(layer.params.dropout_param.dropout_ratio)

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [layer.reads[0]], [layer.writes[0]])


class ELU(_Same):
    """x, or alpha (exp(x) - 1) below 0."""

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Elu", [layer.reads[0]], [layer.writes[0]], alpha=layer.params.elu_param.alpha)


class Exp(_Same):
    """base ^ (shift + scale x); base -1 means e."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        _log_base(layer, layer.params.exp_param.base)
        return super().shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.exp_param
        factor = _log_base(layer, p.base)
        x = affine(e, layer.reads[0], factor * p.scale, factor * p.shift)
        e.op("Exp", [x], [layer.writes[0]])


class HardSigmoid(_Same):
    """Forks: min(max(alpha x + beta, 0), 1)."""

    stock = False
    resting = (0.0, 1.0)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.hardsigmoid_param
        e.op("HardSigmoid", [layer.reads[0]], [layer.writes[0]], alpha=p.alpha, beta=p.beta)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.hardsigmoid_param
        line = {"power_param": {"scale": p.alpha, "shift": p.beta}}
        x = r.add("Power", layer.bottoms, role="line", top=layer.tops[0], params=line)
        r.add("Clip", [x], params={"clip_param": {"min": 0.0, "max": 1.0}})


class HardSwish(_Same):
    """Forks: x min(max(x + 3, 0), 6) / 6."""

    stock = False

    def lower(self, layer: Layer, e: Emitter) -> None:
        gate = e.value("HardSigmoid", layer.reads[0], alpha=1 / 6, beta=0.5)
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        line = {"power_param": {"scale": 1 / 6, "shift": 0.5}}
        gate = r.add("Power", layer.bottoms, role="gate", params=line)
        limits = {"clip_param": {"min": 0.0, "max": 1.0}}
        gate = r.add("Clip", [gate], role="clip", top=gate, params=limits)
        r.add("Eltwise", [layer.bottoms[0], gate], params=PRODUCT)


class Log(_Same):
    """log_base(shift + scale x); base -1 means e."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if _log_base(layer, layer.params.log_param.base) == 0:
            raise layer.error("base 1 has no logarithm", "Give another base, or -1 for e.")
        return super().shapes(layer, bottoms)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.log_param
        return above_0(rng, shapes[0], p.scale, p.shift)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.log_param
        x = e.value("Log", affine(e, layer.reads[0], p.scale, p.shift))
        e.op("Mul", [x, e.array(1 / _log_base(layer, p.base))], [layer.writes[0]])


class Mish(_Same):
    """Forks: x tanh(log(1 + exp(x)))."""

    stock = False

    def lower(self, layer: Layer, e: Emitter) -> None:
        gate = e.value("Tanh", e.value("Softplus", layer.reads[0]))
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        gate = r.add("BNLL", layer.bottoms, role="softplus")
        gate = r.add("TanH", [gate], role="tanh", top=gate)
        r.add("Eltwise", [layer.bottoms[0], gate], params=PRODUCT)


class Power(_Same):
    """(shift + scale x) ^ power."""

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        p = layer.params.power_param
        return above_0(rng, shapes[0], p.scale, p.shift) if p.power % 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.power_param
        if p.scale == 0 or p.power == 0:  # Caffe then writes a constant, whatever the input is
            import numpy as np

            # As C's pow has it: 0 to a negative power is infinite, a root of less than 0 is NaN.
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


class ReLU(_Same):
    """max(x, 0) + negative_slope min(x, 0)."""

    resting = (0.0,)

    def lower(self, layer: Layer, e: Emitter) -> None:
        slope = layer.params.relu_param.negative_slope
        if slope:
            e.op("LeakyRelu", [layer.reads[0]], [layer.writes[0]], alpha=slope)
        else:
            e.op("Relu", [layer.reads[0]], [layer.writes[0]])

    def mistakes(self, layer: Layer) -> list[Mistake]:
        changes = {"relu_param.negative_slope": 0.0}
        slope = layer.params.relu_param.negative_slope
        return [Mistake("negative_slope is left out", changes)] if slope else []


class ReLU6(_Same):
    """Forks: min(max(x, 0), 6); SSD's may have another threshold."""

    stock = False

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        return (0.0, self._threshold(layer))

    def lower(self, layer: Layer, e: Emitter) -> None:
        high = e.array(self._threshold(layer))
        e.op("Clip", [layer.reads[0], e.array(0.0), high], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        limits = {"min": 0.0, "max": self._threshold(layer)}
        r.add("Clip", layer.bottoms, params={"clip_param": limits})

    def _threshold(self, layer: Layer) -> float:
        p = layer.params.relu6_param
        if p.has("negative_slope") and p.negative_slope:
            raise layer.unsupported("negative_slope is understood differently by forks")
        return float(p.threshold) if p.has("threshold") else 6.0


class Sigmoid(_Same):
    """1 / (1 + exp(-x))."""

    resting = (0.0, 1.0)

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Sigmoid", [layer.reads[0]], [layer.writes[0]])


class Swish(_Same):
    """x sigmoid(beta x)."""

    def lower(self, layer: Layer, e: Emitter) -> None:
        beta = layer.params.swish_param.beta
        gate = e.value("Sigmoid", affine(e, layer.reads[0], beta, 0.0))
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])


class TanH(_Same):
    """tanh(x)."""

    resting = (-1.0, 1.0)

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Tanh", [layer.reads[0]], [layer.writes[0]])


class Threshold(_Same):
    """1 where x > threshold, else 0."""

    def lower(self, layer: Layer, e: Emitter) -> None:
        over = e.value("Greater", layer.reads[0], e.array(layer.params.threshold_param.threshold))
        e.op("Cast", [over], [layer.writes[0]], to=FLOAT)


class ShuffleChannel(_Same):
    """Forks (ShuffleNet): channels as (group, C / group), transposed."""

    stock = False

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
        given = layer.params.all("shuffle_channel_param")
        group: int = given[-1].value.all("group")[-1].value if given else 1
        if group < 1 or shape[1] % group:
            raise layer.error(f"group {group} does not divide {shape[1]} channels")
        return group


class Eltwise(LayerType):
    """Caffe: PROD, SUM with coeff, or MAX of two or more bottoms of one shape; no broadcasting."""

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


PRODUCT = {"eltwise_param": {"operation": Name("PROD")}}


def reshape(dims: Sequence[int]) -> dict[str, Any]:
    """Parameters of a Reshape: 0 copies an axis, -1 takes what is left."""
    return {"reshape_param": {"shape": {"dim": list(dims)}}}


FLOAT = 1  # ONNX's number of float32, for Cast
BOOL = 9  # ONNX's number of bool, for Cast


def affine(e: Emitter, x: str, scale: float, shift: float) -> str:
    """scale x + shift, without operators that do nothing."""
    if scale != 1:
        x = e.value("Mul", x, e.array(float(scale)))
    return e.value("Add", x, e.array(float(shift))) if shift != 0 else x


def _log_base(layer: Layer, base: float) -> float:
    """ln(base); Caffe's base -1 is e."""
    if base == -1:
        return 1.0
    if base <= 0:
        raise layer.error(f"base {base:g} must be positive, or -1 for e")
    return math.log(base)
