"""RNN, GRU and LSTM: Caffe's own layers, or stock layers for each time step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protogen.geometry import shape_text
from protogen.onnx.importer.cells import Function, Parts, functions_of
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import gathered, permuted, reshaped
from protogen.onnx.importer.registry import FLOATS, imports
from protogen.onnx.importer.sequences import (
    CaffeLayer,
    Runner,
    Unrolled,
    check_steps,
    plan_of,
    run_direction,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FUNCTIONS = {
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "RNN": ("Tanh",),
}
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_CAFFE_GATES = {"LSTM": (0, 2, 1, 3), "RNN": (0,)}  # ONNX's gates in Caffe's order
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_TAKES = FLOATS | {"INT32"}  # the sequence lengths are int32


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Inputs of a recurrent operator, by name."""

    x: str
    w: str
    r: str
    b: str | None
    lengths: str | None
    initial: Sequence[str | None]
    peepholes: str | None = None


@dataclass(frozen=True, slots=True)
class _Options:
    """Attributes of a recurrent operator."""

    size: int
    direction: str
    functions: Sequence[str]
    alphas: Sequence[float]
    betas: Sequence[float]
    clip: float | None
    layout: int
    after: int = 0
    coupled: int = 0


@imports("RNN", takes=_TAKES)
def rnn(
    ctx: ImportContext,
    x: str,
    w: str,
    r: str,
    b: str | None = None,
    lengths: str | None = None,
    initial_h: str | None = None,
    *,
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
) -> None:
    """Caffe's RNN if Y is not read: of each step, that layer returns the result of an output layer,
    not the hidden state."""
    options = _Options(
        hidden_size, direction, activations, activation_alpha, activation_beta, clip, layout
    )
    _recurrent(ctx, "RNN", _Inputs(x, w, r, b, lengths, [initial_h]), options)


@imports("GRU", takes=_TAKES)
def gru(
    ctx: ImportContext,
    x: str,
    w: str,
    r: str,
    b: str | None = None,
    lengths: str | None = None,
    initial_h: str | None = None,
    *,
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> None:
    options = _Options(
        hidden_size,
        direction,
        activations,
        activation_alpha,
        activation_beta,
        clip,
        layout,
        after=linear_before_reset,
    )
    _recurrent(ctx, "GRU", _Inputs(x, w, r, b, lengths, [initial_h]), options)


@imports("LSTM", takes=_TAKES)
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
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
) -> None:
    """Caffe's LSTM unless there are peepholes, coupled gates, other functions or a clip."""
    options = _Options(
        hidden_size,
        direction,
        activations,
        activation_alpha,
        activation_beta,
        clip,
        layout,
        coupled=input_forget,
    )
    _recurrent(ctx, "LSTM", _Inputs(x, w, r, b, lengths, [initial_h, initial_c], p), options)


def _recurrent(ctx: ImportContext, type_: str, inputs: _Inputs, options: _Options) -> None:
    """Add each direction by itself, then join them."""
    for name in (inputs.x, *filter(None, inputs.initial)):
        if ctx.kind(name) not in FLOATS or len(ctx.shape(name)) != 3:
            raise ctx.unsupported(
                f'"{name}" must have 3 axes of floating point numbers, got {ctx.kind(name)} of shape '
                f"{shape_text(ctx.shape(name))}"
            )
    directions = _directions(ctx, type_, inputs, options)
    size = directions[0].size
    outputs = (*ctx.operator.outputs, "", "", "")[: 1 + len(inputs.initial)]
    reads = [ctx.is_read(name) for name in outputs]
    reason = _reason(ctx, type_, directions, reads[0])
    axis = options.layout if reason else 0  # Caffe's layers have the steps along axis 0
    x = inputs.x
    if axis != options.layout:
        x = permuted(ctx, x, (1, 0, 2), "steps")
    steps, samples = ctx.shape(x)[axis], ctx.shape(x)[1 - axis]
    plan = plan_of(ctx, inputs.lengths, steps, samples)
    if reason:
        check_steps(ctx, plan, reason)
    results = []
    for k, (backward, parts) in enumerate(
        zip(_DIRECTIONS[options.direction], directions, strict=True)
    ):
        role = ("backward" if backward else "forward") if len(directions) > 1 else "steps"
        runner: Runner
        if reason:
            runner = Unrolled(ctx, type_, parts, axis, backward, role)
        else:
            runner = CaffeLayer(ctx, type_, _blobs(type_, parts), size, backward, role)
        shape = (1, samples, size) if axis == 0 else (samples, 1, size)
        initial = [
            _initial(ctx, name, k, options.layout, shape, f"{role}_{kind}")
            for name, kind in zip(inputs.initial, ("initial", "initial_c"), strict=False)
        ]
        results.append(run_direction(runner, plan, x, initial, reads))
    for i, name in enumerate(outputs):
        if reads[i]:
            join = _bind_state if i else _bind_sequence
            join(ctx, [one[i] for one in results], name, axis, options.layout)


def _directions(ctx: ImportContext, type_: str, inputs: _Inputs, options: _Options) -> list[Parts]:
    """Return the constants of each direction, as float32."""
    import numpy as np

    def constant(name: str, role: str, shape: Sequence[int]) -> NDArray[np.float32]:
        array = ctx.require_constant(name, role)
        if array.shape != tuple(shape):
            raise ctx.unsupported(
                f'{role} "{name}" must have shape {shape_text(shape)}, got {shape_text(array.shape)}'
            )
        return array.astype(np.float32, copy=False)

    if options.direction not in _DIRECTIONS:
        raise ctx.unsupported(
            f"direction must be {', '.join(_DIRECTIONS)}, got {options.direction}"
        )
    count, gates = len(_DIRECTIONS[options.direction]), _GATES[type_]
    size = options.size or ctx.require_constant(inputs.r, "weights R").shape[-1]
    rows = gates * size
    w = constant(inputs.w, "weights W", (count, rows, ctx.shape(inputs.x)[-1]))
    r = constant(inputs.r, "weights R", (count, rows, size))
    bias = np.zeros((count, 2 * rows), np.float32)
    if inputs.b:
        bias = constant(inputs.b, "bias", bias.shape)
    peepholes = None
    if inputs.peepholes:
        peepholes = constant(inputs.peepholes, "peephole weights", (count, 3 * size))
        peepholes = peepholes.reshape(count, 3, size) if peepholes.any() else None
    if options.clip is not None and options.clip <= 0:
        raise ctx.unsupported(f"clip must be above 0, got {options.clip:g}")
    functions = _functions(ctx, type_, count, options)
    return [
        Parts(
            w[k],
            r[k],
            bias[k, :rows],
            bias[k, rows:],
            functions[k],
            options.clip,
            bool(options.after),
            bool(options.coupled),
            None if peepholes is None else peepholes[k],
        )
        for k in range(count)
    ]


def _functions(
    ctx: ImportContext, type_: str, count: int, options: _Options
) -> list[list[Function]]:
    """Return the activation functions of each direction."""
    names = options.functions or _FUNCTIONS[type_] * count
    each = len(_FUNCTIONS[type_])
    if len(names) != each * count:
        raise ctx.unsupported(
            f"activations must be {each * count} functions, got {len(names)}: {', '.join(names)}"
        )
    functions = functions_of(ctx, names, options.alphas, options.betas)
    return [functions[each * k : each * (k + 1)] for k in range(count)]


def _reason(
    ctx: ImportContext, type_: str, directions: Sequence[Parts], reads_sequence: bool
) -> str:
    """Return why Caffe has no layer that does this; "" if it has one."""
    default = _FUNCTIONS[type_]
    if type_ == "GRU":
        return "Caffe has no layer for it"
    if type_ == "RNN" and reads_sequence:
        return f'Caffe\'s RNN does not return the hidden state of each step ("{ctx.out}")'
    for parts in directions:
        names = tuple(function.name for function in parts.functions)
        if names != default:
            return f"Caffe's {type_} has other activations than {', '.join(names)}"
        if parts.clip is not None:
            return f"Caffe's {type_} has no clip"
        if parts.coupled:
            return "Caffe's LSTM has no input_forget"
        if parts.peepholes is not None:
            return "Caffe's LSTM has no peepholes"
    return ""


def _initial(
    ctx: ImportContext,
    name: str | None,
    k: int,
    layout: int,
    shape: tuple[int, int, int],
    role: str,
) -> str:
    """Return the initial state of direction k in this shape; "" if it is 0."""
    import numpy as np

    if not name:
        return ""
    constant = ctx.constant(name)
    if constant is None:
        return reshaped(ctx, gathered(ctx, name, layout, [k], f"{role}_part"), shape, role)
    values = constant[:, k] if layout else constant[k]
    if not values.any():
        return ""
    return ctx.parameter(ctx.new_value(role), np.ascontiguousarray(values.reshape(shape)))


def _blobs(type_: str, parts: Parts) -> list[NDArray[Any]]:
    """Return W_x, b, W_h with the gates in Caffe's order.

    For RNN, the weights of its output layer follow. They are 0, because that output is unused.
    """
    import numpy as np

    d = parts.size
    rows = np.concatenate([np.arange(g * d, (g + 1) * d) for g in _CAFFE_GATES[type_]])
    blobs: list[NDArray[Any]] = [parts.w[rows], (parts.w_bias + parts.r_bias)[rows], parts.r[rows]]
    if type_ == "RNN":
        blobs += [np.zeros((d, d), np.float32), np.zeros(d, np.float32)]
    return blobs


def _bind_sequence(
    ctx: ImportContext, directions: Sequence[str], name: str, axis: int, layout: int
) -> None:
    """Join Y: steps, directions, samples, values; with ``layout``: samples, steps, directions,
    values. The directions have the steps along ``axis``."""
    at = 1 + axis
    rows = []
    for i, one in enumerate(directions):
        shape = ctx.shape(one)
        rows.append(reshaped(ctx, one, (*shape[:at], 1, *shape[at:]), f"output0_{i}"))
    y = _joined(ctx, rows, at, "output0_joined")
    if axis != layout:
        y = permuted(ctx, y, (2, 0, 1, 3), "output0_layout")
    ctx.bind_output(y, name)


def _bind_state(
    ctx: ImportContext, directions: Sequence[str], name: str, axis: int, layout: int
) -> None:
    """Join a last state: directions, samples, values; with ``layout``: samples, directions, values."""
    role = f"output{ctx.operator.outputs.index(name)}"
    rows = list(directions)
    if axis != layout:
        steps, samples, size = ctx.shape(rows[0])
        rows = [
            reshaped(ctx, one, (samples, steps, size), f"{role}_{i}") for i, one in enumerate(rows)
        ]
    ctx.bind_output(_joined(ctx, rows, layout, f"{role}_joined"), name)


def _joined(ctx: ImportContext, rows: Sequence[str], axis: int, role: str) -> str:
    if len(rows) == 1:
        return rows[0]
    return ctx.add("Concat", rows, {"concat_param": {"axis": axis}} if axis != 1 else {}, role=role)
