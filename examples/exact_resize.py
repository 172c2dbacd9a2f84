"""Exact resizing with standard layers, from Python: plans, their costs, and their errors."""

import numpy as np

import protogen as pg

# Equal to PyTorch's interpolate(scale_factor=2, mode="bilinear") at every pixel.
plan = pg.resize(2, like="torch", input_shape=(1, 64, 32, 32), bottom="conv5", name="up5")
print(plan.headline())
print("layers:", ", ".join(step.type for step in plan.steps))
print(f"multiply-adds: {plan.cost.multiply_adds:,}, weights: {plan.cost.weight_bytes:,} bytes")
print("exact:", plan.error.exact)

# All strategies, with the reason for or against each.
for verdict in plan.decision.verdicts:
    print(f"  {verdict.label}: {verdict.reason}")

# The limits of a target determine the strategy.
plan = pg.resize(2, target="vitis-u50", input_shape=(1, 64, 32, 32))
print("kernel for Vitis:", plan.steps[0].params["convolution_param"]["kernel_size"])

# A resize is a matrix multiplication along each axis.
matrix = pg.resampling_matrix(4, out=6, mode="cubic", cubic_a=-0.5)
print(np.round(matrix, 3))
