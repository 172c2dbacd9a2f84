"""Runs nets on arrays and pictures: by onnxruntime, and by a toolchain's own reader."""
