"""Each single-layer net against numbers from real Caffe, through the written .onnx file."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from places import TESTS

import protogen as pg

CASES = sorted((TESTS / "cases").glob("*/*"))
NEWEST = onnx.defs.onnx_opset_version()
# Relative to the blob's largest magnitude: one layer of float32 sums in a different order.
TOLERANCE = 1e-4


def opsets() -> list[int]:
    """Return 13 (the minimum), 18 (the default) and the newest that this onnxruntime supports."""
    from protogen.running.runtime import newest_opset

    return [13, 18, min(NEWEST, newest_opset())]


def test_every_case_has_a_net_and_golden_values():
    assert CASES
    files = ("net.prototxt", "golden.npz")
    assert [case / name for case in CASES for name in files if not (case / name).exists()] == []


@pytest.mark.parametrize("opset", opsets())
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_layer_matches_caffe(case, opset, tmp_path):
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
    for name, actual in zip(names, session.run(names, feeds), strict=True):
        expected = golden[f"out:{name}"]
        assert actual.shape == expected.shape
        limit = TOLERANCE * np.abs(expected).max(initial=0)
        assert (np.abs(actual.astype(np.float64) - expected) <= limit).all(), name
