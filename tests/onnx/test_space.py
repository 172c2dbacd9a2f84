"""Groups of operators that move pixels between space and channels: layers and numbers."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.net.cost import costs
from protogen.onnx.session import run_model

node = helper.make_node


def model(nodes, shape, constants, opset=18):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def agrees(one):
    net = pg.from_onnx(one)
    feeds = {"x": np.random.default_rng(0).standard_normal(net.shapes["x"]).astype(np.float32)}
    expected = run_model(one.SerializeToString(), feeds)["y"]
    actual = pg.run(net, feeds)["y"]
    assert actual.shape == expected.shape
    limit = 1e-5 * np.abs(expected).max()  # sums of at most some hundred float32 products
    np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)
    return net


def types(net):
    return [layer.type for layer in net.layers][1:]


def slices(parts, block, ends=(10**9, 10**9)):
    """Return operators that select rows and columns in two steps, as PyTorch writes it."""
    nodes, constants = (
        [],
        {"two": np.array([2]), "three": np.array([3]), "block": np.array([block])},
    )
    constants |= {"end": np.array([ends[0]]), "right": np.array([ends[1]])}
    for i, (row, column) in enumerate(parts):
        constants |= {f"row{i}": np.array([row]), f"column{i}": np.array([column])}
        nodes.append(node("Slice", ["x", f"row{i}", "end", "two", "block"], [f"rows{i}"]))
        nodes.append(
            node("Slice", [f"rows{i}", f"column{i}", "right", "three", "block"], [f"part{i}"])
        )
    names = [f"part{i}" for i in range(len(parts))]
    return [*nodes, node("Concat", names, ["t"], axis=1)], constants


YOLO = [(0, 0), (1, 0), (0, 1), (1, 1)]


def convolution(channels, kernel, seed=0, **attributes):
    weight = np.random.default_rng(seed).standard_normal((5, channels, kernel, kernel))
    return node("Conv", ["t", "w"], ["y"], **attributes), {"w": weight.astype(np.float32)}


@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 1, 1, 1]}, {"strides": [2, 2]},
                                        {"pads": [1, 0, 1, 0], "strides": [1, 2]}])  # fmt: skip
@pytest.mark.parametrize(("parts", "block"), [
    (YOLO, 2), (YOLO[::-1], 2), ([(i, j) for j in range(3) for i in range(3)], 3),
])  # fmt: skip
def test_a_focus_before_a_convolution_is_one_convolution(parts, block, attributes):
    nodes, constants = slices(parts, block)
    conv, weights = convolution(3 * block**2, 3, **attributes)
    net = agrees(model([*nodes, conv], (2, 3, 6 * block, 5 * block), constants | weights))
    assert types(net) == ["Convolution"]
    # As many multiplications as the Conv of the model.
    (cost,) = [one for one in costs(net.graph) if one.multiply_adds]
    *_, height, width = net.shapes["y"]
    assert cost.multiply_adds == 2 * 5 * height * width * 3 * block**2 * 9


def test_a_focus_alone_is_a_strided_convolution():
    nodes, constants = slices(YOLO, 2)
    net = agrees(model([*nodes, node("Relu", ["t"], ["y"])], (2, 3, 8, 6), constants))
    assert types(net) == ["Convolution", "ReLU"]


def test_a_focus_of_many_channels_moves_axes():
    nodes, constants = slices([(0, 0), (0, 1), (1, 0), (1, 1)], 2)
    net = agrees(model([*nodes, node("Relu", ["t"], ["y"])], (1, 32, 4, 6), constants))
    assert types(net) == ["Reshape", "Slice", "Concat"] * 2 + ["Reshape", "ReLU"]


@pytest.mark.parametrize(
    ("parts", "block", "ends", "size"),
    [
        (YOLO[:3], 2, (10**9, 10**9), (16, 12)),  # a part is missing
        ([(0, 0)] * 4, 2, (10**9, 10**9), (16, 12)),  # the same part again
        (YOLO, 2, (12, 10), (16, 12)),  # the last rows and columns are cut
    ],
)
def test_what_is_almost_a_focus_has_the_right_numbers(parts, block, ends, size):
    nodes, constants = slices(parts, block, ends)
    conv, weights = convolution(3 * len(parts), 3)
    agrees(model([*nodes, conv], (2, 3, *size), constants | weights))


@pytest.mark.parametrize("channels", [2, 24])
@pytest.mark.parametrize("order", list(permutations((1, 3, 5))))
def test_six_axes_from_space_to_channels(order, channels):
    b = 2
    constants = {"six": np.array([2, channels, 3, b, 4, b]), "four": np.array([2, -1, 3, 4])}
    nodes = [
        node("Reshape", ["x", "six"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, *order, 2, 4]),
        node("Reshape", ["b", "four"], ["t"]),
        node("Relu", ["t"], ["y"]),
    ]
    net = agrees(model(nodes, (2, channels, 6, 8), constants))
    assert len(net.layers) <= 9


@pytest.mark.parametrize("channels", [2, 24])
@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_six_axes_from_channels_to_space(order, channels):
    b = 2
    lengths = [0, 0, 0, 0]
    for axis, length in zip(order, (channels, b, b), strict=True):
        lengths[axis] = length
    constants = {"six": np.array([2, *lengths[1:], 3, 4]), "four": np.array([2, channels, 6, 8])}
    channel, row, column = order
    nodes = [
        node("Reshape", ["x", "six"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, channel, 4, row, 5, column]),
        node("Reshape", ["b", "four"], ["t"]),
        node("Relu", ["t"], ["y"]),
    ]
    net = agrees(model(nodes, (2, channels * b * b, 3, 4), constants))
    assert len(net.layers) <= 9
    if order == (1, 2, 3) or channels == 2:
        assert types(net) == ["Deconvolution", "ReLU"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space_and_back(mode, channels, block):
    shape = (2, channels * block**2, 4, 3)
    agrees(model([node("DepthToSpace", ["x"], ["y"], blocksize=block, mode=mode)], shape, {}))
    agrees(model([node("SpaceToDepth", ["x"], ["y"], blocksize=block)],
                 (2, channels, 4 * block, 3 * block), {}))  # fmt: skip


def test_space_to_depth_before_a_convolution_is_one_convolution():
    conv, weights = convolution(12, 3, pads=[1, 1, 1, 1])
    one = model([node("SpaceToDepth", ["x"], ["t"], blocksize=2), conv], (2, 3, 8, 6), weights)
    assert types(agrees(one)) == ["Convolution"]
