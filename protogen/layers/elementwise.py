"""Layers that work on each value alone, and Eltwise."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, check_bottoms, check_equal


class _Same(LayerType, abstract=True):
    """The top has the bottom's shape."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        return [bottoms[0]] * len(layer.tops)


class AbsVal(_Same):
    """|x|."""


class BNLL(_Same):
    """log(1 + exp(x))."""


class Clip(_Same):
    """min(max(x, min), max)."""


class Dropout(_Same):
    """Caffe scales while training, so in the TEST phase it is the identity."""


class ELU(_Same):
    """x, or alpha (exp(x) - 1) below 0."""


class Exp(_Same):
    """base ^ (shift + scale x); base -1 means e."""


class HardSigmoid(_Same):
    """Forks: min(max(alpha x + beta, 0), 1)."""


class HardSwish(_Same):
    """Forks: x min(max(x + 3, 0), 6) / 6."""


class Log(_Same):
    """log_base(shift + scale x); base -1 means e."""


class Mish(_Same):
    """Forks: x tanh(log(1 + exp(x)))."""


class Power(_Same):
    """(shift + scale x) ^ power."""


class ReLU(_Same):
    """max(x, 0) + negative_slope min(x, 0)."""


class ReLU6(_Same):
    """Forks: min(max(x, 0), 6)."""


class Sigmoid(_Same):
    """1 / (1 + exp(-x))."""


class Swish(_Same):
    """x sigmoid(beta x)."""


class TanH(_Same):
    """tanh(x)."""


class Threshold(_Same):
    """1 where x > threshold, else 0."""


class ShuffleChannel(_Same):
    """Forks (ShuffleNet): channels as (group, C / group), transposed."""


class Eltwise(LayerType):
    """Caffe: PROD, SUM with coeff, or MAX of two or more bottoms of one shape; no broadcasting."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, None)
        check_equal(layer, bottoms)
        p = layer.params.eltwise_param
        if p.coeff and len(p.coeff) != len(bottoms):
            raise layer.error(f"has {len(p.coeff)} coeff for {len(bottoms)} bottoms")
        return [bottoms[0]]


class Axpy(LayerType):
    """Forks (SENet): a x + y with a of (N, C) or (N, C, 1, 1); bottoms a, x, y."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        scale, x, y = bottoms
        if scale[:2] != x[:2] or x != y:
            raise layer.error("its bottoms must be a (N, C), x and y (N, C, H, W), x like y")
        return [x]
