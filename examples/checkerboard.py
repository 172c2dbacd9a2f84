"""Generate the net of the guide's picture of Deconvolutions with kernels 3 to 6 and stride 3.

The input is 1 everywhere, and all weights of a kernel are equal. Differences in the output come from
the overlap of windows: a kernel should be a multiple of its stride.

    python examples/checkerboard.py
    protogen run checkerboard.prototxt checkerboard.caffemodel --plot checkerboard.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import protogen as pg

STRIDE = 3

n = pg.NetSpec()
n.ones = pg.layers.DummyData(
    shape={"dim": [1, 1, 8, 8]}, data_filler={"type": "constant", "value": 1}
)
for kernel in (3, 4, 5, 6):
    n[f"kernel{kernel}_stride{STRIDE}"] = pg.layers.Deconvolution(
        n.ones,
        convolution_param={
            "num_output": 1,
            "kernel_size": kernel,
            "stride": STRIDE,
            "bias_term": False,
        },
    )
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
net = n.to_net()
for name, shapes in net.parameter_shapes.items():
    if shapes:
        kernel = shapes[0][-1]
        net.weights[name] = [np.full(shapes[0], (STRIDE / kernel) ** 2, np.float32)]
net.save(folder / "checkerboard.prototxt", folder / "checkerboard.caffemodel")
for name in net.weights:
    values = pg.run(net, {})[name]
    print(f"{name}: values from {values.min():.4g} to {values.max():.4g}")
