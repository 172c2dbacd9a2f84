"""Reading of ONNX models: order of operators, negative axes of old operator sets, bfloat16, functions,
sparse constants, and external data in every place of a model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.onnx.constants import tensors
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

X = (2, 3, 4, 5)
node = helper.make_node


def model(nodes, inputs, outputs=("y",), constants=None, opset=18, kind=TensorProto.FLOAT, **more):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, kind, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kind, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    imports = more.pop("imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, opset_imports=imports, ir_version=10, **more)


def values(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def agrees(one, feeds, expected=None):
    expected = run_model(one.SerializeToString(), feeds) if expected is None else expected
    actual = pg.run(pg.from_onnx(one), feeds)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        np.testing.assert_allclose(actual[name], array, rtol=1e-6, atol=1e-6)


NEGATIVE = {
    "Concat": ({"axis": -1}, X),
    "Split": ({"axis": -1, "split": [2, 3]}, X),
    "Gather": ({"axis": -2}, X),
    "Slice": ({"axes": [-1, -3], "starts": [1, 0], "ends": [3, 2]}, X),
    "ReduceMean": ({"axes": [-1, -3], "keepdims": 0}, X),
    "ReduceL2": ({"axes": [-1]}, X),
    "Squeeze": ({"axes": [-1, -3]}, (2, 1, 4, 1)),
    "Unsqueeze": ({"axes": [-1, -4]}, (2, 3)),
    "ArgMax": ({"axis": -1}, X),
    "Softmax": ({"axis": -1}, X),
    "LogSoftmax": ({"axis": -1}, X),
}


# ArgMax needs a Cast, which before operator set 6 has a word for the type.
SETS = [(op, opset) for op in NEGATIVE for opset in (5, 7, 9) if op != "ArgMax" or opset > 6]


@pytest.mark.parametrize(("operator", "opset"), SETS)
def test_negative_axes_of_old_operator_sets(operator, opset):
    """A second operator reads the result, so that a wrong rank would have an effect."""
    attributes, shape = NEGATIVE[operator]
    inputs = {"Concat": ["x", "x"], "Gather": ["x", "i"]}.get(operator, ["x"])
    first = ["t", "unread"] if operator == "Split" else ["t"]
    nodes = [helper.make_node(operator, inputs, first, **attributes)]
    last = helper.make_node("Softmax", ["f"], ["y"], axis=-1)
    cast = "Cast" if operator == "ArgMax" else "Identity"
    nodes += [helper.make_node(cast, ["t"], ["f"], **({"to": 1} if cast == "Cast" else {})), last]
    constants = {"i": np.array([2, 0])} if operator == "Gather" else {}
    if operator in ("Squeeze", "Unsqueeze"):  # onnxruntime infers shapes as ONNX does
        newer = model(nodes, {"x": shape}, constants=constants, opset=11)
        expected = run_model(newer.SerializeToString(), {"x": values(*shape)})
    else:
        expected = None
    agrees(model(nodes, {"x": shape}, constants=constants, opset=opset), {"x": values(*shape)},
           expected)  # fmt: skip


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_negative_axes_after_a_shape_from_an_operator(opset):
    """PyTorch writes the shape of a Reshape by a Constant operator, and a wrong shape of the output."""
    nodes = [
        node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([2, 3, 2, 2, 5]))),
        node("Reshape", ["x", "s"], ["r"]),
        node("Split", ["r"], ["a", "unread"], axis=-2, split=[1, 1]),
        node("Squeeze", ["a"], ["b"], axes=[-2]),
        node("Concat", ["b", "b"], ["y"], axis=-1),
    ]
    one = model(nodes, {"x": X}, opset=opset)
    x = values(*X)
    expected = np.concatenate([x.reshape(2, 3, 2, 2, 5)[:, :, :, 0]] * 2, -1)
    one.graph.output[0].type.tensor_type.shape.dim.add(dim_value=7)  # stated wrongly
    agrees(one, {"x": x}, {"y": expected})


def test_operators_in_any_order():
    nodes = [
        helper.make_node("Relu", ["b"], ["y"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Sigmoid", ["x"], ["a"]),
    ]
    one = model(nodes, {"x": X})
    agrees(one, {"x": values(*X)})
    assert [layer.type for layer in pg.from_onnx(one).layers][1:] == ["Sigmoid", "Eltwise", "ReLU"]


def test_operators_that_depend_on_themselves_are_refused():
    nodes = [helper.make_node("Relu", ["b"], ["y"]), helper.make_node("Add", ["y", "x"], ["b"])]
    with pytest.raises(pg.InputError, match="depends on the output of this operator"):
        pg.from_onnx(model(nodes, {"x": X}))


def test_functions_are_inlined():
    nodes = [helper.make_node("Doubled", ["x"], ["y"], domain="own")]
    inner = [helper.make_node("Add", ["a", "a"], ["b"])]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Doubled", ["a"], ["b"], inner, imports[:1])
    one = model(nodes, {"x": X}, imports=imports, functions=[function])
    agrees(one, {"x": values(*X)})


@pytest.mark.parametrize("heads", [1, 2])
def test_operators_that_onnx_defines_by_others_are_written_out(heads):
    """Attention depends on the types and shapes of its inputs, constants too."""
    rng = np.random.default_rng(0)
    k = rng.standard_normal((2, heads, 5, 4)).astype(np.float32)
    nodes = [node("Attention", ["x", "k", "k"], ["y"])]
    one = model(nodes, {"x": (2, heads, 3, 4)}, constants={"k": k}, opset=23)
    agrees(one, {"x": values(2, heads, 3, 4)})


def test_rotary_embedding():
    rng = np.random.default_rng(0)
    cos, sin = (rng.standard_normal((2, 3, 2)).astype(np.float32) for _ in range(2))
    nodes = [node("RotaryEmbedding", ["x", "c", "s"], ["y"])]
    one = model(nodes, {"x": (2, 2, 3, 4)}, constants={"c": cos, "s": sin}, opset=23)
    x = values(2, 2, 3, 4)
    first, second = x[..., :2], x[..., 2:]
    c, s = cos[:, None], sin[:, None]
    expected = np.concatenate([first * c - second * s, first * s + second * c], -1)
    agrees(one, {"x": x}, {"y": expected})


def test_functions_that_never_end_or_explode_are_refused():
    imports = [helper.make_opsetid("own", 1)]

    def calls(*names):
        return [helper.make_node(n, ["a"], [f"b{i}"], domain="own") for i, n in enumerate(names)]

    first = helper.make_node("F0", ["x"], ["y"], domain="own")
    for called, count in ((["F0"], 1), (["F1"], 2)):  # directly, and through another function
        functions = [
            helper.make_function("own", f"F{i}", ["a"], ["b0"], calls(called[0] if not i else "F0"),
                                 imports) for i in range(count)
        ]  # fmt: skip
        with pytest.raises(pg.InputError, match="calls itself"):
            pg.from_onnx(model([first], {"x": X}, imports=imports, functions=functions))
    functions = [
        helper.make_function(
            "own", f"F{i}", ["a"], ["b0"], calls(f"F{i + 1}", f"F{i + 1}"), imports
        )
        for i in range(40)
    ]
    with pytest.raises(pg.InputError, match="more than 1000000 operators"):
        pg.from_onnx(model([first], {"x": X}, imports=imports, functions=functions))


@pytest.mark.parametrize("rows", [True, False])
def test_sparse_constants_are_stored_densely(rows):
    one = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 3)})
    places = np.array([[0, 1], [2, 0]]) if rows else np.array([1, 6])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([2, 5], np.float32), "w"),
        numpy_helper.from_array(places, "places"),
        [3, 3],
    )
    one.graph.sparse_initializer.append(sparse)
    dense = np.zeros((3, 3), np.float32)
    dense[0, 1], dense[2, 0] = 2, 5
    x = values(2, 3)
    agrees(one, {"x": x}, {"y": x @ dense})


def test_bfloat16_is_computed_in_float32_with_a_warning():
    half = TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Cast", ["c"], ["e"], to=half),
        helper.make_node("Mul", ["x", "e"], ["t"]),
        helper.make_node("Add", ["t", "b"], ["y"]),
    ]
    one = model(nodes, {"x": X}, constants={"c": np.full(1, 0.1, np.float32)}, kind=half)
    bias = helper.make_tensor("b", half, [3, 1, 1], [1.5, -2.0, 0.3])
    one.graph.initializer.append(bias)
    imported = import_model(one)
    assert imported.approximated == (
        "the model computes in bfloat16; here it is computed in float32, with fewer roundings",
    )
    x = values(*X)
    rounded = numpy_helper.to_array(bias).astype(np.float32)
    expected = x * np.float32(0.10009765625) + rounded  # 0.1 rounded to bfloat16
    np.testing.assert_allclose(pg.run(imported.net, {"x": x})["y"], expected, rtol=1e-6)
    with pytest.warns(pg.ProtogenWarning, match="bfloat16"):
        actual = pg.run(pg.from_onnx(one), {"x": x})["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_bfloat16_file_runs_and_verifies(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    onnx.save(model(nodes, {"x": X}, kind=TensorProto.BFLOAT16), tmp_path / "m.onnx")
    x = values(*X)
    with pytest.warns(pg.ProtogenWarning, match="bfloat16"):
        actual = pg.run(tmp_path / "m.onnx", {"x": x})["y"]
    np.testing.assert_array_equal(actual, np.maximum(x, 0))


# External data


def external(name, location):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3],
                         data_location=TensorProto.EXTERNAL)  # fmt: skip
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_external(place, location="w.bin"):
    """Return a model with external data in one place."""
    tensor = external("w", location)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    if place == "initializer":
        one = model([add], {"x": (2, 3)})
        one.graph.initializer.append(tensor)
    elif place == "attribute":
        one = model([helper.make_node("Constant", [], ["w"], value=tensor), add], {"x": (2, 3)})
    elif place in ("branch", "branch of a branch"):
        info = helper.make_tensor_value_info("o", TensorProto.FLOAT, [3])
        inner = [helper.make_node("Identity", ["w"], ["o"])]
        branch = helper.make_graph(inner, "branch", [], [info], [tensor])
        if place == "branch of a branch":
            nested = helper.make_node("If", ["c"], ["o"], then_branch=branch, else_branch=branch)
            branch = helper.make_graph([nested], "outer", [], [info])
        choice = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
        one = model([choice, helper.make_node("Add", ["x", "z"], ["y"])], {"x": (2, 3)},
                    constants={"c": np.array(True)})  # fmt: skip
    else:
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        inner = [helper.make_node("Constant", [], ["w"], value=tensor),
                 helper.make_node("Add", ["a", "w"], ["b"])]  # fmt: skip
        function = helper.make_function("own", "F", ["a"], ["b"], inner, imports[:1])
        node = helper.make_node("F", ["x"], ["y"], domain="own")
        one = model([node], {"x": (2, 3)}, imports=imports, functions=[function])
    return one


PLACES = ["initializer", "attribute", "branch", "branch of a branch", "function"]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_read_from_the_folder_of_the_model(place, tmp_path, monkeypatch):
    """A file of the same name in the current folder is not read."""
    (tmp_path / "here").mkdir()
    (tmp_path / "model").mkdir()
    np.array([9, 9, 9], np.float32).tofile(tmp_path / "here" / "w.bin")
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(with_external(place).SerializeToString())
    with pytest.raises(pg.InputError, match="cannot be read"):
        pg.from_onnx(path)
    np.array([1, 2, 3], np.float32).tofile(tmp_path / "model" / "w.bin")
    x = values(2, 3)
    expected = x + np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(pg.run(pg.from_onnx(path), {"x": x})["y"], expected)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "sub/../../w.bin"])
@pytest.mark.parametrize("place", PLACES)
def test_external_data_outside_of_the_folder_is_refused(place, location, tmp_path):
    (tmp_path / "model").mkdir()
    np.zeros(3, np.float32).tofile(tmp_path / "w.bin")
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(with_external(place, location).SerializeToString())
    for read in (pg.from_onnx, lambda one: pg.run(one, {"x": values(2, 3)})):
        with pytest.raises(pg.InputError, match="not a file in the model's folder"):
            read(path)


@pytest.mark.parametrize("place", PLACES)
def test_external_data_of_a_model_in_memory_is_refused(place, tmp_path, monkeypatch):
    np.zeros(3, np.float32).tofile(tmp_path / "w.bin")
    monkeypatch.chdir(tmp_path)
    for read in (pg.from_onnx, lambda one: pg.run(one, {"x": values(2, 3)})):
        with pytest.raises(pg.InputError, match="external file"):
            read(with_external(place))


def test_the_walk_meets_every_tensor_of_a_model():
    """Compare with the tensors that protobuf's own reflection finds."""

    def tensors_of(message):
        for descriptor, content in message.ListFields():
            if descriptor.message_type is None:
                continue
            many = not hasattr(content, "ListFields")
            for one in content if many else (content,):
                if isinstance(one, TensorProto):
                    yield one
                elif hasattr(one, "ListFields"):
                    yield from tensors_of(one)

    for place in PLACES:
        one = with_external(place)
        one.training_info.add().algorithm.initializer.append(external("t", "w.bin"))
        one.graph.sparse_initializer.add().values.CopyFrom(external("s", "w.bin"))
        one.graph.sparse_initializer[0].indices.name = "i"
        assert sorted(t.name for t, _ in tensors(one)) == sorted(t.name for t in tensors_of(one))
