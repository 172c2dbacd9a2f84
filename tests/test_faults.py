"""Faults: a killed process, a full disk, an input that changes. An output file is the complete old or
the complete new one, and the error is one sentence. test_pairs.py has the faults of files that belong
together."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import protogen as pg
from protogen.formats.files import replacing

POINTS = 100  # kills of each command
NET = """name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 64, 4, 4] } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 500 weight_filler { type: "msra" } } }
layer { name: "n" type: "Normalize" bottom: "ip2" top: "n" norm_param { across_spatial: true } }
""".replace(
    'layer { name: "n"',
    'layer { name: "r" type: "Reshape" bottom: "ip" top: "ip2" reshape_param { shape { dim: [1, 500, 1, 1] } } }\n'
    'layer { name: "n"',
)

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def pair(tmp_path):
    net, weights = tmp_path / "n.prototxt", tmp_path / "n.caffemodel"
    net.write_text(NET)
    loaded = pg.load(net)
    pg.initialise(loaded, seed=0)
    loaded.save(tmp_path / "copy.prototxt", weights)
    return net, weights


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commands(pair: tuple[Path, Path], folder: Path) -> dict[str, list[str]]:
    net, weights = map(str, pair)
    return {
        "convert": ["convert", net, weights, "-o", str(folder / "out.onnx")],
        "init": ["init", net, "-o", str(folder / "out.caffemodel"), "--seed", "3"],
        "rewrite": ["rewrite", net, weights, "-o", str(folder / "out.prototxt"),
                    "--caffemodel", str(folder / "stock.caffemodel")],
    }  # fmt: skip


# The command runs in a fork of a process with all modules loaded, so that most kills hit its work.
SERVER = """
import os, signal, sys, time, random
import protogen.cli as command
import protogen.net.net, protogen.generate.rewriting, protogen.training.initialisation
import protogen.converting.caffe_to_onnx, protogen.onnx
import onnxruntime, numpy
arguments, seconds, points = sys.argv[4:], float(sys.argv[1]), int(sys.argv[2])
chance = random.Random(int(sys.argv[3]))
sys.argv[1:] = arguments

def fork():
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            command.main()
        except SystemExit as end:
            os._exit(end.code or 0)
    return child

start = time.perf_counter()
assert os.waitpid(fork(), 0)[1] == 0
whole = time.perf_counter() - start
print("ready", flush=True)
killed = 0
for _ in range(points):
    sys.stdin.readline()
    child = fork()
    time.sleep(chance.uniform(0, whole))
    os.kill(child, signal.SIGKILL)
    killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    print(killed, flush=True)
"""


@posix
@pytest.mark.parametrize("name", ["convert", "init", "rewrite"])
def test_killed_command_leaves_the_complete_old_or_new_file(pair, tmp_path, name):
    """After each of the kills the target is the complete old or the complete new file."""
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = commands(pair, folder)[name]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "0", str(POINTS), "7", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert server.stdout.readline() == "ready\n"
    whole = {path.name: digest(path) for path in folder.iterdir()}
    assert whole
    fresh = killed = 0
    for _ in range(POINTS):
        for output in whole:
            (folder / output).write_bytes(b"old")
        server.stdin.write("\n")
        server.stdin.flush()
        killed = int(server.stdout.readline())
        for output, new_digest in whole.items():
            content = (folder / output).read_bytes()
            assert content == b"old" or hashlib.sha256(content).hexdigest() == new_digest
            fresh += content != b"old"
        for part in (*folder.glob(".*.part"), *folder.glob(".*.old")):  # named after their targets
            part.unlink()
        assert {path.name for path in folder.iterdir()} == set(whole)
    server.stdin.close()
    server.stdout.close()
    assert server.wait(60) == 0
    assert killed > POINTS // 4, "most kills came after the end of the command"
    assert fresh + killed > 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sigint_and_sigterm_leave_no_temporary_files(pair, tmp_path, number):
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = commands(pair, folder)["init"]
    chance = random.Random(5)
    codes = set()
    # Without coverage, because it prints a message if the signal interrupts its own exit.
    unmeasured = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "protogen", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=unmeasured,
        )  # fmt: skip
        time.sleep(chance.uniform(0.25, 0.8))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        codes.add(process.returncode)
        assert not list(folder.glob(".*")), "a temporary file is left"
        # Killed during the imports, or Python itself ignored the signal there ("Exception ignored in").
        ignored = stderr.startswith("Exception ignored in")
        assert "Traceback" not in stderr or process.returncode < 0 or ignored
    assert codes <= {0, 130, 143, -number, 1}


def test_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def write_and_stop() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_full_disk_keeps_the_old_files(pair, tmp_path, protogen):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    try:
        for arguments in commands(pair, disk).values():
            targets = [Path(argument) for argument in arguments if str(disk) in argument]
            for target in targets:
                target.write_bytes(b"old")
            done = protogen(*arguments)
            assert done.returncode == 2
            assert "cannot be written (No space left on device)" in done.stderr
            assert "Traceback" not in done.stderr
            assert {p.name for p in disk.iterdir()} == {t.name for t in targets}
            assert all(target.read_bytes() == b"old" for target in targets)
            for target in targets:
                target.unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = protogen(*arguments)
        assert done.returncode == 2
        assert "cannot be written (Read-only file system)" in done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_read_only_file_is_not_replaced(pair, tmp_path, protogen):
    target = tmp_path / "read_only.onnx"
    target.write_bytes(b"old")
    target.chmod(0o444)
    done = protogen("convert", *pair, "-o", target)
    assert done.returncode == 2
    assert "is read-only" in done.stderr
    assert target.read_bytes() == b"old"


def test_output_that_is_an_input_is_rejected(pair, protogen):
    net, weights = pair
    named = net.with_suffix(".png")  # --plot accepts only the names of pictures
    named.write_bytes(net.read_bytes())
    before = digest(net), digest(weights)
    for arguments in (
        ["convert", net, weights, "-o", weights], ["init", net, "-o", net],
        ["rewrite", net, weights, "-o", net], ["upgrade", net, "-o", net],
        ["upgrade", "--to", "v1", weights, "-o", weights], ["weights", weights, "--to-npz", weights],
        ["run", net, weights, "--random", "-o", weights], ["draw", net, "-o", net],
        ["report", net, "-o", net], ["preprocess", net, "--scale", "2", "-o", net],
        ["health", named, weights, "--plot", named],
    ):  # fmt: skip
        done = protogen(*arguments)
        assert done.returncode == 2, arguments
        assert re.search("would overwrite it|but the ending", done.stderr), arguments
        assert (digest(net), digest(weights)) == before


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="needs preadv")
@pytest.mark.parametrize("change", ["shorter", "written"])
def test_input_that_changes_while_it_is_read_is_an_error(pair, tmp_path, change):
    net, weights = pair
    loaded = pg.load(net, weights)
    if change == "shorter":
        os.truncate(weights, 100_000)
    else:
        with weights.open("r+b") as file:
            file.seek(200_000)
            file.write(b"\0" * 16)
        os.utime(weights, ns=(0, 0))
    for act in (
        lambda: loaded.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel"),
        lambda: loaded.check_finite(),
    ):
        with pytest.raises(pg.InputError, match="the file was changed while it was read"):
            act()
    assert not (tmp_path / "a.caffemodel").exists()
    assert not (tmp_path / "a.prototxt").exists()


def test_old_content_of_a_replaced_input_is_read(pair, tmp_path):
    """After a rename over a mapped file, its readers still see the old file."""
    net, weights = pair
    before = digest(weights)
    loaded = pg.load(net, weights)
    (tmp_path / "other").write_bytes(b"other")
    os.replace(tmp_path / "other", weights)
    loaded.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert digest(tmp_path / "a.caffemodel") == before


def test_parallel_processes_write_complete_files(pair, tmp_path):
    """Four processes write separate files and four write the same file; every file is complete."""
    net, weights = pair
    folder = tmp_path / "out"
    folder.mkdir()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "protogen", "convert", net, weights, "-o", folder / name],
            stdout=subprocess.DEVNULL,
        )
        for i in range(8)
        for name in (f"{i}.onnx" if i < 4 else "same.onnx",)
    ]
    assert [process.wait(300) for process in running] == [0] * 8
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["0.onnx", "1.onnx", "2.onnx", "3.onnx", "same.onnx"]
    assert len({digest(path) for path in folder.iterdir()}) == 1
    out = pg.run(folder / "same.onnx", {"data": np.ones((1, 64, 4, 4), np.float32)})
    assert np.isfinite(out["n"]).all()
