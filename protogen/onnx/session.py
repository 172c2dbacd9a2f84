"""Runs models of ONNX with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, ProtogenError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def run_model(
    model: bytes | str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
) -> Arrays:
    """Output arrays by name of a model: its bytes, or the path of its file.

    Raises:
        InputError: an input is missing.
        ProtogenError: onnxruntime refuses the model or fails to run it.
    """
    return open_model(model, outputs)(feeds)


def open_model(
    model: bytes | str, outputs: Sequence[str] | None = None
) -> Callable[[Mapping[str, NDArray[Any]]], Arrays]:
    """``run_model`` for many inputs: the model is read once.

    Raises:
        ProtogenError: onnxruntime refuses the model; what is given raises as ``run_model`` does.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and told once
    refusals = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    where = model if isinstance(model, str) else ""

    def refused(error: Exception) -> ProtogenError:
        text = " ".join(str(error).split())
        return ProtogenError(f"onnxruntime refuses the model: {text}", where=where)

    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise refused(error) from None
    needed = {value.name: value.type for value in session.get_inputs()}
    names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]

    def run(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        check_feeds(list(needed), feeds)
        typed = {name: _typed(feeds[name], type_) for name, type_ in needed.items()}
        try:
            return dict(zip(names, session.run(names, typed), strict=True))
        except refusals as error:
            raise refused(error) from None

    return run


def _typed(array: NDArray[Any], wanted: str) -> NDArray[Any]:
    """The array in the element type that onnxruntime names: tensor(int64)."""
    names = {"float": "float32", "double": "float64", "string": "str"}
    inner = wanted.removeprefix("tensor(").removesuffix(")")
    return array.astype(names.get(inner, inner), copy=False)


def check_feeds(needed: Sequence[str], feeds: Mapping[str, Any]) -> None:
    for name in needed:
        if name not in feeds:
            raise InputError(
                f"it is not given (inputs: {', '.join(needed)})",
                subject=f'input "{name}"',
                advice="Give an array for each.",
            )
