"""How fast nets and weights are read.

Text: parse and shapes of nets of 150 and 10,000 layers, beside protobuf's own text_format (goal:
at most 3x; time per layer not growing). Weights: a caffemodel of 550 MB, opened and listed (goal:
milliseconds, memory far below the file), beside ``cp`` of it and protobuf's own reader.

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
THEIRS = """
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
    """A chain of convolutions and ReLUs."""
    head = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }'
    blocks = (
        BLOCK.format(i=i, b=f"conv{i - 1}" if i else "data") for i in range((layers - 1) // 2)
    )
    return head + "".join(blocks)


def best(function: object, runs: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


def text() -> None:
    """Parsing against text_format, and shapes, for two sizes of net."""
    for layers in (150, 10_000):
        source = net_text(layers)
        floor = best(
            lambda source=source: text_format.Parse(source, message_class("NetParameter")())
        )
        ours = best(lambda source=source: prototxt.parse(source))
        document = prototxt.parse(source)
        shapes = best(lambda document=document: Net(document))
        per = (ours + shapes) / layers * 1e6
        print(
            f"{layers:>6} layers: text_format {floor * 1e3:7.1f} ms, parse {ours * 1e3:7.1f} ms "
            f"(ratio {ours / floor:.2f}, goal 3), shapes {shapes * 1e3:7.1f} ms, {per:.0f} us a layer"
        )


def weights() -> None:
    """Opening 550 MB against copying it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.caffemodel"
        arrays = [np.full((512, 512, 3, 3), i, np.float32) for i in range(58)]
        with path.open("wb") as file:
            entries = [Entry(header(f"conv{i}", "Convolution"), [a]) for i, a in enumerate(arrays)]
            write_weights(file, "big", entries)
        size = path.stat().st_size / 1e6
        floor = best(lambda: shutil.copyfile(path, Path(folder) / "copy"), 2)
        took, peak, blobs = run(CHILD, path)
        theirs, their_peak = run(THEIRS, path)
        print(
            f"{size:.0f} MB caffemodel: cp {floor * 1e3:.0f} ms; opened and {blobs:.0f} shapes listed in "
            f"{took * 1e3:.2f} ms (ratio {took / floor:.4f}), peak {peak / 1024:.0f} MiB of the whole process; "
            f"protobuf's own reader {theirs * 1e3:.0f} ms, {their_peak / 1024:.0f} MiB"
        )


def run(code: str, path: Path) -> list[float]:
    """The numbers that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, encoding="utf-8"
    )
    return [float(word) for word in done.stdout.split()]


if __name__ == "__main__":
    gc.set_threshold(100_000)  # as the command line does
    text()
    weights()
