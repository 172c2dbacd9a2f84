"""The class-balanced loss of OSVOS, which HED has under the name SigmoidCrossEntropyLoss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.graph import Layer
from protogen.layers.labels import balanced_loss
from protogen.layers.loss import _PairLoss
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class SigmoidCrossEntropyBalanceLoss(_PairLoss):
    """OSVOS: sigmoid and cross entropy, the mean over the samples. A positive value (label 1) weighs as
    much as the part of the negative ones (label 0) in its sample, and a negative value as much as
    the part of the positive ones. Other labels do not count."""

    stock = False
    source = "kmaninis/OSVOS-caffe"

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, 2, shapes[1]) if index == 1 else None

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        shape = e.shape(layer.reads[0])
        target = e.reshape(layer.reads[1], e.shape(layer.reads[1]), shape)
        return balanced_loss(e, layer.reads[0], target), ""
