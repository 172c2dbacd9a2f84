"""Forms of LSTM and RNN: one time step after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.layers.forms.blocks import convolve, only, product, reshape, total, weights_of
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.layers.forms.blocks import Array

MOST_STEPS = 128


@form("LSTM", text="unrolled: Convolution, Slice, Sigmoid, TanH, products and sums")
def lstm_unrolled(layer: Layer, r: Rewriter) -> None:
    """c' = f c + i g and h' = o tanh(c') of each step, with the gates i, f, o, g in Caffe's order."""
    steps, batch, d = _sizes(layer, r)
    w_x, b, w_h = _weights(layer, r, 4 * d)
    x = _projected(layer, r, w_x, b, steps, batch)
    h, c = _states(layer, r, batch, d, 2)
    outputs = []
    for t, now in enumerate(_steps(r, x, steps, batch)):
        if h:
            now = total(r, now, convolve(r, h, w_h, role=f"recurrent{t}"), role=f"gates{t}")
        i, f, o, g = r.split(now, f"gate{t}", 1, [d, 2 * d, 3 * d])
        i, o = (r.add("Sigmoid", [one], role=f"{name}{t}") for one, name in ((i, "i"), (o, "o")))
        new = product(r, i, r.add("TanH", [g], role=f"g{t}"), role=f"new{t}")
        if c:
            f = r.add("Sigmoid", [f], role=f"f{t}")
            new = total(r, product(r, f, c, role=f"old{t}"), new, role=f"c{t}")
        c = new
        h = product(r, o, r.add("TanH", [c], role=f"tanh{t}"), role=f"h{t}")
        outputs.append(h)
    _finish(layer, r, outputs, [h, c], (batch, d))


@form("RNN", text="unrolled: Convolution, TanH and sums")
def rnn_unrolled(layer: Layer, r: Rewriter) -> None:
    """h' = tanh(W_xh x + W_hh h + b_h) and y = tanh(W_ho h' + b_o)."""
    steps, batch, d = _sizes(layer, r)
    w_x, b, w_h = _weights(layer, r, d)
    blobs = weights_of(layer, r)
    x = _projected(layer, r, w_x, b, steps, batch)
    (h,) = _states(layer, r, batch, d, 1)
    outputs = []
    for t, now in enumerate(_steps(r, x, steps, batch)):
        if h:
            now = total(r, now, convolve(r, h, w_h, role=f"recurrent{t}"), role=f"sum{t}")
        h = r.add("TanH", [now], role=f"h{t}")
        y = convolve(r, h, blobs[3].reshape(d, d, 1, 1), blobs[4].reshape(-1), role=f"out{t}")
        outputs.append(r.add("TanH", [y], role=f"y{t}"))
    _finish(layer, r, outputs, [h], (batch, d))


def _sizes(layer: Layer, r: Rewriter) -> tuple[int, int, int]:
    """Return the number of steps, of samples, and of outputs."""
    steps, batch = r.shape(layer.bottoms[0])[:2]
    p = layer.params.recurrent_param
    states = 2 if layer.type == "LSTM" else 1
    only(layer, steps <= MOST_STEPS, f"it has more than {MOST_STEPS} steps")
    only(
        layer,
        len(layer.bottoms) == 2 + (states if p.expose_hidden else 0),
        "it has a bottom that does not change with time",
    )
    cont = r.constant(layer.bottoms[1])
    only(layer, cont is not None, "its sequences begin where a bottom says so")
    assert cont is not None
    begins = cont.reshape(steps, batch)
    only(layer, bool((begins[1:] == 1).all()), "a sequence begins after the first step")
    only(layer, bool((begins[0] == begins[0, 0]).all()), "its sequences begin at different steps")
    return steps, batch, int(p.num_output)


def _weights(layer: Layer, r: Rewriter, rows: int) -> tuple[Array, Array, Array]:
    w_x, b, w_h = weights_of(layer, r)[:3]
    return w_x.reshape(rows, -1, 1, 1), b.reshape(-1), w_h.reshape(rows, -1, 1, 1)


def _projected(layer: Layer, r: Rewriter, w_x: Array, b: Array, steps: int, batch: int) -> str:
    """Multiply the whole sequence by W_x: (T N, D, 1, 1)."""
    rows = reshape(r, layer.bottoms[0], (steps * batch, w_x.shape[1], 1, 1), role="sequence")
    return convolve(r, rows, w_x, b, role="projected")


def _steps(r: Rewriter, x: str, steps: int, batch: int) -> list[str]:
    """Return the (N, D, 1, 1) of each step."""
    if steps == 1:
        return [x]
    return r.split(x, "step", 0, [batch * t for t in range(1, steps)])


def _states(layer: Layer, r: Rewriter, batch: int, d: int, count: int) -> list[str]:
    """Return the initial states as (N, D, 1, 1); "" for a state of 0."""
    if not layer.params.recurrent_param.expose_hidden:
        return [""] * count
    cont = r.constant(layer.bottoms[1])
    assert cont is not None
    states = []
    for i, state in enumerate(layer.bottoms[2:]):
        constant = r.constant(state)
        is_zero = constant is not None and not constant.any()
        if is_zero or not cont.reshape(-1)[0]:
            states.append("")
        else:
            states.append(reshape(r, state, (batch, d, 1, 1), role=f"initial{i}"))
    return states


def _finish(
    layer: Layer, r: Rewriter, outputs: list[str], states: list[str], sizes: tuple[int, int]
) -> None:
    """Join the outputs of the steps to (T, N, D); the last states are (1, N, D)."""
    batch, d = sizes
    joined = outputs[0]
    if len(outputs) > 1:
        joined = r.add("Concat", outputs, role="joined", params={"concat_param": {"axis": 0}})
    reshape(r, joined, (len(outputs), batch, d), role="outputs", top=layer.tops[0])
    for i, (top, state) in enumerate(zip(layer.tops[1:], states, strict=False)):
        reshape(r, state, (1, batch, d), role=f"last{i}", top=top)
