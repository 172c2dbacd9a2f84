"""JAX functions of ONNX operators, which JAX differentiates: no module of protogen contains a derivative.

They are only used to examine gradients; onnxruntime runs nets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.program import Node, Program

OPERATORS: dict[str, Callable[..., Any]] = {}


def implements(*types: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function that computes ONNX operators of these types.

    Its positional arguments are the operator's inputs, its keyword arguments the attributes.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(types, function))
        return function

    return register


def unsupported(program: Program) -> list[str]:
    """Return the operators of a program that no JAX function computes, with their layers."""
    nodes = [node for node in program.nodes if not _takes(node)]
    return sorted({f'{node.op_type} of layer "{node.layer}"' for node in nodes})


def _takes(node: Node) -> bool:
    """Return whether an operator has a function that takes its inputs and attributes."""
    try:
        signature(OPERATORS[node.op_type]).bind(*node.reads, **node.attributes)
    except (KeyError, TypeError):
        return False
    return True


def forward(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the program's outputs as JAX computes them; a test compares them with onnxruntime's."""
    import jax
    import numpy as np

    def outputs(inputs: Mapping[str, Any]) -> list[Any]:
        values: dict[str, Any] = {name: one.array() for name, one in program.tensors.items()}
        values |= inputs
        for node in program.nodes:
            reads = [values[name] if name else None for name in node.reads]
            computed = OPERATORS[node.op_type](*reads, **node.attributes)
            computed = computed if isinstance(computed, (list, tuple)) else [computed]
            values |= dict(zip(node.writes, computed, strict=False))
        return [values[value.name] for value in program.outputs]

    computed = jax.jit(outputs)(dict(feeds))
    names = [value.name for value in program.outputs]
    return dict(zip(names, map(np.asarray, computed), strict=True))


def _by_name(onnx: str, module: str, name: str) -> None:
    """Register an operator that is a function of JAX; JAX is imported when the operator runs."""

    def call(*reads: Any) -> Any:
        return getattr(import_module(module), name)(*reads)

    OPERATORS[onnx] = call


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


@implements("Identity")
def _identity(x: Any) -> Any:
    return x


@implements("Cast")
def _cast(x: Any, *, to: int, **_: Any) -> Any:
    return x.astype({1: "float32", 6: "int32", 7: "int32", 9: "bool"}.get(to, "float32"))


def _accumulated(onnx: str, function: str, mean: bool = False) -> None:
    """Register an operator of several inputs that applies a binary function of JAX repeatedly."""

    def call(*reads: Any) -> Any:
        import jax.numpy as jnp

        total = reads[0]
        for read in reads[1:]:
            total = getattr(jnp, function)(total, read)
        return total / len(reads) if mean else total

    OPERATORS[onnx] = call


for _onnx, _function in (("Max", "maximum"), ("Min", "minimum"), ("Sum", "add")):
    _accumulated(_onnx, _function)
_accumulated("Mean", "add", True)


@implements("LeakyRelu")
def _leaky(x: Any, *, alpha: float = 0.01) -> Any:
    import jax

    return jax.nn.leaky_relu(x, alpha)


@implements("PRelu")
def _prelu(x: Any, slope: Any) -> Any:
    import jax.numpy as jnp

    return jnp.where(x > 0, x, slope * x)


@implements("Elu")
def _elu(x: Any, *, alpha: float = 1.0) -> Any:
    import jax

    return jax.nn.elu(x, alpha)


@implements("Clip")
def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    import jax.numpy as jnp

    return jnp.clip(x, low, high)


@implements("HardSigmoid")
def _hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    import jax.numpy as jnp

    return jnp.clip(alpha * x + beta, 0, 1)


@implements("Softmax")
def _softmax(x: Any, *, axis: int = -1) -> Any:
    import jax

    return jax.nn.softmax(x, axis)


@implements("LogSoftmax")
def _log_softmax(x: Any, *, axis: int = -1) -> Any:
    import jax

    return jax.nn.log_softmax(x, axis)


@implements("Reshape")
def _reshape(x: Any, shape: Any, **_: Any) -> Any:
    dims = [x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape.tolist())]
    return x.reshape(dims)


@implements("Flatten")
def _flatten(x: Any, *, axis: int = 1) -> Any:
    return x.reshape((math.prod(x.shape[:axis]), -1))


@implements("Transpose")
def _transpose(x: Any, *, perm: Sequence[int]) -> Any:
    return x.transpose(tuple(perm))


@implements("Unsqueeze")
def _unsqueeze(x: Any, axes: Any) -> Any:
    import jax.numpy as jnp

    return jnp.expand_dims(x, tuple(int(a) for a in axes))


@implements("Squeeze")
def _squeeze(x: Any, axes: Any) -> Any:
    return x.squeeze(tuple(int(a) for a in axes))


@implements("Concat")
def _concat(*reads: Any, axis: int) -> Any:
    import jax.numpy as jnp

    return jnp.concatenate(reads, axis)


@implements("Slice")
def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    along = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, a, b, s in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
        index[axis] = slice(a, b if b > -x.shape[axis] - 1 else None, s)
    return x[tuple(index)]


@implements("Split")
def _split(x: Any, sizes: Any = None, *, axis: int = 0, num_outputs: int = 0) -> Any:
    import jax.numpy as jnp

    lengths = sizes.tolist() if sizes is not None else [x.shape[axis] // num_outputs] * num_outputs
    boundaries = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
    return jnp.split(x, boundaries, axis)


@implements("Gather")
def _gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    import jax.numpy as jnp

    return jnp.take(x, indices, axis)


@implements("Tile")
def _tile(x: Any, repeats: Any) -> Any:
    import jax.numpy as jnp

    return jnp.tile(x, tuple(int(n) for n in repeats))


@implements("Expand")
def _expand(x: Any, shape: Any) -> Any:
    import jax.numpy as jnp

    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))


@implements("Pad")
def _pad(x: Any, pads: Any, value: Any = None, *, mode: str = "constant") -> Any:
    import jax.numpy as jnp

    widths = pads.reshape(2, -1).T.tolist()
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=0 if value is None else float(value))
    return jnp.pad(x, widths, mode=mode)


def _reduction(onnx: str, function: str) -> None:
    """Register a reduction; its axes are an input or an attribute, by opset."""

    def call(x: Any, axes_input: Any = None, *, axes: Any = None, keepdims: int = 1) -> Any:
        import jax.numpy as jnp

        listed = axes if axes_input is None else axes_input.tolist()
        along = None if listed is None else tuple(int(a) for a in listed)
        return getattr(jnp, function)(x, axis=along, keepdims=bool(keepdims))

    OPERATORS[onnx] = call


for _onnx, _function in (
    ("ReduceSum", "sum"),
    ("ReduceMean", "mean"),
    ("ReduceMax", "max"),
    ("ReduceMin", "min"),
):
    _reduction(_onnx, _function)


@implements("Gemm")
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
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


@implements("BatchNormalization")
def _batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5
) -> Any:
    channel_shape = (1, -1, *[1] * (x.ndim - 2))
    factor = (scale / (variance + epsilon) ** 0.5).reshape(channel_shape)
    return (x - mean.reshape(channel_shape)) * factor + bias.reshape(channel_shape)


@implements("LRN")
def _lrn(x: Any, *, size: int, alpha: float, beta: float, bias: float) -> Any:
    from jax import lax

    half = (size - 1) // 2
    window = (1, size, *[1] * (x.ndim - 2))
    pads = [(0, 0), (half, size - 1 - half), *[(0, 0)] * (x.ndim - 2)]
    squares = lax.reduce_window(x * x, 0.0, lax.add, window, (1,) * x.ndim, pads)
    return x / (bias + alpha / size * squares) ** beta
