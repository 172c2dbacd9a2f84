"""Generate tiny.prototxt and tiny.caffemodel: a small classifier with difficult cases for converters.

The cases are: BatchNorm with a factor other than 1, a Scale after it, in-place layers, a ReLU with a
negative slope, an AVE pooling whose last windows are clipped, and dense weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import protogen as pg

n = pg.NetSpec()
n.data = pg.layers.Input(shape={"dim": [1, 3, 32, 32]})
n.conv1 = pg.layers.Convolution(n.data, num_output=8, kernel_size=3, pad=1, stride=2)
n.bn1 = pg.layers.BatchNorm(n.conv1, in_place=True)
n.scale1 = pg.layers.Scale(n.conv1, bias_term=True, in_place=True)
n.relu1 = pg.layers.ReLU(n.conv1, negative_slope=0.1, in_place=True)
n.pool1 = pg.layers.Pooling(n.conv1, pool="AVE", kernel_size=3, stride=2, pad=1)
n.conv2 = pg.layers.Convolution(n.pool1, num_output=16, kernel_size=3, group=2)
n.relu2 = pg.layers.ReLU(n.conv2, in_place=True)
n.fc = pg.layers.InnerProduct(n.conv2, num_output=4)
n.prob = pg.layers.Softmax(n.fc)

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
prototxt, caffemodel = folder / "tiny.prototxt", folder / "tiny.caffemodel"
prototxt.write_text('name: "tiny"\n' + str(n.to_proto()), encoding="utf-8")
net = pg.load(prototxt)
generator = np.random.default_rng(0)
for name, shapes in net.parameter_shapes.items():
    if shapes:
        net.weights[name] = [
            (0.3 * generator.standard_normal(shape)).astype(np.float32) for shape in shapes
        ]
net.weights["bn1"][1] = np.abs(net.weights["bn1"][1]) + np.float32(0.5)
net.weights["bn1"][2] = np.float32([0.75])
net.save(prototxt, caffemodel)
print(f"wrote {prototxt.name} and {caffemodel.name}")
