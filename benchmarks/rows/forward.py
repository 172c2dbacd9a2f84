"""Time of one forward pass: the ONNX file in onnxruntime, the Caffe files in OpenCV 4 and in Caffe.

Each runtime has one process with one thread. They take turns, pass by pass, and the medians are compared.
The nets are published ones of ../shared/corpus. Their weights are random (He's rule), and the mean and the
variance of each BatchNorm are those of its bottom on random inputs, so that all values stay near 1. Values
near 0 would be denormal numbers, which take many times as long.

OpenCV and Caffe are found as ``protogen try`` finds them (docs/try.md); a runtime that is not installed has
no rows. A net with layers of SSD is compared with a Caffe that has them. Nets with LRN or PReLU are converted
with ``--expand``. OpenCV computes 3 x 3 convolutions by Winograd's algorithm, which takes fewer products and
rounds more; VGG-16, which has no others, may therefore take 1.1 of its time.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row
from numpy.typing import NDArray

import protogen as pg
from protogen.layers.recommending import is_weighted
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running import environments
from protogen.running.runtime import run_program

WORKER = Path(__file__).parent.parent / "forward_worker.py"
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
NETS: Mapping[str, str] = {
    "AlexNet": "BVLC__caffe/models__bvlc_alexnet__deploy.prototxt",
    "VGG-16": "soeaver__caffe-model/cls__vgg__deploy_vgg16-dsd.prototxt",
    "GoogLeNet": "BVLC__caffe/models__bvlc_googlenet__deploy.prototxt",
    "Inception-v3": "soeaver__caffe-model/cls__inception__deploy_inception-v3.prototxt",
    "ResNet-50": "KaimingHe__deep-residual-networks/prototxt__ResNet-50-deploy.prototxt",
    "ResNeXt-101": "soeaver__caffe-model/cls__resnext__deploy_resnext101-32x4d.prototxt",
    "DenseNet-121": "soeaver__caffe-model/cls__densenet__deploy_densenet121.prototxt",
    "DPN-92": "soeaver__caffe-model/cls__dpn__deploy_dpn92.prototxt",
    "SE-BN-Inception": "hujie-frank__SENet/models__SE-BN-Inception.prototxt",
    "SqueezeNet": "forresti__SqueezeNet/SqueezeNet_v1.1__deploy.prototxt",
    "MobileNet": "shicai__MobileNet-Caffe/mobilenet_deploy.prototxt",
    "MobileNet v2": "shicai__MobileNet-Caffe/mobilenet_v2_deploy.prototxt",
    "MobileNet-SSD": "chuanqi305__MobileNet-SSD/deploy.prototxt",
    "MTCNN's O-Net": "kpzhang93__MTCNN_face_detection_alignment/code__codes__MTCNNv1__model__det3.prototxt",
    "HED": "s9xie__hed/examples__hed__deploy.prototxt",
}
EXPANDED = ("AlexNet", "GoogLeNet", "MTCNN's O-Net")  # nets with LRN or PReLU, see ``--expand``
SIDES = {"HED": 256}  # pixels, instead of the 500 of its prototxt
SSD = ("PriorBox", "DetectionOutput")
GOALS = {"OpenCV 4": 1.0, "Caffe": 0.5}
# OpenCV computes 3 x 3 convolutions by Winograd's algorithm, which takes fewer products and rounds more.
SLOWER = {("VGG-16", "OpenCV 4"): 1.1}
TOLERANCE = 1e-3  # of the largest magnitude of an output
SAMPLES = (
    8  # inputs for the statistics: the variance of fewer can be nearly 0 where a blob is 1 x 1
)
SECONDS, LEAST = 5.0, 9  # of all runtimes together, and passes of each

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Runtime:
    """One side of the comparison.

    Attributes:
        floor: its name in the table; empty for protogen's.
        command: the process that runs the net, without the files of the net.
    """

    floor: str
    command: Sequence[str]


class Process:
    """A process that runs a net; see forward_worker.py."""

    def __init__(self, command: Sequence[str], stack: ExitStack) -> None:
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        )
        self._command = command
        self._answer()

    def forward(self) -> float:
        """Run one forward pass and return its seconds."""
        return float(self._ask("run"))

    def outputs(self, path: Path) -> Arrays:
        """Return the outputs of the last forward pass; they pass through this file."""
        self._ask(f"save {path}")
        with np.load(path) as file:
            return {name: file[name] for name in file.files}

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"exit code {self._process.wait()}: {' '.join(self._command)}")
        return answer


def rows(folder: Path, nets: Sequence[str] = tuple(NETS)) -> list[Row]:
    """Return a row for each net and each other runtime that is installed."""
    if not CORPUS.is_dir():
        return []
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    return [row for name in nets for row in _rows_of(name, folder)]


def _rows_of(name: str, folder: Path) -> Iterator[Row]:
    net = written(name, folder)
    runtimes = list(_runtimes(net, folder))
    seconds = measured(runtimes, folder)
    ours = seconds.pop("")
    for floor, other in seconds.items():
        goal = SLOWER.get((name, floor), GOALS[floor])
        work = f"forward pass of {name}" + (", `--expand`" if name in EXPANDED else "")
        yield Row(work, floor, "time", ours, other, goal, "s")


def written(name: str, folder: Path) -> Net:
    """Write a net with weights as Caffe's files and as ONNX, and its inputs."""
    net = pg.load(CORPUS / NETS[name])
    if name in SIDES:
        (shape,) = net.message.layer[0].input_param.shape
        for dim in shape.all("dim")[2:]:
            dim.value = SIDES[name]
    for layer in net.message.layer:
        if layer.type == "Pooling":
            layer.pooling_param.remove("ceil_mode")  # a field of forks, for the sake of Caffe
    net.save(folder / "net.prototxt")
    net = pg.load(folder / "net.prototxt")
    _fill(net)
    _measure_statistics(net, folder / "net.prototxt")
    net.save(folder / "net.prototxt", folder / "net.caffemodel")
    pg.convert(
        folder / "net.prototxt",
        folder / "net.caffemodel",
        folder / "net.onnx",
        expand=name in EXPANDED,
    )
    arrays: dict[str, Any] = _inputs(net)
    np.savez(folder / "in.npz", **arrays)
    return net


def _inputs(net: Net) -> Arrays:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(net.shapes[name], np.float32) for name in net.inputs}


def _fill(net: Net) -> None:
    """Set random weights: those of products by He's rule, factors near 1, all others near 0."""
    rng = np.random.default_rng(1)
    for layer in net.layers:
        blobs = []
        for index, shape in enumerate(net.parameter_shapes[layer.name] or ()):
            factor, mean = 0.05, 0.0
            if index == 0 and is_weighted(layer):
                factor = math.sqrt(2 / math.prod(shape[1:]))
            elif index == 0 and layer.type == "Scale":
                factor, mean = 0.1, 1.0
            array = rng.standard_normal(shape, np.float32) * np.float32(factor)
            blobs.append(array + np.float32(mean))
        if blobs:
            net.weights[layer.name] = blobs


def _measure_statistics(net: Net, path: Path) -> None:
    """Set the mean and the variance of each BatchNorm to those of its bottom on random inputs.

    The net of ``path`` computes them all in one run, with use_global_stats: false.
    """
    normal = [layer for layer in net.layers if layer.type == "BatchNorm"]
    if not normal:
        return
    shapes = {name: (SAMPLES, *(net.shapes[name] or ())[1:]) for name in net.inputs}
    training = pg.load(path, input_shapes=shapes)
    training.weights = net.weights
    for layer in training.message.layer:
        if layer.type == "BatchNorm":
            eps = layer.batch_norm_param.eps
            layer.remove("batch_norm_param")
            layer.add("batch_norm_param", {"use_global_stats": False, "eps": eps})
    training = training.with_message(training.message)
    values = {layer.name: layer.reads[0] for layer in training.layers if layer.type == "BatchNorm"}
    program = lower(training, outputs=tuple(dict.fromkeys(values.values())), fold=False)
    arrays = run_program(program, _inputs(training))
    for name, value in values.items():
        array = arrays[value].astype(np.float64)
        axes = tuple(axis for axis in range(array.ndim) if axis != 1)
        statistics = (array.mean(axes), array.var(axes), np.ones(1))
        net.weights[name] = [one.astype(np.float32) for one in statistics]


def _runtimes(net: Net, folder: Path) -> Iterator[Runtime]:
    """Yield protogen's side, and those of the others that are installed."""
    names = ",".join(net.outputs)
    files = [str(folder / "net.prototxt"), str(folder / "net.caffemodel")]
    shared = [str(folder / "in.npz"), names]
    ours = [sys.executable, str(WORKER), "onnxruntime", *shared, str(folder / "net.onnx")]
    yield Runtime("", ours)
    has_ssd = any(layer.type in SSD for layer in net.layers)
    for floor, toolchain, tool in (
        ("OpenCV 4", "opencv4", "opencv"),
        ("Caffe", "tpu-caffe" if has_ssd else "caffe-1.0", "caffe"),
    ):
        python = environments.find(environments.toolchain(toolchain), {}, environments.Settings())
        if python is not None:
            yield Runtime(floor, [str(python), str(WORKER), tool, *shared, *files])


def measured(runtimes: Sequence[Runtime], folder: Path) -> dict[str, float]:
    """Return the median seconds of each runtime by its name, after a check that their outputs agree."""
    with ExitStack() as stack:
        processes = {one.floor: Process(one.command, stack) for one in runtimes}
        for one in processes.values():
            stack.callback(one.close)
        outputs = {name: one.outputs(folder / "out.npz") for name, one in processes.items()}
        for name, others in outputs.items():
            _check(outputs[""], others, name)
        taken: dict[str, list[float]] = {name: [] for name in processes}
        start = time.perf_counter()
        while len(taken[""]) < LEAST or time.perf_counter() - start < SECONDS:
            for name, one in processes.items():
                taken[name].append(one.forward())
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _check(ours: Arrays, others: Arrays, name: str) -> None:
    """Check that a runtime computes the same outputs. OpenCV calls outputs by their layers, and has no
    output of a layer after which it reads another output."""
    for output, expected in others.items():
        array = ours.get(output)
        if array is None or array.size != expected.size:
            continue
        a, b = (_comparable(one) for one in (array, expected))
        if not np.abs(a - b).max() <= TOLERANCE * np.abs(b).max():
            raise SystemExit(f'{name}: the output "{output}" differs')


def _comparable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers to compare: of SSD's rows only the scores, because OpenCV has another order."""
    is_rows = array.ndim == 4 and array.shape[:2] == (1, 1) and array.shape[3] == 7
    return np.sort(array[0, 0, :, 2]) if is_rows else array.reshape(-1)


if __name__ == "__main__":
    import tempfile

    from performance import line

    with tempfile.TemporaryDirectory() as scratch:
        for net_name in sys.argv[1:] or NETS:
            for row in rows(Path(scratch), [net_name]):
                print(line(row), flush=True)
