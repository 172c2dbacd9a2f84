"""Resizing that is exact with stock layers, from Python: plans, their costs, and their errors."""

import numpy as np

import protogen as pg

# The same as PyTorch's interpolate(scale_factor=2, mode="bilinear"), at every pixel.
plan = pg.resize(2, like="torch", input_shape=(1, 64, 32, 32), bottom="conv5", name="up5")
print(plan.headline())
print("layers:", ", ".join(step.type for step in plan.steps))
print(f"multiply-adds: {plan.cost.multiply_adds:,}, weights: {plan.cost.weight_bytes:,} bytes")
print("exact:", plan.error.exact)

# Every other way that would do, and why the rest would not.
for verdict in plan.decision.verdicts:
    print(f"  {verdict.label}: {verdict.reason}")

# What a target takes decides which way is taken.
plan = pg.resize(2, target="vitis-u50", input_shape=(1, 64, 32, 32))
print("kernel for Vitis:", plan.steps[0].params["convolution_param"]["kernel_size"])

# Any resize is a matrix for each axis.
matrix = pg.resampling_matrix(4, out=6, mode="cubic", cubic_a=-0.5)
print(np.round(matrix, 3))
