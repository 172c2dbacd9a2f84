"""Time of converted nets in onnxruntime.

Nets: AlexNet, GoogLeNet, ResNet-50 and MobileNet-SSD. The script prints the milliseconds of one forward
pass, folded and unfolded. It compares them with a lower bound for every export: the convolutions and
dense layers alone, as single operators. If ../shared has the golden of the net, it also prints the
time of real Caffe. The published nets in ../shared are required.

    python benchmarks/run.py
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import protogen as pg
from protogen.onnx import lower, to_model

SHARED = Path(__file__).parent.parent.parent / "shared"
NETS = {
    "AlexNet": "BVLC__caffe/models__bvlc_alexnet__deploy.prototxt",
    "GoogLeNet": "BVLC__caffe/models__bvlc_googlenet__deploy.prototxt",
    "ResNet-50": "KaimingHe__deep-residual-networks/prototxt__ResNet-50-deploy.prototxt",
    "MobileNet-SSD": "chuanqi305__MobileNet-SSD/voc__MobileNetSSD_deploy.prototxt",
}


def golden_weights() -> Any:
    """Import the script that generates the weights and inputs of the goldens."""
    spec = importlib.util.spec_from_file_location("weights", SHARED / "golden" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forward(model: bytes, feeds: dict[str, Any]) -> float:
    """Return the median milliseconds of a run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    times = []
    first_start = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - first_start < 3:
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def arithmetic(net: pg.Net) -> bytes:
    """Return a model of only the net's convolutions and dense layers: a lower bound of its time.

    They are not connected; each has an input of its own shape.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, outputs = [], [], []
    program = lower(net)
    shapes = program.shapes
    for i, node in enumerate(n for n in program.nodes if n.op_type in ("Conv", "Gemm")):
        shape = shapes.get(node.reads[0])
        weight = program.tensors[node.reads[1]].array()
        if node.op_type == "Gemm":
            shape = (net.shapes[net.inputs[0]][0], weight.shape[1])
        if shape is None:
            continue
        constants = [
            np.zeros(shape, np.float32),
            weight,
            *(program.tensors[r].array() for r in node.reads[2:]),
        ]
        names = [f"{i}.{j}" for j in range(len(constants))]
        # The model's input is added to zeros, so that the optimiser cannot fold the operator.
        tensors += [
            numpy_helper.from_array(np.asarray(c, np.float32), n)
            for c, n in zip(constants, names, strict=True)
        ]
        nodes.append(helper.make_node("Add", [names[0], "x"], [f"{i}.in"]))
        nodes.append(
            helper.make_node(node.op_type, [f"{i}.in", *names[1:]], [f"{i}.out"], **node.attributes)
        )
        outputs.append(helper.make_tensor_value_info(f"{i}.out", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "floor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])],
        outputs,
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    raw: bytes = model.SerializeToString()
    return raw


def main() -> None:
    if not SHARED.is_dir():
        raise SystemExit("../shared is missing: it contains the nets")
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    golden_script = golden_weights()
    for name, file in NETS.items():
        net = pg.load(SHARED / "corpus" / file)
        for layer in net.layers:
            shapes = net.parameter_shapes[layer.name]
            if shapes:
                net.weights[layer.name] = [
                    golden_script.parameter(layer.name, layer.type, i, s)
                    for i, s in enumerate(shapes)
                ]
        feeds = {n: golden_script.network_input(n, net.shapes[n]) for n in net.inputs}
        folded = forward(to_model(lower(net)).SerializeToString(), feeds)
        unfolded = forward(to_model(lower(net, fold=False)).SerializeToString(), feeds)
        lower_bound = forward(arithmetic(net), {"x": np.array(0.5, np.float32)})
        golden = SHARED / "golden" / "nets" / f"{file.replace('/', '__')}.json.gz"
        caffe = ""
        if golden.exists():
            seconds = json.loads(gzip.decompress(golden.read_bytes()))["forward_seconds"]
            caffe = f", real Caffe {seconds * 1e3:.0f} ms"
        batch = net.shapes[net.inputs[0]][0]
        print(
            f"{name:<14} batch {batch:>2}: {folded:7.1f} ms, unfolded {unfolded:7.1f} ms; its convolutions "
            f"and dense layers alone {lower_bound:7.1f} ms (ratio {folded / lower_bound:.2f}){caffe}"
        )


if __name__ == "__main__":
    main()
