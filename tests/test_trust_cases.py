"""Inputs that once broke a guarantee of SECURITY.md, each with what must happen to it."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import SHARED

from protogen.errors import printable

CASES = SHARED / "cases" / "trust"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/trust is missing")

# Words of a command, its exit code, and what it prints or says.
EXPECTED = {
    "values that were never written": ("weights bomb.h5 --to-npz b.npz", 2, "the values take more than 67108864 bytes"),
    "the same in a net": ("run csv_formula.prototxt bomb.h5 --random", 2, "the values take more than 67108864 bytes"),
    "cut header": ("mean convert cut_header.npy -o m.binaryproto", 2, "the header does not describe an array of numbers"),
    "cut header as an input": ("run csv_formula.prototxt --input cut_header.npy", 2, "the header does not describe an array"),
    "layer without a name": ("convert empty.prototxt empty.caffemodel -o e.onnx", 2, "has a blob without a name, which ONNX cannot have"),
    "the same, listed": ("weights empty.caffemodel", 0, "Convolution"),
    "control codes": ("summary escape_names.prototxt", 0, re.escape(r"x\x1b]0;PWN\x07\x1b[2J")),
    "control codes in a specification": ("upsample --spec escape_names.toml -o up.prototxt", 0, "wrote up.prototxt"),
    "names that are not UTF-8": ("convert not_utf8.prototxt not_utf8.caffemodel -o n.onnx", 2, re.escape(r'"\xed\xa0\x80\xff" is not valid UTF-8')),
    "the same in npz": ("weights not_utf8.caffemodel --to-npz n.npz", 2, "is not valid UTF-8"),
    "LZMA": ("weights empty.caffemodel --from-npz lzma.npz -o n.caffemodel", 2, "unknown layer"),
    "inputs of 215 GB": ("verify verify_big.onnx verify_big.onnx", 3, "puts need 215 GB of memory"),
    "inputs beyond any memory": ("verify verify_huge.onnx verify_huge.onnx", 3, "puts need .* TB of memory"),
    "1000 restored layers": ("convert recall_1000.onnx -o r.prototxt", 0, "1000 operators, 1001 layers"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for path in CASES.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", EXPECTED)
def test_case(folder, protogen, name):
    words, code, text = EXPECTED[name]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = protogen(*words.split())
    assert done.returncode == code, done
    printed = done.stdout + done.stderr
    assert re.search(text, printed)
    assert all(printable(line) == line for line in printed.split("\n"))
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() <= left.items()
    if code:
        assert left == before, "a failed command left a file"


def test_formulas_in_csv_are_text(folder, protogen):
    done = protogen("summary", "csv_formula.prototxt", "--csv")
    names = [row["name"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert names == ["data", "'=cmd|'/c calc'!A0", "up"]


def test_constant_of_a_branch_is_beside_the_model(folder, tmp_path_factory, protogen):
    elsewhere = tmp_path_factory.mktemp("model")
    model = shutil.copy(folder / "if_external.onnx", elsewhere)
    done = protogen("convert", model, "-o", "n.prototxt", cwd=folder)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is measured on Linux")
def test_health_needs_less_than_1_gb(folder):
    code = (
        "import re, sys\n"
        "from protogen.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        # The maximum of getrusage is that of the process before exec, if it was larger.
        "print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    command = [sys.executable, "-c", code, "health", str(folder / "health_under_1gb.prototxt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1_000_000  # kilobytes


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_pair_on_a_full_disk(folder, tmp_path_factory, protogen):
    """The prototxt fits on the disk, and the caffemodel does not."""
    disk = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(disk)]
    try:
        mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    try:
        old = {"net.prototxt": b"old", "net.caffemodel": b"old"}
        for name, raw in old.items():
            (disk / name).write_bytes(raw)
        done = protogen("convert", "pair_disk_full.onnx", "-o", disk / "net.prototxt")
        assert done.returncode == 2
        assert "cannot be written (No space left on device)" in done.stderr
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == old
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_every_case_is_used():
    text = Path(__file__).read_text(encoding="utf-8")
    for path in CASES.iterdir():
        assert path.name in text or path.name == "cwd_secret.bin"
