"""The nine published nets in the onnx package, converted to files with layers of BVLC Caffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import ModelProto, numpy_helper

import protogen as pg
from protogen.layers import kind_of
from protogen.onnx import exposed
from protogen.onnx.session import run_model

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
NETS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
TOLERANCE = 1e-4  # of the output's largest value


def test_all_nine_nets_are_tested():
    names = "bvlc_alexnet densenet121 inception_v1 inception_v2 resnet50 shufflenet squeezenet "
    assert [f"light_{name}" for name in (names + "vgg19 zfnet512").split()] == NETS


@pytest.mark.parametrize("weights", ["constant", "random"])
@pytest.mark.parametrize("name", NETS)
def test_import_agrees_with_onnxruntime(name, weights, tmp_path):
    path = FOLDER / f"{name}.onnx"
    if weights == "random":
        path = tmp_path / "random.onnx"
        model = with_random_weights(onnx.load(FOLDER / f"{name}.onnx"))
        # The Softmax of such scores is 0 and 1, so the scores are an output too.
        scores = [node.input[0] for node in model.graph.node if node.op_type == "Softmax"]
        onnx.save(exposed(model, scores), path)
    imported = pg.convert_onnx(path, tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    assert not imported.imported.approximated
    net = pg.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", strict=True)
    assert all(kind_of(layer).stock for layer in net.layers)
    generator = np.random.default_rng(0)
    feeds = {
        blob: generator.standard_normal(net.shapes[blob]).astype(np.float32) for blob in net.inputs
    }
    expected = run_model(str(path), feeds)
    actual = pg.run(net, feeds)
    assert actual.keys() == expected.keys()
    for blob, values in expected.items():
        assert actual[blob].shape == values.shape
        if weights == "random" and blob == list(expected)[-1]:  # so that a permuted channel shows
            assert np.unique(values).size > values.size / 2
        error = np.abs(actual[blob] - values).max() / np.abs(values).max()
        assert error < TOLERANCE, (blob, error)


def with_random_weights(model: ModelProto) -> ModelProto:
    """Replace constant weights, which hide permuted channels, by random ones.

    Weights of products have He's standard deviation. BatchNormalization statistics are near those
    of such signals.
    """
    graph = model.graph
    generator = np.random.default_rng(1)
    shapes = shapes_of_constants(model)
    kinds = {
        name: (node.op_type, place)
        for node in graph.node
        for place, name in enumerate(node.input)
        if node.op_type in ("Conv", "Gemm", "MatMul", "BatchNormalization", "Mul", "Add", "Reshape")
    }
    weights: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        kind, place = kinds.get(renamed(graph, name), ("", 0))
        if kind == "Reshape" and place == 1:
            continue
        if place == 0 or len(shape) == 0:
            continue
        values = generator.standard_normal(shape, dtype=np.float32)
        if (kind == "BatchNormalization" and place in (1, 4)) or kind == "Mul":
            values = generator.uniform(0.5, 1.5, shape)
        elif kind in ("Conv", "Gemm", "MatMul") and place == 1:
            values *= np.float32(np.sqrt(2 / fan_in(graph, renamed(graph, name), shape)))
        else:
            values *= np.float32(0.1)
        weights[name] = values.astype(np.float32, copy=False)
    nodes = [node for node in graph.node if node.output[0] not in weights]
    del graph.node[:]
    graph.node.extend(nodes)
    constants = [tensor for tensor in graph.initializer if tensor.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(
        [*constants, *(numpy_helper.from_array(v, n) for n, v in weights.items())]
    )
    model.ir_version = max(model.ir_version, 4)
    return model


def shapes_of_constants(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of float constants; the light nets define them by ConstantOfShape."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = {name: array.shape for name, array in constants.items() if array.dtype == np.float32}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in constants:
            shapes[node.output[0]] = tuple(int(n) for n in constants[node.input[0]])
    return shapes


def renamed(graph: onnx.GraphProto, name: str) -> str:
    """Return the name under which the constant is used; some are reshaped first."""
    for node in graph.node:
        if node.op_type in ("Reshape", "Unsqueeze") and node.input[0] == name:
            return node.output[0]
    return name


def fan_in(graph: onnx.GraphProto, name: str, shape: tuple[int, ...]) -> int:
    for node in graph.node:
        if name in node.input and node.op_type == "Gemm":
            rows = any(a.name == "transB" and a.i for a in node.attribute)
            return shape[1] if rows else shape[0]
        if name in node.input and node.op_type == "MatMul":
            return shape[0]
    return int(np.prod(shape[1:]))
