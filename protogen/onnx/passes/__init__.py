"""Passes over ONNX graphs: optimizations, constant folding, half precision, preprocessing."""
