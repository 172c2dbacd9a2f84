"""LSTM and RNN over time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import gathered, permuted, reshaped
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GATES = {"LSTM": (0, 2, 1, 3), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}


@lifts("LSTM")
def lstm(
    to: Lifter,
    x: str,
    w: str,
    r: str,
    b: str | None = None,
    lengths: str | None = None,
    initial_h: str | None = None,
    initial_c: str | None = None,
    p: str | None = None,
    *,
    hidden_size: int = 0,
    direction: str = "forward",
    activations: Sequence[str] | None = None,
    layout: int = 0,
    input_forget: int = 0,
) -> None:
    """LSTM for each direction; with initial states, or where the last ones are read, it exposes
    them. The backward direction reads the steps turned round."""
    if p and to.wanted(p, "peephole weights").any():
        raise to.refuse("its peepholes have no form in Caffe")
    if input_forget:
        raise to.refuse("its input_forget has no form in Caffe")
    _recurrent(
        to, "LSTM", x, w, r, b, lengths, [initial_h, initial_c], direction, activations, layout
    )


@lifts("RNN")
def rnn(
    to: Lifter,
    x: str,
    w: str,
    r: str,
    b: str | None = None,
    lengths: str | None = None,
    initial_h: str | None = None,
    *,
    hidden_size: int = 0,
    direction: str = "forward",
    activations: Sequence[str] | None = None,
    layout: int = 0,
) -> None:
    """Where only the last state is read: Caffe's RNN gives out what a layer of its own makes of the
    states between."""
    if to.is_read(to.out):
        raise to.refuse(
            "Caffe's RNN puts a layer of its own behind each hidden state, which ONNX gives out"
        )
    _recurrent(to, "RNN", x, w, r, b, lengths, [initial_h], direction, activations, layout)


def _recurrent(
    to: Lifter,
    type_: str,
    x: str,
    w: str,
    r: str,
    b: str | None,
    lengths: str | None,
    initial: Sequence[str | None],
    direction: str,
    activations: Sequence[str] | None,
    layout: int,
) -> None:
    import numpy as np

    weights, recurrent = to.wanted(w, "weights W"), to.wanted(r, "weights R")
    directions, d = recurrent.shape[0], recurrent.shape[2]
    if activations and list(activations) != _ACTIVATIONS[type_] * directions:
        raise to.refuse(
            f"its activations {', '.join(activations)} are not those of Caffe's {type_}"
        )
    if layout:
        x = permuted(to, x, (1, 0, 2), "steps")
    steps, batch, _ = to.shape(x)
    if lengths and (to.wanted(lengths, "sequence lengths") != steps).any():
        raise to.refuse("its sequences differ in length")
    bias = to.wanted(b, "bias") if b else None
    names = (*to.operator.outputs, "", "", "")[: 1 + len(initial)]
    exposed = any(initial) or any(map(to.is_read, names[1:]))
    parts: list[list[str]] = []
    for k in range(directions):
        backward = direction == "reverse" or k == 1
        role = ("backward" if backward else "forward") if directions > 1 else "steps"
        order = range(steps - 1, -1, -1)
        read = gathered(to, x, 0, order, f"{role}_in") if backward and steps > 1 else x
        begins = np.ones((steps, batch), np.float32)
        begins[0] = 1 if exposed else 0
        bottoms = [read, to.parameter(to.value(f"{role}_cont"), begins)]
        if exposed:
            states = [_initial(to, name, k, layout, (1, batch, d), role) for name in initial]
            bottoms += states
        blobs = _blobs(type_, weights[k], recurrent[k], None if bias is None else bias[k], d)
        params: dict[str, Any] = {"num_output": d, **({"expose_hidden": True} if exposed else {})}
        tops = [
            to.value(f"{role}_{part}") for part in ("out", "h", "c")[: 1 + exposed * len(initial)]
        ]
        to.add(type_, bottoms, {"recurrent_param": params}, blobs, role=role, tops=tops)
        if backward and steps > 1 and to.is_read(names[0]):
            tops[0] = gathered(to, tops[0], 0, order, f"{role}_turned")
        parts.append(tops)
    for i, name in enumerate(names):
        if to.is_read(name):
            _output(
                to, [tops[i] for tops in parts], name, (steps if i == 0 else 0, batch, d), layout
            )


def _initial(
    to: Lifter, name: str | None, k: int, layout: int, shape: tuple[int, int, int], role: str
) -> str:
    """The initial state of one direction: 1 x N x D."""
    import numpy as np

    if not name:
        return to.parameter(to.value(f"{role}_zeros"), np.zeros(shape, np.float32))
    constant = to.constant(name)
    if constant is not None:
        values = constant.swapaxes(0, 1) if layout else constant
        return to.parameter(to.value(f"{role}_initial"), np.ascontiguousarray(values[k : k + 1]))
    y = permuted(to, name, (1, 0, 2), f"{role}_initial") if layout else name
    return gathered(to, y, 0, [k], f"{role}_state")


def _blobs(
    type_: str, w: NDArray[Any], r: NDArray[Any], bias: NDArray[Any] | None, d: int
) -> list[NDArray[Any]]:
    """W_x, b, W_h with the gates in Caffe's order; RNN's own output layer is not read."""
    import numpy as np

    def ordered(array: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([array[g * d : (g + 1) * d] for g in _GATES[type_]])

    rows = len(_GATES[type_]) * d
    both = np.zeros(rows, np.float32) if bias is None else bias[:rows] + bias[rows:]
    made = [ordered(w), ordered(both), ordered(r)]
    if type_ == "RNN":
        made += [np.zeros((d, d), np.float32), np.zeros(d, np.float32)]
    return made


def _output(
    to: Lifter, parts: list[str], name: str, sizes: tuple[int, int, int], layout: int
) -> None:
    """Directions joined: Y is T x directions x N x D (with ``layout`` N x T x directions x D), the
    last states directions x N x D (N x directions x D)."""
    steps, batch, d = sizes
    role = f"output{to.operator.outputs.index(name)}"
    axis = 1 if steps else 0
    order = (2, 0, 1, 3) if steps else (1, 0, 2)
    rows = parts
    if steps:
        rows = [
            reshaped(to, one, (steps, 1, batch, d), f"{role}_{i}") for i, one in enumerate(parts)
        ]
    y = rows[0]
    if len(rows) > 1:
        params = {"concat_param": {"axis": axis}} if axis != 1 else {}
        y = to.add("Concat", rows, params, role=f"{role}_joined")
    if layout:
        y = permuted(to, y, order, f"{role}_layout")
    to.give(y, name)
