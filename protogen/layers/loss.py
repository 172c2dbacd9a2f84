"""Softmax, losses and measures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, axis_of, check_bottoms, text
from protogen.layers.elementwise import _Same


class Softmax(_Same):
    """exp(x) / sum exp(x) along ``axis``."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        made = super().shapes(layer, bottoms)
        axis_of(layer, layer.params.softmax_param.axis, len(bottoms[0]))
        return made


class _Loss(LayerType, abstract=True):
    """A scalar; a second top has the first bottom's shape (probabilities)."""

    auto_tops = True
    least, most = 2, 2

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, self.least, self.most)
        self.check(layer, bottoms)
        made: list[Shape] = [(), bottoms[0]]
        return made[: max(1, len(layer.tops))]

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Whether the bottoms fit each other."""
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error(
                f"{text(bottoms[0])} and {text(bottoms[1])} must have as many samples"
            )


class _PairLoss(_Loss, abstract=True):
    """A loss of two bottoms with as many values a sample."""

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        a, b = bottoms[:2]
        if a[:1] != b[:1] or math.prod(a) != math.prod(b):
            raise layer.error(f"{text(a)} and {text(b)} must hold as many values")


class _LabelLoss(_Loss, abstract=True):
    """A loss of scores along ``softmax_param.axis`` and one label for each other position."""

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        _check_labels(layer, bottoms, layer.params.softmax_param.axis)


class SoftmaxWithLoss(_LabelLoss):
    """Softmax and the mean of -log of each label's probability."""

    most = 3


class SigmoidCrossEntropyLoss(_PairLoss):
    """Sigmoid and cross entropy, summed over a sample."""


class EuclideanLoss(_PairLoss):
    """sum (x - t)^2 / (2N)."""


class HingeLoss(_Loss):
    """One against all, L1 or L2."""


class InfogainLoss(_Loss):
    """Softmax and -sum H log p with an information gain matrix H."""

    most = 3


class MultinomialLogisticLoss(_Loss):
    """Mean of -log of each label's probability; the bottom holds probabilities."""


class ContrastiveLoss(_Loss):
    """Distance of two feature vectors, pulled or pushed by a label; bottoms a, b, label."""

    least, most = 3, 3


class SmoothL1Loss(_PairLoss):
    """Forks (Fast R-CNN): 0.5 x^2 near 0, |x| - 0.5 further out, with optional weights."""

    most = 4


class Accuracy(LayerType):
    """Share of samples whose label is among the top_k; a second top has one value a class."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.accuracy_param
        axis = _check_labels(layer, bottoms, p.axis)
        classes = bottoms[0][axis]
        if p.top_k > classes:
            raise layer.error(f"top_k is {p.top_k}, but there are {classes} classes")
        made: list[Shape] = [(), (classes,)]
        return made[: len(layer.tops)]


def _check_labels(layer: Layer, bottoms: Sequence[Shape], given: int) -> int:
    """The axis of the classes; one label must stand for each other position of the scores."""
    scores, label = bottoms[:2]
    axis = axis_of(layer, given, len(scores))
    wanted = math.prod(scores[:axis]) * math.prod(scores[axis + 1 :])
    if math.prod(label) != wanted:
        raise layer.error(
            f'"{layer.bottoms[1]}" is {text(label)}, but scores of {text(scores)} need '
            f"{wanted} labels"
        )
    return axis
