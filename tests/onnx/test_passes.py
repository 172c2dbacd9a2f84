"""Passes over exported models: each keeps the numbers, and leaves nothing for another optimiser."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from protogen.onnx.passes.constants import computed
from protogen.onnx.passes.duplicates import merge_duplicates
from protogen.onnx.passes.faster import MOST_CHANNELS, expand
from protogen.onnx.passes.half import halved
from protogen.onnx.passes.moves import merge_moves
from protogen.onnx.passes.nested import MOST_SHARED, merge_concats, merge_reductions
from protogen.onnx.program import Node, Program, Value, tensor
from protogen.running.runtime import run_program

IMAGE = (1, 4, 3, 5)


def node(op_type, reads, writes, **attributes):
    return Node(op_type, tuple(reads.split()), tuple(writes.split()), attributes, "layer")


def program(nodes, constants=None, inputs=None, outputs="y", opset=18):
    shapes = {"x": IMAGE} if inputs is None else inputs
    return Program(
        "net",
        list(nodes),
        {name: tensor(np.asarray(values)) for name, values in (constants or {}).items()},
        [Value(name, shape) for name, shape in shapes.items()],
        [Value(name, None) for name in outputs.split()],
        opset,
    )


def lengths_of(one):
    return {value.name: value.lengths for value in one.inputs}


def outputs_of(one):
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.standard_normal(v.shape, np.float32) for v in one.inputs}
    return run_program(one, feeds)


def types(one):
    return [node.op_type for node in one.nodes]


def same(before, after):
    """Check that all bits of the outputs are the same."""
    expected, actual = outputs_of(before), outputs_of(after)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)
        assert actual[name].dtype == array.dtype
    return types(after)


# Concat and reductions


def test_nested_concats_are_one():
    before = program([
        node("Relu", "x", "r"),
        node("Concat", "x r", "a", axis=1),
        node("Concat", "r a x", "b", axis=1),
        node("Concat", "a b", "y", axis=1),
    ])  # fmt: skip
    after = merge_concats(before, lengths_of(before))
    assert same(before, after) == ["Relu", "Concat"]
    assert after.nodes[-1].reads == ("x", "r", "r", "x", "r", "x")


@pytest.mark.parametrize(("axis", "outer", "extra", "outputs", "left"), [
    (-1, 3, [], "y", 1),
    (2, 3, [], "y", 2),
    (3, 3, [node("Relu", "a", "z")], "y z", 2),
    (3, 3, [], "y a", 2),
])  # fmt: skip
def test_a_concat_stays_for_other_readers_and_axes(axis, outer, extra, outputs, left):
    nodes = [
        node("Concat", "x x", "a", axis=axis),
        *extra,
        node("Concat", "a a", "y", axis=outer),
    ]
    before = program(nodes, outputs=outputs)
    after = merge_concats(before, lengths_of(before))
    assert same(before, after).count("Concat") == left


def test_a_long_chain_of_shared_concats_stays_linear():
    """Without a limit, each of n Concats would have up to n parts."""
    count = 3000
    nodes, name = [], "x"
    for i in range(count):
        nodes.append(node("Concat", f"{name} x", f"c{i}", axis=1))
        nodes.append(node("Concat", f"c{i} x", f"d{i}", axis=1))
        name = f"c{i}"
    outputs = " ".join([*(f"d{i}" for i in range(count)), name])
    start = time.process_time()
    after = merge_concats(program(nodes, outputs=outputs), {"x": IMAGE})
    assert time.process_time() - start < 5
    assert sum(len(node.reads) for node in after.nodes) < 2 * count * (MOST_SHARED + 3)


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceMax"])
@pytest.mark.parametrize(("opset", "keepdims", "first", "second"), [
    (18, 0, [3], [2]), (18, 0, [0, 2], [1]), (18, 1, [3], [1]), (13, 0, [1], [1]), (13, 1, [2], [3]),
])  # fmt: skip
def test_nested_reductions_are_one(op_type, opset, keepdims, first, second):
    as_input = opset >= 18 or op_type == "ReduceSum"
    names = (" a", " b") if as_input else ("", "")
    axes = [{}, {}] if as_input else [{"axes": first}, {"axes": second}]
    before = program(
        [
            node(op_type, "x" + names[0], "m", keepdims=keepdims, **axes[0]),
            node(op_type, "m" + names[1], "y", keepdims=keepdims, **axes[1]),
        ],
        {"a": first, "b": second} if as_input else {},
        opset=opset,
    )
    after = merge_reductions(before)
    assert types(after) == [op_type]
    expected, actual = outputs_of(before)["y"], outputs_of(after)["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_reductions_of_other_kinds_stay():
    nodes = [node("ReduceMax", "x a", "m", keepdims=0), node("ReduceSum", "m b", "y", keepdims=0)]
    assert len(merge_reductions(program(nodes, {"a": [3], "b": [2]})).nodes) == 2
    nodes = [node("ReduceSum", "x a", "m", keepdims=1), node("ReduceSum", "m b", "y", keepdims=0)]
    assert len(merge_reductions(program(nodes, {"a": [3], "b": [2]})).nodes) == 2


# Operators that move values


@pytest.mark.parametrize(("shape", "chain", "left"), [
    # A Transpose that moves only axes of length 1, and a Reshape.
    ((2, 4, 1, 1), [("Transpose", [0, 2, 3, 1]), ("Reshape", [0, 4])], ["Reshape"]),
    ((1, 4, 3, 1), [("Transpose", [3, 1, 0, 2]), ("Reshape", [0, 0, 3])], ["Reshape"]),
    ((2, 4, 3, 1), [("Transpose", [0, 2, 3, 1]), ("Reshape", [0, 12])], ["Transpose", "Reshape"]),
    # Pairs that cancel, also around others that cancel.
    (IMAGE, [("Transpose", [0, 2, 3, 1]), ("Transpose", [0, 3, 1, 2])], ["Identity"]),
    (IMAGE, [("Reshape", [0, 60]), ("Reshape", [0, 4, 3, 5])], ["Identity"]),
    (IMAGE, [("Transpose", [0, 2, 3, 1]), ("Reshape", [0, 15, 4]), ("Reshape", [0, 3, 5, 4]),
             ("Transpose", [0, 3, 1, 2])], ["Identity"]),
    # No effect.
    (IMAGE, [("Reshape", [0, 0, 3, -1])], ["Identity"]),
    (IMAGE, [("Slice", [0, 0], [9, 3], [1, 2])], ["Identity"]),
    (IMAGE, [("Slice", [0], [2], [1])], ["Slice"]),
    (IMAGE, [("Slice", [1], [4], [1])], ["Slice"]),
    (IMAGE, [("Slice", [-1], [-9], [1], [-1])], ["Slice"]),
    # Views of views.
    (IMAGE, [("Flatten",), ("Reshape", [0, 12, 5])], ["Reshape"]),
    (IMAGE, [("Reshape", [0, 12, 5]), ("Flatten",)], ["Flatten"]),
    (IMAGE, [("Reshape", [2, 30]), ("Flatten",)], ["Reshape", "Flatten"]),
    (IMAGE, [("Reshape", [2, -1]), ("Reshape", [0, 0])], ["Reshape", "Identity"]),
    (IMAGE, [("Reshape", [4, -1]), ("Reshape", [0, 3, 5])], ["Reshape"]),
])  # fmt: skip
def test_moves_are_merged(shape, chain, left):
    nodes, constants, name = [], {}, "x"
    for i, (op_type, *arguments) in enumerate(chain):
        write = "y" if i == len(chain) - 1 else f"v{i}"
        if op_type in ("Transpose", "Flatten"):
            attributes = {"perm": arguments[0]} if arguments else {"axis": 1}
            nodes.append(node(op_type, name, write, **attributes))
        else:
            constants |= {f"c{i}_{j}": values for j, values in enumerate(arguments)}
            reads = [name, *(f"c{i}_{j}" for j in range(len(arguments)))]
            nodes.append(node(op_type, " ".join(reads), write))
        name = write
    before = program(nodes, constants, {"x": shape})
    assert same(before, merge_moves(before, lengths_of(before))) == left


def test_a_free_axis_may_be_longer_than_1():
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2, 3]), node("Reshape", "t c", "y")]
    one = program(nodes, {"c": [2, -1]}, {"x": ("batch", 2, 1, 1)})
    assert len(merge_moves(one, lengths_of(one)).nodes) == 2
    one = program(nodes, {"c": [2, -1]}, {"x": (1, 2, 1, 1)})
    assert len(merge_moves(one, lengths_of(one)).nodes) == 1


def test_the_first_of_two_reshapes_stays_for_other_readers():
    nodes = [
        node("Reshape", "x a", "v"),
        node("Relu", "v", "z"),
        node("Reshape", "v b", "w"),
        node("Relu", "w", "y"),
    ]
    before = program(nodes, {"a": [4, 15], "b": [15, 4]}, outputs="y z")
    after = merge_moves(before, lengths_of(before))
    assert same(before, after) == ["Reshape", "Relu", "Reshape", "Relu"]


# Constants


F = np.array([[1.5, -2.0, 0.1], [0.0, 3.7, -0.3]], np.float32)
G = np.array([[0.7, -2.0, 5.1]], np.float32)
I = np.array([[3, -7, 2], [0, 5, -1]])  # noqa: E741
B = np.array([[True, False, True], [False, False, True]])
CASES = {
    **{name: ([F], {}) for name in ("Abs", "Neg")},
    "Sqrt": ([np.abs(F)], {}),
    **{name: ([F, G], {}) for name in ("Add", "Sub", "Mul", "Div", "Equal", "Greater", "Less")},
    "Add of integers": ([I, I[:1]], {}),
    "And": ([B, B[::-1]], {}),
    "Or": ([B, B[::-1]], {}),
    "Not": ([B], {}),
    "Where": ([B, F, G], {}),
    "Cast to bool": ([F], {"to": TensorProto.BOOL}),
    "Cast to float": ([I], {"to": TensorProto.FLOAT}),
    "Concat": ([F, G], {"axis": 0}),
    "Expand": ([G, np.array([4, 2, 1])], {}),
    "Gather": ([F, np.array([2, 0, -1])], {"axis": 1}),
    "Gather of one": ([F, np.array(1)], {"axis": 0}),
    "Reshape": ([F, np.array([0, -1, 1])], {}),
    "Slice": ([F, np.array([0]), np.array([2]), np.array([1])], {}),
    "Slice backward": ([F, np.array([-1]), np.array([-9]), np.array([-1]), np.array([-2])], {}),
    "Slice of the first axes": ([F, np.array([1]), np.array([1 << 40])], {}),
    "Squeeze": ([G, np.array([0])], {}),
    "Squeeze of all": ([G], {}),
    "Transpose": ([F], {"perm": [1, 0]}),
    "Unsqueeze": ([F, np.array([0, -1])], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_constants_are_what_onnxruntime_computes(case):
    arrays, attributes = CASES[case]
    names = [f"c{i}" for i in range(len(arrays))]
    nodes = [
        node(case.split()[0], " ".join(names), "c", **attributes),
        node("Cast", "c", "d", to=TensorProto.FLOAT),
        node("Add", "d x", "y"),
    ]
    before = program(nodes, dict(zip(names, arrays, strict=True)), {"x": (1,)})
    after, constants = computed(before)
    assert types(after) == ["Add"]
    assert set(names) < set(constants)
    expected = run_program(before, {"x": np.zeros(1, np.float32)})["y"]
    actual = run_program(after, {"x": np.zeros(1, np.float32)})["y"]
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def test_splits_of_constants_are_computed():
    nodes = [node("Split", "c n", "a b", axis=1), node("Add", "a x", "s"), node("Mul", "s b", "y")]
    before = program(nodes, {"c": F, "n": [2, 1]}, {"x": (2, 2)})
    assert same(before, computed(before)[0]) == ["Add", "Mul"]


def test_what_is_not_exact_or_too_large_stays():
    nodes = [
        node("Exp", "f", "a"),
        node("Cast", "f", "b", to=TensorProto.INT64),
        node("Div", "i i", "c"),
        node("Expand", "f n", "d"),
        node("Cast", "f", "e", to=TensorProto.FLOAT16),
    ]
    one = program(nodes, {"f": F, "i": I + 9, "n": [1 << 20, 2, 3]}, outputs="q")
    assert types(computed(one)[0]) == types(one)


def test_an_output_is_computed_by_the_model():
    one = program([node("Neg", "c", "y")], {"c": F})
    assert types(computed(one)[0]) == ["Neg"]


# Duplicates


def test_duplicates_are_computed_once():
    nodes = [
        node("Slice", "x zero one axis", "a"),
        node("Slice", "x none uno axe", "b"),
        node("Slice", "x zero two axis", "c"),
        node("Neg", "a", "d"),
        node("Neg", "b", "e"),
        node("Concat", "d e c", "y", axis=1),
    ]
    constants = {
        "zero": [0],
        "none": [0],
        "one": [1],
        "uno": [1],
        "two": [2],
        "axis": [1],
        "axe": [1],
    }
    before = program(nodes, constants)
    assert same(before, merge_duplicates(before)) == ["Slice", "Slice", "Neg", "Concat"]


def test_operators_with_other_attributes_or_outputs_are_no_duplicates():
    nodes = [
        node("LeakyRelu", "x", "a", alpha=0.1),
        node("LeakyRelu", "x", "b", alpha=0.2),
        node("LeakyRelu", "x", "z", alpha=0.1),
        node("Sum", "a b", "y"),
    ]
    before = program(nodes, outputs="y z")
    assert same(before, merge_duplicates(before)) == types(before)


# LRN and PRelu


SLOPES = [np.linspace(0.1, 1, 4), np.linspace(-0.3, 2, 4), np.zeros(4), np.full(1, 0.25)]


@pytest.mark.parametrize("slopes", SLOPES)
def test_prelu_keeps_its_bits_and_comes_back(slopes):
    from protogen.onnx import to_model
    from protogen.onnx.importer import import_model

    slopes = slopes.astype(np.float32)
    constants = {"s": slopes.reshape(-1, 1, 1)}
    before = program([node("PRelu", "x s", "y")], constants, {"x": (2, 4, 3, 5)})
    after = expand(before, lengths_of(before))
    assert "PRelu" not in same(before, after)
    x = np.array([np.inf, 3e38, 1e-45, 0, -1e-45, -3e38, np.nan, -2], np.float32)
    if slopes.all():  # 0 times infinity is NaN, in PRelu too
        x[0] = -np.inf
    x = np.resize(x, (2, 4, 3, 5))
    expected, actual = (run_program(one, {"x": x})["y"] for one in (before, after))
    np.testing.assert_array_equal(actual, expected)
    net = import_model(to_model(after)).net
    layer = net.layers[-1]
    if layer.type == "PReLU":
        np.testing.assert_array_equal(net.weights[layer.name][0], slopes)
    else:  # one slope
        assert layer.type == "ReLU"
        assert layer.params.relu_param.negative_slope == slopes[0]


def test_prelu_with_computed_slopes_stays():
    before = program([node("Relu", "x", "s"), node("PRelu", "x s", "y")])
    assert types(expand(before, lengths_of(before))) == ["Relu", "PRelu"]


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 9),
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(0.0009765625, 2, width=32),
    beta=st.sampled_from([0.75, 0.5, 1.25]),
    bias=st.floats(1, 3, width=32),
)
def test_lrn_keeps_its_numbers_and_comes_back(channels, size, alpha, beta, bias):
    from protogen.onnx import to_model
    from protogen.onnx.importer import import_model

    attributes = {"size": size, "alpha": alpha, "beta": beta, "bias": bias}
    before = program([node("LRN", "x", "y", **attributes)], inputs={"x": (2, channels, 3, 4)})
    after = expand(before, lengths_of(before))
    assert "LRN" not in types(after)
    expected, actual = outputs_of(before)["y"], outputs_of(after)["y"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    (layer,) = import_model(to_model(after)).net.layers[1:]
    assert layer.type == "LRN"
    again = layer.params.lrn_param
    assert again.beta == beta
    assert again.k == pytest.approx(bias)
    if size <= 2 * channels - 1:  # a wider window has the same neighbours
        assert again.local_size == size
        assert again.alpha == pytest.approx(alpha, rel=1e-6)


def test_half_precision_keeps_small_factors_of_lrn():
    attributes = {"size": 5, "alpha": 1e-6, "beta": 0.75, "bias": 1.0}
    before = program([node("LRN", "x", "y", **attributes)], inputs={"x": (1, 64, 2, 2)})
    after = expand(before, lengths_of(before))
    assert halved(after).tensors.keys() == after.tensors.keys()


def test_lrn_of_many_or_unknown_channels_stays():
    attributes = {"size": 5, "alpha": 1.0, "beta": 0.75, "bias": 1.0}
    for shape in ((1, MOST_CHANNELS + 1, 1, 1), (1, "channels", 1, 1)):
        one = program([node("LRN", "x", "y", **attributes)], inputs={"x": shape})
        assert types(expand(one, lengths_of(one))) == ["LRN"]
