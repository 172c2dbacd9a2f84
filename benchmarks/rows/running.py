"""``run``, ``verify`` and ``health`` of VGG16, against onnxruntime on the same net in an ONNX file with
external weights."""

from __future__ import annotations

from pathlib import Path

from caffe_nets import make, vgg16
from measuring import PROTOGEN, PYTHON, Row, against, usages

# Each model runs on these inputs, one model after the other.
_RUNTIME = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
for path in sys.argv[2:]:
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for seed in range(int(sys.argv[1])):
        generator = np.random.default_rng(seed)
        session.run(None, {i.name: generator.standard_normal(i.shape, np.float32) for i in session.get_inputs()})
    del session
"""
_EXTERNAL = """
import sys
import onnx
onnx.save(onnx.load(sys.argv[1]), sys.argv[2], save_as_external_data=True, location="weights.bin")
"""


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net, model, external = make(folder, "vgg16", vgg16()), folder / "vgg16.onnx", folder / "e.onnx"
    usages([(PROTOGEN, "convert", *net, "-o", model)], runs=1)
    usages([(PYTHON, "-c", _EXTERNAL, model, external)], runs=1)
    runtime = (PYTHON, "-c", _RUNTIME)
    run, once, verify, twice, health = usages(
        [
            (PROTOGEN, "run", *net, "--random"),
            (*runtime, 1, external),
            (PROTOGEN, "verify", *net, model),
            (*runtime, 2, external, external),
            (PROTOGEN, "health", *net, "--gradients"),
        ],
        exits=(0, 1),  # 1: health finds something
    )
    of_run = {"memory": 1.15, "CPU time": 1.15}
    of_verify = {"memory": 1.15, "CPU time": 1.2}
    two = "onnxruntime, two models in turn, two inputs each"
    return [
        *against("run VGG16", "onnxruntime", run, once, of_run),
        *against("verify VGG16", two, verify, twice, of_verify),
        *against("health VGG16, with gradients", "onnxruntime", health, once, {"memory": 1.3}),
    ]
