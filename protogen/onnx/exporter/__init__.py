"""A net as an ONNX model."""
