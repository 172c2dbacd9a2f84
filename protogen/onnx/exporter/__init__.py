"""Export: a net as an ONNX model."""
