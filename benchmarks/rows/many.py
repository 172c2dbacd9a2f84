"""100 small nets: one command against the library in one process, in both directions."""

from __future__ import annotations

import shutil
from pathlib import Path

from measuring import PROTOGEN, PYTHON, Row, against, usages

NETS = 100
GOAL = 1.2

_NET = """name: "net{i}"
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 3 dim: {rows} dim: 16 }} }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }}
layer {{ name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param {{ bias_term: true }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param {{ num_output: 8 kernel_size: 3 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv2" top: "fc"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""

# What a script with the same files does.
_TO_ONNX = """
import sys
from pathlib import Path
import protogen as pg
for path in sorted(Path(sys.argv[1]).glob("*.prototxt")):
    pg.convert(path, path.with_suffix(".caffemodel"), Path(sys.argv[2]) / (path.stem + ".onnx"))
"""
_TO_CAFFE = """
import sys
from pathlib import Path
import protogen as pg
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    pg.convert_onnx(path, Path(sys.argv[2]) / (path.stem + ".prototxt"))
"""


def rows(folder: Path) -> list[Row]:
    """Return the CPU time and the time of one command for 100 nets, in each direction."""
    nets, models, written = folder / "nets", folder / "models", folder / "written"
    make(nets, models)

    def cleared() -> None:
        shutil.rmtree(written, ignore_errors=True)
        written.mkdir()

    rows: list[Row] = []
    for source, script, direction in (
        (nets, _TO_ONNX, "Caffe to ONNX"),
        (models, _TO_CAFFE, "ONNX to Caffe"),
    ):
        one = [PROTOGEN, "convert", source, "-o", written]
        library, command = usages([[PYTHON, "-c", script, source, written], one], before=cleared)
        work, floor = f"{NETS} nets, {direction}", "the library in one process"
        rows += against(work, floor, command, library, {"CPU time": GOAL, "time": GOAL})
    return rows


def make(nets: Path, models: Path) -> None:
    """Write the nets with weights, and their ONNX models."""
    import protogen as pg

    nets.mkdir()
    models.mkdir()
    for i in range(NETS):
        text, weights = nets / f"net{i}.prototxt", nets / f"net{i}.caffemodel"
        text.write_text(_NET.format(i=i, rows=16 + i % 8, width=4 + i % 5))
        net = pg.load(text)
        pg.initialise(net, fill=True)
        net.save(text, weights)
        pg.convert(text, weights, models / f"net{i}.onnx")
