"""Small nets that PyTorch's exporters wrote (see golden/torch_nets/make_nets.py)."""

from __future__ import annotations

import numpy as np
import pytest
from places import GOLDEN

import protogen as pg
from protogen.layers import kind_of
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

FOLDER = GOLDEN / "torch_nets"
NETS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
TOLERANCE = 1e-5  # of the output's largest value
KINDS = ["_11", "_17", "_dynamo"]  # operator sets of the older exporter, and the newer exporter


def test_every_net_is_stored_for_every_exporter():
    stems = {name.rsplit("_", 1)[0] for name in NETS}
    assert stems
    assert {stem + kind for stem in stems for kind in KINDS} == set(NETS)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_import_agrees_with_onnxruntime(name, fold, tmp_path):
    path = FOLDER / f"{name}.onnx"
    imported = import_model(path, fold=fold)
    assert not imported.approximated or name.startswith("convnext")  # GELU by erf
    imported.net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", strict=True)
    assert all(kind_of(layer).stock for layer in net.layers)
    generator = np.random.default_rng(0)
    feeds = {
        blob: generator.standard_normal(net.shapes[blob]).astype(np.float32) for blob in net.inputs
    }
    expected = run_model(path.read_bytes(), feeds)
    actual = pg.run(net, feeds)
    assert actual.keys() == expected.keys()
    for blob, values in expected.items():
        assert actual[blob].shape == values.shape
        error = np.abs(actual[blob] - values).max() / np.abs(values).max()
        assert error < TOLERANCE, (blob, error)


@pytest.mark.parametrize("name", NETS)
def test_imported_layers_equal_the_golden_list(name, golden):
    """Compare the list of layers with a golden file."""
    if not name.endswith("_17"):
        return
    imported = import_model(FOLDER / f"{name}.onnx")
    lines = [
        f"{layer.name} {layer.type} {' '.join(layer.bottoms)} -> {' '.join(layer.tops)}"
        for layer in imported.net.layers
    ]
    golden(f"torch_nets/{name}.txt", "\n".join(lines) + "\n")
