"""Running ONNX models with onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, ProtogenError, did_you_mean
from protogen.memory import check_memory, lacks_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def library() -> Any:
    """Import onnxruntime without its telemetry, which would store an identifier in the user's folder and
    send events; the variable of the user's environment goes first."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def run_model(
    model: bytes | str,
    feeds: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] | None = None,
    known: bool = False,
) -> Arrays:
    """Run a model once and return its outputs by name.

    Args:
        model: the model's bytes, or the path of its file.
        feeds: an array for each input.
        outputs: names of the outputs to compute; all outputs by default.
        known: arrays for other inputs than those of the model are errors.

    Raises:
        InputError: an input is missing or unknown.
        ProtogenError: onnxruntime cannot load the model, or fails to run it.
    """
    return open_model(model, outputs, known=known)(feeds)


def open_model(
    model: bytes | str,
    outputs: Sequence[str] | None = None,
    known: bool = False,
) -> Callable[[Mapping[str, NDArray[Any]]], Arrays]:
    """Load a model once and return a function that runs it on arrays, as ``run_model`` does.

    Args:
        known: see ``run_model``.

    Raises:
        ProtogenError: onnxruntime cannot load the model. The function raises as ``run_model`` does.
    """
    onnxruntime = library()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = (
        4  # fatal only: errors are raised, so logging would report them twice
    )
    runtime_errors = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    where = model if isinstance(model, str) else ""

    def failure(error: Exception) -> Exception:
        text = " ".join(str(error).split())
        if lacks_memory(error):
            return MemoryError(text)
        return ProtogenError(f"onnxruntime cannot load or run the model: {text}", where=where)

    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except runtime_errors as error:
        raise failure(error) from None
    needed = {value.name: value.type for value in session.get_inputs()}
    output_names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
    wanted = set(output_names)
    sizes = [_bytes(one.shape) for one in session.get_outputs() if one.name in wanted]
    check_memory(sum(sizes), "the outputs need", where=where)

    def run(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        if known:
            check_known(list(needed), feeds)
        check_feeds(list(needed), feeds)
        typed = {name: _typed(name, feeds[name], type_) for name, type_ in needed.items()}
        try:
            return dict(zip(output_names, session.run(output_names, typed), strict=True))
        except (*runtime_errors, RuntimeError) as error:  # RuntimeError: no memory for an array
            raise failure(error) from None

    return run


def _bytes(shape: Sequence[Any]) -> int:
    """Return the size of an output of floats; 0 if onnxruntime does not know it."""
    return 4 * prod(shape) if all(isinstance(length, int) for length in shape) else 0


def _typed(name: str, value: Any, type_name: str) -> NDArray[Any]:
    """Convert the array of an input to an element type in onnxruntime's notation, such as tensor(int64)."""
    import numpy as np

    names = {"float": "float32", "double": "float64", "string": "str"}
    element = type_name.removeprefix("tensor(").removesuffix(")")
    array = np.asarray(value)
    if element != "string":
        check_numbers(name, array, value)
    return array.astype(names.get(element, element), copy=False)


def check_numbers(name: str, array: NDArray[Any], value: object) -> None:
    """Raise InputError if the array of an input does not hold real numbers."""
    if array.dtype.kind not in "biufV":  # V: bfloat16 and other types of ml_dtypes
        got = type(value).__name__ if array.ndim == 0 else f"an array of dtype {array.dtype}"
        raise InputError(f"expected an array of numbers, got {got}", subject=f'input "{name}"')


def check_known(inputs: Sequence[str], feeds: Iterable[str]) -> None:
    """Raise InputError if an array is for an input that the net or model does not have."""
    for name in feeds:
        if name not in inputs:
            raise InputError(
                f"unknown input (inputs: {', '.join(inputs) or 'none'})",
                subject=f'input "{name}"',
                advice=did_you_mean(name, inputs),
            )


def check_feeds(inputs: Sequence[str], feeds: Mapping[str, Any]) -> None:
    """Raise InputError if an input has no array."""
    for name in inputs:
        if name not in feeds:
            raise InputError(
                f"missing array (inputs: {', '.join(inputs)})",
                subject=f'input "{name}"',
                advice="Give an array for each input.",
            )
