"""benchmarks/published.py: which net it takes for a caffemodel, its verdicts, and its exit codes."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from judge import JUDGES, missing
from places import EXAMPLES, ROOT

BENCHMARKS = ROOT / "benchmarks"
NET, WEIGHTS = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 16248\n"
SOLVER = 'net: "train_val.prototxt"\nbase_lr: 0.1\nmax_iter: 10\n'
DATA = 'layer { name: "data" type: "Data" top: "data" data_param { source: "x" batch_size: 4 } }\n'
# Changes protogen in the process of the script, which then starts with the given name.
START = """
import sys
sys.path.insert(0, {folder!r})
import os, time
import numpy as np
import protogen as pg
import protogen.converting.onnx_to_caffe as home
import published
{change}
sys.exit(published.main())
"""
BEFORE = """
def changed(*arguments, original=home.import_model, **options):
    imported = original(*arguments, **options)
    imported.net.weights["fc"][0] = imported.net.weights["fc"][0] * np.float32(1.5)
    return imported
home.import_model = changed
"""
AFTER = """
def changed(*arguments, original=pg.convert_onnx, **options):
    back = original(*arguments, **options)
    net = pg.load(back.prototxt, back.caffemodel)
    net.weights["fc"][0] = net.weights["fc"][0] * np.float32(1.5)
    net.save(back.prototxt, back.caffemodel)
    return back
pg.convert_onnx = changed
"""
FAILING = """
def failing(prototxt, *arguments, original=pg.convert, **options):
    if "killed" in str(prototxt):
        os.abort()
    if "raises" in str(prototxt):
        raise ZeroDivisionError("a mistake")
    if "late" in str(prototxt):
        time.sleep(600)
    return original(prototxt, *arguments, **options)
pg.convert = failing
"""


def command(folder: Path, *options: object, change: str = "") -> list[str]:
    """Return the command of the script; ``change`` is code that runs before it."""
    code = START.format(folder=str(BENCHMARKS), change=change)
    return [sys.executable, "-c", code, str(folder), *map(str, options)]


def environment(toolchains: Path) -> dict[str, str]:
    """Return the variables with a folder of toolchains, which may be empty."""
    return {**os.environ, "PROTOGEN_TOOLCHAINS": str(toolchains)}


def run(
    folder: Path, *options: object, change: str = "", toolchains: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script, by default without toolchains."""
    return subprocess.run(
        command(folder, *options, change=change),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment(toolchains or folder / "no toolchains"),
    )


@pytest.fixture
def caffe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of toolchains with BVLC Caffe; skips if it is not installed."""
    if reason := missing("caffe"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("toolchains")
    (folder / "caffe-1.0").symlink_to(JUDGES / "caffe")
    return folder


def pair(folder: Path, net: str = "net.prototxt", weights: str = "net.caffemodel") -> Path:
    """Write the small net with its weights, and return the folder."""
    folder.mkdir(parents=True)
    shutil.copy(NET, folder / net)
    shutil.copy(WEIGHTS, folder / weights)
    return folder


def line(text: str, name: str) -> str:
    """Return the row of a net."""
    (row,) = (one for one in text.splitlines() if one.startswith(f"{name} "))
    return row


def test_each_caffemodel_is_a_row(tmp_path: Path):
    """The net is chosen by layers and shapes; a file without weights is named."""
    nets = tmp_path / "nets"
    chosen = pair(nets / "chosen", "deploy.prototxt", "net_iter_100.caffemodel")
    text = NET.read_text()
    (chosen / "solver.prototxt").write_text(SOLVER)
    start = text.index('layer {\n  name: "conv1"')
    (chosen / "train_val.prototxt").write_text(DATA + text[start:])
    (chosen / "wider.prototxt").write_text(text.replace("num_output: 4", "num_output: 5"))
    pair(nets / "one_name").joinpath("a.prototxt").write_text(text.replace("0.1", "0.2"))
    pair(nets / "alone").joinpath("net.prototxt").unlink()
    two = pair(nets / "ambiguous", "a.prototxt")
    (two / "b.prototxt").write_text(text.replace("negative_slope: 0.1", "negative_slope: 0.2"))
    (two / "copy.prototxt").write_text(text)
    (pair(nets / "trained", "a.prototxt") / "a.prototxt").write_text(DATA + text[start:])
    misfit = pair(nets / "misfit") / "net.prototxt"
    misfit.write_text(text.replace("num_output: 4", "num_output: 5"))
    (pair(nets / "pointer") / "net.caffemodel").write_text(POINTER)
    (pair(nets / "empty") / "net.caffemodel").write_bytes(b"")
    damaged = pair(nets / "damaged") / "net.caffemodel"
    damaged.write_bytes(damaged.read_bytes()[:9000])
    (nets / "part").mkdir()
    shutil.copy(WEIGHTS, nets / "part" / "net.caffemodel.part")
    table = tmp_path / "rows.csv"
    done = run(nets, "--details", "--jobs", 2, "--csv", table)
    assert done.returncode == 0, done.stderr
    with table.open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: row["reason"] for name, row in rows.items() if row["word"] == "refused"} == {
        "alone/net": "its folder has no net",
        "ambiguous/net": "ambiguous: a.prototxt and b.prototxt fit equally",
        "trained/net": "only a net that reads data from files fits (a.prototxt): add a deploy net",
        "misfit/net": 'net.prototxt does not fit: layer "fc" (InnerProduct): blob 0 of the weights '
        "has shape 4x784, expected 5x784",
        "pointer/net": "the weights are a pointer of git-lfs: get the file with 'git lfs pull'",
        "empty/net": "the weights are an empty file",
        "damaged/net": rows["damaged/net"]["reason"],
        "part/net.caffemodel.part": "the download of the weights has not ended",
    }
    assert rows["damaged/net"]["reason"].startswith("the weights are damaged: ")
    right = {name: row["notes"] for name, row in rows.items() if row["word"] == "right"}
    assert right == {
        "chosen/net_iter_100": f"net: {chosen / 'deploy.prototxt'}",
        "one_name/net": f"net: {nets / 'one_name' / 'net.prototxt'}",
    }
    row = rows["one_name/net"]
    assert float(row["onnx"]) < 1e-5
    assert float(row["back"]) < 1e-5
    assert int(row["layers"]) == 9
    assert row["caffe_onnx"] == row["caffe_back"] == ""
    assert "Caffe is not installed: the columns of Caffe are empty.\n" in done.stdout
    assert "2 right, 0 wrong, 8 refused, 0 crashed of 10 nets\n" in done.stdout
    assert f"  refused: alone/net: {rows['alone/net']['reason']}\n" in done.stdout


def test_a_wrong_net_that_came_back_has_exit_code_1(tmp_path: Path):
    """The weights are changed before the comparison with onnxruntime."""
    pair(tmp_path / "nets")
    done = run(tmp_path / "nets", change=BEFORE)
    assert done.returncode == 1, done.stderr
    assert 'wrong: back to Caffe: blob "fc": differs by' in line(done.stdout, "net")
    assert "0 right, 1 wrong, 0 refused, 0 crashed of 1 nets\n" in done.stdout


@pytest.mark.truth
def test_a_right_pair_in_caffe(tmp_path: Path, caffe: Path):
    """Real Caffe computes the same from both pairs, also with another input shape."""
    pair(tmp_path / "nets")
    table = tmp_path / "rows.csv"
    for options in ([], ["--input-shape", "data=2,3,32,32"], ["--target", "caffe-1.0"]):
        done = run(tmp_path / "nets", "--csv", table, *options, toolchains=caffe)
        assert done.returncode == 0, done.stdout
        with table.open() as file:
            (row,) = csv.DictReader(file)
        assert row["word"] == "right", row
        assert 0 < float(row["caffe_onnx"]) < 1e-5
        assert float(row["caffe_back"]) < 1e-5
        assert row["notes"].endswith("; run in caffe-1.0")


@pytest.mark.truth
def test_a_wrong_pair_in_caffe_has_exit_code_1(tmp_path: Path, caffe: Path):
    """The weights are changed after the comparison with onnxruntime: only Caffe can tell."""
    pair(tmp_path / "nets")
    done = run(tmp_path / "nets", change=AFTER, toolchains=caffe)
    assert done.returncode == 1, done.stdout
    row = line(done.stdout, "net")
    assert 'wrong: the net that came back against caffe-1.0: "fc" differs by ' in row


def test_a_net_that_fails_does_not_stop_the_others(tmp_path: Path):
    for name in ("killed", "raises", "well"):
        pair(tmp_path / "nets" / name)
    done = run(tmp_path / "nets", change=FAILING)
    assert done.returncode == 1
    assert "crashed: signal 6: " in line(done.stdout, "killed/net")
    assert "crashed: exit code 1: ZeroDivisionError: a mistake" in line(done.stdout, "raises/net")
    assert line(done.stdout, "well/net").endswith("  right")
    assert "1 right, 0 wrong, 0 refused, 2 crashed of 3 nets\n" in done.stdout
    assert "Traceback" not in done.stderr


def test_an_interrupt_prints_the_table_so_far(tmp_path: Path):
    for name in ("early", "late", "later"):
        pair(tmp_path / "nets" / name)
    with subprocess.Popen(
        command(tmp_path / "nets", change=FAILING),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path / "none"),
    ) as process:
        try:
            assert process.stdout is not None
            before = iter(process.stdout.readline, "")
            assert any(one.startswith("early/net") for one in before)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "1 right, 0 wrong, 0 refused, 0 crashed of 3 nets\n" in rest
    assert "stopped: 2 nets are not done\n" in rest
    assert errors == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no caffemodel in these folders"),
        (("missing",), "missing: no such folder"),
        (("--jobs", "0"), "--jobs must be at least 1"),
        (("--input-shape", "data=a"), "--input-shape: 'a' is not a shape"),
        (("--csv", "missing/rows.csv"), "--csv: the folder of missing/rows.csv does not exist"),
    ],
)
def test_mistakes_of_the_user(options: Sequence[str], message: str, tmp_path: Path):
    done = run(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
