"""``rescue``: from an old net to files that run, with proof."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen.net.net import load


@pytest.fixture
def fork(tmp_path):
    """An old net with layers of a fork and its weights."""
    text = (EXAMPLES / "fork_head.prototxt").read_text()
    path = tmp_path / "fork.prototxt"
    path.write_text(text)
    net = load(path)
    rng = np.random.default_rng(0)
    weights = {
        name: [rng.normal(size=shape).astype(np.float32) / 3 for shape in shapes]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }
    from protogen.formats.caffemodel import write_weights

    with (tmp_path / "fork.caffemodel").open("wb") as file:
        net.take_weights(weights)
        write_weights(file, net.name, net.entries())
    return path


def test_a_net_of_a_fork_becomes_stock_and_onnx_and_is_proved(fork):
    rescued = pg.rescue(fork, fork.with_suffix(".caffemodel"))
    assert rescued.prototxt == fork.with_name("fork_stock.prototxt")
    assert {one.type for one in rescued.rewritten.replaced} == {
        "DepthwiseConvolution", "HardSwish", "Interp", "PixelShuffle",
    }  # fmt: skip
    assert rescued.problems == ()
    assert rescued.checked.proved
    assert rescued.checked.worst < 1e-5
    assert rescued.converted.receipt["checked"]["onnxruntime"]["passed"]
    from protogen.formats.schema.dialect import BVLC

    assert pg.dialects_of(rescued.prototxt).possible[0] == BVLC
    stock = pg.load(rescued.prototxt, rescued.caffemodel)
    feeds = {
        name: np.random.default_rng(1).normal(size=stock.graph.shapes[name]).astype(np.float32)
        for name in stock.inputs
    }
    ours, model = pg.run(stock, feeds), pg.run(rescued.model, feeds)
    for name, value in ours.items():
        np.testing.assert_allclose(value, model[name], rtol=0, atol=1e-4 * np.abs(value).max())


def test_a_target_decides_the_layers(fork):
    rescued = pg.rescue(fork, fork.with_suffix(".caffemodel"), target="caffe-1.0")
    assert rescued.prototxt.name == "fork_caffe-1.0.prototxt"
    assert rescued.written is not None
    assert rescued.checked.proved


def test_without_weights_the_text_is_written_and_the_rest_is_named(fork, protogen):
    done = protogen("rescue", "fork.prototxt", cwd=fork.parent)
    assert done.returncode == 1
    assert 'not possible: no ONNX model: fork.prototxt:9:1: layer "depthwise"' in done.stderr
    assert "note: fork_stock.caffemodel holds only the weights of the new layers" in done.stderr
    assert (fork.parent / "fork_stock.prototxt").exists()
    assert not (fork.parent / "fork_stock.onnx").exists()


def test_layers_without_an_equivalent_are_named(protogen, tmp_path):
    done = protogen("rescue", EXAMPLES / "ssd_head.prototxt", "-o", "ssd.prototxt")
    assert done.returncode == 1
    assert "'boxes' (DetectionOutput): no stock layers compute it." in done.stderr


def test_nothing_is_replaced_that_was_not_named(fork):
    pg.rescue(fork)
    with pytest.raises(pg.InputError, match=r"fork_stock\.prototxt: the file exists"):
        pg.rescue(fork)
    pg.rescue(fork, overwrite=True)
    with pytest.raises(pg.InputError, match="is an input"):
        pg.rescue(fork, output=fork)


def test_an_old_format_is_upgraded(protogen, tmp_path):
    done = protogen("rescue", EXAMPLES / "lenet_2013.prototxt", "-o", "lenet.prototxt")
    assert "  converted 5 V0 layers (nested `layer`) to V1" in done.stdout.splitlines()
    assert pg.load(tmp_path / "lenet.prototxt").layers


def test_the_last_lines_run_the_net(protogen, tmp_path):
    done = protogen(
        "rescue", EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel", "-o", "r.prototxt"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    command = lines[lines.index("run it in protogen:") + 1]
    assert protogen(*shlex.split(command)[1:]).returncode == 0
    begin = lines.index("run the ONNX model in Python:") + 1
    script = re.sub("^  ", "", "\n".join(lines[begin:]), flags=re.MULTILINE)
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert run.returncode == 0
