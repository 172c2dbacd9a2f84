"""Resizing with standard layers: time of planning, and of each strategy compared with Resize.

    python benchmarks/resize.py [--quick]

The script prints milliseconds in onnxruntime, and the ratio to its Resize of the same input in the same
run. onnxruntime has no fast path for grouped ConvTranspose; times in Caffe and in NPU toolchains differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import protogen as pg
from protogen.generate.plan import Plan, plan
from protogen.onnx import encode, to_onnx
from protogen.resampling.planning import decide
from protogen.resampling.request import ResizeRequest

FORMS = [
    ("bilinear x2", {"factor": 2}),
    ("bilinear x1.5", {"factor": 1.5}),
    ("bilinear x8", {"factor": 8}),
    ("cubic x2", {"factor": 2, "mode": "cubic"}),
    ("bilinear x0.5", {"factor": 0.5}),
]
SHAPES = [(1, 16, 16, 16), (1, 64, 32, 32), (1, 256, 32, 32), (1, 21, 128, 128)]
ONNX_MODES = {"bilinear": "linear", "cubic": "cubic"}


def best(call: Callable[[], object], minimum: float = 0.15) -> float:
    """Return the seconds of the fastest of several calls."""
    call()
    times: list[float] = []
    while sum(times) < minimum or len(times) < 3:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def resize_model(request: ResizeRequest) -> bytes:
    """Return an ONNX model with one Resize operator for the request."""
    sizes = [request.batch, request.channels, *request.output]
    node = helper.make_node(
        "Resize", ["data", "", "", "sizes"], ["y"], mode=ONNX_MODES[request.sampling.mode],
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    shape = [request.batch, request.channels, *(request.size or ())]
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def milliseconds(model: bytes, x: np.ndarray) -> float:
    """Return the milliseconds of the fastest run of a model."""
    runner = session(model)
    return 1000 * best(lambda: runner.run(None, {"data": x}))


def strategies(quick: bool) -> None:
    """Print the time of each strategy for several sizes and factors."""
    print("milliseconds in onnxruntime; in brackets the ratio to its Resize")
    for shape in SHAPES[1:3] if quick else SHAPES:
        for title, arguments in FORMS[:3] if quick else FORMS:
            planned: Plan = pg.resize(**arguments, input_shape=shape)
            x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            floor = milliseconds(resize_model(planned.request), x)
            size = "x".join(map(str, shape))
            print(f"\n{title} of {size}: Resize {floor:.2f} ms")
            for one in planned.decision.candidates:
                candidate = plan(planned.request, strategy=one.label)
                took = milliseconds(encode(to_onnx(candidate.net)), x)
                mark = "  <- chosen" if one is planned.decision.chosen else ""
                print(f"  {one.label:<22} {took:8.2f} ({took / floor:6.1f}){mark}")


def planning(quick: bool) -> None:
    """Print the time of planning, with and without cached decisions."""
    print("\nplanning, without running")
    for size in (8, 32, 128, 512):
        request = ResizeRequest(size=(size, size), scale=(2.0, 2.0))

        def plan_uncached(request: ResizeRequest = request) -> object:
            decide.cache_clear()
            return decide(request)

        print(f"  x2 of {size}x{size}: {1000 * best(plan_uncached):.1f} ms")
    count = 100 if quick else 1000
    decide.cache_clear()
    begin = time.perf_counter()
    for i in range(count):
        # sizes and factors repeat in a real net: here 40 combinations
        size = 7 + i % 20
        pg.resize(2 + i % 2, input_shape=(1, 64, size, size), name=f"up{i}", whole_net=False)
    took = time.perf_counter() - begin
    print(f"  {count} layers of {40} sizes and factors, with their text: {took:.1f} s")
    decide.cache_clear()
    begin = time.perf_counter()
    for i in range(count):
        size = (4 + i % 40, 5 + i // 40)
        pg.resize(2, input_shape=(1, 64, *size), name=f"up{i}", whole_net=False)
    took = time.perf_counter() - begin
    print(f"  {count} layers of different sizes, with their text: {took:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="Fewer shapes.")
    quick = parser.parse_args().quick
    strategies(quick)
    planning(quick)


if __name__ == "__main__":
    main()
