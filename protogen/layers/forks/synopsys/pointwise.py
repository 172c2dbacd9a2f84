"""Functions of single values that Synopsys' fork adds."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.activation import ReLU
from protogen.layers.base import Mistake, axis_of, fields
from protogen.layers.elementwise import PRODUCT, _Same, affine
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

SYNOPSYS = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"


class _Function(_Same, abstract=True):
    """Base class of functions that are one operator of ONNX without parameters."""

    stock = False
    source = SYNOPSYS
    _operator = ""

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op(self._operator, [layer.reads[0]], [layer.writes[0]])


class Atan(_Function):
    """arctan(x)."""

    activation = "saturating"
    _operator = "Atan"


class Ceil(_Function):
    """The least integer that is not below x."""

    _operator = "Ceil"


class Floor(_Function):
    """The largest integer that is not above x."""

    _operator = "Floor"


class Round(_Function):
    """The nearest integer; of two equally near ones, the even one."""

    _operator = "Round"


class Sin(_Function):
    """sin(x)."""

    _operator = "Sin"


class Softplus(_Function):
    """log(exp(x) + 1); for large x, where the fork's exp overflows to infinity, this is x."""

    activation = "rectifier"
    _operator = "Softplus"

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        r.retype("BNLL")


class Softsign(_Function):
    """x / (1 + |x|)."""

    activation = "saturating"
    resting = (-1.0, 1.0)
    _operator = "Softsign"

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        x = r.add("AbsVal", layer.bottoms, role="size")
        inverse = {"power_param": {"power": -1.0, "shift": 1.0}}
        x = r.add("Power", [x], role="inverse", top=x, params=inverse)
        r.add("Eltwise", [layer.bottoms[0], x], params=PRODUCT)


class HardTanH(_Same):
    """max(-1, min(x, 1))."""

    stock = False
    source = SYNOPSYS
    activation = "saturating"
    resting = (-1.0, 1.0)

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        return -1.0, 1.0

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Clip", [layer.reads[0], e.array(-1.0), e.array(1.0)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        r.add("Clip", layer.bottoms, params={"clip_param": {"min": -1.0, "max": 1.0}})


class ScaledTanH(_Same):
    """alpha tanh(beta x)."""

    reads = fields(scaled_tanh_param="alpha beta")
    required = ("scaled_tanh_param.alpha", "scaled_tanh_param.beta")
    stock = False
    source = SYNOPSYS
    activation = "saturating"

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        alpha = float(layer.params.scaled_tanh_param.alpha)
        return (-alpha, alpha)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.scaled_tanh_param
        x = e.value("Tanh", affine(e, layer.reads[0], p.beta, 0.0))
        e.op("Mul", [x, e.array(p.alpha)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.scaled_tanh_param
        inner = {"power_param": {"scale": p.beta}}
        x = r.add("Power", layer.bottoms, role="inner", top=layer.tops[0], params=inner)
        x = r.add("TanH", [x], role="tanh", top=x)
        r.add("Power", [x], params={"power_param": {"scale": p.alpha}})


class ThresholdedReLU(_Same):
    """x where x > alpha, else 0."""

    reads = fields(thresholded_relu_param="alpha")
    stock = False
    source = SYNOPSYS
    activation = "rectifier"
    resting = (0.0,)

    def lower(self, layer: Layer, e: Emitter) -> None:
        alpha = e.array(layer.params.thresholded_relu_param.alpha)
        is_above = e.value("Greater", layer.reads[0], alpha)
        e.op("Where", [is_above, layer.reads[0], e.array(0.0)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        limit = {"threshold_param": {"threshold": layer.params.thresholded_relu_param.alpha}}
        x = r.add("Threshold", layer.bottoms, role="above", params=limit)
        r.add("Eltwise", [layer.bottoms[0], x], params=PRODUCT)


class SeLU(_Same):
    """lambda x above 0, lambda alpha (exp(x) - 1) elsewhere."""

    reads = fields(selu_param="lambda alpha")
    stock = False
    source = SYNOPSYS
    activation = "rectifier"

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.selu_param
        x = e.value("Elu", layer.reads[0], alpha=p.alpha)
        e.op("Mul", [x, e.array(self._scale(p))], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.selu_param
        params = {"elu_param": {"alpha": p.alpha}}
        x = r.add("ELU", layer.bottoms, role="elu", top=layer.tops[0], params=params)
        r.add("Power", [x], params={"power_param": {"scale": self._scale(p)}})

    def _scale(self, p: Message) -> float:
        return float(getattr(p, "lambda"))  # a keyword of Python


class SeLUDropout(_Same):
    """The identity in phase TEST. In phase TRAIN each value is a x + b, or a alpha + b with the
    probability dropout_ratio."""

    reads = fields(selu_dropout_param="dropout_ratio")
    harmless = MappingProxyType(
        {"selu_dropout_param.alpha": "only the random values of phase TRAIN depend on it"}
    )
    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        ratio = layer.params.selu_dropout_param.dropout_ratio
        if not 0 < ratio < 1:
            raise layer.error(f"dropout_ratio must be between 0 and 1, got {ratio:g}")
        return super().shapes(layer, bottoms)

    def random(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN"

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [layer.reads[0]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if layer.phase == "TRAIN":
            raise layer.unsupported("no stock layer sets random values to alpha")
        r.add("Power", layer.bottoms)


class XLU(ReLU):
    """As ReLU of this fork: max(x, 0) + negative_slope min(x, 0), between ``minimum`` and
    ``maximum`` (or 6, or a second bottom)."""

    reads = fields(xlu_param="negative_slope relu6 maximum minimum")
    stock = False
    source = SYNOPSYS

    def params_of(self, layer: Layer) -> Message:
        p: Message = layer.params.xlu_param
        return p

    def mistakes(self, layer: Layer) -> list[Mistake]:
        return []


class LogSoftmax(_Same):
    """x - log of the sum of exp(x) along ``axis``, at least log(1e-45)."""

    reads = fields(log_softmax_param="axis")
    stock = False
    source = SYNOPSYS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        axis_of(layer, layer.params.log_softmax_param.axis, len(bottoms[0]))
        return tops

    def lower(self, layer: Layer, e: Emitter) -> None:
        axis = axis_of(layer, layer.params.log_softmax_param.axis, len(e.shape(layer.reads[0])))
        x = e.value("LogSoftmax", layer.reads[0], axis=axis)
        e.op("Max", [x, e.array(-103.27893)], [layer.writes[0]])
