"""TPU-MLIR: model_transform, whose first dialect runs in its own interpreter. Gives every blob."""

import os
import runpy
import sys

import numpy as np
from refusal import Refused

TOOLS = "tpu_mlir.python.tools."

WORDS = (  # the most telling lines of its output
    r'Message type "[\w.]+" has no field named "\w+"',
    r"Unknown layer type: \w+",
    r"\w+ Op not support now",
    r"Check failed: .*",
    r"could not create a primitive .*",
    r"(?:Assertion|assert) .*failed.*",
    r"error: (.*)",
    r"[Uu]nsupport.*|not supported.*",
)


def load():
    from importlib.metadata import version

    import tpu_mlir

    sys.path.insert(0, os.path.join(os.path.dirname(tpu_mlir.__file__), "python"))
    import tpu_mlir.python.tools.model_runner
    import tpu_mlir.python.tools.model_transform
    from transform import CaffeConverter  # here, so that the process of each net need not

    return version("tpu_mlir")


def call(tool, *arguments):
    """Run a command of TPU-MLIR in this process, which has imported it."""
    path = sys.modules[TOOLS + tool].__file__
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def run(net, weights, inputs, options):
    np.savez("in.npz", **inputs)
    shapes = str([list(array.shape) for array in inputs.values()]).replace(" ", "")
    try:
        call(
            "model_transform",
            *("--model_name", "net", "--model_def", net, "--model_data", weights),
            *("--input_shapes", shapes, "--mlir", "net.mlir"),
        )
        call(
            "model_runner",
            *("--model", "net.mlir", "--input", "in.npz", "--output", "out.npz"),
            "--dump_all_tensors",
        )
    except (Exception, SystemExit) as error:  # its own code raises whatever fails first
        if not os.path.exists("out.npz"):
            raise Refused("%s: %s" % (type(error).__name__, error)) from None
    with np.load("out.npz") as archive:
        return {name: archive[name] for name in archive.files}
