"""Runs ONNX models with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from protogen.errors import ProtogenError, layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run_model(
    model: bytes, feeds: Mapping[str, NDArray[np.float32]], outputs: Sequence[str] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Output arrays by name.

    Raises:
        ProtogenError: onnxruntime refuses the model or fails to run it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except (state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented) as error:
        raise ProtogenError(layout(f"onnxruntime refuses the model: {error}")) from None
