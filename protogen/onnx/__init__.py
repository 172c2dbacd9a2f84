"""The only room that imports onnx: Graph to ONNX."""

from onnx import ModelProto as Model

from protogen.onnx.export import encode, to_onnx
from protogen.onnx.resize import resize_model, with_outputs

__all__ = ["Model", "encode", "resize_model", "to_onnx", "with_outputs"]
