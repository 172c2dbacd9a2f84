"""Weights that stay in their file: models in memory, inputs instead of constants, copies by the system."""

from __future__ import annotations

import errno
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.formats.mapped import PIECE, locate, map_file, write_array
from protogen.onnx.files import has_bfloat16, load_mapped, runs_as_file
from protogen.onnx.memory_mapped import as_inputs
from protogen.running.runtime import opened_model

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 40 kernel_size: 5 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 9 } }"""


def written(tmp_path, name: str = ""):
    """The net with random weights that is read from files; ``name`` moves the weights in the file."""
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(f'name: "{name}"\n{NET}')
    net = pg.load(prototxt)
    generator = np.random.default_rng(0)
    for layer, shapes in net.parameter_shapes.items():
        if shapes:
            net.weights[layer] = [
                generator.standard_normal(shape, dtype=np.float32) for shape in shapes
            ]
    net.save(prototxt, caffemodel)
    return pg.load(prototxt, caffemodel)


def feeds(net):
    return {"data": np.random.default_rng(1).standard_normal(net.shapes["data"], np.float32)}


def test_mapped_model_has_views_of_the_caffemodel(tmp_path):
    net = written(tmp_path)
    container, model = pg.to_onnx(net, mapped=True), pg.to_onnx(net)
    container.check_model()
    large = [array for array in container.large_initializers.values() if array.nbytes > PIECE]
    assert large
    assert all(locate(array) is not None for array in large)
    path = tmp_path / "mapped.onnx"
    container.save(str(path), True)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds(net))
    actual = onnxruntime.InferenceSession(str(path)).run(None, feeds(net))
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one, other)


def test_constants_of_a_model_in_memory_are_in_order_and_whole(tmp_path):
    net = written(tmp_path)
    model = pg.to_onnx(net)
    by_name = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    names = list(by_name)
    first, last = (next(i for i, n in enumerate(names) if n.startswith(x)) for x in ("conv", "fc"))
    assert first < last  # the order of the layers, although the larger one is copied first
    weights = [array for array in by_name.values() if array.size == net.weights["fc"][0].size]
    np.testing.assert_array_equal(weights[0].ravel(), net.weights["fc"][0].ravel())


@pytest.mark.parametrize("length", range(4))
def test_weights_at_any_address_of_the_file(tmp_path, length):
    """The name of the net moves the weights; their addresses are multiples of 4 for one length only."""
    net = written(tmp_path, "n" * length)
    expected = pg.run(pg.to_onnx(net), feeds(net))["fc"]
    np.testing.assert_allclose(pg.run(net, feeds(net))["fc"], expected, rtol=1e-5, atol=1e-5)


def branching(path, kind=TensorProto.FLOAT, domain: str = "") -> None:
    """Write a model with large constants: of floats in an inner graph, of integers, and as an output."""
    generator = np.random.default_rng(0)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = {
        "w": generator.standard_normal((300, 300)).astype(dtype),
        "unread": generator.standard_normal((200, 200)).astype(dtype),
        "rows": generator.integers(0, 300, 9000),
    }
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x", "w"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, kind, None)],
        )
        for name, op in (("then", "MatMul"), ("else", "Sub"))
    }
    nodes = [
        helper.make_node("If", ["flag"], ["y"], then_branch=branches["then"], else_branch=branches["else"]),
        helper.make_node("Gather", ["y", "rows"], ["z"], axis=0),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", kind, [300, 300]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, kind, None) for name in ("z", "unread")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [helper.make_opsetid("", 18)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_model_with_constants_as_inputs_computes_the_same(tmp_path, kind):
    path = tmp_path / "m.onnx"
    branching(path, kind)
    model, arrays = load_mapped(path)
    assert {"w", "unread", "rows"} == arrays.keys()
    changed, constants = as_inputs(model, arrays)
    assert constants.keys() == {"w"}
    assert locate(constants["w"]) is not None
    assert {one.name for one in changed.graph.initializer} == {"unread", "rows"}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    session = onnxruntime.InferenceSession(str(path))
    for flag in (True, False):
        inputs = {
            "x": np.random.default_rng(2).standard_normal((300, 300)).astype(dtype),
            "flag": np.array(flag),
        }
        expected = session.run(["z", "unread"], inputs)
        actual = opened_model(model, arrays, ["z", "unread"])(inputs)
        for one, other in zip(expected, actual.values(), strict=True):
            tolerance = 1e-2 if kind == TensorProto.FLOAT16 else 1e-5
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(one).max())


def test_constants_stay_where_operators_of_other_domains_may_need_them(tmp_path):
    path = tmp_path / "m.onnx"
    branching(path, domain="com.microsoft")
    changed, constants = as_inputs(*load_mapped(path))
    assert not constants
    assert len(changed.graph.initializer) == 3


def test_a_large_constant_that_is_cast_to_bfloat16(tmp_path):
    path = tmp_path / "m.onnx"
    nodes = [
        helper.make_node("Cast", ["w"], ["v"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["v"], ["u"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "u"], ["y"]),
    ]
    weights = np.random.default_rng(0).standard_normal((300, 300), np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [300, 300])],
        [value("y", TensorProto.FLOAT, [300, 300])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    assert not runs_as_file(path)
    model, arrays = load_mapped(path)
    assert not arrays
    assert not has_bfloat16(model)
    x = np.ones((300, 300), np.float32)
    with pytest.warns(pg.ProtogenWarning, match="bfloat16"):
        y = pg.run(path, {"x": x})["y"]
    assert 0 < np.abs(y - weights).max() < 0.02


def mapped_numbers(tmp_path):
    path = tmp_path / "numbers"
    numbers = np.arange(3 * PIECE // 4 + 5, dtype=np.float32)
    path.write_bytes(b"abc" + numbers.tobytes())
    return path, np.frombuffer(map_file(path), np.float32, numbers.size, 3), numbers.tobytes()


@pytest.mark.parametrize(
    "distance", [3, 4, 4099]
)  # the bytes begin at 3: at the same place in a page or not
@pytest.mark.parametrize("number", [None, errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_copies_with_and_without_the_system(tmp_path, monkeypatch, number, distance):
    _, array, raw = mapped_numbers(tmp_path)
    if number is not None:

        def refuse(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    reported: list[int] = []
    head = b"h" * distance
    with open(tmp_path / "copy", "wb") as file:
        file.write(head)
        write_array(array, file, reported.append)
        file.write(b"tail")
    assert (tmp_path / "copy").read_bytes() == head + raw + b"tail"
    assert sum(reported) == len(raw)


def test_a_file_that_shrinks_is_an_error(tmp_path):
    path, array, _ = mapped_numbers(tmp_path)
    os.truncate(path, 2 * PIECE)
    with (
        open(tmp_path / "copy", "wb") as file,
        pytest.raises(pg.InputError, match="changed while it was read"),
    ):
        write_array(array, file)


def test_weights_that_change_between_reading_and_running_are_an_error(tmp_path):
    net = written(tmp_path)
    raw = bytearray((tmp_path / "net.caffemodel").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "net.caffemodel").write_bytes(raw)
    with pytest.raises(pg.InputError, match=r"net.caffemodel: .*changed while it was read"):
        pg.run(net, feeds(net))
