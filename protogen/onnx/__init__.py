"""ONNX models: export, import, checks and runs. No other package imports onnx."""

from onnx import ModelProto as Model

from protogen.onnx.exporter.export import lower, to_onnx
from protogen.onnx.files import (
    exposed,
    input_shapes,
    load_mapped,
    load_model,
    output_names,
    runs_as_file,
    values,
    with_inputs,
)
from protogen.onnx.flow import Step, fed_by_inputs, input_kinds, steps
from protogen.onnx.model import check, encode, exposing, to_model, to_model_with_inputs
from protogen.onnx.passes.preprocessing import Preprocessing
from protogen.onnx.passes.widening import NOTE as WIDENED
from protogen.onnx.program import Program
from protogen.onnx.reference import resize_model, with_outputs

__all__ = [
    "WIDENED",
    "Model",
    "Preprocessing",
    "Program",
    "Step",
    "check",
    "encode",
    "exposed",
    "exposing",
    "fed_by_inputs",
    "input_kinds",
    "input_shapes",
    "load_mapped",
    "load_model",
    "lower",
    "output_names",
    "resize_model",
    "runs_as_file",
    "steps",
    "to_model",
    "to_model_with_inputs",
    "to_onnx",
    "values",
    "with_inputs",
    "with_outputs",
]
