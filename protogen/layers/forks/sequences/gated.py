"""Recurrent layers of Synopsys' fork."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from protogen.geometry import Shape
from protogen.layers.base import fields
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.recurrent import Steps, _Recurrent, unrolled
from protogen.layers.writing import Emitter

_ACTIVATIONS = {"Sigmoid": "Sigmoid", "TanH": "Tanh", "ReLU": "Relu"}


@dataclass(frozen=True, slots=True)
class _Gates:
    """What a step needs: the recurrent weights, the ONNX operators of the activations, and the size of
    a state."""

    e: Emitter
    weights: list[str]
    kinds: list[str]
    size: int

    def product(self, h: str, index: int, plus: str) -> str:
        """Emit h times a weight matrix (rows, D), plus a value."""
        return self.e.value("Gemm", h, self.weights[index], plus, transB=1)

    def activated(self, index: int, x: str) -> str:
        """Emit an activation."""
        return self.e.value(self.kinds[index], x)

    def parts(self, x: str, count: int) -> list[str]:
        """Emit the parts of the gates (N, count D)."""
        ends = [k * self.size for k in range(count + 1)]
        axis = self.e.array([1])
        return [
            self.e.value("Slice", x, self.e.array([a]), self.e.array([b]), axis)
            for a, b in pairwise(ends)
        ]


class _Unrolled(_Recurrent, abstract=True):
    """Base class of recurrent layers that are emitted step by step. ``activations`` are types of layers
    without parameters."""

    stock = False
    source = SYNOPSYS
    limits = "activations of the types Sigmoid, TanH and ReLU"
    usual: tuple[str, ...] = ()  # the activations if the net sets none

    def activations(self, layer: Layer) -> list[str]:
        """Return the ONNX operators of the activations."""
        named = list(layer.params.recurrent_param.activations)
        names = [*named[: len(self.usual)], *self.usual[len(named) :]]
        for name in names:
            if name not in _ACTIVATIONS:
                known = ", ".join(_ACTIVATIONS)
                raise layer.unsupported(f'the activation "{name}" is not one of {known}')
        return [_ACTIVATIONS[name] for name in names]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        self.activations(layer)
        return tops

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.recurrent_param
        shape = e.shape(layer.reads[0])
        steps, batch = shape[:2]
        width = self.gates * p.num_output
        x = e.reshape(layer.reads[0], shape, (steps * batch, math.prod(shape[2:])))
        x = e.value("Gemm", x, e.blob(layer, 0), e.blob(layer, 1), transB=1)
        x = e.reshape(x, (steps * batch, width), (steps, batch, width))
        first, bottoms = 2, [e.shape(read) for read in layer.reads]
        if self._has_static(layer):
            flat = e.value("Flatten", layer.reads[2], axis=1)
            x = e.value("Add", x, e.value("Gemm", flat, e.blob(layer, 2), transB=1))
            first = 3
        weights = [e.blob(layer, i) for i in range(first, len(self.blobs(layer, bottoms)))]
        states = [e.array([[0.0] * p.num_output] * batch)] * self.states
        if p.expose_hidden:
            shaped = ((1, batch, p.num_output), (batch, p.num_output))
            states = [e.reshape(read, *shaped) for read in layer.reads[-self.states :]]
        gates = _Gates(e, weights, self.activations(layer), p.num_output)

        def step(now: str, cont: str, states: list[str]) -> tuple[str, list[str]]:
            continued = [e.value("Mul", state, cont) for state in states]
            states = self.next(gates, now, continued)
            return states[0], states

        output, states = unrolled(e, step, Steps(steps, x, layer.reads[1]), states)
        e.op("Identity", [output], [layer.writes[0]])
        for write, last in zip(layer.writes[1:], states, strict=False):
            e.op("Identity", [last], [write])

    def next(self, gates: _Gates, x: str, states: list[str]) -> list[str]:
        """Emit the states after a step from its gates (N, G) and the states (N, D) before it; the first
        is the output."""
        raise NotImplementedError


class SimpleRNN(_Unrolled):
    """h = tanh(W_hh h + W_xh x + b_h); cont 0 resets the state."""

    reads = fields(recurrent_param="num_output expose_hidden activations")
    usual = ("TanH",)

    def next(self, gates: _Gates, x: str, states: list[str]) -> list[str]:
        return [gates.activated(0, gates.product(states[0], 0, x))]


class GRU(_Unrolled):
    """z = sigmoid(R_z h + W_z x + b), r = sigmoid(R_r h + W_r x + b), n = tanh(R_h (r h) + W_h x + b), or
    with ``linear_before_reset`` n = tanh(r (R_h h + b_R) + W_h x + b); h becomes n + z (h - n)."""

    reads = fields(recurrent_param="num_output expose_hidden activations linear_before_reset")
    gates = 3
    usual = ("Sigmoid", "TanH")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.recurrent_param
        own: list[Shape] = [(p.num_output, p.num_output)] * 3
        bias: list[Shape] = [(p.num_output,)] if p.linear_before_reset else []
        return [*super().blobs(layer, bottoms)[:-1], *own, *bias]

    def next(self, gates: _Gates, x: str, states: list[str]) -> list[str]:
        e, h, parts = gates.e, states[0], gates.parts(x, 3)
        z, r = (gates.activated(0, gates.product(h, k, parts[k])) for k in range(2))
        if len(gates.weights) == 4:
            inner = e.value("Mul", r, gates.product(h, 2, gates.weights[3]))
            inner = e.value("Add", inner, parts[2])
        else:
            inner = gates.product(e.value("Mul", r, h), 2, parts[2])
        n = gates.activated(1, inner)
        return [e.value("Add", n, e.value("Mul", z, e.value("Sub", h, n)))]


class LSTMV2(_Unrolled):
    """LSTM with the gates in the order i, o, f, g: c = f c + i g, h = o tanh(c)."""

    reads = fields(recurrent_param="num_output expose_hidden activations")
    gates = 4
    states = 2
    usual = ("Sigmoid", "TanH", "TanH")

    def next(self, gates: _Gates, x: str, states: list[str]) -> list[str]:
        e, (h, c) = gates.e, states
        i, o, f, g = gates.parts(gates.product(h, 0, x), 4)
        i, o, f = (gates.activated(0, part) for part in (i, o, f))
        g = gates.activated(1, g)
        c = e.value("Add", e.value("Mul", f, c), e.value("Mul", i, g))
        return [e.value("Mul", o, gates.activated(2, c)), c]


class PeepholeLSTM(_Unrolled):
    """LSTM whose gates i and f also read P_i c and P_f c, and o reads P_o times the new c. The gates are
    in the order i, o, f, g."""

    reads = fields(recurrent_param="num_output expose_hidden activations")
    gates = 4
    states = 2
    usual = ("Sigmoid", "TanH", "TanH")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        peepholes: list[Shape] = [(layer.params.recurrent_param.num_output,)] * 3
        return [*super().blobs(layer, bottoms), *peepholes]

    def next(self, gates: _Gates, x: str, states: list[str]) -> list[str]:
        e, (h, c) = gates.e, states
        i, o, f, g = gates.parts(gates.product(h, 0, x), 4)

        def opened(gate: str, c: str, weight: str) -> str:
            return gates.activated(0, e.value("Add", gate, e.value("Mul", c, weight)))

        i, f = opened(i, c, gates.weights[1]), opened(f, c, gates.weights[2])
        g = gates.activated(1, g)
        c = e.value("Add", e.value("Mul", i, g), e.value("Mul", f, c))
        return [e.value("Mul", opened(o, c, gates.weights[3]), gates.activated(2, c)), c]
