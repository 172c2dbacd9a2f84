"""Gradients of a net's values: JAX differentiates one operator after the other, from the loss to the data.

Only the values of the forward pass, the gradients that are still read, and the weights of one operator are
in memory. Operators of equal type, attributes and shapes share one compiled function.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.mapped import in_memory
from protogen.formats.weightfiles import missing
from protogen.training.signals.gradients import OPERATORS, unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx.program import Node, Program

_CACHE_BYTES = 64 << 20  # of compiled functions on disk


def gradients(
    program: Program,
    values: Mapping[str, NDArray[Any]],
    ends: Mapping[str, NDArray[Any]],
    watch: Sequence[str],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the gradient of a loss at each watched value, in reverse order of the operators.

    Args:
        values: all values of the forward pass by name: the inputs, and what the operators compute.
        ends: the terms of the loss, by name of a value. An array of floats multiplies the value, and
            the term is the sum of the products. An array of integers contains classes, and the term
            is the mean cross-entropy of the value's Softmax.
        watch: names of values. Those that the loss does not depend on are left out.

    Raises:
        UnsupportedError: JAX is not installed, or an operator has no JAX function.
    """
    _start_jax()
    program = _part_before(program, ends)
    if missing_operators := unsupported(program):
        raise UnsupportedError(
            f"gradients of {', '.join(missing_operators)} are unsupported",
            advice="Leave out --gradients to measure the forward pass only.",
        )
    import numpy as np

    watched = set(watch)
    fed = _fed(program, watched)
    totals = {name: _of_end(values[name], end) for name, end in ends.items()}
    compiled: dict[object, Callable[..., Any]] = {}
    for node in reversed(program.nodes):
        outgoing = {name: totals.pop(name) for name in node.writes if name in totals}
        for name in watched.intersection(node.writes):
            yield name, np.asarray(outgoing.get(name, np.zeros_like(values[name])))
        if not outgoing or not fed.intersection(node.reads):
            continue
        for name, gradient in _pulled(node, program, values, outgoing, fed, compiled):
            totals[name] = totals[name] + gradient if name in totals else gradient


def _part_before(program: Program, ends: Mapping[str, NDArray[Any]]) -> Program:
    """Return the program with only the operators on which the terms of the loss depend."""
    wanted, nodes = set(ends), []
    for node in reversed(program.nodes):
        if wanted.intersection(node.writes):
            wanted.update(filter(None, node.reads))
            nodes.append(node)
    return program.with_nodes(reversed(nodes), program.tensors)


def _fed(program: Program, watched: set[str]) -> set[str]:
    """Return the watched values and those that depend on them: only these need gradients."""
    fed = set(watched)
    for node in program.nodes:
        if fed.intersection(node.reads):
            fed.update(node.writes)
    return fed


def _of_end(value: NDArray[Any], end: NDArray[Any]) -> Any:
    """Return the gradient of a term of the loss at its value."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    if end.dtype.kind not in "iu":
        return np.broadcast_to(end, value.shape).astype(np.float32)

    def entropy(scores: Any) -> Any:
        logs = jax.nn.log_softmax(scores, axis=1)
        return -jnp.take_along_axis(logs, jnp.asarray(end)[:, None], axis=1).mean()

    return jax.grad(entropy)(value)


def _pulled(
    node: Node,
    program: Program,
    values: Mapping[str, NDArray[Any]],
    outgoing: Mapping[str, Any],
    fed: set[str],
    compiled: dict[object, Callable[..., Any]],
) -> list[tuple[str, Any]]:
    """Return the gradients at the values that an operator reads, from those at what it writes."""
    import numpy as np

    constants = {
        n: in_memory(program.tensors[n].array()) for n in node.reads if n in program.tensors
    }
    read = [constants.get(n, values.get(n)) if n else None for n in node.reads]
    # Shapes and axes are Python values. Weights are arguments, so that XLA does not fold them.
    fixed = {
        i: array
        for i, (name, array) in enumerate(zip(node.reads, read, strict=True))
        if array is None or (name in constants and array.dtype != np.float32)
    }
    moving = {i: array for i, array in enumerate(read) if array is not None and i not in fixed}
    sought = [i for i in moving if node.reads[i] in fed and moving[i].dtype.kind == "f"]
    floats = [k for k, n in enumerate(node.writes) if n in values and values[n].dtype.kind == "f"]
    if not sought:
        return []
    key = (
        node.op_type,
        repr(sorted(node.attributes.items())),
        tuple((i, array.shape, str(array.dtype)) for i, array in moving.items()),
        tuple((i, None if array is None else array.tobytes()) for i, array in fixed.items()),
        tuple(sought),
        tuple(floats),
    )
    if key not in compiled:
        compiled[key] = _compiled(node, fixed, sought, floats)
    cotangents = [
        outgoing.get(node.writes[k], np.zeros_like(values[node.writes[k]])) for k in floats
    ]
    result = compiled[key](moving, cotangents)
    by_name = [(node.reads[i], gradient) for i, gradient in zip(sought, result, strict=True)]
    for _, gradient in by_name:
        gradient.block_until_ready()
    return by_name


def _compiled(
    node: Node,
    fixed: Mapping[int, Any],
    sought: Sequence[int],
    floats: Sequence[int],
) -> Callable[..., Any]:
    """Return the function that computes the gradients at the reads ``sought`` of an operator."""
    import jax

    operator, attributes = OPERATORS[node.op_type], node.attributes
    count = len(node.reads)

    def pull(moving: Mapping[int, Any], cotangents: Sequence[Any]) -> Any:
        def forward(*parts: Any) -> list[Any]:
            of_sought = dict(zip(sought, parts, strict=True))
            reads = [of_sought.get(i, fixed[i] if i in fixed else moving[i]) for i in range(count)]
            outputs = operator(*reads, **attributes)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            return [outputs[k] for k in floats]

        return jax.vjp(forward, *(moving[i] for i in sought))[1](list(cotangents))

    return jax.jit(pull)


def _start_jax() -> None:
    """Import JAX; compiled functions are stored for the next process, unless the user chose a folder.

    Raises:
        UnsupportedError: JAX is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides XLA's messages on slow compilation
    try:
        import jax
    except ImportError:
        raise missing("JAX", "gradients") from None
    # JAX limits the size of the folder only with filelock.
    if jax.config.values["jax_compilation_cache_dir"] or find_spec("filelock") is None:
        return
    if (folder := _cache_folder()) is None:
        return
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_compilation_cache_dir", str(folder))
    update("jax_compilation_cache_max_size", _CACHE_BYTES)
    update("jax_persistent_cache_min_compile_time_secs", 0.02)  # of most operators
    update("jax_persistent_cache_min_entry_size_bytes", 0)


def _cache_folder() -> Path | None:
    """Return the folder of compiled functions; None if it cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "protogen" / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
