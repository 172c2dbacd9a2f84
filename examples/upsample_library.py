"""Upsampling from Python: the layer's text, weights, ONNX model, and its error without a run."""

import protogen as pg

up = pg.upsample(factor=2, channels=64, bottom="conv5", top="up5", name="up5")
print(up.prototxt)

[weight] = up.weights["up5"]
print("weights", weight.shape, weight.dtype)

error = up.error
print(f"inside the border: error up to {error.inside:.1g}")
print(f"at the border ({error.ring[0]} px): error up to {error.border:.4g} for data in [-1, 1]")

for check in pg.verify_upsampling(up):
    print(f"{check.data:<6} data: inside {check.inside:.1g}, border {check.border:.2g}")

model = up.to_onnx()
print("ONNX:", model.graph.node[0].op_type, "opset", model.opset_import[0].version)
