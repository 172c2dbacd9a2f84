"""Every single-layer net, exported to ONNX, agrees with the numbers of real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from places import TESTS

import protogen as pg

CASES = sorted((TESTS / "cases").glob("*/*"))
NEWEST = onnx.defs.onnx_opset_version()
# Relative to the largest magnitude of the blob: one layer of float32 sums in another order.
TOLERANCE = 1e-4


def opsets() -> list[int]:
    """13 (the oldest), 18 (the default) and the newest that the installed onnxruntime supports."""
    from protogen.running.runtime import newest_opset

    return [13, 18, min(NEWEST, newest_opset())]


def test_number_of_cases():
    assert len(CASES) == 205


@pytest.mark.parametrize("opset", opsets())
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_exported_layer_agrees_with_caffe(case, opset, tmp_path):
    golden = np.load(case / "golden.npz")
    net = pg.load(case / "net.prototxt")
    weights: dict[str, list] = {}
    for key in sorted(k for k in golden if k.startswith("param:")):
        weights.setdefault(key.split(":")[1], []).append(golden[key])
    net.take_weights(weights)
    caffemodel = None
    if weights:
        caffemodel = tmp_path / "net.caffemodel"
        net.save(tmp_path / "net.prototxt", caffemodel)
    path = tmp_path / "net.onnx"
    pg.convert(case / "net.prototxt", caffemodel, path, opset=opset)

    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert model.opset_import[0].version == opset

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: golden[f"in:{i.name}"] for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    assert names == [name for name in net.outputs if name not in net.inputs]
    for name, output in zip(names, session.run(names, feeds), strict=True):
        expected = golden[f"out:{name}"]
        assert output.shape == expected.shape
        limit = TOLERANCE * np.abs(expected).max(initial=0)
        assert (np.abs(output.astype(np.float64) - expected) <= limit).all(), name
