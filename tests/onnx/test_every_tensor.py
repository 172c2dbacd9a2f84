"""Every place of an ONNX model where a tensor can be is checked before anything is read from the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import protogen as pg
from protogen.onnx.constants import tensors

Path = tuple[str, ...]


def paths(descriptor, depth: int, inside: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the fields that lead to a tensor from a message; graphs inside of others up to a depth."""
    for field in descriptor.fields:
        kind = field.message_type
        if kind is None or inside.count(kind.name) > depth:
            continue
        if kind.name == "TensorProto":
            yield (field.name,)
        else:
            for rest in paths(kind, depth, (*inside, kind.name)):
                yield (field.name, *rest)


FLAT, NESTED = (list(paths(ModelProto.DESCRIPTOR, depth)) for depth in (0, 1))


def test_paths_are_those_of_the_schema():
    """The tests below have no effect if the walk over the schema finds nothing."""
    assert ("graph", "initializer") in FLAT
    assert ("functions", "attribute_proto", "t") in FLAT
    assert ("training_info", "algorithm", "sparse_initializer", "indices") in FLAT
    inner = ("graph", "node", "attribute", "g", "node", "attribute", "sparse_tensor", "values")
    assert inner in NESTED
    assert len(FLAT) > 40
    assert len(NESTED) > 150


def tensor_at(model: ModelProto, path: Path) -> TensorProto:
    """Add the messages of a path to a model, and return the tensor at its end."""
    message = model
    for name in path:
        field = message.DESCRIPTOR.fields_by_name[name]
        value = getattr(message, name)
        if field.is_repeated:
            value = value[0] if len(value) and name in ("functions",) else value.add()
        value.SetInParent()
        message = value
    return message


def test_walk_finds_every_tensor():
    for path in NESTED:
        model = ModelProto()
        tensor_at(model, path).name = "here"
        assert [tensor.name for tensor, _ in tensors(model)].count("here") == 1, path


def base() -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external(tensor: TensorProto) -> None:
    """Values in a file of the current folder or outside of the model's."""
    tensor.data_type, tensor.data_location = TensorProto.FLOAT, TensorProto.EXTERNAL
    tensor.dims.append(8)
    tensor.external_data.add(key="location", value="../secret.bin")


def huge(tensor: TensorProto) -> None:
    tensor.data_type = TensorProto.FLOAT
    tensor.dims.extend([1 << 40, 1 << 20])


def negative(tensor: TensorProto) -> None:
    tensor.data_type = TensorProto.FLOAT
    tensor.dims.append(-8)


def short(tensor: TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(7, np.float32)))
    tensor.dims[0] = 8


FAULTS = (external, huge, negative, short)
PLACES = [path for path in FLAT if path[-1] != "indices"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faulty_tensor_is_refused_wherever_it_is(tmp_path, monkeypatch, fault: Callable):
    folder = tmp_path / "model"
    folder.mkdir()
    np.full(8, 9, np.float32).tofile(tmp_path / "secret.bin")
    monkeypatch.chdir(folder)
    data = {"x": np.zeros((1, 8), np.float32)}
    for path in PLACES:
        model = base()
        tensor = tensor_at(model, path)
        fault(tensor)
        tensor.name = "here"
        for function in model.functions:
            function.name, function.domain = "F", "own"
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        readers = {
            "convert": lambda: pg.convert_onnx("model.onnx", "net.prototxt"),
            "from a file": lambda: pg.from_onnx("model.onnx"),
            "from memory": lambda model=model: pg.from_onnx(model),
            "run": lambda: pg.run("model.onnx", data),
            "run from memory": lambda model=model: pg.run(model, data),
            "verify": lambda: pg.verify("model.onnx", "model.onnx"),
            "cut": lambda: pg.cut_file("model.onnx", None, "part.onnx", outputs=["y"]),
        }
        for name, read in readers.items():
            with pytest.raises(pg.InputError) as caught:
                read()
            assert 'constant "here"' in str(caught.value), (path, name)
        assert [file.name for file in folder.iterdir()] == ["model.onnx"]


def sparse_model(indices: np.ndarray, shape: tuple[int, ...], count: int = 2) -> ModelProto:
    model = base()
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.arange(1, count + 1, dtype=np.float32), "here"),
        numpy_helper.from_array(indices),
        shape,
    )
    model.graph.sparse_initializer.append(sparse)
    model.graph.node.append(helper.make_node("Add", ["y", "here"], ["z"]))
    model.graph.output[0].name = "z"
    return model


@pytest.mark.parametrize(
    ("indices", "shape"),
    [
        (np.array([1, 8]), (8,)),
        (np.array([-1, 3]), (8,)),
        (np.array([3, 1]), (8,)),
        (np.array([3, 3]), (8,)),
        (np.array([1.0, 2.0]), (8,)),
        (np.array([1]), (8,)),
        (np.array([1, 2, 3]), (8,)),
        (np.array([[0, 1], [1, 2]]), (1, 8)),
        (np.array([[0, 1, 0], [0, 2, 0]]), (1, 8)),
        (np.array([[[0, 1]], [[0, 2]]]), (1, 8)),
        (np.array([1, 2]), (-8,)),
    ],
    ids=str,
)
def test_invalid_indices_of_a_sparse_constant_are_refused(indices, shape):
    with pytest.raises(pg.InputError, match='constant "here" of the graph'):
        pg.from_onnx(sparse_model(indices, shape))


@pytest.mark.parametrize(
    ("indices", "shape"), [(np.array([1, 3]), (8,)), (np.array([[0, 1], [0, 3]]), (1, 8))], ids=str
)
def test_valid_sparse_constant_is_read(indices, shape):
    net = pg.from_onnx(sparse_model(indices, shape))
    out = pg.run(net, {"x": np.zeros((1, 8), np.float32)})["z"]
    np.testing.assert_array_equal(out, [[0, 1, 0, 2, 0, 0, 0, 0]])
