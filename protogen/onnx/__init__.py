"""ONNX models: export, import, checks and runs. No other package imports onnx."""

from onnx import ModelProto as Model

from protogen.onnx.exporter.export import lower, to_onnx
from protogen.onnx.files import exposed, input_shapes, load_model, output_names, values, with_inputs
from protogen.onnx.flow import Step, fed_by_inputs, input_kinds, steps
from protogen.onnx.memory_mapped import check_places
from protogen.onnx.model import check, encode, exposing, to_external_model, to_model
from protogen.onnx.passes.preprocessing import Preprocessing
from protogen.onnx.program import Program
from protogen.onnx.reference import resize_model, with_outputs

__all__ = [
    "Model",
    "Preprocessing",
    "Program",
    "Step",
    "check",
    "check_places",
    "encode",
    "exposed",
    "exposing",
    "fed_by_inputs",
    "input_kinds",
    "input_shapes",
    "load_model",
    "lower",
    "output_names",
    "resize_model",
    "steps",
    "to_external_model",
    "to_model",
    "to_onnx",
    "values",
    "with_inputs",
    "with_outputs",
]
