"""Computes operators that read only constants, so that the model holds their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from protogen.onnx.program import TYPES, Node, Program, Tensor, tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[Any]]
    Attributes = Mapping[str, Any]

LARGEST = 1 << 22  # bytes: an operator with a larger result stays, unless it only moves its input
_NAMES = {number: name for name, number in TYPES.items() if name != "float16"}


def computed(program: Program) -> tuple[Program, dict[str, Tensor]]:
    """Replace operators that read only constants by their results.

    The results have the numbers that onnxruntime computes: only operators whose result is exact, or
    rounded once, are computed.

    Returns:
        The program, and all its constants, also those that no operator reads any more.
    """
    tensors, fixed = dict(program.tensors), program.interface
    nodes = []
    for node in program.nodes:
        reads = [tensors[name] for name in node.reads if name in tensors]
        is_constant = bool(reads) and len(reads) == len(node.reads)
        results = (
            _results(node, reads) if is_constant and not fixed.intersection(node.writes) else ()
        )
        if results:
            tensors.update(zip(node.writes, results, strict=True))
        else:
            nodes.append(node)
    return program.with_nodes(nodes, tensors), tensors


def _results(node: Node, reads: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the results of an operator on constants; nothing if it is not computed."""
    if node.op_type in _VIEWS:
        return [_viewed(node, reads)]
    function = _FUNCTIONS.get(node.op_type)
    if function is None or sum(read.size for read in reads) > LARGEST:
        return ()
    with np.errstate(all="ignore"):
        arrays = function([read.array() for read in reads], node.attributes)
    if sum(array.nbytes for array in arrays) > LARGEST:
        return ()
    return [tensor(array) for array in arrays]


def _viewed(node: Node, reads: Sequence[Tensor]) -> Tensor:
    """Return the constant in another shape; its values are read when they are written."""
    source, axes = reads[0], [one.array().reshape(-1).tolist() for one in reads[1:]]
    shape = _VIEWS[node.op_type](source.shape, *axes)
    return Tensor(shape, source.dtype, source.array)


def _reshaped(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, ...]:
    lengths = [shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    whole: NDArray[np.bool_] = np.broadcast_to(np.bool_(0), shape)
    return whole.reshape(lengths).shape if -1 in lengths else tuple(lengths)


def _squeezed(shape: Sequence[int], axes: Sequence[int] | None = None) -> tuple[int, ...]:
    if axes is None:
        return tuple(n for n in shape if n != 1)
    dropped = {axis % len(shape) for axis in axes}
    return tuple(n for i, n in enumerate(shape) if i not in dropped)


def _unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    rank = len(shape) + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(shape)
    return tuple(1 if i in added else next(rest) for i in range(rank))


def _sliced(arrays: Arrays, _: Attributes) -> Arrays:
    x, starts, ends, *rest = arrays
    axes = rest[0].tolist() if rest else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    places = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        places[axis] = slice(start, end, step)
    return [x[tuple(places)]]


def _cast(arrays: Arrays, attributes: Attributes) -> Arrays:
    x, name = arrays[0], _NAMES.get(attributes["to"])
    # A float outside the range of an integer becomes a number that depends on the processor.
    if name is None or (x.dtype.kind == "f" and attributes["to"] == TensorProto.INT64):
        return []
    return [x.astype(name)]


def _expanded(arrays: Arrays, _: Attributes) -> Arrays:
    x, lengths = arrays
    return [np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(lengths.tolist())))]


def _split(arrays: Arrays, attributes: Attributes) -> Arrays:
    if len(arrays) != 2:
        return []
    x, lengths = arrays
    return np.split(x, np.cumsum(lengths)[:-1].tolist(), attributes.get("axis", 0))


def _each(function: Callable[..., Any]) -> Callable[[Arrays, Attributes], Arrays]:
    """An operator that computes each number on its own."""
    return lambda arrays, _: [np.asarray(function(*arrays))]


def _divided(arrays: Arrays, _: Attributes) -> Arrays:
    # ONNX rounds the quotient of integers to zero, numpy rounds down.
    return [np.asarray(np.divide(*arrays))] if arrays[0].dtype.kind == "f" else []


_VIEWS: Mapping[str, Callable[..., tuple[int, ...]]] = {
    "Reshape": _reshaped,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
}
_FUNCTIONS: Mapping[str, Callable[[Arrays, Attributes], Arrays]] = {
    "Abs": _each(np.abs),
    "Add": _each(np.add),
    "And": _each(np.logical_and),
    "Cast": _cast,
    "Concat": lambda arrays, attributes: [np.concatenate(arrays, attributes["axis"])],
    "Div": _divided,
    "Equal": _each(np.equal),
    "Expand": _expanded,
    "Gather": lambda arrays, attributes: [np.take(arrays[0], arrays[1], attributes.get("axis", 0))],
    "Greater": _each(np.greater),
    "Less": _each(np.less),
    "Mul": _each(np.multiply),
    "Neg": _each(np.negative),
    "Not": _each(np.logical_not),
    "Or": _each(np.logical_or),
    "Slice": _sliced,
    "Split": _split,
    "Sqrt": _each(np.sqrt),
    "Sub": _each(np.subtract),
    "Transpose": lambda arrays, attributes: [np.transpose(arrays[0], attributes.get("perm"))],
    "Where": _each(np.where),
}
