"""Reading nets and weights: protogen's readers against protobuf's, and what the command line lists of
10,000 layers."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from caffe_nets import chain, make, vgg16
from measuring import PROTOGEN, PYTHON, RUNS, Row, usages
from rows.forward import CORPUS

from protogen.formats.caffemodel import Entry, header, write_weights

LAYERS = 10_000
NETS = {
    "GoogLeNet": "googlenet__train_val",
    "ResNet-152": "ResNet-152-deploy",
    "MobileNet-YOLOv3": "mobilenet_yolov3_deploy",
}

# Work in a process that imported everything before; it prints the least CPU time of some runs.
_LEAST = """
import gc, sys, time, warnings
import numpy as np
from google.protobuf import text_format
from protogen.formats import prototxt
from protogen.formats.caffemodel import read_weights
from protogen.formats.schema.pool import message_class
warnings.simplefilter("ignore")
gc.set_threshold(100_000)  # as the command line does
path, times = sys.argv[1], []
text = "" if path.endswith(".caffemodel") else open(path, errors="surrogateescape").read()
NetParameter = message_class("NetParameter")
def work():
    {work}
for _ in range({runs}):
    begin = time.process_time()
    result = work()
    times.append(time.process_time() - begin)
    del result
print(min(times))
"""
_WEIGHTS = "return read_weights(path).weights()"
_WEIGHTS_OF_PROTOBUF = """
    net = NetParameter.FromString(open(path, "rb").read())
    return {
        layer.name: [
            np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim)) for blob in layer.blobs
        ]
        for layer in net.layer
        if layer.blobs
    }
"""
_TEXT = "return prototxt.parse(text)"
_TEXT_OF_PROTOBUF = "return text_format.Parse(text, NetParameter())"
_SHAPES = """
import sys
from protogen.formats.caffemodel import read_weights
print(len([blob.shape for layer in read_weights(sys.argv[1]).layers for blob in layer.blobs]))
"""
# Runs a command on a terminal of 80 columns and reads what it prints.
_TERMINAL = """
import os, pty, sys
process, terminal = pty.fork()
if not process:
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while os.read(terminal, 1 << 16):
        pass
except OSError:  # Linux reports the end of a terminal as an error
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net, weights = make(folder, "chain", chain(LAYERS))
    result = [
        _against("read a caffemodel of 10,000 layers", weights, _WEIGHTS, _WEIGHTS_OF_PROTOBUF, 6)
    ]
    small = folder / "vgg16.prototxt"
    small.write_text(vgg16())
    texts = {"VGG16": small, "10,000 layers": net, **dict(_published())}
    result += [
        _against(f"parse the prototxt of {name}", path, _TEXT, _TEXT_OF_PROTOBUF, 0.4)
        for name, path in texts.items()
    ]
    result.append(_mapped(folder))
    dry_run = ("convert", net, weights, "-o", folder / "net.onnx", "--dry-run")
    result += _listed("protogen summary", ("summary", net), 1.5)
    result += _listed("protogen weights", ("weights", weights), 1.0)
    result += _listed("protogen convert --dry-run", dry_run, 1.2)
    return result


def _published() -> Iterator[tuple[str, Path]]:
    """Yield some published nets, if they are there."""
    for name, ending in NETS.items():
        for path in sorted(CORPUS.rglob(f"*{ending}.prototxt"))[:1]:
            yield name, path


def _against(work: str, path: Path, ours: str, floor: str, goal: float) -> Row:
    """Return the row of a reader and of protobuf's: CPU seconds, without the imports."""
    runs = 20 if path.stat().st_size < 1 << 17 else 3
    scripts = [_LEAST.format(work=code.strip(), runs=runs) for code in (ours, floor)]
    taken: list[list[float]] = [[], []]
    for _ in range(RUNS):
        for script, of_script in zip(scripts, taken, strict=True):
            command = (PYTHON, "-c", script, path)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            of_script.append(float(done.stdout))
    value, base = map(statistics.median, taken)
    return Row(work, "protobuf", "CPU time", value, base, goal, "s")


def _mapped(folder: Path) -> Row:
    """Return the memory of a process that lists the shapes of 550 MB of weights: they stay in the file."""
    path = folder / "large.caffemodel"
    array = np.ones((512, 512, 3, 3), np.float32)
    with path.open("wb") as file:
        write_weights(file, "", (Entry(header(f"{i}", "Convolution"), [array]) for i in range(58)))
    [usage] = usages([(PYTHON, "-c", _SHAPES, path)])
    path.unlink()
    return Row("list the shapes of 550 MB of weights", "", "memory", usage.peak, None, 40, "MiB")


def _listed(name: str, arguments: Sequence[object], goal: float) -> list[Row]:
    """Return the rows of a command for 10,000 layers: its time in a pipe and on a terminal."""
    command = (PROTOGEN, *arguments)
    piped, shown = usages([command, (PYTHON, "-S", "-c", _TERMINAL, *command)])
    return [
        Row(f"{name}, 10,000 layers, {where}", "", "time", usage.seconds, None, goal, "s")
        for where, usage in (("piped", piped), ("on a terminal", shown))
    ]
