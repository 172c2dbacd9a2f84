"""The memory of a command is limited to that of the machine, and a shortage is one sentence."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen import memory
from protogen.onnx.passes.constant_folding import MOST

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def constants_model(path, kind: str, count: int, size: int) -> None:
    """A small file whose operators compute ``count`` constants of ``size`` values each."""
    nodes = []
    for i in range(count):
        value = numpy_helper.from_array(np.array([i + 1], np.float32))
        nodes.append(helper.make_node("ConstantOfShape", ["size"], [f"c{i}"], value=value))
        if kind == "sums":
            nodes.append(helper.make_node("ReduceSum", [f"c{i}"], [f"r{i}"], keepdims=0))
        elif kind == "copies":
            nodes.append(helper.make_node("Add", [f"c{i}", "two"], [f"d{i}"]))
            nodes.append(helper.make_node("ReduceSum", [f"d{i}"], [f"r{i}"], keepdims=0))
    results = [f"r{i}" for i in range(count)]
    if kind == "outputs":
        nodes.append(helper.make_node("Relu", ["x"], ["y"]))
        outputs = ["y", *(f"c{i}" for i in range(count))]
    else:
        nodes.append(helper.make_node("Sum", ["x", *results], ["y"]))
        outputs = ["y"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(np.array([size], np.int64), "size"),
            numpy_helper.from_array(np.array([2], np.float32), "two"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.mark.parametrize("kind", ["sums", "copies"])
def test_computed_constants_are_counted_together(tmp_path, kind):
    """Each of them is smaller than the largest constant that is computed."""
    path = tmp_path / "model.onnx"
    size = 1 << 21
    constants_model(path, kind, 2 * MOST // size, size)
    assert path.stat().st_size < 20_000
    with pytest.raises(pg.UnsupportedError, match=r"have more than \d+ values in all"):
        pg.from_onnx(path)
    constants_model(path, kind, 3, 1 << 10)
    x = np.zeros((1, 4), np.float32)
    expected = pg.run(path, {"x": x})["y"]
    np.testing.assert_allclose(pg.run(pg.from_onnx(path), {"x": x})["y"], expected)


def test_constants_that_share_a_part_of_a_file_are_counted_together(tmp_path):
    """1000 constants of 1 MB in a file of 1 MB."""
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    for count, refused in ((10, False), (1000, True)):
        names = [f"c{i}" for i in range(count)]
        graph = helper.make_graph(
            [helper.make_node("Sum", ["x", *names], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1 << 18])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1 << 18])],
        )
        for name in names:
            one = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[1 << 18])
            one.data_location = TensorProto.EXTERNAL
            one.external_data.add(key="location", value="data")
        imports = [helper.make_opsetid("", 17)]
        onnx.save(
            helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx"
        )
        if refused:
            with pytest.raises(
                pg.InputError, match="in external files take more than 67108864 bytes"
            ):
                pg.verify(tmp_path / "m.onnx", tmp_path / "m.onnx")
        else:
            pg.verify(tmp_path / "m.onnx", tmp_path / "m.onnx", check=False)


def test_error_of_a_plan_that_needs_more_than_the_machine_has(monkeypatch):
    plan = pg.resize(size=(40, 40), input_shape=(1, 3, 20, 20), like="torch")
    monkeypatch.setattr(memory, "machine_memory", lambda: 1000)
    with pytest.raises(pg.UnsupportedError, match="measuring the error needs"):
        plan.error  # noqa: B018


RUN = """
import resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
sys.argv[:] = ["protogen", *sys.argv[2:]]
from protogen.cli import main
main()
"""


def limited(limit: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(limit), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@linux
@pytest.mark.parametrize("kind", ["sums", "copies", "outputs"])
def test_shortage_in_a_library_is_one_sentence(tmp_path, kind):
    path = tmp_path / "model.onnx"
    constants_model(path, kind, 400, 1 << 21)
    done = limited(1_500_000_000, "verify", path, path)
    assert done.returncode == 3, done
    assert re.fullmatch(
        r"protogen: the memory is not enough: this machine has [\d.]+ [GT]B, protogen used [\d.]+ GB, it may use "
        r"1.5 GB. Use smaller inputs.\n",
        done.stderr,
    )


@linux
def test_outputs_beyond_the_memory_are_refused_before_the_run(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    constants_model(path, "outputs", 8, 1 << 10)
    feeds = {"x": np.zeros((1, 4), np.float32)}
    monkeypatch.setattr(memory, "machine_memory", lambda: 8 * 4096 + 16)
    assert len(pg.run(path, feeds)) == 9
    monkeypatch.setattr(memory, "machine_memory", lambda: 8 * 4096 + 15)
    with pytest.raises(pg.UnsupportedError, match="the outputs need"):
        pg.run(path, feeds)


@linux
def test_commands_limit_their_memory(monkeypatch):
    import resource

    calls = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: calls.append((kind, limits)))
    monkeypatch.setattr(
        resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    memory.limit_memory()
    ((kind, (limit, most)),) = calls
    assert (kind, most) == (resource.RLIMIT_DATA, resource.RLIM_INFINITY)
    assert 1 << 20 < limit < 16 * memory.machine_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, resource.RLIM_INFINITY))
    memory.limit_memory()
    assert len(calls) == 1, "a lower limit of the user is replaced"
    memory.lift_limit()
    memory.lift_limit()
    assert calls[1:] == [(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
        ImportError("x.so: cannot map zero-fill pages"),
    ],
    ids=repr,
)
def test_exceptions_that_mean_a_shortage(error):
    assert memory.lacks_memory(error)


def test_other_exceptions_do_not():
    assert not memory.lacks_memory(ValueError("the array is too short"))
