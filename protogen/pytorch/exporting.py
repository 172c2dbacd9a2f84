"""Exports modules to ONNX models in memory, with PyTorch's two exporters. Weights are not copied."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from protogen.errors import UnsupportedError, quantity
from protogen.onnx.arrays import ArrayModel, array_model, remove_outputs, separate_outputs
from protogen.pytorch.examples import array_of, evaluating
from protogen.pytorch.parts import Observed

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 256  # values: smaller constants may be shapes or axes, and stay in the model
HALVES = (10, 16)  # ONNX's numbers of float16 and bfloat16
OPSET_OF_TRACE = 17  # the newest with LayerNormalization that every release of the exporter writes
# What PyTorch's own code raises when it cannot export a module.
FAILURES = (
    torch.onnx.OnnxExporterError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
ESCAPES = re.compile(
    r"Converting a tensor to a (?:NumPy array|Python list)|Iterating over a tensor"
)


@dataclass(frozen=True)
class Origin:
    """Where an operator comes from.

    Attributes:
        module: the path of the module whose ``forward`` calls the function, such as ``layer1.0.conv1``.
        function: the function that is called.
        call: a text for the call of the function, which can become several operators.
    """

    module: str
    function: str
    call: str


@dataclass(frozen=True, eq=False)
class Exported:
    """A module as an ONNX model.

    Attributes:
        exporter: the exporter's name.
        model: the model, whose outputs are those of the module.
        origins: where each operator comes from, by its first output.
        returned: what parts of the module return, in the order of the calls: the path of the part, and the
            value of the model.
    """

    exporter: str
    model: ArrayModel
    origins: Mapping[str, Origin]
    returned: Sequence[tuple[str, str]]


def exported_by(exporter: str, observed: Observed, inputs: Mapping[str, Tensor]) -> Exported:
    """Export a module with one of PyTorch's exporters.

    Args:
        exporter: a name in EXPORTERS.
        observed: the module; its last run decides how many outputs are its own.
        inputs: example tensors by the names of the inputs.

    Raises:
        UnsupportedError: the exporter fails, or writes another number of outputs.
    """
    tensors = {name: tensor.clone() for name, tensor in inputs.items()}
    with evaluating(observed.module):
        model, origins = EXPORTERS[exporter](observed, tensors)
    paths, own = observed.record.paths, len(observed.record.keys)
    graph = model.model.graph
    if len(graph.output) != own + len(paths):
        raise UnsupportedError(
            f"PyTorch's exporter writes {quantity(len(graph.output), 'output')}, but the module and its "
            f"parts return {quantity(own + len(paths), 'tensor')}"
        )
    returned = list(zip(paths, remove_outputs(graph, own), strict=True))
    origins |= {name: Origin("", "output", name) for name in separate_outputs(graph)}
    return Exported(exporter, model, origins, returned)


def by_export(observed: Observed, inputs: Mapping[str, Tensor]) -> Model:
    """Export with the newer exporter, which follows the module's Python code (``torch.export``).

    Raises:
        UnsupportedError: the exporter fails.
    """
    if find_spec("onnxscript") is None:
        raise UnsupportedError(
            "onnxscript is not installed", advice="Install it with pip install 'protogen[torch]'."
        )
    import onnx_ir

    with _quiet():
        try:
            exported = torch.onnx.export(
                observed,
                tuple(inputs.values()),
                input_names=list(inputs),
                dynamo=True,
                optimize=False,  # it would copy weights to fold them
                verbose=False,
            )
        except FAILURES as error:
            raise _failure(error) from None
    graph = exported.model.graph
    origins = {}
    for node in graph:
        origin = _origin_of_scopes(node.metadata_props)
        if origin is not None and node.outputs and node.outputs[0].name:
            origins[node.outputs[0].name] = origin
    arrays = {}
    for name in list(graph.initializers):
        constant = graph.initializers[name].const_value
        value = getattr(constant, "raw", None)
        if isinstance(value, torch.Tensor) and value.numel() > SMALL:
            arrays[name] = array_of(value)
            graph.initializers.pop(name)
    raw = onnx_ir.to_proto(exported.model).SerializeToString()
    return array_model(raw, arrays, type(observed.module).__name__), origins


def _origin_of_scopes(properties: Mapping[str, str]) -> Origin | None:
    """Return the origin that the newer exporter writes into an operator: the paths of the modules from the
    outermost to the innermost, then the name of the call."""
    text = properties.get("pkg.torch.onnx.name_scopes")
    classes = properties.get("pkg.torch.onnx.class_hierarchy")
    if not text or not classes:
        return None
    scopes, names = ast.literal_eval(text), ast.literal_eval(classes)
    parts = names[-1].split(".")  # aten.conv2d.default
    function = parts[1] if len(parts) > 1 else parts[0]
    module = _of_module(scopes[-2] if len(scopes) > 1 else "")
    return Origin(module, function.strip("_"), scopes[-1])


def _of_module(path: str) -> str:
    """Return the path in the module of a path in its Observed."""
    return path.partition(".")[2]


def by_trace(observed: Observed, inputs: Mapping[str, Tensor]) -> Model:
    """Export with the older exporter, which records the operators of one call (``torch.jit.trace``).

    Raises:
        UnsupportedError: the exporter fails, or the call reads a tensor as an array or list, which the
            record does not contain.
    """
    stream = io.BytesIO()
    with _quiet() as messages:
        try:
            torch.onnx.export(
                observed,
                tuple(inputs.values()),
                stream,
                input_names=list(inputs),
                dynamo=False,
                opset_version=OPSET_OF_TRACE,
                export_params=False,  # parameters become inputs, and are not copied
                do_constant_folding=False,
                keep_initializers_as_inputs=True,
            )
        except FAILURES as error:
            raise _failure(error) from None
    for message in messages:
        if ESCAPES.search(message):
            raise UnsupportedError(f"the module reads a tensor as numbers: {first_line(message)}")
    arrays = {
        name: array_of(tensor) for name, tensor in observed.state_dict(keep_vars=True).items()
    }
    model = array_model(stream.getvalue(), arrays, type(observed.module).__name__)
    for node in model.model.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i in HALVES and node.input[0] in arrays:
            raise UnsupportedError(
                f'the module converts its parameter "{_of_module(node.input[0])}" to 16 bits',
                advice="Switch off autocast in its code; Caffe computes in float32.",
            )
    paths = [name for name, _ in observed.named_modules() if name]
    origins = {
        node.output[0]: _origin_of_name(node.name, node.op_type, paths)
        for node in model.model.graph.node
    }
    return model, origins


def _origin_of_name(name: str, op_type: str, paths: list[str]) -> Origin:
    """Return the origin that the older exporter writes into an operator's name. ``/layer1/layer1.0/conv1/Conv``
    is layer1.0.conv1: each step is the last part of a path that is not a number, and what follows it."""
    path = ""
    for step in name.strip("/").split("/")[:-1]:
        inner = [one for one in paths if not path or one.startswith(f"{path}.")]
        for text in (step, re.sub(r"_\d+$", "", step)):  # a number counts the calls
            matching = [one for one in inner if _step(one) == text]
            if matching:
                path = min(matching, key=lambda one: one.count("."))
                break
        else:
            path = f"{path}.{step}".strip(".")
    return Origin(_of_module(path), op_type.lower(), name)


def _step(path: str) -> str:
    """Return the last part of a path that is not a number, with the numbers after it."""
    parts = path.split(".")
    first = len(parts) - 1
    while first and parts[first].isdigit():
        first -= 1
    return ".".join(parts[first:])


Model = tuple[ArrayModel, dict[str, Origin]]
EXPORTERS: Mapping[str, Callable[[Observed, Mapping[str, Tensor]], Model]] = {
    "torch.export": by_export,
    "torch.jit.trace": by_trace,
}


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Collect what an exporter prints, logs and warns; yields the texts of its warnings."""
    logger = logging.getLogger("torch")
    level, messages = logger.level, []  # type: ignore[var-annotated]
    with (
        open(os.devnull, "w", encoding="utf-8") as sink,
        redirect_stdout(sink),
        redirect_stderr(sink),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        logger.setLevel(logging.CRITICAL)
        try:
            yield messages
        finally:
            logger.setLevel(level)
            messages.extend(str(one.message) for one in caught)


def _failure(error: Exception) -> UnsupportedError:
    """Return the error for a failed export, with the text of the first cause."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return UnsupportedError(f"{type(cause).__name__}: {first_line(str(cause))}")


def first_line(text: str) -> str:
    """Return the first line with text, shortened."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    return line if len(line) <= 300 else f"{line[:297]}..."
