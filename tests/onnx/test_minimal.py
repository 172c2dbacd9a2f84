"""Imported nets have few layers: what the clean-up joins and drops, with the numbers of onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from places import GOLDEN, SHARED

import protogen as pg
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

node = helper.make_node


def model(nodes, inputs, outputs=("y",), constants=None, opset=18):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def agrees(one, scale=1.0):
    net = pg.from_onnx(one)
    rng = np.random.default_rng(0)
    feeds = {n: (scale * rng.standard_normal(net.shapes[n])).astype(np.float32) for n in net.inputs}
    expected = run_model(one.SerializeToString(), feeds)
    actual = pg.run(net, feeds)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        limit = 1e-5 * max(np.abs(array).max(), 1e-3)
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=limit)
    return [layer.type for layer in net.layers if layer.type != "Input"]


def shuffle(source, groups, shape, out="y"):
    n, c, h, w = shape
    constants = {"five": np.array([n, groups, c // groups, h, w]), "four": np.array(shape)}
    nodes = [
        node("Reshape", [source, "five"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "four"], [out]),
    ]
    return nodes, constants


@pytest.mark.parametrize("groups", [2, 3, 4, 12])
def test_a_channel_shuffle_is_four_layers(groups):
    nodes, constants = shuffle("x", groups, (2, 24, 4, 5))
    types = agrees(model(nodes, {"x": (2, 24, 4, 5)}, constants=constants))
    assert types == ["Reshape", "Slice", "Concat", "Reshape"]


def test_a_shuffle_of_joined_branches_slices_nothing():
    """ShuffleNet V2: the Slice would undo the Concat."""
    nodes, constants = shuffle("c", 2, (2, 8, 4, 5))
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Sigmoid", ["x"], ["b"]),
        node("Concat", ["a", "b"], ["c"], axis=1),
        *nodes,
    ]
    types = agrees(model(nodes, {"x": (2, 4, 4, 5)}, constants=constants))
    assert types == ["ReLU", "Sigmoid", "Reshape", "Reshape", "Concat", "Reshape"]


def test_a_joined_value_that_is_read_elsewhere_stays():
    nodes, constants = shuffle("c", 2, (2, 8, 4, 5))
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Concat", ["a", "x"], ["c"], axis=1),
        *nodes,
        node("Tanh", ["c"], ["z"]),
    ]
    types = agrees(model(nodes, {"x": (2, 4, 4, 5)}, ["y", "z"], constants))
    assert types.count("Concat") == 2


@pytest.mark.parametrize("lengths", [[3, 5], [5, 3]])
def test_a_slice_at_other_places_than_the_concat_stays(lengths):
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Concat", ["a", "w"], ["c"], axis=1),
        node("Split", ["c", "lengths"], ["p", "q"], axis=1),
        node("Tanh", ["p"], ["y"]),
        node("Abs", ["q"], ["z"]),
    ]
    one = model(nodes, {"x": (2, 3, 4), "w": (2, 5, 4)}, ["y", "z"], {"lengths": np.array(lengths)})
    assert ("Slice" in agrees(one)) == (lengths == [5, 3])


def gates(pooled):
    """Return squeeze and excitation."""
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.standard_normal((4, 8, 1, 1)).astype(np.float32),
        "b1": rng.standard_normal(4).astype(np.float32),
        "w2": rng.standard_normal((8, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        node(pooled, ["x"], ["p"]),
        node("Conv", ["p", "w1", "b1"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w2"], ["d"]),
        node("HardSigmoid", ["d"], ["s"], alpha=1 / 6),
        node("Mul", ["x", "s"], ["y"]),
    ]
    return nodes, constants


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pooled", ["GlobalAveragePool", "GlobalMaxPool"])
def test_gates_per_channel_are_rows(pooled, batch):
    nodes, constants = gates(pooled)
    types = agrees(model(nodes, {"x": (batch, 8, 5, 6)}, constants=constants))
    assert types == ["Pooling", "Convolution", "ReLU", "InnerProduct", "Power", "Clip", "Scale"]


def test_gates_that_are_an_output_keep_their_shape():
    nodes, constants = gates("GlobalAveragePool")
    types = agrees(model(nodes, {"x": (2, 8, 5, 6)}, ["y", "s"], constants))
    assert "InnerProduct" not in types


def test_a_value_with_another_shape_has_another_name():
    """So a comparison by names does not meet it."""
    nodes, constants = gates("GlobalAveragePool")
    imported = import_model(model(nodes, {"x": (2, 8, 5, 6)}, constants=constants))
    assert "d" not in imported.net.shapes
    assert imported.blobs.get("d") is None


@pytest.mark.parametrize(("operators", "layers"), [
    ([("Mul", 0.3), ("Add", 2.0), ("Pow", 2.0)], 1),
    ([("Mul", 0.3), ("Mul", -2.0)], 1),
    ([("Add", 1.0), ("Mul", 0.3)], 2),  # 0.3 x + 0.3 would round at another place
    ([("Add", 1.0), ("Add", 0.1)], 2),
    ([("Pow", 2.0), ("Add", 1.0), ("Pow", 0.5)], 2),
])  # fmt: skip
def test_powers_are_joined_where_nothing_changes(operators, layers):
    nodes, constants, name = [], {}, "x"
    for i, (type_, number) in enumerate(operators):
        constants[f"n{i}"] = np.float32(number)
        top = "y" if i == len(operators) - 1 else f"v{i}"
        nodes.append(node(type_, [name, f"n{i}"], [top]))
        name = top
    assert agrees(model(nodes, {"x": (2, 3)}, constants=constants)) == ["Power"] * layers


def test_activations_are_in_place():
    constants = {
        "w": np.ones((3, 3, 1, 1), np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Clip", ["a", "low", "high"], ["b"]),
        node("Conv", ["b", "w"], ["c"]),
        node("Softplus", ["c"], ["d"]),
        node("Conv", ["d", "w"], ["y"]),
    ]
    net = pg.from_onnx(model(nodes, {"x": (1, 3, 4, 4)}, constants=constants))
    for layer in net.layers:
        if layer.type in ("Clip", "BNLL"):
            assert layer.bottoms == layer.tops


MEANS = [((2, 3), 1, ["Pooling"]), ((2, 3), 0, ["Pooling", "Flatten"]), ((1, 2, 3), 0, ["Reduction"]),
         ((3,), 1, ["Pooling"]), ((2,), 1, ["Pooling"]), ((1,), 1, ["Reshape", "Pooling", "Reshape"])]  # fmt: skip


@pytest.mark.parametrize(("axes", "keepdims", "layers"), MEANS)
def test_means_are_a_pooling_or_a_reduction(axes, keepdims, layers):
    nodes = [node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)]
    one = model(nodes, {"x": (2, 3, 4, 5)}, constants={"axes": np.array(axes)})
    assert agrees(one) == layers


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2))
def test_an_axis_is_reversed_without_a_slice_per_element(length, axis):
    shape = [2, 3, 2]
    shape[axis] = length
    constants = {
        "from": np.array([-1]), "to": np.array([-(10**9)]), "axis": np.array([axis]),
        "step": np.array([-1]),
    }  # fmt: skip
    one = model([node("Slice", ["x", "from", "to", "axis", "step"], ["y"])], {"x": shape},
                constants=constants)  # fmt: skip
    agrees(one)
    assert max((len(layer.tops) for layer in pg.from_onnx(one).layers), default=0) <= 64
    assert not pg.from_onnx(one).weights


@pytest.mark.parametrize("length", [7, 64, 65, 97, 3072, 4801])
@pytest.mark.parametrize("last", [0, 1])
def test_arg_max_of_a_long_axis(length, last):
    """4801 is prime. Values are repeated, so the order of equal maxima matters."""
    nodes = [
        node("Round", ["z"], ["unused"]),
        node("ArgMax", ["x"], ["i"], axis=1, select_last_index=last),
        node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    one = model(nodes[1:], {"x": (2, length)})
    net = pg.from_onnx(one)
    x = np.random.default_rng(0).integers(0, 4, (2, length)).astype(np.float32)
    expected = run_model(one.SerializeToString(), {"x": x})["y"]
    np.testing.assert_array_equal(pg.run(net, {"x": x})["y"], expected)
    assert not net.weights


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_top_k(data):
    rank = data.draw(st.integers(1, 4), "rank")
    shape = data.draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank), "shape")
    axis = data.draw(st.integers(-rank, rank - 1), "axis")
    k = data.draw(st.integers(1, shape[axis]), "k")
    largest = data.draw(st.integers(0, 1), "largest")
    nodes = [
        node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest),
        node("Cast", ["i"], ["z"], to=TensorProto.FLOAT),
    ]
    one = model(nodes, {"x": shape}, ["y", "z"], {"k": np.array([k])})
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)  # with ties
    expected = run_model(one.SerializeToString(), {"x": x})
    actual = pg.run(pg.from_onnx(one), {"x": x})
    for name in ("y", "z"):
        np.testing.assert_array_equal(actual[name], expected[name])


def test_infinite_values_and_nan():
    x = np.array([[0, -0.0, np.inf, -np.inf, np.nan, 3.4028235e38, 1e-45, 2]], np.float32)
    for type_, attributes in (
        ("IsNaN", {}),
        ("IsInf", {}),
        ("IsInf", {"detect_negative": 0}),
        ("IsInf", {"detect_positive": 0}),
        ("IsInf", {"detect_positive": 0, "detect_negative": 0}),
    ):
        nodes = [node(type_, ["x"], ["t"], **attributes), node("Cast", ["t"], ["y"], to=1)]
        one = model(nodes, {"x": x.shape})
        expected = run_model(one.SerializeToString(), {"x": x})["y"]
        np.testing.assert_array_equal(pg.run(pg.from_onnx(one), {"x": x})["y"], expected)


def test_the_logarithm_of_a_sigmoid_is_exact_for_low_values():
    """The Sigmoid of Caffe and of onnxruntime is 0 below about -17, and its logarithm -infinity."""
    one = model([node("Sigmoid", ["x"], ["s"]), node("Log", ["s"], ["y"])], {"x": (1, 101)})
    net = pg.from_onnx(one)
    assert [layer.type for layer in net.layers][1:] == ["Power", "BNLL", "Power"]
    x = np.linspace(-80, 20, 101, dtype=np.float32)[None]
    expected = -np.logaddexp(0, -x.astype(np.float64))
    np.testing.assert_allclose(pg.run(net, {"x": x})["y"], expected, rtol=1e-6, atol=1e-7)


def response(size, pads, through, counted=1, opset=18):
    """Return PyTorch's LocalResponseNorm."""
    n, c, h, w = 2, 8, 4, 5
    planes = [n, 1, c, h, w] if through == "Reshape" else [n, 1, c, h * w]
    kernel = [size, *[1] * (len(planes) - 3)]
    constants = {
        "planes": np.array(planes), "image": np.array([n, c, h, w]), "one": np.array([1]),
        "pads": np.array([0, 0, pads[0], *[0] * (len(planes) - 3), 0, 0, pads[1], *[0] * (len(planes) - 3)]),
        "alpha": np.float32(1e-2), "k": np.float32(1.5), "beta": np.float32(0.75),
    }  # fmt: skip
    nodes = [
        node("Mul", ["x", "x"], ["squares"]),
        node("Reshape", ["squares", "planes"], ["p"]),
        node("Pad", ["p", "pads"], ["padded"]),
        node("AveragePool", ["padded"], ["means"], kernel_shape=kernel, count_include_pad=counted),
        node("Squeeze", ["means", "one"], ["m"]),
        node("Reshape", ["m", "image"], ["mean"]),
        node("Mul", ["mean", "alpha"], ["a"]),
        node("Add", ["a", "k"], ["b"]),
        node("Pow", ["b", "beta"], ["d"]),
        node("Div", ["x", "d"], ["y"]),
    ]
    return model(nodes, {"x": (n, c, h, w)}, constants=constants, opset=opset)


@pytest.mark.parametrize(("size", "pads", "layers"), [
    (5, (2, 2), 1), (3, (1, 1), 1), (5, (1, 3), 2), (4, (2, 1), 2), (3, (2, 0), 2),
])  # fmt: skip
@pytest.mark.parametrize("through", ["Reshape", "planes"])
def test_local_response_normalisation_is_one_layer(size, pads, layers, through):
    types = agrees(response(size, pads, through))
    assert (types == ["LRN"]) == (layers == 1)


# The cases that were measured outside


@pytest.mark.parametrize("name", ["shuffle_116x28", "shuffle_8x4"])
def test_measured_channel_shuffles(name):
    one = onnx.load(GOLDEN / "onnx_models" / f"{name}.onnx")
    assert agrees(one) == ["Reshape", "Slice", "Concat", "Reshape"]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the measured nets in ../shared")
def test_a_detector_converts_without_a_slice_per_element():
    net = pg.from_onnx(SHARED / "cases" / "onnx" / "yolo640.onnx")
    assert max(len(layer.tops) for layer in net.layers) <= 64
    assert len(net.layers) <= 95


@pytest.mark.parametrize("name", ["bfloat16_constant", "constant_output", "floorpool_relu6_swish",
                                  "maxpool_indices_unread", "resize_align_corners_scale"])  # fmt: skip
def test_measured_models_convert_and_verify(name, protogen, tmp_path):
    path = GOLDEN / "onnx_models" / f"{name}.onnx"
    done = protogen(
        "convert", str(path), "-o", "n.prototxt", "--caffemodel", "n.caffemodel", "--verify"
    )
    assert done.returncode == 0, done.stderr
    outputs = [value.name for value in onnx.load(path).graph.output]
    net = pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    assert sorted(net.outputs) == sorted(outputs)


def test_external_data_of_a_branch_is_read_beside_the_model(protogen, tmp_path, monkeypatch):
    """The current folder has a file of the same name."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "if_external.onnx"
    path.write_bytes((GOLDEN / "onnx_models" / "if_external.onnx").read_bytes())
    np.full(8, 9, np.float32).tofile(tmp_path / "cwd_secret.bin")
    done = protogen("convert", str(path), "-o", "n.prototxt")
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    np.arange(8, dtype=np.float32).tofile(tmp_path / "model" / "cwd_secret.bin")
    net = pg.from_onnx(path)
    x = np.zeros((1, 8), np.float32)
    np.testing.assert_array_equal(pg.run(net, {"x": x})["y"], [np.arange(8)])


def test_a_net_for_ssd_has_fields_of_its_parser_only(protogen, tmp_path):
    path = GOLDEN / "onnx_models" / "floorpool_relu6_swish.onnx"
    done = protogen(
        "convert", str(path), "-o", "n.prototxt", "--caffemodel", "n.caffemodel", "--verify",
        "--dialect", "ssd",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "n.prototxt").read_text()
    assert not any(word in text for word in ("round_mode", "clip_param", "Clip", "Swish"))
    assert protogen("check", "n.prototxt", "--target", "ssd").returncode == 0
