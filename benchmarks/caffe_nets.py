"""Caffe nets for the benchmarks, with random weights that keep the size of the signal."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from protogen.net.net import load

CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
TINY = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""  # a layer of each type of VGG16: a command on it imports what it imports for VGG16


def vgg16() -> str:
    """Return VGG16 as prototxt: 138 million parameters."""
    head = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }\n'
    lines, bottom = [head], "data"

    def add(name: str, type_: str, param: str, in_place: bool = False) -> None:
        nonlocal bottom
        top = bottom if in_place else name
        lines.append(
            f'layer {{ name: "{name}" type: "{type_}" bottom: "{bottom}" top: "{top}" {param} }}\n'
        )
        bottom = top

    for i, channels in enumerate(CHANNELS):
        if channels == "M":
            add(f"pool{i}", "Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
            continue
        param = f"convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }}"
        add(f"conv{i}", "Convolution", param)
        add(f"relu{i}", "ReLU", "", True)
    for name, outputs in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        add(name, "InnerProduct", f"inner_product_param {{ num_output: {outputs} }}")
        if name != "fc8":
            add(f"relu_{name}", "ReLU", "", True)
            add(f"drop_{name}", "Dropout", "", True)
    add("prob", "Softmax", "")
    return "".join(lines)


def chain(layers: int) -> str:
    """Return a chain of Convolution, BatchNorm, Scale and ReLU, repeated."""
    head = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }\n'
    block = (
        'layer {{ name: "conv{i}" type: "Convolution" bottom: "{b}" top: "conv{i}" convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 }} }}\n'
        'layer {{ name: "bn{i}" type: "BatchNorm" bottom: "conv{i}" top: "conv{i}" }}\n'
        'layer {{ name: "scale{i}" type: "Scale" bottom: "conv{i}" top: "conv{i}" scale_param {{ bias_term: true }} }}\n'
        'layer {{ name: "relu{i}" type: "ReLU" bottom: "conv{i}" top: "conv{i}" }}\n'
    )
    return head + "".join(
        block.format(i=i, b=f"conv{i - 1}" if i else "data") for i in range(layers // 4)
    )


def make(folder: Path, name: str, text: str) -> tuple[Path, Path]:
    """Write a net and random weights for it; return the paths of both files.

    The weights of a layer have the deviation sqrt(2 / fan-in), its biases are 0; BatchNorm and Scale
    change nothing.
    """
    prototxt, caffemodel = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    prototxt.write_text(text)
    net = load(prototxt)
    generator = np.random.default_rng(0)
    for layer in net.layers:
        blobs = []
        for index, shape in enumerate(net.parameter_shapes[layer.name] or ()):
            if layer.type == "BatchNorm":
                blobs.append(np.full(shape, float(index > 0), np.float32))
            elif layer.type == "Scale" or index:
                blobs.append(np.full(shape, float(index == 0), np.float32))
            else:
                deviation = np.float32((2 / prod(shape[1:])) ** 0.5)
                blobs.append(deviation * generator.standard_normal(shape, dtype=np.float32))
        if blobs:
            net.weights[layer.name] = blobs
    net.save(prototxt, caffemodel)
    return prototxt, caffemodel
