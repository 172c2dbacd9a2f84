"""Models of one or a few operators, imported and compared with onnxruntime and with real Caffe."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from comparing import caffemodel, difference
from judge import caffe, missing
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.formats import prototxt
from protogen.layers import kind_of
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

TOLERANCE = 1e-5  # of the largest value: sums of at most some hundred float32 products


def model(nodes, inputs, outputs=("y",), constants=None, opset=18, kinds=None):
    """Return a model of these nodes.

    Args:
        inputs: shapes by name.
        constants: arrays by name.
        kinds: element types of inputs and outputs by name, FLOAT by default.
    """
    kinds = kinds or {}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s)
         for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset)]
    version = min(helper.find_min_ir_version_for(imports, ignore_unknown=True), 13)
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agrees(
    onnx_model: onnx.ModelProto,
    *,
    feeds=None,
    tolerance: float = TOLERANCE,
    layers: int | None = None,
    live: bool = False,
    note: str = "",
):
    """Import a model, run it and the net on the same inputs, and compare all outputs.

    Args:
        feeds: arrays of the inputs, normally distributed by default.
        tolerance: of the largest value of an output.
        layers: the most layers that the net may have, without Input, Parameter, Split and Silence.
        live: run the net in real Caffe too, or skip the rest of the test if it is not installed.
        note: what the import reports; nothing by default.

    Returns:
        The net.
    """
    imported = import_model(onnx_model)
    net = imported.net
    assert [note in one for one in imported.approximated] == ([True] if note else [])
    assert all(kind_of(layer).stock for layer in net.layers)
    if feeds is None:
        feeds = {n: weights(*net.shapes[n], seed=i) for i, n in enumerate(net.inputs)}
    expected = run_model(onnx_model.SerializeToString(), feeds)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pg.ProtogenWarning)
        actual = pg.run(net, {n: np.asarray(a, np.float32) for n, a in feeds.items()})
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert actual[name].shape == values.shape
        close(actual[name], values, tolerance)
    if layers is not None:
        types = [layer.type for layer in net.layers]
        counted = [one for one in types if one not in ("Input", "Parameter", "Split", "Silence")]
        assert len(counted) <= layers, types
    if live:
        # BVLC's prebuilt Caffe ignores ``use_global_stats: false`` of BatchNorm.
        judge = "tpucaffe" if any(one.type == "BatchNorm" for one in net.layers) else "caffe"
        if why := missing(judge):
            pytest.skip(f"all but this agrees: {why}")
        answer = caffe(judge).run(prototxt.write(net.message), feeds, caffemodel(net))
        assert not answer.refused, answer.refused
        for name, values in expected.items():
            assert not difference(answer.blobs[name], values.astype(np.float32)), name
    return net


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Compare finite values by the tolerance of the largest, and others exactly."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    largest = np.abs(expected[finite]).max(initial=0)
    np.testing.assert_allclose(
        actual[finite], expected[finite], rtol=0, atol=tolerance * max(largest, 1e-30)
    )


def refusal(onnx_model: onnx.ModelProto) -> str:
    """Return the message of a model that cannot be imported."""
    try:
        import_model(onnx_model)
    except pg.UnsupportedError as error:
        return str(error)
    raise AssertionError("the model was imported")
