"""Time of reading nets and weights.

Text: parsing and shapes of nets with 150 and 10,000 layers, compared with protobuf's text_format
(goal: at most 3x, and constant time per layer). Weights: opening a caffemodel of 550 MB and listing its
shapes (goal: milliseconds, and memory far below the size of the file), compared with ``cp`` of the file
and with protobuf's reader.

    python benchmarks/read.py
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from protogen.formats import prototxt
from protogen.formats.caffemodel import Entry, header, write_weights
from protogen.formats.schema.pool import message_class
from protogen.net.net import Net

BLOCK = """
layer {{ name: "conv{i}" type: "Convolution" bottom: "{b}" top: "conv{i}"
  param {{ lr_mult: 1 decay_mult: 1 }}
  convolution_param {{ num_output: 16 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu{i}" type: "ReLU" bottom: "conv{i}" top: "conv{i}" }}
"""
CHILD = """
import sys, time
from protogen.formats.caffemodel import read_weights
start = time.perf_counter()
shapes = [blob.shape for layer in read_weights(sys.argv[1]).layers for blob in layer.blobs]
took = time.perf_counter() - start
status = open("/proc/self/status").read()
print(took, int(status.split("VmHWM:")[1].split()[0]), len(shapes))
"""
PROTOBUF_CHILD = """
import sys, time
from protogen.formats.schema.pool import message_class
raw = open(sys.argv[1], "rb").read()
start = time.perf_counter()
net = message_class("NetParameter").FromString(raw)
took = time.perf_counter() - start
status = open("/proc/self/status").read()
print(took, int(status.split("VmHWM:")[1].split()[0]))
"""


def net_text(layers: int) -> str:
    """Return a chain of convolutions and ReLUs."""
    head = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }'
    blocks = (
        BLOCK.format(i=i, b=f"conv{i - 1}" if i else "data") for i in range((layers - 1) // 2)
    )
    return head + "".join(blocks)


def best(function: object, runs: int = 3) -> float:
    """Return the seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


def text() -> None:
    """Compare parsing with text_format, and time shapes, for nets of two sizes."""
    for layers in (150, 10_000):
        source = net_text(layers)
        text_format_time = best(
            lambda source=source: text_format.Parse(source, message_class("NetParameter")())
        )
        parse_time = best(lambda source=source: prototxt.parse(source))
        document = prototxt.parse(source)
        shapes = best(lambda document=document: Net(document))
        per_layer = (parse_time + shapes) / layers * 1e6
        print(
            f"{layers:>6} layers: text_format {text_format_time * 1e3:7.1f} ms, parse {parse_time * 1e3:7.1f} ms "
            f"(ratio {parse_time / text_format_time:.2f}, goal 3), shapes {shapes * 1e3:7.1f} ms, {per_layer:.0f} us per layer"
        )


def weights() -> None:
    """Compare opening a file of 550 MB with copying it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.caffemodel"
        arrays = [np.full((512, 512, 3, 3), i, np.float32) for i in range(58)]
        with path.open("wb") as file:
            entries = [Entry(header(f"conv{i}", "Convolution"), [a]) for i, a in enumerate(arrays)]
            write_weights(file, "big", entries)
        size = path.stat().st_size / 1e6
        copy_time = best(lambda: shutil.copyfile(path, Path(folder) / "copy"), 2)
        took, peak, blobs = run(CHILD, path)
        protobuf_time, protobuf_peak = run(PROTOBUF_CHILD, path)
        print(
            f"{size:.0f} MB caffemodel: cp {copy_time * 1e3:.0f} ms; opened and {blobs:.0f} shapes listed in "
            f"{took * 1e3:.2f} ms (ratio {took / copy_time:.4f}), peak {peak / 1024:.0f} MiB of the whole process; "
            f"protobuf's reader {protobuf_time * 1e3:.0f} ms, {protobuf_peak / 1024:.0f} MiB"
        )


def run(code: str, path: Path) -> list[float]:
    """Run code in a process and return the numbers that it prints."""
    completed = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, encoding="utf-8"
    )
    return [float(word) for word in completed.stdout.split()]


if __name__ == "__main__":
    gc.set_threshold(100_000)  # the same setting as the command line
    text()
    weights()
