"""SmoothL1Loss of Fast R-CNN and R-FCN."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import fields
from protogen.layers.forks.detection.ohem import NORMALIZED, SmoothL1LossOHEM
from protogen.layers.graph import Layer
from protogen.layers.labels import total
from protogen.layers.loss import _PairLoss
from protogen.layers.writing import Emitter

_OF_RFCN = SmoothL1LossOHEM()


class SmoothL1Loss(_PairLoss):
    """Forks (Fast R-CNN): 0.5 x^2 for small |x|, else |x| - 0.5; optional weights. The sum is divided
    by N. R-FCN's is SmoothL1LossOHEM: it has loss_param, a second top and no sigma. So a net with
    one of these two is R-FCN's."""

    reads = fields(smooth_l1_loss_param="sigma", loss_param=NORMALIZED)

    stock = False
    source = "rbgirshick/caffe-fast-rcnn"

    most = 4
    gives_no_gradient = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if not _is_rfcn(layer):
            return super().shapes(layer, bottoms)
        if layer.params.smooth_l1_loss_param.has("sigma"):
            raise layer.unsupported(
                "sigma is set (Fast R-CNN), but so is loss_param or a second top (R-FCN, without sigma)",
                "Remove one of them.",
            )
        return _OF_RFCN.shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        if _is_rfcn(layer):
            _OF_RFCN.lower(layer, e)
        else:
            super().lower(layer, e)

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p = layer.params.smooth_l1_loss_param
        sigma2 = p.sigma * p.sigma if p.has("sigma") else 1.0
        x = e.value("Sub", layer.reads[0], layer.reads[1])
        x = e.value("Mul", x, layer.reads[2]) if len(layer.reads) > 2 else x
        size = e.value("Abs", x)
        near = e.value("Mul", e.value("Mul", x, x), e.array(0.5 * sigma2))
        far = e.value("Sub", size, e.array(0.5 / sigma2))
        terms = e.value("Where", e.value("Less", size, e.array(1 / sigma2)), near, far)
        terms = e.value("Mul", terms, layer.reads[3]) if len(layer.reads) > 3 else terms
        return total(e, terms, 1 / e.shape(layer.reads[0])[0]), ""


def _is_rfcn(layer: Layer) -> bool:
    """Return whether the layer is that of R-FCN's Caffe."""
    p = layer.params.loss_param
    is_set = any(p.has(name) for name in NORMALIZED.split())
    return layer.dialect == "rfcn" or is_set or len(layer.tops) > 1
