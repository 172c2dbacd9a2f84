"""LSTM and RNN over time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import gathered, permuted, reshaped
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GATES = {"LSTM": (0, 2, 1, 3), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}


@imports("LSTM")
def lstm(
    ctx: ImportContext,
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
    """One LSTM layer per direction. The backward direction reads the steps in reverse order.

    The layer exposes its states if initial states are set or the last states are used.
    """
    if p and ctx.require_constant(p, "peephole weights").any():
        raise ctx.unsupported("peephole weights have no equivalent in Caffe")
    if input_forget:
        raise ctx.unsupported("input_forget has no equivalent in Caffe")
    _recurrent(
        ctx, "LSTM", x, w, r, b, lengths, [initial_h, initial_c], direction, activations, layout
    )


@imports("RNN")
def rnn(
    ctx: ImportContext,
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
    """Supported if only the last hidden state is used: for each step, Caffe's RNN outputs the
    result of an output layer, not the hidden state."""
    if ctx.is_read(ctx.out):
        raise ctx.unsupported(
            f'output "{ctx.out}" is used, but Caffe\'s RNN applies an output layer to each state'
        )
    _recurrent(ctx, "RNN", x, w, r, b, lengths, [initial_h], direction, activations, layout)


def _recurrent(
    ctx: ImportContext,
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

    weights, recurrent = ctx.require_constant(w, "weights W"), ctx.require_constant(r, "weights R")
    directions, d = recurrent.shape[0], recurrent.shape[2]
    if activations and list(activations) != _ACTIVATIONS[type_] * directions:
        raise ctx.unsupported(
            f"activations must be {', '.join(_ACTIVATIONS[type_])}, got {', '.join(activations)}"
        )
    if layout:
        x = permuted(ctx, x, (1, 0, 2), "steps")
    steps, batch, _ = ctx.shape(x)
    if lengths and (ctx.require_constant(lengths, "sequence lengths") != steps).any():
        raise ctx.unsupported(f"all sequences must have the length {steps}")
    bias = ctx.require_constant(b, "bias") if b else None
    names = (*ctx.operator.outputs, "", "", "")[: 1 + len(initial)]
    exposed = any(initial) or any(map(ctx.is_read, names[1:]))
    parts: list[list[str]] = []
    for k in range(directions):
        backward = direction == "reverse" or k == 1
        role = ("backward" if backward else "forward") if directions > 1 else "steps"
        backwards = range(steps - 1, -1, -1)
        bottom = gathered(ctx, x, 0, backwards, f"{role}_in") if backward and steps > 1 else x
        continues = np.ones((steps, batch), np.float32)
        continues[0] = 1 if exposed else 0
        bottoms = [bottom, ctx.parameter(ctx.new_value(f"{role}_cont"), continues)]
        if exposed:
            states = [_initial(ctx, name, k, layout, (1, batch, d), role) for name in initial]
            bottoms += states
        blobs = _blobs(type_, weights[k], recurrent[k], None if bias is None else bias[k], d)
        params: dict[str, Any] = {"num_output": d, **({"expose_hidden": True} if exposed else {})}
        tops = [
            ctx.new_value(f"{role}_{part}")
            for part in ("out", "h", "c")[: 1 + exposed * len(initial)]
        ]
        ctx.add(type_, bottoms, {"recurrent_param": params}, blobs, role=role, tops=tops)
        if backward and steps > 1 and ctx.is_read(names[0]):
            tops[0] = gathered(ctx, tops[0], 0, backwards, f"{role}_turned")
        parts.append(tops)
    for i, name in enumerate(names):
        if ctx.is_read(name):
            _output(
                ctx, [tops[i] for tops in parts], name, (steps if i == 0 else 0, batch, d), layout
            )


def _initial(
    ctx: ImportContext,
    name: str | None,
    k: int,
    layout: int,
    shape: tuple[int, int, int],
    role: str,
) -> str:
    """Return the initial state of one direction: 1 x N x D."""
    import numpy as np

    if not name:
        return ctx.parameter(ctx.new_value(f"{role}_zeros"), np.zeros(shape, np.float32))
    constant = ctx.constant(name)
    if constant is not None:
        values = constant.swapaxes(0, 1) if layout else constant
        return ctx.parameter(
            ctx.new_value(f"{role}_initial"), np.ascontiguousarray(values[k : k + 1])
        )
    y = permuted(ctx, name, (1, 0, 2), f"{role}_initial") if layout else name
    return gathered(ctx, y, 0, [k], f"{role}_state")


def _blobs(
    type_: str, w: NDArray[Any], r: NDArray[Any], bias: NDArray[Any] | None, d: int
) -> list[NDArray[Any]]:
    """Return W_x, b, W_h with the gates in Caffe's order.

    For RNN, the weights of its output layer follow. They are 0, because that output is unused.
    """
    import numpy as np

    def ordered(array: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([array[g * d : (g + 1) * d] for g in _GATES[type_]])

    rows = len(_GATES[type_]) * d
    bias_sum = np.zeros(rows, np.float32) if bias is None else bias[:rows] + bias[rows:]
    blobs = [ordered(w), ordered(bias_sum), ordered(r)]
    if type_ == "RNN":
        blobs += [np.zeros((d, d), np.float32), np.zeros(d, np.float32)]
    return blobs


def _output(
    ctx: ImportContext, directions: list[str], name: str, sizes: tuple[int, int, int], layout: int
) -> None:
    """Join the directions.

    Y is T x directions x N x D, or N x T x directions x D with ``layout``. A last state is
    directions x N x D, or N x directions x D with ``layout``.
    """
    steps, batch, d = sizes
    role = f"output{ctx.operator.outputs.index(name)}"
    axis = 1 if steps else 0
    order = (2, 0, 1, 3) if steps else (1, 0, 2)
    rows = directions
    if steps:
        rows = [
            reshaped(ctx, one, (steps, 1, batch, d), f"{role}_{i}")
            for i, one in enumerate(directions)
        ]
    y = rows[0]
    if len(rows) > 1:
        params = {"concat_param": {"axis": axis}} if axis != 1 else {}
        y = ctx.add("Concat", rows, params, role=f"{role}_joined")
    if layout:
        y = permuted(ctx, y, order, f"{role}_layout")
    ctx.bind_output(y, name)
