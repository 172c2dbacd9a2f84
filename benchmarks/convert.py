"""Time and peak memory of the conversion between Caffe and ONNX.

The net is VGG16 with 138 million random parameters; the command line converts it. The script prints:

- Caffe to ONNX: the time without the start of Python, as a ratio to ``cp`` of the weights in the same
  run (goal: at most 3), and peak memory (goal: at most 150 MB);
- ONNX to Caffe: the same (goals: 3 and 200 MB);
- the weights alone, converted through protobuf message objects;
- chains of 1,000 and 10,000 layers: the time per layer.

    python benchmarks/convert.py
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from protogen.net.net import load

CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
THROUGH_OBJECTS = """
import sys
import onnx
from onnx import numpy_helper
from protogen.formats.schema.pool import message_class
net = message_class("NetParameter").FromString(open(sys.argv[1], "rb").read())
import numpy as np
tensors = []
for layer in net.layer:
    for i, blob in enumerate(layer.blobs):
        array = np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim))
        tensors.append(numpy_helper.from_array(array, f"{layer.name}.{i}"))
graph = onnx.helper.make_graph([], "net", [], [], tensors)
open(sys.argv[2], "wb").write(onnx.helper.make_model(graph).SerializeToString())
"""


def vgg16() -> str:
    """Return VGG16 as prototxt."""
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
        add(
            f"conv{i}",
            "Convolution",
            f"convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }}",
        )
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
    """Write a net and random weights for it."""
    prototxt, caffemodel = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    prototxt.write_text(text)
    net = load(prototxt)
    generator = np.random.default_rng(0)
    for layer, shapes in net.parameter_shapes.items():
        if shapes:
            net.weights[layer] = [
                np.abs(0.01 * generator.standard_normal(shape, dtype=np.float32)) + 0.01
                for shape in shapes
            ]
    net.save(prototxt, caffemodel)
    return prototxt, caffemodel


LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
took = time.perf_counter() - start
print(json.dumps([took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3]))
"""


def run(*command: object) -> tuple[float, float]:
    """Return seconds and peak resident MB of a command.

    A small process starts it, because the memory of a process that forks counts for its children too.
    """
    launcher = (sys.executable, "-S", "-c", LAUNCH, *map(str, command))
    completed = subprocess.run(launcher, check=True, capture_output=True, encoding="utf-8")
    took, peak = json.loads(completed.stdout)
    return took, peak


def medians(
    commands: list[tuple[object, ...]], outputs: list[Path], runs: int = 7
) -> list[tuple[float, float]]:
    """Return median seconds and largest peak of each command.

    The commands run in turn, so that the load of the disk is the same for all. Output files are
    deleted before each run.
    """
    results: list[list[tuple[float, float]]] = [[] for _ in commands]
    for _ in range(runs):
        for command, of_command in zip(commands, results, strict=True):
            for path in outputs:
                path.unlink(missing_ok=True)
            subprocess.run(["sync"], check=True)
            of_command.append(run(*command))
    return [
        (
            statistics.median(seconds for seconds, _ in of_command),
            max(peak for _, peak in of_command),
        )
        for of_command in results
    ]


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prototxt, caffemodel = make(folder, "vgg16", vgg16())
        size = caffemodel.stat().st_size / 1e6
        onnx_file = folder / "vgg16.onnx"
        convert = (python, "-m", "protogen", "convert", prototxt, caffemodel, "-o", onnx_file)
        copy = folder / "copy"
        cp = (shutil.which("cp") or "cp", caffemodel, copy)
        start_only = (python, "-c", "import protogen")
        (floor, _), (start, _), (took, peak) = medians([cp, start_only, convert], [onnx_file, copy])
        print(
            f"VGG16, {size:.0f} MB: cp {floor * 1e3:.0f} ms; start of Python {start * 1e3:.0f} ms; convert "
            f"{took * 1e3:.0f} ms, without the start {(took - start) / floor:.2f} x cp (goal 3), "
            f"peak {peak:.0f} MB (goal 150)"
        )
        back = (folder / "back.prototxt", folder / "back.caffemodel")
        import_command = (
            python,
            "-m",
            "protogen",
            "convert",
            onnx_file,
            "-o",
            back[0],
            "--caffemodel",
            back[1],
        )
        (floor, _), (took, peak) = medians(
            [(cp[0], onnx_file, copy), import_command], [*back, copy]
        )
        print(
            f"ONNX to Caffe: cp {floor * 1e3:.0f} ms; convert {took * 1e3:.0f} ms, without the start "
            f"{(took - start) / floor:.2f} x cp (goal 3), peak {peak:.0f} MB (goal 200)"
        )
        with_objects, memory = run(python, "-c", THROUGH_OBJECTS, caffemodel, onnx_file)
        print(
            f"the weights alone through message objects: {with_objects * 1e3:.0f} ms, "
            f"{(with_objects - start) / floor:.1f} x cp, peak {memory:.0f} MB"
        )
        for layers in (1000, 10_000):
            pair = make(folder, f"chain{layers}", chain(layers))
            command = (python, "-m", "protogen", "convert", *pair, "-o", onnx_file)
            [(took, peak)] = medians([command], [onnx_file], 3)
            import_arguments = ("convert", onnx_file, "-o", back[0], "--caffemodel", back[1])
            [(importing, _)] = medians([(python, "-m", "protogen", *import_arguments)], [*back], 3)
            print(
                f"{layers} layers: {took * 1e3:.0f} ms, {(took - start) / layers * 1e6:.0f} us per layer, peak {peak:.0f} MB; "
                f"ONNX to Caffe {importing * 1e3:.0f} ms, {(importing - start) / layers * 1e6:.0f} us per layer"
            )


if __name__ == "__main__":
    main()
