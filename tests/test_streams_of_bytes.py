"""Inputs that are not plain files, that change, that are too long, and programs inside of files."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen.training import log

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
NET, WEIGHTS = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"

# Commands that read the file {x}, one for each reader.
READERS = {
    "net": "summary {x}",
    "weights": "weights {x}",
    "weights of a net": "run net.prototxt {x} --random",
    "model": "convert {x} -o out.prototxt",
    "model to verify": "verify net.prototxt net.caffemodel {x}",
    "input": "run net.prototxt net.caffemodel --input {x}",
    "mean": "run net.prototxt net.caffemodel --random --mean {x}",
    "labels": "run net.prototxt net.caffemodel --random --labels {x}",
    "mean file": "mean convert {x} -o out.npy",
    "pictures": "mean compute {x} -o out.npy",
    "archive": "weights net.caffemodel --from-npz {x} -o out.caffemodel",
    "log": "train-log {x}",
    "specification": "upsample --spec {x}",
    "template": "upsample --factor 2 --template {x}",
    "target": "check net.prototxt --target {x}",
    "proto": "summary net.prototxt --proto {x}",
    "net to lint": "check {x}",
    "other net": "diff net.prototxt {x}",
    "matrix": "dense --orientation xw --weights {x}",
    "net for weights": "init {x} -o out.caffemodel",
    "old net": "upgrade {x} -o out.prototxt",
    "text": "fmt {x} -o out.prototxt",
}


@pytest.fixture
def folder(tmp_path):
    shutil.copy(NET, tmp_path / "net.prototxt")
    shutil.copy(WEIGHTS, tmp_path / "net.caffemodel")
    return tmp_path


def refused(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 2, done
    assert done.stderr.startswith("protogen: "), done
    assert len(done.stderr.splitlines()) <= 3
    assert not list(folder.glob("out*"))


@posix
@pytest.mark.parametrize("name", READERS)
def test_devices_and_sockets_are_refused_by_every_reader(folder, protogen, name):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "s"))
        for path in ("/dev/zero", "/dev/full", "s"):
            done = protogen(*READERS[name].format(x=path).split())
            refused(done, folder)
            assert path in done.stderr


class Program:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def checkpoints(folder: Path) -> list[Path]:
    """Files whose readers of other libraries run the program."""
    ran = folder / "ran"
    raw = pickle.dumps({"conv1.weight": Program(ran)}, protocol=2)
    old, new = folder / "old.pt", folder / "new.pt"
    old.write_bytes(raw)
    with zipfile.ZipFile(new, "w") as archive:
        archive.writestr("model/data.pkl", raw)
        archive.writestr("model/version", "3")
    array, archive_of_arrays = folder / "a.npy", folder / "a.npz"
    np.save(array, np.array([Program(ran)], dtype=object), allow_pickle=True)
    np.savez(archive_of_arrays, **{"conv1/0": np.array([Program(ran)], dtype=object)})
    assert not ran.exists()
    pickle.loads(raw)["conv1.weight"].close()
    assert ran.exists(), "the pickle has no effect"
    ran.unlink()
    return [old, new, array, archive_of_arrays]


@pytest.mark.parametrize("name", READERS)
def test_no_reader_runs_a_pickle(folder, tmp_path_factory, protogen, name):
    for path in checkpoints(tmp_path_factory.mktemp("files")):
        done = protogen(*READERS[name].format(x=path).split())
        refused(done, folder)
        assert not (path.parent / "ran").exists()


def test_labels_and_logs_are_bounded(folder, protogen, monkeypatch, tmp_path):
    with open(folder / "labels.txt", "wb") as file:
        file.truncate((1 << 24) + 1)
    done = protogen("run", "net.prototxt", "net.caffemodel", "--random", "--labels", "labels.txt")
    assert done.returncode == 2
    text = "".join(f"Iteration {i}, loss = 1\n" for i in range(11))
    path = tmp_path / "train.log"
    path.write_text(text)
    monkeypatch.setattr(log, "MOST", 11)
    assert len(log.read_log(path).loss) == 11
    monkeypatch.setattr(log, "MOST", 10)
    with pytest.raises(pg.InputError, match="has more than 10 lines with values"):
        log.read_log(path)


INTERRUPTED = """
import signal, sys
from protogen.cli import main
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
sys.argv[0] = "protogen"
try:
    main()
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(ticks), file=sys.stderr)
"""


@posix
def test_signals_during_reads_and_writes_change_nothing(folder):
    """System calls that a signal interrupts (EINTR) are made again."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", INTERRUPTED, "convert", "pipe", "net.caffemodel", "-o"]
    slowly = (
        "import sys, time\n"
        "with open(sys.argv[1], 'wb', buffering=0) as pipe:\n"
        "    for byte in open(sys.argv[2], 'rb').read():\n"
        "        pipe.write(bytes([byte]))\n"
        "        time.sleep(0.0002)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", slowly, pipe, NET])
    done = subprocess.run(
        [*command, "a.onnx"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert writer.wait(60) == 0
    assert done.returncode == 0, done
    assert int(done.stderr.split()[-1]) > 20, "too few signals"
    pg.convert(NET, WEIGHTS, folder / "b.onnx")
    assert pg.verify(folder / "a.onnx", folder / "b.onnx").proved


def test_two_processes_that_write_one_pair(folder):
    """The pair is that of one process, or its ids say that it is not."""
    code = (
        "import sys\n"
        "import protogen as pg\n"
        "net = pg.load('net.prototxt', 'net.caffemodel')\n"
        "for _ in range(150):\n"
        "    net.save('out.prototxt', 'out.caffemodel')\n"
    )
    environment = {key: x for key, x in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment) for _ in "ab"
    ]
    whole, messages = 0, set()
    while any(process.poll() is None for process in running):
        try:
            pg.load(folder / "out.prototxt", folder / "out.caffemodel")
            whole += 1
        except pg.InputError as error:
            messages.add(str(error))
    assert [process.returncode for process in running] == [0, 0]
    assert whole > 0
    assert all(re.search("were not written together|No such file", one) for one in messages)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


CUT = """
import os, sys
import numpy as np
import protogen as pg
from protogen.memory import limit_memory
from protogen.onnx import lower
from protogen.running.runtime import opened
if sys.argv[1] == "command":
    limit_memory()
runner = opened(lower(pg.load("big.prototxt", "big.caffemodel")))
os.truncate("big.caffemodel", 5000)
print(runner({"data": np.ones((1, 1024), np.float32)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_file_that_is_cut_while_onnxruntime_reads_it_is_one_sentence(folder):
    (folder / "big.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 1024] } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { '
        'num_output: 1024 weight_filler { type: "xavier" } } }\n'
    )
    net = pg.load(folder / "big.prototxt")
    pg.initialise(net)
    weights = folder / "big.caffemodel"
    for how in ("command", "library"):
        net.save(folder / "saved.prototxt", weights)
        done = subprocess.run(
            [sys.executable, "-c", CUT, how],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        if how == "command":
            assert (done.returncode, done.stderr) == (
                2,
                "protogen: an input file became shorter while it was read. Run the command again when no other "
                "program writes to its inputs.\n",
            )
        else:  # the process of a user's program is not protogen's to end
            assert done.returncode in (-signal.SIGBUS, 1)
