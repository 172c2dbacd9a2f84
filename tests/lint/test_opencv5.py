"""``check --opencv5``: uses of Caffe nets in source files, and whether the nets convert."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from places import EXAMPLES

import protogen as pg
from protogen.lint.opencv5 import examine


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "models").mkdir()
    for suffix in ("prototxt", "caffemodel"):
        shutil.copy(EXAMPLES / f"tiny.{suffix}", tmp_path / "models" / f"net.{suffix}")
    return tmp_path


SOURCES = {
    "names.py": (
        'PROTO = "models/net.prototxt"\nMODEL: str = "models/net.caffemodel"\n'
        "net = cv2.dnn.readNetFromCaffe(PROTO, MODEL)\n"
        "blob = cv2.dnn.blobFromImage(cv2.resize(f, (3, 3)), 0.5, (32, 32), 127.5)\n",
        ["names.py:3"], "--mean 127.5 --scale 0.5",
    ),
    "joined.py": (
        'net = cv2.dnn.readNetFromCaffe(os.path.join(d, "net.prototxt"),\n'
        '                               os.path.join(d, "net.caffemodel"))\n'
        "blob = cv2.dnn.blobFromImage(f, swapRB=True, mean=(1.0, 2, 3), scalefactor=1)\n",
        ["joined.py:1"], "--mean 1,2,3 --swap-channels",
    ),
    "args.py": (
        'args = {"p": "models/net.prototxt", "m": "models/net.caffemodel"}\n'
        'net = cv2.dnn.readNet(args["m"], args["p"])\n',
        ["args.py:2"], "",
    ),
    "a.cpp": (
        'const std::string proto = "net.prototxt";\nconst char* weights = "net.caffemodel";\n'
        "cv::dnn::Net net = cv::dnn::readNetFromCaffe(proto, weights);\n"
        "cv::dnn::blobFromImage(frame, blob, 1.0 / 255, cv::Size(3, 3), cv::Scalar(0, 0, 0), true);\n",
        ["a.cpp:3"], "--scale 0.00392156863 --swap-channels",
    ),
    "b.cs": (
        'var net = CvDnn.ReadNetFromCaffe("net.prototxt", "net.caffemodel");\n',
        ["b.cs:1"], "",
    ),
    "c.py": ('URL = "http://host/net.caffemodel"\n', ["c.py:1"], ""),
    "d.py": ("net = cv2.dnn.readNetFromONNX('net.onnx')\n", [], ""),
    "e.ipynb": (
        json.dumps({"cells": [{"source": ['net = cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")\n']}]}),
        ["e.ipynb:1"], "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_uses_in_source_files_are_found(tree, name):
    text, places, options = SOURCES[name]
    (tree / name).write_text(text)
    uses = examine(tree)
    assert [use.place for use in uses] == places
    for use in uses:
        if name == "c.py":
            assert use.verdict == "the source does not name its prototxt in a string"
            continue
        assert Path(use.prototxt) == Path("models/net.prototxt")
        assert Path(use.caffemodel) == Path("models/net.caffemodel")
        assert use.verdict == "converts (inputs: data 1x3x32x32; outputs: prob 1x4)"
        assert " ".join(use.options) == options
        assert use.advice[0].startswith(
            "run once:     protogen convert models/net.prototxt models/net.caffemodel -o net.onnx"
        )
        reader = "ReadNetFromOnnx" if name == "b.cs" else "readNetFromONNX"
        assert f'{reader}("net.onnx")' in use.advice[1]


def test_net_that_does_not_convert_is_reported(tree):
    text = (tree / "models" / "net.prototxt").read_text()
    (tree / "models" / "net.prototxt").write_text(text.replace('"Softmax"', '"Mystery"'))
    (tree / "a.py").write_text('cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")')
    with pytest.warns(pg.ProtogenWarning):
        (use,) = examine(tree)
    assert use.verdict.startswith("does not convert: ")
    assert 'layer "prob" (Mystery)' in use.verdict
    assert not use.advice


def test_missing_weights_are_reported(tree):
    (tree / "models" / "net.caffemodel").unlink()
    (tree / "a.py").write_text('cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")')
    (use,) = examine(tree)
    assert use.converts
    assert use.verdict.endswith("net.caffemodel is not in the source tree")


def test_opencv5_option_reports_uses_and_invalid_arguments(protogen, tree):
    (tree / "a.py").write_text('cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")')
    done = protogen("check", "--opencv5", ".", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["uses"][0]["converts"] is True
    (tree / "a.py").unlink()
    done = protogen("check", "--opencv5", ".")
    assert (done.returncode, done.stdout) == (0, "no uses of Caffe nets\n")
    for arguments, sentence in (
        (("--opencv5",), "Missing argument 'FILE|DIR...'."),
        (("--opencv5", ".", "--fix"), "--fix and --opencv5 exclude each other. Keep one."),
        (
            ("--opencv5", "--untrusted", "."),
            "--untrusted and --opencv5 exclude each other. Keep one.",
        ),
        (("--opencv5", "missing"), "missing: not a folder. Give the root folder of a source tree."),
    ):
        done = protogen("check", *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr
