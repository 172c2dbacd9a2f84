"""Runs models of ONNX with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        needed = [value.name for value in session.get_inputs()]
        check_feeds(needed, feeds)
        names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
        typed = {
            value.name: _typed(feeds[value.name], value.type) for value in session.get_inputs()
        }
        found = session.run(names, typed)
        return dict(zip(names, found, strict=True))
    except refusals as error:
        text = " ".join(str(error).split())
        raise ProtogenError(f"onnxruntime refuses the model: {text}", where=where) from None


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
