"""Published nets: every blob is compared with the values of real Caffe, unfolded and folded."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from places import CORPUS, SHARED

import protogen as pg
from protogen.formats import prototxt
from protogen.layers.fillers import bilinear
from protogen.onnx import check, exposing, lower
from protogen.onnx.importer import import_model
from protogen.onnx.stream import write
from protogen.running.runtime import run_program

NETS = sorted(path.name for path in (SHARED / "golden" / "nets").glob("*.json.gz"))
# Relative to the blob's mean magnitude: sums of thousands of float32 products over a hundred layers.
TOLERANCE = 1e-3
# A probability changes by at most a quarter of the change of its score, and float32 scores near 100
# have steps of 8e-6. onnxruntime's own optimisation levels differ by as much.
STEPS_OF_SCORES = 8

pytestmark = [
    pytest.mark.skipif(not NETS, reason="no ../shared beside this checkout: it holds the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]


def load(name, golden_script):
    net = pg.load(CORPUS / path_of(name))
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            arrays = [
                golden_script.parameter(layer.name, layer.type, i, s) for i, s in enumerate(shapes)
            ]
            if layer.params.convolution_param.weight_filler.type == "bilinear":
                arrays[0] = np.broadcast_to(bilinear(shapes[0][-1]), shapes[0])
            net.weights[layer.name] = arrays
    return net


def path_of(name: str) -> str:
    """The net's file in the corpus: OWNER__REPOSITORY/FILE."""
    owner, repository, rest = name.removesuffix(".json.gz").split("__", 2)
    return f"{owner}__{repository}/{rest}"


@pytest.fixture(scope="module", params=NETS)
def case(request, golden_script):
    """A published net with weights, its golden values and its input."""
    golden = json.loads(gzip.decompress((SHARED / "golden" / "nets" / request.param).read_bytes()))
    feeds = {n: golden_script.network_input(n, shape) for n, shape in golden["inputs"].items()}
    return request.param, load(request.param, golden_script), golden, feeds


def test_every_blob_agrees_with_caffe(case, golden_script):
    _, net, golden, feeds = case
    assert {n: list(net.shapes[n]) for n in net.inputs} == golden["inputs"]
    blobs = [b for b in golden["blobs"] if "_split_" not in b and b not in feeds]
    actual = run(lower(net, outputs=blobs, fold=False), feeds)
    steps = {
        layer.writes[0]: STEPS_OF_SCORES / 4 * np.spacing(np.abs(actual[layer.reads[0]]).max())
        for layer in net.layers
        if layer.type == "Softmax"
    }
    _compare(golden, golden_script, actual, blobs, steps)
    folded = lower(net)
    actual = run(exposing(folded, blobs), feeds)
    _compare(golden, golden_script, actual, golden["outputs"], steps)


def test_round_trip_keeps_net_and_outputs(case, golden_script, tmp_path):
    """Caffe to ONNX to Caffe keeps the golden outputs. A second round trip changes nothing: neither
    the layers, nor their names, nor any bit of the weights."""
    name, net, golden, feeds = case
    dialect = "ssd" if any(layer.type == "DetectionOutput" for layer in net.layers) else "bvlc"
    once = import_model(written(net, tmp_path / "once" / "net.onnx"), dialect=dialect)
    assert not once.approximated
    assert set(once.net.outputs) == set(golden["outputs"])
    steps = {
        layer.writes[0]: STEPS_OF_SCORES / 4 * np.spacing(np.float32(1e3))
        for layer in once.net.layers
        if layer.type == "Softmax" and "dpn98" in name
    }
    _compare(golden, golden_script, pg.run(once.net, feeds), golden["outputs"], steps)
    twice = import_model(written(once.net, tmp_path / "twice" / "net.onnx"), dialect=dialect)
    texts = [prototxt.write(one.net.message) for one in (once, twice)]
    assert texts[0] == texts[1]
    assert twice.net.weights.keys() == once.net.weights.keys()
    for layer, blobs in once.net.weights.items():
        for before, after in zip(blobs, twice.net.weights[layer], strict=True):
            assert np.array_equal(before, after), layer


def written(net, path):
    """Export a net to a file, from which weights are mapped; returns the path."""
    path.parent.mkdir()
    with path.open("wb") as file:
        write(lower(net), file, None, "")
    return path


def run(program, feeds):
    check(program)  # ONNX's full check, without copies of the weights
    return run_program(program, feeds)


def _compare(golden, golden_script, actual, least, steps):
    assert set(least) <= set(actual) | set(golden["inputs"])
    for blob, values in actual.items():
        expected = golden["blobs"][blob]
        assert list(values.shape) == expected["shape"], blob
        error = np.abs(np.array(golden_script.sample(values)) - expected["sample"]).max(initial=0)
        allowed = max(TOLERANCE * expected["mean_abs"], steps.get(blob, 0))
        assert error <= allowed, (blob, error / expected["mean_abs"])
