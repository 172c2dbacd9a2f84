"""The built wheel contains the templates and the schema, and runs without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"a wheel cannot be built here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = out.glob("*.whl")
    return path


def test_wheel_contains_data_files_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for file in ("formats/schema/caffe.proto", "py.typed", "templates/upsample.prototxt.j2",
                   "templates/resize.prototxt.j2", "toolchains/targets/horizon-x3.toml",
                   "running/adapters/worker.py", "running/adapters/tpu-mlir.py",
                   "report/page.js", "viewing/view.html", "viewing/view.css", "viewing/view.js"):  # fmt: skip
        assert f"protogen/{file}" in names
    assert not [name for name in names if name.startswith(("tests", "templates"))]


def test_commands_run_from_the_wheel(wheel, tmp_path):
    """The wheel is unpacked into a folder; its dependencies are those of this environment."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "protogen", "upsample", "--factor", "2", "--caffemodel", "a.caffemodel",
         "--onnx", "a.onnx", "--verify", "--plot", "a.svg", "-o", "a.prototxt"],
        cwd=work, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(work)) == ["a.caffemodel", "a.onnx", "a.prototxt", "a.svg"]
    planned = subprocess.run(
        [sys.executable, "-m", "protogen", "resize", "--factor", "4", "--target", "horizon-x3",
         "--input-shape", "1,3,8,8"],
        cwd=work, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import protogen; print(protogen.__file__)"],
        cwd=work, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
