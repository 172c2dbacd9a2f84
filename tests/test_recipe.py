"""The example layer type in CONTRIBUTING.md: one class is enough for every command to support it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

NET = """name: "tents"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 5 } } }
layer { name: "tent" type: "Tent" bottom: "data" top: "tent" tent_param { width: 2 } }
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Return a folder with the class, the schema and a net, as a user writes them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("recipe")
    for kind, name in (("python", "tent.py"), ("proto", "tent.proto")):
        (block,) = re.findall(rf"```{kind}\n(.*?)```", text, re.S)
        (folder / name).write_text(block)
    (folder / "net.prototxt").write_text(NET)
    return folder


@pytest.fixture
def command(recipe, commands):
    def run(name, *args, code=0, plugin=True):
        options = ["--proto", "tent.proto"] + (["--plugin", "tent.py"] if plugin else [])
        done = commands.run(name, *options, *args, cwd=recipe)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def test_without_the_class(command):
    assert "unknown layer type" in command(
        "convert", "net.prototxt", "-o", "x.onnx", code=3, plugin=False
    )


def test_summary_check_and_layers_support_the_type(command, recipe):
    rows = json.loads(command("summary", "net.prototxt", "--json"))["layers"]
    assert [row["type"] for row in rows] == ["Input", "Tent"]
    assert rows[1]["output"] == [1, 3, 4, 5]
    assert command("check", "net.prototxt") == "1 file: no findings\n"
    assert "Tent is a layer type of a fork, and the dialect bvlc does not have it" in command(
        "check", "net.prototxt", "--dialect", "bvlc", code=1
    )
    findings = json.loads(command("check", "net.prototxt", "--dialect", "tent", "--json"))[
        "findings"
    ]
    assert findings == []
    assert "Tent" in command("layers")


def test_converted_and_computed_values_are_correct(command, recipe):
    command("convert", "net.prototxt", "-o", "net.onnx", "--verify")
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32) * 2
    np.save(recipe / "x.npy", x)
    command("run", "net.prototxt", "--input", "data=x.npy", "-o", "y.npz")
    with np.load(recipe / "y.npz") as file:
        np.testing.assert_allclose(
            file["tent"], np.maximum(0, 1 - abs(x) / 2), rtol=1e-5, atol=1e-6
        )


def test_rewrite_uses_stock_layers_and_onnx_converts_back(command, recipe):
    command("rewrite", "net.prototxt", "-o", "stock.prototxt", "--require-all")
    stock = (recipe / "stock.prototxt").read_text()
    assert re.findall(r'type: "(\w+)"', stock) == ["Input", "AbsVal", "Power", "ReLU"]
    command("convert", "net.prototxt", "-o", "net.onnx")
    command(
        "convert", "net.onnx", "-o", "back.prototxt", "--caffemodel", "back.caffemodel", "--verify"
    )
    command("verify", "net.prototxt", "net.onnx")


def test_invalid_values_and_unknown_fields_are_rejected(command, recipe):
    (recipe / "wrong.prototxt").write_text(NET.replace("width: 2", "width: -1"))
    assert 'layer "tent" (Tent): width must be above 0.' in command(
        "convert", "wrong.prototxt", "-o", "x.onnx", code=2
    )
    assert "PG209" in command("check", "wrong.prototxt", code=1)
    (recipe / "wrong.prototxt").write_text(NET.replace("width: 2", "width: 2 heigth: 3"))
    assert "tent_param.heigth is set to 3, but no known caffe.proto defines it" in command(
        "convert", "wrong.prototxt", "-o", "x.onnx", code=3
    )


def test_support_table_has_the_type(recipe):
    """Run in a new process, because a type stays registered."""
    code = (
        "from protogen.formats.schema.extension import add_proto; add_proto('tent.proto')\n"
        "from protogen.layers.plugins import run_plugin; run_plugin('tent.py')\n"
        "from protogen.layers.support import markdown; print(markdown({}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=recipe, capture_output=True, encoding="utf-8"
    )
    assert (
        "| `Tent` | Forks: max(0, 1 - \\|x\\| / width). | acme/caffe | rewritten | yes |"
        in done.stdout
    ), done.stderr
