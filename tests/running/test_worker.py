"""The process that runs nets in a toolchain: whatever an adapter does, the answer is a sentence."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running.adapters import NET, write

from protogen.running.toolchain import StartError, Worker

X = np.linspace(-2, 2, 10, dtype=np.float32).reshape(2, 5)
TRUTH = 1 / (1 + np.exp(-np.tanh(np.abs(X))))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[object]:
    """Return a function that starts the worker of an adapter."""
    workers = []

    def start(kind: str, seconds: float = 20, python: str = sys.executable) -> Worker:
        workers.append(Worker(write(tmp_path, kind), python, seconds=seconds))
        return workers[-1]

    yield start
    for one in workers:
        one.close()


def test_outputs_of_many_nets_in_one_process(worker):
    one = worker("right")
    assert one.start() == {
        "version": "1.2", "colour": "red", "words": [r"type \w+ is unknown"]
    }  # fmt: skip
    process = one._process.pid
    for factor in (1, 2):
        answer = one.run(NET, None, {"data": factor * X})
        assert answer.state == "ran"
        assert list(answer.outputs) == ["c"]
    np.testing.assert_allclose(one.run(NET, None, {"data": X}).outputs["c"], TRUTH, 1e-6)
    assert one._process.pid == process


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("refuses", "refused", ""),
        ("crashes", "crashed", "signal 11"),
        ("exits", "crashed", "exit code 7"),
        ("raises", "crashed", ""),
        ("text", "crashed", ""),
    ],
)
def test_failures_are_states_and_the_next_net_runs(worker, kind, state, message):
    one = worker(kind)
    answer = one.run(NET, None, {"data": X})
    assert (answer.state, answer.message) == (state, message)
    assert answer.outputs == {}
    other = NET.replace("TanH", "ReLU")
    assert one.run(other, None, {"data": X}).state == ("crashed" if kind == "text" else "ran")
    text = {"raises": "IndexError", "text": "TypeError: an output is not an array of numbers"}
    assert text.get(kind, "") in answer.log


def test_net_that_hangs_ends_at_the_limit(worker):
    began = time.monotonic()
    assert worker("hangs").run(NET, None, {"data": X}, seconds=0.3).state == "hung"
    assert time.monotonic() - began < 15


def test_megabytes_of_output_are_bounded(worker):
    answer = worker("prints").run(NET, None, {"data": X})
    assert answer.state == "ran"
    assert len(answer.log) < 200_000
    assert "bytes left out" in answer.log


def test_toolchain_reads_an_empty_standard_input(worker):
    assert worker("reads_input").run(NET, None, {"data": X}).state == "ran"


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_processes_that_a_net_leaves_behind_are_ended(worker, tmp_path):
    assert worker("grandchild").run(NET, None, {"data": X}).state == "ran"
    [pid] = map(int, (tmp_path / "pids").read_text().split())
    assert not is_running(pid)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_close_ends_the_process(worker):
    one = worker("right")
    one.start()
    pid = one._process.pid
    one.close()
    assert not is_running(pid)


def test_worker_that_dies_is_started_again(worker, tmp_path):
    one = worker("ends_worker")
    answer = one.run(NET, None, {"data": X})
    assert (answer.state, answer.message) == ("crashed", "its process ended by signal 9")
    one.adapter = write(tmp_path, "right")
    assert one.run(NET, None, {"data": X}).state == "ran"


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("not_installed", "missing", "No module named 'a_module_that_nobody_has'."),
        ("syntax", "crashed", "SyntaxError: invalid syntax (line 45)."),
        ("load_raises", "crashed", "ZeroDivisionError: division by zero (line 46)."),
        ("load_dies", "crashed", "its process ended by signal 9 while it was loaded."),
        ("load_exits", "crashed", "its process ended (3) while it was loaded."),
        ("no_version", "crashed", "it has no version."),
    ],
)
def test_toolchain_that_cannot_be_loaded(worker, kind, state, message):
    with pytest.raises(StartError) as caught:
        worker(kind).start()
    assert str(caught.value) == message
    assert caught.value.state == state


def test_toolchain_that_hangs_while_it_is_loaded(worker):
    with pytest.raises(StartError, match=r"did not start in 0\.5 s") as caught:
        worker("load_hangs", 0.5).start()
    assert caught.value.state == "hung"


def test_what_is_printed_while_loading_is_in_the_error(worker):
    with pytest.raises(StartError) as caught:
        worker("load_exits").start()
    assert "no licence: error 12" in caught.value.log


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("#!/bin/sh\nexit 0\n", "its process ended (0) while it was loaded."),
        ("#!/bin/sh\ncat\n", "did not start in 1 s."),
        ("#!/bin/sh\nyes\n", "did not answer as a worker does while it was loaded."),
        ("#!/bin/sh\ncat /dev/zero\n", "did not answer as a worker does while it was loaded."),
        ("no program", "cannot be started (Exec format error)."),
    ],
)
def test_python_that_is_another_program(worker, tmp_path, program, message):
    path = tmp_path / "python"
    path.write_text(program)
    path.chmod(0o755)
    with pytest.raises(StartError) as caught:
        worker("right", 1 if "cat\n" in program else 20, str(path)).start()
    assert str(caught.value).endswith(message)


def test_weights_of_another_name_get_a_name_that_toolchains_accept(worker, tmp_path):
    adapter = write(tmp_path, "right")
    adapter.write_text(
        adapter.read_text() + "def finish(outputs, blobs):\n    raise Refused(open(W).read() + W)\n"
        "plain = run\ndef run(net, weights, inputs, options):\n    global W\n    W = weights\n"
        "    return plain(net, weights, inputs, options)\n"
    )
    weights = tmp_path / "snapshot.bin"
    weights.write_text("values")
    with Worker(adapter, sys.executable) as one:
        message = one.run(NET, weights, {"data": X}).message
        assert message.startswith("values")
        assert message.endswith("/net.caffemodel")
        weights = weights.rename(tmp_path / "own.caffemodel")
        assert one.run(NET, weights, {"data": X}).message == f"values{weights}"
        assert one.run(NET, b"bytes", {"data": X}).message.startswith("bytes")
