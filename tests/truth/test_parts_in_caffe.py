"""Parts of nets in real Caffe: the part and then the rest give the values of the whole net."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import TOLERANCE
from judge import NAMES, caffe, missing
from nets import net_with
from places import EXAMPLES

import protogen as pg
from protogen.net.cutting import cut_net, rest_of_net
from protogen.net.net import Net

pytestmark = pytest.mark.usefixtures("judges")
TINY, WEIGHTS = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
RNG = np.random.default_rng(0)
SLICED = net_with(
    {"x": (1, 6), "unread": (1, 2)},
    """
layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" top: "c" slice_param { slice_point: 1 slice_point: 3 } }
layer { name: "p" type: "Power" bottom: "a" top: "p" power_param { shift: 1 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layer { name: "q" type: "Power" bottom: "c" top: "q" power_param { scale: 2 } }
layer { name: "sum" type: "Concat" bottom: "p" bottom: "b" bottom: "c" bottom: "q" top: "sum" }
layer { name: "silence" type: "Silence" bottom: "unread" }
""",
)


def judge_of(net: Net):
    """Return the first Caffe that has all types of the net."""
    wanted = {layer.type for layer in net.layers}
    installed = (caffe(name) for name in NAMES if not missing(name))
    return next(one for one in installed if wanted <= one.types)


def saved(net: Net, feeds, folder):
    """Return the text of a net, its inputs, and the caffemodel that is written for it."""
    feeds = {name: feeds[name] for name in net.inputs}
    if not net.weights:
        return net.message.source.text, feeds, b""
    net.save(folder / "net.prototxt", folder / "net.caffemodel")
    return net.message.source.text, feeds, (folder / "net.caffemodel").read_bytes()


def close(actual, expected) -> None:
    largest = max(np.abs(expected).max(initial=0), 1e-20)
    np.testing.assert_allclose(actual, expected, 0, TOLERANCE * largest)


@pytest.mark.parametrize(
    ("net", "outputs", "inputs"),
    [
        ("tiny", ["conv1"], []),
        ("tiny", ["conv1@bn1"], []),
        ("tiny", ["fc"], ["conv1@conv1"]),
        ("tiny", ["pool1", "conv2", "fc"], []),
        ("sliced", ["p"], []),
        ("sliced", ["b", "p", "c"], []),
        ("sliced", ["q", "c"], ["c@s"]),
        ("ssd_head", ["loc_flat", "conf_flat"], []),
        ("ssd_head", ["norm1"], ["conv1"]),
        ("old_net", ["sum"], ["conv1"]),
    ],
)
def test_part_and_rest_in_caffe(net, outputs, inputs, tmp_path):
    if net == "sliced":
        whole = SLICED
    else:
        whole = pg.load(EXAMPLES / f"{net}.prototxt", WEIGHTS if net == "tiny" else None)
    for name, shapes in whole.parameter_shapes.items():
        if shapes and name not in whole.weights:
            whole.weights[name] = [RNG.normal(0, 0.2, s).astype(np.float32) for s in shapes]
    judge = judge_of(whole)
    shapes = {name: whole.graph.shapes[name] for name in whole.inputs}
    known = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    expected = dict(judge.run(*saved(whole, known, tmp_path)).blobs)
    for value in (*outputs, *inputs):
        # Caffe has only the last value of a blob: each earlier value ends a net of its own.
        if "@" in value:
            front = cut_net(whole, outputs=[value])
            blobs = judge.run(*saved(front.net, known, tmp_path)).blobs
            expected[value] = blobs[front.ends[value]]
    known |= {value: expected[value] for value in inputs}
    parts = [cut_net(whole, inputs=inputs, outputs=outputs)]
    parts.append(rest_of_net(whole, inputs=inputs, outputs=outputs))
    for part in parts:
        feeds = {name: known[name] for name in part.net.inputs if name in shapes}
        feeds |= {blob: known[value] for value, blob in part.begins.items()}
        answer = judge.run(*saved(part.net, feeds, tmp_path))
        assert not answer.refused
        for value, blob in part.ends.items():
            close(answer.blobs[blob], expected[value])
            known[value] = answer.blobs[blob]
    assert set(whole.outputs) <= known.keys()


def test_caffe_loads_the_whole_caffemodel_into_a_part():
    """No new layer has the name of a layer with weights: Caffe would refuse the file."""
    whole = WEIGHTS.read_bytes()
    tail = pg.cut(pg.load(TINY), inputs=["conv1"])
    x = {"conv1": RNG.normal(size=(1, 8, 16, 16)).astype(np.float32)}
    answer = caffe("caffe").run(tail.message.source.text, x, whole)
    assert not answer.refused
    close(answer.blobs["prob"], pg.run(pg.cut(pg.load(TINY, WEIGHTS), inputs=["conv1"]), x)["prob"])
    renamed = tail.message.source.text.replace("conv1_input", "conv1")
    assert "Incompatible number of blobs" in caffe("caffe").run(renamed, x, whole).refused
