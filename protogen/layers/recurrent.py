"""LSTM and RNN over time steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, Window, check_bottoms, text


class _Recurrent(LayerType, abstract=True):
    """Bottoms x (T, N, ...), cont (T, N), then x_static (N, ...), then the hidden states with
    expose_hidden. Tops (T, N, D), then the hidden states (1, N, D)."""

    gates = 1
    states = 1

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.recurrent_param
        hidden = self.states if p.expose_hidden else 0
        check_bottoms(layer, 2 + hidden, 3 + hidden)
        x, cont = bottoms[:2]
        if len(x) < 2 or cont != x[:2]:
            raise layer.error(f"x is {text(x)} and cont {text(cont)}, but cont must be T x N of x")
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Give the number of outputs.")
        return [(*x[:2], p.num_output), *[(1, x[1], p.num_output)] * hidden]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.recurrent_param
        d = p.num_output
        rows = self.gates * d
        made: list[Shape] = [(rows, math.prod(bottoms[0][2:])), (rows,)]
        hidden = self.states if p.expose_hidden else 0
        if len(bottoms) - hidden == 3:
            made.append((rows, math.prod(bottoms[2][1:])))
        return [*made, (rows, d)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        steps = math.prod(bottoms[0][:2])
        return steps * sum(math.prod(blob) for blob in blobs if len(blob) > 1)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class LSTM(_Recurrent):
    """Gates i, f, o, g in Caffe's order; cont 0 forgets the state."""

    gates = 4
    states = 2


class RNN(_Recurrent):
    """h = tanh(W_xh x + W_hh h + b), y = tanh(W_ho h + b_o)."""

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        d = layer.params.recurrent_param.num_output
        return [*super().blobs(layer, bottoms), (d, d), (d,)]


class LSTMUnit(LayerType):
    """One step: bottoms c (1, N, D), gates (1, N, 4D), cont (1, N); tops c and h."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        c, gates, _ = bottoms
        if len(c) != 3 or gates != (c[0], c[1], 4 * c[2]):
            raise layer.error(f"gates are {text(gates)}, but must be 1 x N x 4D of c, {text(c)}")
        return [c, c]
