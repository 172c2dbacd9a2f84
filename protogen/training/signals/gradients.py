"""Gradients of a net's values, by JAX's automatic differentiation.

A net's ONNX program is written once more in JAX's functions, and JAX differentiates it: no
derivative is written here. It is for looking at gradients; nets are run by onnxruntime.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.weightfiles import missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.onnx import Program

FORMS: dict[str, Callable[..., Any]] = {}


def form(*types: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that computes operators of these types: positional arguments are their
    inputs, keywords their attributes."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        FORMS.update(dict.fromkeys(types, function))
        return function

    return register


def unsupported(program: Program) -> list[str]:
    """Operators of a program that have no form here, with their layers."""
    return sorted(
        {
            f'{node.op_type} of layer "{node.layer}"'
            for node in program.nodes
            if node.op_type not in FORMS
        }
    )


def gradients(
    program: Program,
    feeds: Mapping[str, NDArray[Any]],
    ends: Mapping[str, NDArray[Any]],
    watch: Sequence[str],
) -> dict[str, NDArray[np.float32]]:
    """The gradient of sum(end * weights of the end) at each watched value.

    Args:
        ends: values and what each is multiplied by before all are summed; whole numbers are classes
            instead, and then the end's value is the mean cross-entropy of its Softmax.
        watch: names of values that operators make.

    Raises:
        UnsupportedError: JAX is not installed, or an operator has no form here.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA tells of slow compilation else
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        raise missing("JAX", "gradients") from None
    lacking = unsupported(program)
    if lacking:
        raise UnsupportedError(
            f"gradients through {', '.join(lacking)} are not known here",
            advice="The forward half works: leave out --gradients.",
        )
    import numpy as np

    shapes: dict[str, tuple[int, ...]] = {}

    # Shapes and axes are Python's; weights are arguments, which XLA does not try to compute with.
    weights_ = {n: t.array() for n, t in program.tensors.items() if t.dtype == "float32"}

    def total(deltas: Mapping[str, Any], weights_: Mapping[str, Any]) -> Any:
        values = _run(program, feeds, deltas, shapes, weights_)
        parts = []
        for name, weights in ends.items():
            if weights.dtype.kind in "iu":
                logs = jax.nn.log_softmax(values[name], axis=1)
                chosen = jnp.take_along_axis(logs, jnp.asarray(weights)[:, None], axis=1)
                parts.append(-chosen.mean())
            else:
                parts.append((values[name] * weights).sum())
        return sum(parts)

    # A first look tells the shapes; then what is added to each value is differentiated.
    jax.eval_shape(total, {}, weights_)
    zeros = {name: np.zeros(shapes[name], np.float32) for name in watch}
    found = jax.jit(jax.grad(total))(zeros, weights_)
    return {name: np.asarray(found[name]) for name in watch}


def forward(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The program's values as JAX computes them, for the test that they are onnxruntime's."""
    import numpy as np

    found = _run(program, feeds, {}, {}, {})
    return {value.name: np.asarray(found[value.name]) for value in program.outputs}


def _run(
    program: Program,
    feeds: Mapping[str, Any],
    deltas: Mapping[str, Any],
    shapes: dict[str, Any],
    weights: Mapping[str, Any],
) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: weights[name] if name in weights else t.array() for name, t in program.tensors.items()
    }
    values |= dict(feeds)
    for node in program.nodes:
        reads = [values[name] if name else None for name in node.reads]
        made = FORMS[node.op_type](*reads, **node.attributes)
        made = made if isinstance(made, (list, tuple)) else [made]
        for name, value in zip(node.writes, made, strict=False):
            shapes[name] = value.shape
            values[name] = value + deltas[name] if name in deltas else value
    return values


def _by_name(onnx: str, room: str, name: str) -> None:
    """An operator that is one of JAX's functions; JAX is imported when it runs."""

    def call(*reads: Any) -> Any:
        return getattr(import_module(room), name)(*reads)

    FORMS[onnx] = call


for _onnx, _function in (
    ("Abs", "abs"),
    ("Add", "add"),
    ("Div", "divide"),
    ("Equal", "equal"),
    ("Exp", "exp"),
    ("Greater", "greater"),
    ("GreaterOrEqual", "greater_equal"),
    ("Less", "less"),
    ("Log", "log"),
    ("MatMul", "matmul"),
    ("Mul", "multiply"),
    ("Neg", "negative"),
    ("Pow", "power"),
    ("Reciprocal", "reciprocal"),
    ("Sign", "sign"),
    ("Sqrt", "sqrt"),
    ("Sub", "subtract"),
    ("Tanh", "tanh"),
    ("Where", "where"),
):
    _by_name(_onnx, "jax.numpy", _function)
for _onnx in ("Relu", "Sigmoid", "Softplus"):
    _by_name(_onnx, "jax.nn", _onnx.lower())


@form("Identity")
def _identity(x: Any) -> Any:
    return x


@form("Cast")
def _cast(x: Any, *, to: int, **_: Any) -> Any:
    return x.astype({1: "float32", 6: "int32", 7: "int32", 9: "bool"}.get(to, "float32"))


def _folded(onnx: str, function: str, mean: bool = False) -> None:
    def call(*reads: Any) -> Any:
        import jax.numpy as jnp

        made = reads[0]
        for read in reads[1:]:
            made = getattr(jnp, function)(made, read)
        return made / len(reads) if mean else made

    FORMS[onnx] = call


for _onnx, _function in (("Max", "maximum"), ("Min", "minimum"), ("Sum", "add")):
    _folded(_onnx, _function)
_folded("Mean", "add", True)


@form("LeakyRelu")
def _leaky(x: Any, *, alpha: float = 0.01) -> Any:
    import jax

    return jax.nn.leaky_relu(x, alpha)


@form("PRelu")
def _prelu(x: Any, slope: Any) -> Any:
    import jax.numpy as jnp

    return jnp.where(x > 0, x, slope * x)


@form("Elu")
def _elu(x: Any, *, alpha: float = 1.0) -> Any:
    import jax

    return jax.nn.elu(x, alpha)


@form("Clip")
def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    import jax.numpy as jnp

    return jnp.clip(x, low, high)


@form("HardSigmoid")
def _hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    import jax.numpy as jnp

    return jnp.clip(alpha * x + beta, 0, 1)


@form("Softmax")
def _softmax(x: Any, *, axis: int = -1) -> Any:
    import jax

    return jax.nn.softmax(x, axis)


@form("LogSoftmax")
def _log_softmax(x: Any, *, axis: int = -1) -> Any:
    import jax

    return jax.nn.log_softmax(x, axis)


@form("Reshape")
def _reshape(x: Any, shape: Any, **_: Any) -> Any:
    dims = [x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape.tolist())]
    return x.reshape(dims)


@form("Flatten")
def _flatten(x: Any, *, axis: int = 1) -> Any:
    return x.reshape((math.prod(x.shape[:axis]), -1))


@form("Transpose")
def _transpose(x: Any, *, perm: Sequence[int]) -> Any:
    return x.transpose(tuple(perm))


@form("Unsqueeze")
def _unsqueeze(x: Any, axes: Any) -> Any:
    import jax.numpy as jnp

    return jnp.expand_dims(x, tuple(int(a) for a in axes))


@form("Squeeze")
def _squeeze(x: Any, axes: Any) -> Any:
    return x.squeeze(tuple(int(a) for a in axes))


@form("Concat")
def _concat(*reads: Any, axis: int) -> Any:
    import jax.numpy as jnp

    return jnp.concatenate(reads, axis)


@form("Slice")
def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    over = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, a, b, s in zip(over, starts.tolist(), ends.tolist(), by, strict=True):
        index[axis] = slice(a, b if b > -x.shape[axis] - 1 else None, s)
    return x[tuple(index)]


@form("Split")
def _split(x: Any, sizes: Any = None, *, axis: int = 0, num_outputs: int = 0) -> Any:
    import jax.numpy as jnp

    lengths = sizes.tolist() if sizes is not None else [x.shape[axis] // num_outputs] * num_outputs
    points = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
    return jnp.split(x, points, axis)


@form("Gather")
def _gather(x: Any, places: Any, *, axis: int = 0) -> Any:
    import jax.numpy as jnp

    return jnp.take(x, places, axis)


@form("Tile")
def _tile(x: Any, repeats: Any) -> Any:
    import jax.numpy as jnp

    return jnp.tile(x, tuple(int(n) for n in repeats))


@form("Expand")
def _expand(x: Any, shape: Any) -> Any:
    import jax.numpy as jnp

    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))


@form("Pad")
def _pad(x: Any, pads: Any, value: Any = None, *, mode: str = "constant") -> Any:
    import jax.numpy as jnp

    widths = pads.reshape(2, -1).T.tolist()
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=0 if value is None else float(value))
    return jnp.pad(x, widths, mode=mode)


def _reduction(onnx: str, function: str) -> None:
    def call(x: Any, given: Any = None, *, axes: Any = None, keepdims: int = 1) -> Any:
        import jax.numpy as jnp

        chosen = axes if given is None else given.tolist()
        over = None if chosen is None else tuple(int(a) for a in chosen)
        return getattr(jnp, function)(x, axis=over, keepdims=bool(keepdims))

    FORMS[onnx] = call


for _onnx, _function in (
    ("ReduceSum", "sum"),
    ("ReduceMean", "mean"),
    ("ReduceMax", "max"),
    ("ReduceMin", "min"),
):
    _reduction(_onnx, _function)


@form("Gemm")
def _gemm(
    a: Any,
    b: Any,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's names)
    transB: int = 0,  # noqa: N803 (ONNX's names)
) -> Any:
    made = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return made if c is None else made + beta * c


@form("BatchNormalization")
def _batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5
) -> Any:
    along = (1, -1, *[1] * (x.ndim - 2))
    factor = (scale / (variance + epsilon) ** 0.5).reshape(along)
    return (x - mean.reshape(along)) * factor + bias.reshape(along)


@form("LRN")
def _lrn(x: Any, *, size: int, alpha: float, beta: float, bias: float) -> Any:
    from jax import lax

    half = (size - 1) // 2
    window = (1, size, *[1] * (x.ndim - 2))
    pads = [(0, 0), (half, size - 1 - half), *[(0, 0)] * (x.ndim - 2)]
    squares = lax.reduce_window(x * x, 0.0, lax.add, window, (1,) * x.ndim, pads)
    return x / (bias + alpha / size * squares) ** beta
