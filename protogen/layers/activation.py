"""Activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import Mistake, check_bottoms, fields
from protogen.layers.elementwise import PRODUCT, _Same, affine
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

FLT_MAX = 3.4028234663852886e38  # the largest float32


class BNLL(_Same):
    """log(1 + exp(x))."""

    written_in_place = True

    activation = "rectifier"

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Softplus", [layer.reads[0]], [layer.writes[0]])


class Clip(_Same):
    """max(min, min(x, max)); the result is min everywhere if min is above max."""

    written_in_place = True

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        return (layer.params.clip_param.min, layer.params.clip_param.max)

    required = ("clip_param.min", "clip_param.max")

    activation = "rectifier"

    reads = fields(clip_param="min max")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.clip_param
        # ONNX returns max if min is above max, Caffe returns min.
        limits = [e.array(p.min), e.array(max(p.min, p.max))]
        e.op("Clip", [layer.reads[0], *limits], [layer.writes[0]])


class ELU(_Same):
    """x, or alpha (exp(x) - 1) below 0."""

    written_in_place = True

    activation = "rectifier"

    reads = fields(elu_param="alpha")

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Elu", [layer.reads[0]], [layer.writes[0]], alpha=layer.params.elu_param.alpha)


class HardSigmoid(_Same):
    """Forks: min(max(alpha x + beta, 0), 1)."""

    written_in_place = True

    resting = (0.0, 1.0)

    activation = "saturating"

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        return 0.0, 1.0  # the slope is 0 at both

    reads = fields(hardsigmoid_param="alpha beta", hard_sigmoid_param="alpha beta")

    stock = False
    source = "inisis/caffe"

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = self._params(layer)
        e.op("HardSigmoid", [layer.reads[0]], [layer.writes[0]], alpha=p.alpha, beta=p.beta)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = self._params(layer)
        linear = {"power_param": {"scale": p.alpha, "shift": p.beta}}
        x = r.add("Power", layer.bottoms, role="line", top=layer.tops[0], params=linear)
        r.add("Clip", [x], params={"clip_param": {"min": 0.0, "max": 1.0}})

    def _params(self, layer: Layer) -> Message:
        """Return the parameter block: hard_sigmoid_param in Synopsys' fork."""
        name = (
            "hard_sigmoid_param" if layer.params.has("hard_sigmoid_param") else "hardsigmoid_param"
        )
        p: Message = getattr(layer.params, name)
        return p


class HardSwish(_Same):
    """Forks: x min(max(x + 3, 0), 6) / 6."""

    written_in_place = True

    activation = "rectifier"

    stock = False
    source = "inisis/caffe"

    def lower(self, layer: Layer, e: Emitter) -> None:
        gate = e.value("HardSigmoid", layer.reads[0], alpha=1 / 6, beta=0.5)
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        linear = {"power_param": {"scale": 1 / 6, "shift": 0.5}}
        gate = r.add("Power", layer.bottoms, role="gate", params=linear)
        limits = {"clip_param": {"min": 0.0, "max": 1.0}}
        gate = r.add("Clip", [gate], role="clip", top=gate, params=limits)
        r.add("Eltwise", [layer.bottoms[0], gate], params=PRODUCT)


class Mish(_Same):
    """Forks: x tanh(log(1 + exp(x)))."""

    written_in_place = True

    activation = "rectifier"

    stock = False
    source = "sophgo/caffe"

    def lower(self, layer: Layer, e: Emitter) -> None:
        gate = e.value("Tanh", e.value("Softplus", layer.reads[0]))
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        gate = r.add("BNLL", layer.bottoms, role="softplus")
        gate = r.add("TanH", [gate], role="tanh", top=gate)
        r.add("Eltwise", [layer.bottoms[0], gate], params=PRODUCT)


class ReLU(_Same):
    """max(x, 0) + negative_slope min(x, 0). Forks (Synopsys): an upper limit of 6 (``relu6``) or
    ``maximum``, or the value of a second bottom if it is above 0; a lower limit ``minimum``."""

    written_in_place = True

    activation = "rectifier"

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        low, high = self._limits(layer)
        return tuple(limit for limit in (max(low, 0.0), high) if abs(limit) < FLT_MAX)

    def dies(self, layer: Layer) -> bool:
        return not self.params_of(layer).negative_slope

    reads = fields(relu_param="negative_slope relu6 maximum minimum")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1 if self.stock and layer.dialect != "synopsys" else 2)
        if len(bottoms) == 2 and 0 in bottoms[1]:
            raise layer.error("its second bottom, the upper limit, is empty")
        return [bottoms[0]]

    def lower(self, layer: Layer, e: Emitter) -> None:
        slope = self.params_of(layer).negative_slope
        low, high = self._limits(layer)
        if len(layer.reads) == 1 and (low, high) == (-FLT_MAX, FLT_MAX):
            rectify(e, layer.reads[0], layer.writes[0], slope)
            return
        x = f"{layer.writes[0]}@rectified"
        rectify(e, layer.reads[0], x, slope)
        if len(layer.reads) == 2:
            flat = e.value("Reshape", layer.reads[1], e.array([-1]))
            limit = e.value("Slice", flat, e.array([0]), e.array([1]), e.array([0]))
            high = 6.0 if self.params_of(layer).relu6 else FLT_MAX
            is_limit = e.value("Greater", limit, e.array(0.0))
            x = e.value("Min", x, e.value("Where", is_limit, limit, e.array(high)))
        limits = [
            e.array(low),
            e.array(max(low, high)),
        ]  # Caffe returns the lower limit if it is above
        e.op("Clip", [x, *limits], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        slope = self.params_of(layer).negative_slope
        if len(layer.bottoms) == 2:
            raise layer.unsupported("no stock layer takes its limit from a blob")
        low, high = self._limits(layer)
        x = layer.bottoms[0]
        params = {"relu_param": {"negative_slope": slope}} if slope else {}
        if (low, high) == (-FLT_MAX, FLT_MAX):
            r.add("ReLU", [x], params=params)
            return
        if slope:
            x = r.add("ReLU", [x], role="relu", top=layer.tops[0], params=params)
        else:
            low = max(low, 0.0)
        r.add("Clip", [x], params={"clip_param": {"min": low, "max": high}})

    def params_of(self, layer: Layer) -> Message:
        """Return the parameter block."""
        p: Message = layer.params.relu_param
        return p

    def _limits(self, layer: Layer) -> tuple[float, float]:
        """Return the least and the largest output value; -FLT_MAX and FLT_MAX for no limit."""
        p = self.params_of(layer)
        highs = [6.0] * bool(p.relu6) + [float(p.maximum)] * (p.maximum > 0)
        return float(p.minimum) or -FLT_MAX, min(highs, default=FLT_MAX)

    def mistakes(self, layer: Layer) -> list[Mistake]:
        changes = {"relu_param.negative_slope": 0.0}
        slope = self.params_of(layer).negative_slope
        return [Mistake("negative_slope is left out", changes)] if slope else []


class ReLU6(_Same):
    """Forks: min(max(x, 0) + negative_slope min(x, 0), 6); in SSD ``threshold`` replaces 6."""

    written_in_place = True

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        return (0.0, self._threshold(layer))

    activation = "rectifier"

    def dies(self, layer: Layer) -> bool:
        return not layer.params.relu6_param.negative_slope

    stock = False
    source = "eric612/MobileNet-YOLO"

    reads = fields(relu6_param="negative_slope threshold")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.relu6_param
        high = e.array(self._threshold(layer))
        if p.negative_slope:
            x = e.value("LeakyRelu", layer.reads[0], alpha=p.negative_slope)
            e.op("Min", [x, high], [layer.writes[0]])
        else:
            e.op("Clip", [layer.reads[0], e.array(0.0), high], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        slope = layer.params.relu6_param.negative_slope
        if slope:
            raise layer.unsupported(
                "no stock layer combines negative_slope with an upper limit of 6"
            )
        limits = {"min": 0.0, "max": self._threshold(layer)}
        r.add("Clip", layer.bottoms, params={"clip_param": limits})

    def _threshold(self, layer: Layer) -> float:
        p = layer.params.relu6_param
        return float(p.threshold) if p.has("threshold") else 6.0


class Sigmoid(_Same):
    """1 / (1 + exp(-x))."""

    resting = (0.0, 1.0)

    written_in_place = True

    activation = "saturating"
    top_may_be_unused = True

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        return 0.01, 0.99  # the slope is below 0.01 beyond both

    reads = fields(sigmoid_param="")

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Sigmoid", [layer.reads[0]], [layer.writes[0]])


class Swish(_Same):
    """x sigmoid(beta x)."""

    written_in_place = True

    activation = "rectifier"

    reads = fields(swish_param="beta")

    def lower(self, layer: Layer, e: Emitter) -> None:
        beta = layer.params.swish_param.beta
        gate = e.value("Sigmoid", affine(e, layer.reads[0], beta, 0.0))
        e.op("Mul", [layer.reads[0], gate], [layer.writes[0]])


class TanH(_Same):
    """tanh(x)."""

    resting = (-1.0, 1.0)

    written_in_place = True

    activation = "saturating"

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        return -0.99, 0.99  # the slope is below 0.02 beyond both

    reads = fields(tanh_param="")

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Tanh", [layer.reads[0]], [layer.writes[0]])


def rectify(e: Emitter, read: str, write: str, slope: float) -> None:
    """Emit max(x, 0) + slope min(x, 0)."""
    if slope:
        e.op("LeakyRelu", [read], [write], alpha=slope)
    else:
        e.op("Relu", [read], [write])


def rewrite_rectified(layer: Layer, r: Rewriter, block: str, **params: Any) -> None:
    """Replace a layer that has a fork's built-in rectifier by the plain layer and an in-place ReLU."""
    p = getattr(layer.params, block)
    r.retype(layer.type, **{block: {"relu": None, "negative_slope": None, **params}})
    for top in layer.tops if p.relu else ():
        slope = {"relu_param": {"negative_slope": p.negative_slope}} if p.negative_slope else {}
        r.add("ReLU", [top], role="relu", top=top, params=slope)
