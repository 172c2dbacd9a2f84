"""Recurrent layers: LSTM, RNN and LSTMUnit."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Window,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.graph import Layer
from protogen.layers.values import continuation_flags
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


class _Recurrent(LayerType, abstract=True):
    """Base of LSTM and RNN. Bottoms: x (T, N, ...), cont (T, N), optionally x_static (N, ...), and
    with expose_hidden the hidden states. Tops: (T, N, D), then the hidden states (1, N, D)."""

    reads = fields(recurrent_param="num_output expose_hidden")

    gates = 1
    states = 1

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.recurrent_param
        hidden = self.states if p.expose_hidden else 0
        check_bottoms(layer, 2 + hidden, 3 + hidden)
        x, cont = bottoms[:2]
        check_rank(layer, bottoms[:1], 3, 32)
        if cont != x[:2]:
            raise layer.error(
                f"cont must have the shape T x N of x, {shape_text(x[:2])}, got {shape_text(cont)}"
            )
        if len(bottoms) - hidden == 3 and bottoms[2][:1] != x[1:2]:
            raise layer.error(
                f"x_static must have {x[1]} samples, got shape {shape_text(bottoms[2])}"
            )
        if p.num_output < 1:
            raise layer.error("num_output is missing or 0", "Set the number of outputs.")
        state = (1, x[1], p.num_output)
        first = len(bottoms) - hidden
        for name, shape in zip(layer.bottoms[first:], bottoms[first:], strict=True):
            if shape != state:
                raise layer.error(
                    f'"{name}" must have the shape of a hidden state, {shape_text(state)}, got '
                    f"{shape_text(shape)}"
                )
        return [(*x[:2], p.num_output), *[state] * hidden]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.recurrent_param
        d = p.num_output
        rows = self.gates * d
        shapes: list[Shape] = [(rows, math.prod(bottoms[0][2:])), (rows,)]
        hidden = self.states if p.expose_hidden else 0
        if len(bottoms) - hidden == 3:
            shapes.append((rows, math.prod(bottoms[2][1:])))
        return [*shapes, (rows, d)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        steps = math.prod(bottoms[0][:2])
        return steps * sum(math.prod(blob) for blob in blobs if len(blob) > 1)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return continuation_flags(rng, shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit ONNX's own operator if cont is known from the net, else each time step. cont is 0
        where a sequence starts and resets the state."""
        hidden = self.states if layer.params.recurrent_param.expose_hidden else 0
        states = list(layer.reads[-hidden:]) if hidden else []
        cont = e.constant(layer.reads[1])
        if cont is None:
            output, states = self._each_step(layer, e, states)
        else:
            output, states = self._whole(layer, e, states, cont)
        e.op("Identity", [output], [layer.writes[0]])
        for write, state in zip(layer.writes[1:], states, strict=False):
            e.op("Identity", [state], [write])

    def _each_step(self, layer: Layer, e: Emitter, states: list[str]) -> tuple[str, list[str]]:
        shape = e.shape(layer.reads[0])
        steps, batch = shape[:2]
        d = layer.params.recurrent_param.num_output
        static = self._has_static(layer)
        x = e.reshape(layer.reads[0], shape, (steps * batch, math.prod(shape[2:])))
        x = e.value("Gemm", x, e.blob(layer, 0), e.blob(layer, 1), transB=1)
        x = e.reshape(x, (steps * batch, self.gates * d), (steps, batch, self.gates * d))
        if static:
            flat = e.value("Flatten", layer.reads[2], axis=1)
            x = e.value("Add", x, e.value("Gemm", flat, e.blob(layer, 2), transB=1))
        weights = [e.blob(layer, i) for i in range(3 if static else 2, self.blob_count(static))]
        states = [e.reshape(state, (1, batch, d), (batch, d)) for state in states]
        states = states or [e.array([[0.0] * d] * batch)] * self.states
        return unrolled(
            e,
            lambda now, cont, states: self.step(e, now, cont, states, weights, d),
            Steps(steps, x, layer.reads[1]),
            states,
        )

    def _whole(
        self, layer: Layer, e: Emitter, states: list[str], cont: NDArray[np.floating]
    ) -> tuple[str, list[str]]:
        import numpy as np

        shape = e.shape(layer.reads[0])
        x = e.reshape(layer.reads[0], shape, (*shape[:2], math.prod(shape[2:])))
        weight, bias, *rest = (
            e.weight(layer, i) for i in range(self.blob_count(self._has_static(layer)))
        )
        if self._has_static(layer):  # its values are inputs of every step
            flat = e.value("Unsqueeze", e.value("Flatten", layer.reads[2], axis=1), e.array([0]))
            x = e.value("Concat", x, e.value("Expand", flat, e.array([shape[0], 1, 1])), axis=2)
            weight = np.concatenate([weight, rest.pop(0)], axis=1)
        operator = Operator(e, type(self).__name__, layer.writes[0], [weight, rest[0], bias])
        output, states = operator.run(x, cont, states)
        return self.output(layer, e, output), states

    def _has_static(self, layer: Layer) -> bool:
        hidden = self.states if layer.params.recurrent_param.expose_hidden else 0
        return len(layer.reads) - hidden == 3

    def output(self, layer: Layer, e: Emitter, hidden: str) -> str:
        """Emit the output of the layer (T, N, D) from the hidden states of all steps."""
        return hidden

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [
            Filling("recurrent_param.weight_filler", fan_in=shape[1], fan_out=shape[0])
            if len(shape) == 2
            else Filling("recurrent_param.bias_filler")
            for shape in blobs
        ]

    def blob_count(self, static: bool) -> int:
        """Return the number of parameter blobs; ``static``: the layer has the bottom x_static."""
        return 4 if static else 3

    def step(
        self, e: Emitter, x: str, cont: str, states: list[str], weights: list[str], d: int
    ) -> tuple[str, list[str]]:
        """Emit one time step. Return the output and the next states."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a recurrent layer: their number, what each adds to the gates (T, N, G), and cont
    (T, N)."""

    count: int
    gates: str
    cont: str


def unrolled(
    e: Emitter,
    step: Callable[[str, str, list[str]], tuple[str, list[str]]],
    steps: Steps,
    states: list[str],
) -> tuple[str, list[str]]:
    """Emit each step. Return the outputs (T, N, D) and the last states (1, N, D).

    Args:
        step: emits a step from its gates (N, G), cont (N, 1) and the states (N, D) before it, and
            returns its output and the states after it.
        states: the states before the first step: (N, D).
    """
    outputs = []
    for t in range(steps.count):
        now = e.value("Gather", steps.gates, e.array(t), axis=0)
        cont = e.value("Gather", steps.cont, e.array([t]), axis=0)
        output, states = step(now, e.value("Transpose", cont, perm=[1, 0]), states)
        outputs.append(e.value("Unsqueeze", output, e.array([0])))
    output = e.value("Concat", *outputs, axis=0)
    return output, [e.value("Unsqueeze", state, e.array([0])) for state in states]


class Operator:
    """ONNX's LSTM or RNN over steps whose cont is known.

    Args:
        name: begins the names of its values.
        arrays: the weights of the input (gates D, I) and of the state (gates D, D), and the bias
            (gates D), with the gates in Caffe's order.
    """

    def __init__(
        self, e: Emitter, type_: str, name: str, arrays: Sequence[NDArray[np.floating]]
    ) -> None:
        import numpy as np

        self._e, self._type, self._name = e, type_, name
        self._size = d = arrays[1].shape[1]
        order = {"LSTM": (0, 2, 1, 3), "RNN": (0,)}[type_]  # ONNX's gates i, o, f, c

        def gates(array: NDArray[np.floating]) -> NDArray[np.floating]:
            return np.concatenate([array[k * d : (k + 1) * d] for k in order])[None]

        weight, recurrent, bias = map(gates, arrays)
        self._weights = [weight, recurrent, np.concatenate([bias, np.zeros_like(bias)], axis=1)]

    def run(self, x: str, cont: NDArray[np.floating], states: list[str]) -> tuple[str, list[str]]:
        """Emit the steps of x (T, N, I). Return the outputs (T, N, D) and the last states (1, N, D).
        A new operator begins where cont (T, N) is not 1.

        Args:
            states: the states (1, N, D) before the first step; empty for zeros.
        """
        e, steps = self._e, len(cont)
        weights = [e.array(array) for array in self._weights]
        starts = [0, *(t for t in range(1, steps) if (cont[t] != 1).any())]
        outputs = []
        for start, end in zip(starts, [*starts[1:], steps], strict=True):
            part = x
            if len(starts) > 1:
                part = e.value("Slice", x, e.array([start]), e.array([end]), e.array([0]))
            before = self._continued(states, cont[start])
            names = [f"{self._name}@{kind}{start}" for kind in ("y", "h", "c")]
            writes = names[: 3 if self._type == "LSTM" else 2]
            reads = [part, *weights, *(["", *before] if before else [])]
            e.op(self._type, reads, writes, hidden_size=self._size)
            outputs.append(e.value("Squeeze", writes[0], e.array([1])))
            states = writes[1:]
        return e.value("Concat", *outputs, axis=0) if len(outputs) > 1 else outputs[0], states

    def _continued(self, states: list[str], cont: NDArray[np.floating]) -> list[str]:
        """Emit the states times cont (N); empty for zeros."""
        if not states or not cont.any():
            return []
        if (cont == 1).all():
            return states
        factor = self._e.array(cont.reshape(1, -1, 1))
        return [self._e.value("Mul", state, factor) for state in states]


def lstm_unit(e: Emitter, gates: str, c: str, cont: str, d: int) -> tuple[str, str]:
    """Emit c and h of one time step. ``gates`` holds i, f, o, g of width d, in Caffe's order along
    the last axis."""
    parts = [
        e.value("Slice", gates, e.array([k * d]), e.array([(k + 1) * d]), e.array([-1]))
        for k in range(4)
    ]
    i, f, o = (e.value("Sigmoid", part) for part in parts[:3])
    g = e.value("Tanh", parts[3])
    retained = e.value("Mul", e.value("Mul", cont, f), c)
    new = e.value("Add", retained, e.value("Mul", i, g))
    return new, e.value("Mul", o, e.value("Tanh", new))


class LSTM(_Recurrent):
    """Gates i, f, o, g in Caffe's order; cont 0 resets the state."""

    gates = 4
    states = 2

    def step(
        self, e: Emitter, x: str, cont: str, states: list[str], weights: list[str], d: int
    ) -> tuple[str, list[str]]:
        h, c = states
        gates = e.value("Gemm", e.value("Mul", h, cont), weights[0], x, transB=1)
        c, h = lstm_unit(e, gates, c, cont, d)
        return h, [h, c]


class RNN(_Recurrent):
    """h = tanh(W_xh x + W_hh h + b), y = tanh(W_ho h + b_o)."""

    def output(self, layer: Layer, e: Emitter, hidden: str) -> str:
        steps, batch = e.shape(layer.reads[0])[:2]
        d = layer.params.recurrent_param.num_output
        first = self.blob_count(self._has_static(layer)) - 2
        x = e.reshape(hidden, (steps, batch, d), (steps * batch, d))
        x = e.value("Gemm", x, e.blob(layer, first), e.blob(layer, first + 1), transB=1)
        return e.reshape(e.value("Tanh", x), (steps * batch, d), (steps, batch, d))

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        d = layer.params.recurrent_param.num_output
        return [*super().blobs(layer, bottoms), (d, d), (d,)]

    def blob_count(self, static: bool) -> int:
        return super().blob_count(static) + 2

    def step(
        self, e: Emitter, x: str, cont: str, states: list[str], weights: list[str], d: int
    ) -> tuple[str, list[str]]:
        recurrent, out, bias = weights
        h = e.value("Gemm", e.value("Mul", states[0], cont), recurrent, x, transB=1)
        h = e.value("Tanh", h)
        return e.value("Tanh", e.value("Gemm", h, out, bias, transB=1)), [h]


class LSTMUnit(LayerType):
    """One LSTM time step: bottoms c (1, N, D), gates (1, N, 4D), cont (1, N); tops c and h."""

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (2,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        c, gates, cont = bottoms
        if cont != c[:2] or c[0] != 1:
            raise layer.error(
                f"cont must have the shape 1 x N of c (c is {shape_text(c)}), got "
                f"{shape_text(cont)}"
            )
        if len(c) != 3 or gates != (c[0], c[1], 4 * c[2]):
            raise layer.error(
                f"gates must have the shape 1 x N x 4D of c (c is {shape_text(c)}), got "
                f"{shape_text(gates)}"
            )
        return [c, c]

    def in_place(self, layer: Layer) -> bool:
        first = layer.tops[:1] == layer.bottoms[:1]
        return first and not set(layer.tops[1:]).intersection(layer.bottoms)

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return continuation_flags(rng, shapes[2]) if index == 2 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        c, gates, cont = layer.reads
        shape = e.shape(cont)
        cont = e.reshape(cont, shape, (*shape, 1)) if len(shape) == 2 else cont
        new, h = lstm_unit(e, gates, c, cont, e.shape(c)[-1])
        e.op("Identity", [new], [layer.writes[0]])
        e.op("Identity", [h], [layer.writes[1]])
