"""Adapters of toolchains that behave well or badly. They run nets with numpy in this interpreter."""

from __future__ import annotations

from pathlib import Path

RIGHT = """
import re
import time

import numpy as np
from refusal import Refused

WORDS = (r"type \\w+ is unknown",)


def load():
    return {"version": "1.2", "colour": "red"}


def layers(net):
    text = open(net).read()
    for part in re.split(r"\\nlayer", "\\n" + text):
        values = dict(re.findall(r'(\\w+): "?([\\w/-]+)"?', part))
        if values.get("type", "Input") != "Input":
            yield values


def run(net, weights, inputs, options):
    blobs, read = dict(inputs), set()
    for layer in layers(net):
        x = blobs[layer["bottom"]]
        read.add(layer["bottom"])
        if layer["type"] not in TYPES:
            print("E 2026 bad.cc:12] type %s is unknown" % layer["type"])
            raise Refused("")
        blobs[layer["top"]] = TYPES[layer["type"]](x)
    return finish({name: a for name, a in blobs.items() if name not in read | set(inputs)}, blobs)


def finish(outputs, blobs):
    return outputs


TYPES = {
    "ReLU": lambda x: np.maximum(x, 0),
    "AbsVal": np.abs,
    "TanH": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
"""

# What each adapter does instead of the right thing.
KINDS = {
    "right": "",
    "wrong": 'TYPES["TanH"] = lambda x: x\n',
    "refuses": 'del TYPES["TanH"]\n',
    "every_blob": "def finish(outputs, blobs):\n    return blobs\n",
    "every_blob_wrong": 'TYPES["TanH"] = lambda x: x\ndef finish(outputs, blobs):\n    return blobs\n',
    "crashes": 'import os\nTYPES["TanH"] = lambda x: os.kill(os.getpid(), 11)\n',
    "exits": 'import os\nTYPES["TanH"] = lambda x: os._exit(7)\n',
    "raises": 'TYPES["TanH"] = lambda x: x[1, 2, 3, 4, 5]\n',
    "hangs": "def finish(outputs, blobs):\n    time.sleep(1000)\n",
    "prints": "def finish(outputs, blobs):\n    for _ in range(50):\n        print('x' * (1 << 20))\n"
    "    return outputs\n",
    "shape": "def finish(outputs, blobs):\n    return {n: a.reshape(a.shape[::-1]) for n, a in outputs.items()}\n",
    "ones": "def finish(outputs, blobs):\n    return {n: a[..., None] for n, a in outputs.items()}\n",
    "renamed": "def finish(outputs, blobs):\n    return {n + '_out': a for n, a in outputs.items()}\n",
    "by_layer": "def finish(outputs, blobs):\n    return {n.upper(): a for n, a in outputs.items()}\n",
    "unnamed": "def finish(outputs, blobs):\n    return list(outputs.values())\n",
    "missing": "def finish(outputs, blobs):\n    return {}\n",
    "text": "def finish(outputs, blobs):\n    return {'c': np.array(['a'])}\n",
    "nan": "def finish(outputs, blobs):\n    return {n: a * np.nan for n, a in outputs.items()}\n",
    "reads_input": "import sys\ndef finish(outputs, blobs):\n    return outputs if not sys.stdin.read() else {}\n",
    "grandchild": "import subprocess, sys\ndef finish(outputs, blobs):\n"
    "    process = subprocess.Popen(['sleep', '1000'])\n"
    "    open('PIDS', 'a').write('%d ' % process.pid)\n    return outputs\n",
    "not_installed": "def load():\n    import a_module_that_nobody_has\n",
    "syntax": "def load(:\n",
    "load_raises": "def load():\n    return 1 / 0\n",
    "load_dies": "import os\ndef load():\n    os.kill(os.getpid(), 9)\n",
    "load_exits": "import sys\ndef load():\n    print('no licence: error 12')\n    sys.exit(3)\n",
    "load_hangs": "def load():\n    time.sleep(1000)\n",
    "no_version": "def load():\n    return {}\n",
    "ends_worker": "import os\ndef finish(outputs, blobs):\n    os.kill(os.getppid(), 9)\n    time.sleep(5)\n",
}  # fmt: skip


def write(folder: Path, kind: str) -> Path:
    """Write an adapter and return its path."""
    path = folder / f"{kind}.py"
    path.write_text(RIGHT + KINDS[kind].replace("PIDS", str(folder / "pids")))
    return path


NET = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 5 } } }
layer { name: "A" type: "AbsVal" bottom: "data" top: "a" }
layer { name: "B" type: "TanH" bottom: "a" top: "b" }
layer { name: "C" type: "Sigmoid" bottom: "b" top: "c" }
"""
