"""Time and memory of reading untrusted files that repeat one element many times.

Each reader gets a file, and one of twice its size. Linear time grows 2 x, quadratic time 4 x. Memory
is the peak, as a multiple of the file's size.

    python benchmarks/hostile.py [BYTES [READER or KIND ...]]

BYTES is the size of the smaller file (100000).
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "fuzz"), str(Path(__file__).parent.parent)]

from targets import TARGETS  # noqa: E402
from watch import peak, reset  # noqa: E402

from protogen.errors import ProtogenError  # noqa: E402
from protogen.formats import wire  # noqa: E402

Make = Callable[[int], bytes]


def repeated(piece: str, before: str = "", after: str = "") -> Make:
    """Return a function that repeats a piece up to a size; {i} in the piece counts up, {j} is i + 1."""

    def make(size: int) -> bytes:
        parts, i = [before], 0
        length = len(before) + len(after)
        while length < size:
            parts.append(piece.replace("{i}", str(i)).replace("{j}", str(i + 1)))
            length += len(parts[-1])
            i += 1
        return "".join((*parts, after)).encode()

    return make


INPUT = 'input: "b0" input_shape { dim: 1 dim: 4 dim: 8 dim: 8 }\n'
RELU = 'layer { name: "r{i}" type: "ReLU" bottom: "b{i}" top: "b{j}" }\n'
TEXTS = {
    "a chain": repeated(RELU, INPUT),
    "in-place layers": repeated('layer { name: "r{i}" type: "ReLU" bottom: "b0" top: "b0" }\n', INPUT),
    "one blob, many readers": repeated('layer { name: "r{i}" type: "ReLU" bottom: "b0" top: "t{i}" }\n', INPUT),
    "one layer, many bottoms": repeated(' bottom: "b0"', INPUT + 'layer { type: "Concat" top: "c"', "}"),
    "one layer, many tops": repeated(' top: "t{i}"', INPUT + 'layer { type: "Slice" bottom: "b0"', "}"),
    "undefined bottoms": repeated('layer { name: "r{i}" type: "ReLU" bottom: "x{i}" top: "y{i}" }\n'),
    "one layer name": repeated('layer { name: "r" type: "ReLU" bottom: "b0" top: "b0" }\n', INPUT),
    "reverse order": repeated('layer { name: "r{i}" type: "ReLU" bottom: "b{j}" top: "b{i}" }\n'),
    "V1 layers": repeated('layers { name: "r{i}" type: RELU bottom: "b{i}" top: "b{j}" }\n', INPUT),
    "unknown types": repeated('layer { name: "r{i}" type: "T{i}" bottom: "b0" top: "c{i}" }\n', INPUT),
    "unknown fields": repeated("layer { x{i}: 1 }\n"),
    "one unknown field": repeated("layer { x: 1 }\n"),
    "repeated field": repeated('name: "a" '),
    "numbers": repeated("input_dim: 1 "),
    "one list": repeated("1,", "input_dim: [", "1]"),
    "names": repeated('layer { name: "' + "n" * 200 + '{i}" }\n'),
    "shared weights": repeated(
        'layer { name: "c{i}" type: "Convolution" bottom: "b0" top: "c{i}" param { name: "w" } '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n", INPUT),
    "blank lines": repeated("\n"),
    "blanks": repeated(" "),
    "comments": repeated("# protogen: ignore[PG1]\n"),
    "comments in a layer": repeated("# x\n", "layer {\n", "}"),
    "adjacent strings": repeated('"a" ', "name: "),
    "escapes": repeated(r"\n", 'name: "', '"'),
    "unterminated quotes": repeated('"a\n'),
    "deep nesting": repeated("layer {"),
    "braces": repeated("{"),
    "one word": repeated("a"),
}  # fmt: skip
FILES: list[tuple[str, str, Make]] = [
    *((target, name, make) for target in ("prototxt", "net", "lint", "page") for name, make in TEXTS.items()),
    ("log", "losses", repeated("I1125 10:00:00.0 1 solver.cpp:218] Iteration {i}, loss = 2\n")),
    ("log", "layers", repeated("I1125 10:00:00.0 1 net.cpp:6] [Backward] Layer l{i}, param blob 0 diff: 1\n")),
    ("log", "one line", repeated("Iteration 1 (")),
    ("log", "headers", repeated("[Forward] Layer ")),
    ("log", "digits", repeated("1", "Iteration ")),
    ("schema", "fields", repeated("optional float a{i} = {j};\n", "message V {", "}")),
    ("schema", "messages", repeated("message M{i} { optional M{j} a = 1; }\n", "", "")),
    ("schema", "values", repeated("V{i} = {j};\n", "enum E { Z = 0;", "}")),
    ("schema", "clashes", repeated("optional float a{i} = 1;\n", "message LayerParameter {", "}")),
    ("schema", "unterminated comments", repeated("/* ")),
    ("schema", "options", repeated('a = "b", ', "message V { optional float a = 1 [", "]; }")),
    ("schema", "unterminated options", repeated("message V { optional float a = 1 [\n")),
    ("toml", "keys", repeated("k{i} = 1\n")),
    ("toml", "tables", repeated("[t{i}]\n")),
    ("toml", "lists of tables", repeated("[[t]]\n")),
    ("toml", "deep nesting", repeated("[")),
    ("toml", "dotted", repeated("a.", "", "a = 1")),
    ("toml", "layers", repeated('[[layer]]\nname = "l{i}"\nbottom = "b"\nfactor = 2\n')),
    ("template", "values", repeated("{{ name }}")),
    ("caffemodel", "layers", lambda n: b"\xa2\x06\x04\x0a\x02ab" * (n // 7)),
    ("caffemodel", "blobs", lambda n: _layer(b"\x3a\x00" * (n // 2))),
    ("caffemodel", "unknown fields", lambda n: b"\xf8\x7f\x01" * (n // 3)),
    ("caffemodel", "values", lambda n: _blob(b"\x2d\0\0\x80\x3f" * (n // 5))),
    ("binaryproto", "values", lambda n: b"\x18\x01\x20\x01\x2d\0\0\x80\x3f" * (n // 9)),
    *(("onnx", name, lambda n, name=name: _model(name, n)) for name in (
        "a chain", "one value, many readers", "constants", "inputs", "outputs", "declared values", "metadata",
        "attributes", "functions", "branches", "sparse constants", "reverse order", "one name")),
    ("arrays", "members of an npz", lambda n: _archive(n)),
    ("hdf5", "datasets", lambda n: _hdf5(n)),
]  # fmt: skip


def _layer(raw: bytes) -> bytes:
    """Return a caffemodel with one layer of these bytes."""
    return wire.head("NetParameter", "layer", len(raw)) + raw


def _blob(raw: bytes) -> bytes:
    """Return a caffemodel with one blob of these bytes."""
    return _layer(wire.head("LayerParameter", "blobs", len(raw)) + raw)


def _model(kind: str, size: int) -> bytes:
    """Return an ONNX model that repeats one element up to about a size."""
    import onnx
    from onnx import TensorProto, helper

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])

    graph = helper.make_graph([], "g", [value("x0")], [value("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph, count = model.graph, size // 40
    for i in range(count):
        match kind:
            case "a chain" | "reverse order":
                graph.node.append(helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"]))
            case "one value, many readers":
                graph.node.append(helper.make_node("Relu", ["x0"], [f"x{i + 1}"]))
            case "constants":
                graph.initializer.append(helper.make_tensor(f"c{i}", TensorProto.FLOAT, [1], [1]))
            case "inputs":
                graph.input.append(value(f"i{i}"))
            case "outputs":
                graph.node.append(helper.make_node("Relu", ["x0"], [f"x{i + 1}"]))
                graph.output.append(value(f"x{i + 1}"))
            case "declared values":
                graph.value_info.append(value(f"v{i}"))
            case "metadata":
                model.metadata_props.add(
                    key=f"caffe_layer:{i}", value='{"layer": "", "bottoms": []}'
                )
            case "attributes":
                graph.node.append(
                    helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"], **{f"a{i}": 1})
                )
            case "functions":
                node = helper.make_node("Relu", ["a"], ["b"])
                function = helper.make_function("own", f"F{i}", ["a"], ["b"], [node], [])
                model.functions.append(function)
                graph.node.append(helper.make_node(f"F{i}", [f"x{i}"], [f"x{i + 1}"], domain="own"))
            case "branches":
                inner = helper.make_graph(
                    [helper.make_node("Relu", ["x0"], ["r"])], "b", [], [value("r")]
                )
                branches = {"then_branch": inner, "else_branch": inner}
                graph.node.append(helper.make_node("If", ["k"], [f"x{i + 1}"], **branches))
            case "sparse constants":
                one = helper.make_tensor(f"s{i}", TensorProto.FLOAT, [1], [1])
                at = helper.make_tensor("", TensorProto.INT64, [1], [2])
                graph.sparse_initializer.append(helper.make_sparse_tensor(one, at, [4]))
            case _:
                graph.node.append(helper.make_node("Relu", ["x0"], ["x1"]))
    if kind == "branches":
        graph.initializer.append(helper.make_tensor("k", TensorProto.BOOL, [], [1]))
    last = (
        f"x{count}" if kind not in ("constants", "inputs", "declared values", "metadata") else "x0"
    )
    graph.node.append(helper.make_node("Relu", ["x1" if kind == "one name" else last], ["y"]))
    if kind == "reverse order":
        nodes = list(graph.node)[::-1]
        del graph.node[:]
        graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _archive(size: int) -> bytes:
    """Return an npz of many arrays of one number."""
    import numpy as np

    stream = io.BytesIO()
    np.savez(stream, **{f"l{i}/0": np.float32([1]) for i in range(size // 270)})
    return stream.getvalue()


def _hdf5(size: int) -> bytes:
    """Return a .caffemodel.h5 of many layers with one number."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as store:
        for i in range(size // 1100):
            store[f"data/l{i}/0"] = [1.0]
    return stream.getvalue()


def run(target: str, raw: bytes, folder: Path) -> tuple[float, float]:
    """Return seconds, and peak memory divided by the size of the file."""
    reader = TARGETS[target]
    path = folder / f"input{reader.suffix}"
    path.write_bytes(raw)
    before, start = reset(), time.process_time()
    with suppress(ProtogenError, RecursionError):
        reader.run(path)
    return time.process_time() - start, (peak() - before) / len(raw)


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    names = sys.argv[2:]
    selected = [entry for entry in FILES if not names or {entry[0], entry[1]} & {*names}]
    warnings.simplefilter("ignore")
    print(f"{'reader':<12} {'file of':<26} {'seconds':>7} {'growth':>6}  memory")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The first run loads modules, which must not count as time of a file.
        for target, _, make in selected:
            run(target, make(200), folder)
        for target, kind, make in selected:
            first, _ = run(target, make(size), folder)
            second, memory = run(target, make(2 * size), folder)
            growth = f"{second / first:>4.1f} x" if second > 0.05 else "      "
            print(f"{target:<12} {kind:<26} {second:>7.2f} {growth}  {memory:.0f} x", flush=True)


if __name__ == "__main__":
    main()
