"""Comparisons, truth values, choices and casts, against onnxruntime. Every result is exact, so the
tolerance is that of the float32 product and sum in a choice: none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.layers import kind_of
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
COMPARISONS = ["Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"]
# Pairs of shapes of the two inputs.
SHAPES = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (1,)),
    ((2, 3, 4, 5), ()),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((2, 1, 4), (3, 1)),
    ((6,), (2, 1)),
]
# With the input that is constant. An input without axes must be: Caffe's Input has no such blob.
PAIRS = [(pair, name) for pair in SHAPES for name in ("", "a", "b") if pair[1] or name == "b"]


def model(nodes, inputs, outputs=("y",), constants=None, opset=18, kinds=None):
    """Return a model; ``kinds`` are element types of inputs by name, FLOAT by default."""
    kinds = kinds or {}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, kinds.get(n, FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def grid(shape, seed, kind=FLOAT):
    """Return values of which many are equal, so that equality is tested too."""
    rng = np.random.default_rng(seed)
    if kind == BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(-2, 3, shape).astype(np.int64 if kind == INT64 else np.float32)


def agrees(one, feeds):
    imported = import_model(one)
    net = imported.net
    assert all(kind_of(layer).stock for layer in net.layers)
    expected = run_model(one.SerializeToString(), feeds)
    actual = pg.run(net, {name: np.asarray(a, np.float32) for name, a in feeds.items()})
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        np.testing.assert_array_equal(actual[name], array.astype(np.float32))
    return imported


def ends(kind):
    """Return the Cast that turns a truth value into the float output, and its inner name."""
    return helper.make_node("Cast", ["t"], ["y"], to=kind)


@pytest.mark.parametrize("kind", [FLOAT, INT64])
@pytest.mark.parametrize(("shapes", "constant"), PAIRS)
@pytest.mark.parametrize("operator", COMPARISONS)
def test_comparisons(operator, shapes, constant, kind):
    values = {"a": grid(shapes[0], 0, kind), "b": grid(shapes[1], 1, kind)}
    constants = {name: values.pop(name) for name in [constant] if name}
    nodes = [helper.make_node(operator, ["a", "b"], ["t"]), ends(FLOAT)]
    inputs = {name: array.shape for name, array in values.items()}
    one = model(nodes, inputs, constants=constants, kinds=dict.fromkeys(inputs, kind))
    agrees(one, values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=4, max_size=4),
       st.floats(width=32, allow_nan=False), st.sampled_from(COMPARISONS))  # fmt: skip
def test_comparisons_of_any_numbers(numbers, limit, operator):
    """Infinite, tiny and denormal numbers too. onnxruntime and Caffe treat denormals alike here."""
    values = np.array(numbers, np.float32).reshape(1, 4)
    nodes = [helper.make_node(operator, ["a", "b"], ["t"]), ends(FLOAT)]
    for constants in ({}, {"b": np.full((1, 4), limit, np.float32)}, {"b": np.float32(limit)}):
        feeds = {"a": values}
        if not constants:
            feeds["b"] = np.full((1, 4), limit, np.float32)
        inputs = {name: array.shape for name, array in feeds.items()}
        agrees(model(nodes, inputs, constants=constants), feeds)


@pytest.mark.parametrize(("shapes", "constant"), PAIRS)
@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_truth_values(operator, shapes, constant):
    values = {"a": grid(shapes[0], 0, BOOL), "b": grid(shapes[1], 1, BOOL)}
    constants = {name: values.pop(name) for name in [constant] if name}
    inputs = {name: array.shape for name, array in values.items()}
    nodes = [helper.make_node(operator, ["a", "b"], ["t"]), ends(FLOAT)]
    agrees(model(nodes, inputs, constants=constants, kinds=dict.fromkeys(inputs, BOOL)), values)


def test_not_and_reductions_of_truth_values():
    nodes = [
        helper.make_node("Greater", ["x", "z"], ["g"]),
        helper.make_node("Not", ["g"], ["n"]),
        helper.make_node("Cast", ["n"], ["i"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["i", "axes"], ["t"], keepdims=0),
        ends(FLOAT),
    ]
    constants = {"z": np.float32(0), "axes": np.array([1])}
    agrees(model(nodes, {"x": (2, 3, 4)}, constants=constants), {"x": grid((2, 3, 4), 0)})


CHOICES = [(c, a, b) for c in (0, 1) for a in (0, 1, 2) for b in (0, 1, 2) if 0 in (c, a, b)]


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 4), (2, 3, 4)), ((4,), (3, 1), (2, 1, 1)),
                                    ((2, 3, 1), (1,), (4,))])  # fmt: skip
@pytest.mark.parametrize("fixed", CHOICES)
def test_choices(fixed, shapes):
    """Each of condition and values computed or constant; 2 means one constant number."""
    rng = np.random.default_rng(3)
    values = {"c": grid(shapes[0], 0, BOOL), "a": rng.standard_normal(shapes[1]),
              "b": rng.standard_normal(shapes[2])}  # fmt: skip
    values = {n: v.astype(np.float32) if n != "c" else v for n, v in values.items()}
    constants = {}
    for name, how in zip("cab", fixed, strict=True):
        if how:
            constants[name] = values.pop(name)
        if how == 2:
            constants[name] = np.float32(1.5)
    kinds = {"c": BOOL} if "c" in values else {}
    inputs = {name: array.shape for name, array in values.items()}
    node = helper.make_node("Where", ["c", "a", "b"], ["y"])
    imported = agrees(model([node], inputs, constants=constants, kinds=kinds), values)
    assert not imported.approximated


@pytest.mark.parametrize("number", [0.0, -1e9, np.inf, -np.inf, -3.4028234663852886e38])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_masked_value(number, constant, first):
    """Attention masks: an infinite number too."""
    mask, x = grid((2, 3, 4), 0, BOOL), grid((2, 3, 4), 1)
    names = ["m", "n", "x"] if first else ["m", "x", "n"]
    node = helper.make_node("Where", names, ["y"])
    constants = {"n": np.float32(number)} | ({"m": mask} if constant else {})
    feeds = {"x": x} | ({} if constant else {"m": mask})
    inputs = {name: array.shape for name, array in feeds.items()}
    kinds = {} if constant else {"m": BOOL}
    agrees(model([node], inputs, constants=constants, kinds=kinds), feeds)


def test_a_choice_that_hides_infinity_is_announced():
    nodes = [
        helper.make_node("Greater", ["x", "z"], ["c"]),
        helper.make_node("Log", ["x"], ["l"]),
        helper.make_node("Where", ["c", "l", "x"], ["y"]),
    ]
    imported = import_model(model(nodes, {"x": (2, 3)}, constants={"z": np.float32(0)}))
    assert imported.approximated == (
        'operator "y" (Where): infinity and NaN in the value that is not chosen are not hidden, because '
        "Caffe has no layer that chooses: it computes c a + (1 - c) b.",
    )


@pytest.mark.parametrize(("layers", "nodes", "constants"), [
    (["Threshold"], [("Greater", "x", "n")], {"n": np.float32(0.5)}),
    (["Power", "Threshold"], [("Less", "x", "n")], {"n": np.float32(0.5)}),
    (["Power", "Threshold", "Power"], [("GreaterOrEqual", "x", "n")], {"n": np.float32(0.5)}),
    (["Threshold", "Power"], [("LessOrEqual", "x", "n")], {"n": np.float32(0.5)}),
    (["Power", "AbsVal", "Threshold", "Power"], [("Equal", "x", "n")], {"n": np.float32(0.5)}),
])  # fmt: skip
def test_comparisons_with_a_number_are_few_layers(layers, nodes, constants):
    comparisons = [helper.make_node(op, list(inputs), ["t"]) for op, *inputs in nodes]
    one = model([*comparisons, ends(FLOAT)], {"x": (2, 3)}, constants=constants)
    assert [layer.type for layer in pg.from_onnx(one).layers][1:] == layers


def test_casts():
    nodes = [
        helper.make_node("Cast", ["x"], ["t"], to=BOOL),
        helper.make_node("Cast", ["t"], ["u"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["u"], ["v"], to=FLOAT),
        helper.make_node("Reshape", ["v", "s"], ["w"]),
        helper.make_node("Cast", ["w"], ["i"], to=INT64),
        helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    one = model(nodes, {"x": (2, 3)}, constants={"s": np.array([3, 2])})
    agrees(one, {"x": np.array([[0, -1, 2], [0.5, -0.0, 1e-30]], np.float32)})


@pytest.mark.parametrize(("source", "to", "reason"), [
    (FLOAT, INT64, "cuts off the fraction"),
    (INT64, TensorProto.INT8, "keeps the last bits"),
    (TensorProto.INT8, TensorProto.UINT8, "keeps the last bits"),
])  # fmt: skip
def test_casts_that_change_values_are_refused(source, to, reason):
    nodes = [helper.make_node("Cast", ["x"], ["t"], to=to), ends(FLOAT)]
    with pytest.raises(pg.UnsupportedError, match=reason):
        pg.from_onnx(model(nodes, {"x": (2, 3)}, kinds={"x": source}))


def test_integers_and_float64_are_computed_with_a_note():
    nodes = [helper.make_node("Add", ["x", "n"], ["t"]), ends(FLOAT)]
    one = model(nodes, {"x": (2, 3)}, constants={"n": np.int64(7)}, kinds={"x": INT64})
    imported = agrees(one, {"x": grid((2, 3), 0, INT64)})
    assert imported.approximated == ("integers are computed in float32, which is exact up to 2^24",)
    one = model(
        nodes, {"x": (2, 3)}, constants={"n": np.float64(7)}, kinds={"x": TensorProto.DOUBLE}
    )
    imported = agrees(one, {"x": grid((2, 3), 0).astype(np.float64)})
    assert imported.approximated == ("the model computes in float64; Caffe computes in float32",)


def test_integers_that_float32_cannot_hold_are_refused():
    nodes = [helper.make_node("Add", ["x", "n"], ["t"]), ends(FLOAT)]
    one = model(nodes, {"x": (2, 3)}, constants={"n": np.int64(2**24 + 1)}, kinds={"x": INT64})
    with pytest.raises(pg.UnsupportedError, match="cannot hold the integers"):
        pg.from_onnx(one)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("number", [True, False])
def test_a_constant_choice_along_one_axis_hides_nan(axis, number):
    """Rows of an attention that are masked everywhere are NaN, and then replaced."""
    shape = (3, 4, 5)
    flags = np.arange(shape[axis]) % 3 == 1
    mask = flags.reshape([-1 if i == axis else 1 for i in range(3)])
    infinite = np.where(mask, -np.inf, 0).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["x", "i"], ["t"]),
        helper.make_node("Softmax", ["t"], ["s"], axis=(axis + 1) % 3),
        helper.make_node("Where", ["m", "n" if number else "x", "s"], ["y"]),
    ]
    constants = {"m": mask, "i": infinite, "n": np.float32(0)}
    one = model(nodes, {"x": shape}, constants=constants)
    x = grid(shape, 0)
    expected = run_model(one.SerializeToString(), {"x": x})["y"]
    assert np.isfinite(expected).all()
    imported = import_model(one)
    assert not imported.approximated
    actual = pg.run(imported.net, {"x": x})["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)
