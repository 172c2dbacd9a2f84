"""Passes over ONNX graphs: optimizations, constant folding, float16 weights, preprocessing."""
