"""Selections by constant indices, and one-hot values, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from operators import agrees, model, refusal, weights

EXACT = 0.0  # values are moved, not computed


def drawn_shape(data, low=1, high=5, longest=4):
    return tuple(data.draw(st.lists(st.integers(1, longest), min_size=low, max_size=high), "shape"))


def drawn_indices(data, shape, length, label="indices"):
    """Return indices from -length to length - 1; often they are a run."""
    count = int(np.prod(shape))
    numbers = st.integers(-length, length - 1)
    values = data.draw(st.lists(numbers, min_size=count, max_size=count), label)
    if data.draw(st.booleans(), "ordered"):
        values = sorted(values)
    kind = data.draw(st.sampled_from([np.int32, np.int64]))
    return np.array(values, kind).reshape(shape)


@settings(max_examples=150)
@given(st.data())
def test_gather(data):
    shape = drawn_shape(data)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1), "axis")
    places = tuple(data.draw(st.lists(st.integers(1, 3), min_size=0, max_size=3), "of indices"))
    if len(shape) == 1 and not places:
        return  # the result has no axes, and Caffe's Input has at least one
    indices = drawn_indices(data, places, shape[axis])
    opset = data.draw(st.sampled_from([11, 13, 18, 23]))
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=axis)
    agrees(model([node], {"x": shape}, constants={"i": indices}, opset=opset), tolerance=EXACT)


INTEGERS = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}


@settings(max_examples=60)
@given(st.data())
def test_computed_indices_of_a_computed_value(data):
    """A BatchReindex, whose indices are an input here."""
    shape = drawn_shape(data, high=4)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1), "axis")
    type_ = data.draw(st.sampled_from(["Gather", "GatherElements"]))
    if type_ == "Gather":
        places = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3), "of indices")
    else:
        lengths = [data.draw(st.integers(1, length)) for length in shape]
        places = [*lengths[: axis % len(shape)], data.draw(st.integers(1, 5), "picked"),
                  *lengths[axis % len(shape) + 1 :]]  # fmt: skip
    kind = data.draw(st.sampled_from([*INTEGERS]))
    node = helper.make_node(type_, ["x", "i"], ["y"], axis=axis)
    one = model([node], {"x": shape, "i": places}, kinds={"i": kind})
    values = drawn_indices(data, places, shape[axis]).astype(INTEGERS[kind])
    agrees(one, feeds={"x": weights(*shape), "i": values}, tolerance=EXACT)


@settings(max_examples=60)
@given(st.data())
def test_computed_tuples_of_a_computed_value(data):
    shape = drawn_shape(data, high=4)
    batch = data.draw(st.integers(0, len(shape) - 1), "batch")
    count = data.draw(st.integers(1, len(shape) - batch), "of a tuple")
    outer = [*shape[:batch], *data.draw(st.lists(st.integers(1, 3), max_size=2), "of tuples")]
    parts = [drawn_indices(data, outer, length) for length in shape[batch : batch + count]]
    indices = np.stack(parts, axis=-1).astype(np.int64)
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    kinds = {"i": TensorProto.INT64}
    one = model([node], {"x": shape, "i": indices.shape}, kinds=kinds)
    if len(outer) + len(shape) - batch - count == 0:
        return  # the result has no axes
    agrees(one, feeds={"x": weights(*shape), "i": indices}, tolerance=EXACT)


@pytest.mark.parametrize(("type_", "places", "layers"), [
    ("Gather", (2, 2), 13), ("GatherElements", (2, 3, 2), 8), ("GatherND", (2, 1), 8),
])  # fmt: skip
def test_computed_indices_in_real_caffe(type_, places, layers):
    attributes = {"batch_dims": 1} if type_ == "GatherND" else {"axis": -1}
    length = 3 if type_ == "GatherND" else 5
    node = helper.make_node(type_, ["x", "i"], ["y"], **attributes)
    one = model([node], {"x": (2, 3, 5), "i": places}, kinds={"i": TensorProto.INT64})
    indices = np.random.default_rng(0).integers(-length, length, places)
    feeds = {"x": weights(2, 3, 5), "i": indices}
    agrees(one, feeds=feeds, tolerance=EXACT, layers=layers, live=True)


def test_the_place_of_a_maximum_selects():
    """As encoders of texts read the state at the last token: such indices are never negative."""
    nodes = [
        helper.make_node("ArgMax", ["i"], ["place"], axis=1, keepdims=0, select_last_index=1),
        helper.make_node("Gather", ["x", "place"], ["y"], axis=0),
    ]
    one = model(nodes, {"x": (9, 4), "i": (3, 9)})
    feeds = {"x": weights(9, 4), "i": weights(3, 9)}
    agrees(one, feeds=feeds, tolerance=EXACT, layers=3, live=True)


@pytest.mark.parametrize("read", ["places", "values"])
def test_the_largest_of_one_value_select_from_another(read):
    """As detectors read the boxes of the best scores. The values of a TopK are not places."""
    nodes = [
        helper.make_node("TopK", ["s", "k"], ["values", "places"], axis=1),
        helper.make_node("GatherElements", ["x", read], ["y"], axis=1),
    ]
    kinds = {"s": TensorProto.INT64}
    one = model(nodes, {"s": (2, 6), "x": (2, 6)}, constants={"k": np.array([3])}, kinds=kinds)
    scores = np.array([[-3, 2, 0, -1, 1, -2], [-1, -2, -3, -4, -5, -6]])
    net = agrees(one, feeds={"s": scores, "x": weights(2, 6)}, tolerance=EXACT, live=True)
    assert ("Threshold" in [layer.type for layer in net.layers]) == (read == "values")


def test_computed_indices_of_many_values():
    node = helper.make_node("GatherElements", ["x", "i"], ["y"])
    one = model([node], {"x": (5000, 5000), "i": (1, 5000)}, kinds={"i": TensorProto.INT64})
    assert refusal(one) == (
        'operator "y" (GatherElements): computed indices select from 25000000 places, but float32 numbers '
        "at most 16777216."
    )


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize(("name", "layers"), [
    ("run", 1), ("step", 4), ("one", 2), ("each", 3), ("whole", 1), ("swap", 2), ("reverse", 6),
])  # fmt: skip
def test_gather_takes_few_layers(name, layers, axis):
    indices = {
        "run": range(10, 60), "step": range(3, 100, 7), "one": [5] * 9,
        "each": np.repeat(np.arange(100), 3), "whole": list(range(100)) * 3,
        "swap": [*range(50, 100), *range(50)], "reverse": range(99, -1, -1),
    }[name]  # fmt: skip
    shape = [2, 3, 4, 5]
    shape[axis] = 100
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=axis)
    one = model([node], {"x": shape}, constants={"i": np.array(indices)})
    agrees(one, tolerance=EXACT, layers=layers, live=True)


def test_gather_of_many_shuffled_rows():
    """A matrix product for each block of 50 channels; without the blocks it were 250000 factors."""
    rng = np.random.default_rng(0)
    indices = np.concatenate([50 * i + rng.permutation(50) for i in range(10)])
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    net = agrees(model([node], {"x": (2, 500, 3, 3)}, constants={"i": indices}), tolerance=EXACT,
                 layers=1, live=True)  # fmt: skip
    assert net.weights["y"][0].shape == (500, 50, 1, 1)


@settings(max_examples=150)
@given(st.data())
def test_gather_elements(data):
    shape = drawn_shape(data)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1), "axis")
    places = [data.draw(st.integers(1, n)) for n in shape]
    places[axis] = data.draw(st.integers(1, 5))
    indices = drawn_indices(data, places, shape[axis])
    if data.draw(st.booleans(), "the same along the other axes"):
        first = indices.take([0], axis=axis)
        line = np.moveaxis(indices, axis, 0).reshape(places[axis], -1)[:, 0]
        indices = np.zeros_like(first) + line.reshape(
            -1, *[1] * (len(shape) - 1 - axis % len(shape))
        )
    node = helper.make_node("GatherElements", ["x", "i"], ["y"], axis=axis)
    agrees(model([node], {"x": shape}, constants={"i": indices}), tolerance=EXACT)


@settings(max_examples=150)
@given(st.data())
def test_gather_nd(data):
    shape = drawn_shape(data)
    batch = data.draw(st.integers(0, min(2, len(shape) - 1)), "batch_dims")
    count = data.draw(st.integers(1, len(shape) - batch), "tuple")
    outer = [*shape[:batch], *data.draw(st.lists(st.integers(1, 3), min_size=0, max_size=2))]
    if not outer and count == len(shape):
        return  # the result has no axes
    parts = [drawn_indices(data, outer, n, f"index {i}")
             for i, n in enumerate(shape[batch : batch + count])]  # fmt: skip
    indices = np.stack(parts, -1).astype(np.int64)
    opset = data.draw(st.sampled_from([12, 13, 21]))
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    agrees(model([node], {"x": shape}, constants={"i": indices}, opset=opset), tolerance=EXACT)


@settings(max_examples=80)
@given(st.data())
def test_compress(data):
    shape = drawn_shape(data)
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1), "axis")
    length = int(np.prod(shape)) if axis is None else shape[axis]
    condition = data.draw(st.lists(st.booleans(), min_size=1, max_size=length))
    if not any(condition):
        condition[0] = True
    node = helper.make_node(
        "Compress", ["x", "c"], ["y"], **({} if axis is None else {"axis": axis})
    )
    constants = {"c": np.array(condition)}
    agrees(model([node], {"x": shape}, constants=constants), tolerance=EXACT)


def test_shape_after_compress_is_known():
    nodes = [
        helper.make_node("Compress", ["x", "c"], ["a"], axis=1),
        helper.make_node("Flatten", ["a"], ["y"]),
    ]
    agrees(model(nodes, {"x": (2, 4, 3)}, constants={"c": np.array([1, 0, 0, 1], bool)}), layers=3)


@settings(max_examples=80)
@given(st.data())
def test_reverse_sequence(data):
    shape = drawn_shape(data, low=2)
    time = data.draw(st.integers(0, 1))
    lengths = [data.draw(st.integers(1, shape[time])) for _ in range(shape[1 - time])]
    node = helper.make_node(
        "ReverseSequence", ["x", "n"], ["y"], time_axis=time, batch_axis=1 - time
    )
    agrees(model([node], {"x": shape}, constants={"n": np.array(lengths)}), tolerance=EXACT)


@settings(max_examples=80)
@given(st.data())
def test_trilu(data):
    shape = drawn_shape(data, low=2)
    upper = data.draw(st.integers(0, 1))
    constants = {"k": np.array(data.draw(st.integers(-5, 5)))}
    constants = data.draw(st.sampled_from([constants, {}]))
    node = helper.make_node("Trilu", ["x", *constants], ["y"], upper=upper)
    agrees(model([node], {"x": shape}, constants=constants), tolerance=EXACT, layers=1)


@settings(max_examples=80)
@given(st.data())
def test_one_hot(data):
    """Indices of any size: negative ones count from the end, and those outside have no place."""
    shape = drawn_shape(data, high=4)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)), "axis")
    depth = data.draw(st.integers(1, 6), "depth")
    values = data.draw(st.sampled_from([[0.0, 1.0], [1.0, 0.0], [-2.5, 3.0], [0.5, 0.5]]))
    constants = {"d": np.array(depth), "v": np.array(values, np.float32)}
    constants["d"] = constants["d"].reshape(data.draw(st.sampled_from([(), (1,)])))
    node = helper.make_node("OneHot", ["x", "d", "v"], ["y"], axis=axis)
    one = model([node], {"x": shape}, constants=constants, kinds={"x": TensorProto.INT64})
    x = np.random.default_rng(0).integers(-8, 9, shape)
    agrees(one, feeds={"x": x}, tolerance=1e-6, layers=9)


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_one_hot_of_places_of_maxima(axis):
    """These are within the axis, so the last axis is an Embed."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["m"], axis=2, keepdims=0),
        helper.make_node("OneHot", ["m", "d", "v"], ["y"], axis=axis),
    ]
    constants = {"d": np.array(7), "v": np.array([0, 1], np.float32)}
    one = model(nodes, {"x": (2, 3, 7)}, constants=constants)
    net = agrees(one, tolerance=EXACT, live=True)
    assert ("Embed" in [layer.type for layer in net.layers]) == (axis in (-1, 2))


def test_eye_like_is_a_constant():
    nodes = [helper.make_node("EyeLike", ["x"], ["e"], k=1, dtype=1),
             helper.make_node("MatMul", ["x", "e"], ["y"])]  # fmt: skip
    agrees(model(nodes, {"x": (4, 4)}), live=True)


@settings(max_examples=40)
@given(st.data())
def test_embeddings(data):
    """Computed indices into a constant table of any rank, along any axis."""
    table = drawn_shape(data, high=4)
    axis = data.draw(st.integers(-len(table), len(table) - 1), "axis")
    indices = drawn_shape(data, high=3)
    node = helper.make_node("Gather", ["t", "x"], ["y"], axis=axis)
    one = model([node], {"x": indices}, constants={"t": weights(*table)},
                kinds={"x": TensorProto.INT64})  # fmt: skip
    x = np.random.default_rng(0).integers(0, table[axis], indices)
    agrees(one, feeds={"x": x}, tolerance=EXACT)


LIVE = {
    "GatherElements": (
        helper.make_node("GatherElements", ["x", "i"], ["y"], axis=1),
        {"i": np.random.default_rng(0).integers(0, 3, (2, 3, 4, 5))}, 3,
    ),
    "GatherElements of long rows": (
        helper.make_node("GatherElements", ["x", "i"], ["y"], axis=3),
        {"i": np.random.default_rng(0).integers(-5, 5, (2, 3, 4, 90))}, 3,
    ),
    "GatherND": (
        helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=1),
        {"i": np.array([[[0, 1], [2, 3]], [[1, 1], [0, 0]]])}, 4,
    ),
    "Compress": (
        helper.make_node("Compress", ["x", "c"], ["y"], axis=2), {"c": np.array([1, 0, 1, 1], bool)}, 2,
    ),
    "ReverseSequence": (
        helper.make_node("ReverseSequence", ["x", "n"], ["y"], batch_axis=0, time_axis=1),
        {"n": np.array([2, 3])}, 4,
    ),
    "Trilu": (helper.make_node("Trilu", ["x"], ["y"]), {}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVE)
def test_in_real_caffe(name):
    node, constants, layers = LIVE[name]
    agrees(model([node], {"x": (2, 3, 4, 5)}, constants=constants), tolerance=EXACT, layers=layers,
           live=True)  # fmt: skip


def test_one_hot_in_real_caffe():
    nodes = [helper.make_node("OneHot", ["x", "d", "v"], ["y"], axis=1)]
    constants = {"d": np.array(4), "v": np.array([0, 1], np.float32)}
    one = model(nodes, {"x": (2, 5)}, constants=constants, kinds={"x": TensorProto.INT64})
    agrees(one, feeds={"x": np.arange(-5, 5).reshape(2, 5)}, tolerance=EXACT, live=True)


REFUSED = {
    "an index outside": (
        helper.make_node("Gather", ["x", "i"], ["y"], axis=1), {"i": np.array([3])},
        'operator "y" (Gather): index 3 is outside an axis of length 3.',
    ),
    "a negative index outside": (
        helper.make_node("GatherND", ["x", "i"], ["y"]), {"i": np.array([[0, -4]])},
        'operator "y" (GatherND): index -4 is outside an axis of length 3.',
    ),
    "computed indices": (
        helper.make_node("GatherElements", ["x", "x"], ["y"]), {},
        'operator "y" (GatherElements): indices "x" must be integers, but they are floating point.',
    ),
    "an empty selection": (
        helper.make_node("Compress", ["x", "c"], ["y"], axis=1), {"c": np.array([False])},
        'operator "y" (Gather): "y" is empty, but Caffe blobs cannot be empty.',
    ),
    "fractions as indices": (
        helper.make_node("OneHot", ["x", "d", "v"], ["y"]),
        {"d": np.array(3), "v": np.array([0, 1], np.float32)},
        'operator "y" (OneHot): the indices have fractions, which ONNX cuts off, and Caffe has no layer '
        "for that.",
    ),
    "a matrix that is too large": (
        helper.make_node("Gather", ["x", "i"], ["y"], axis=2),
        {"i": np.random.default_rng(0).permutation(6000)},
        'operator "y" (Gather): takes 6000 separate parts of 6000 positions, but the limit is 2048.',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    node, constants, text = REFUSED[name]
    assert refusal(model([node], {"x": (2, 3, 6000)}, constants=constants)) == text


def test_matrix_spreads_infinity():
    """The product with a matrix of 0 and 1 is exact for finite values only, which is reported."""
    nodes = [
        helper.make_node("Log", ["x"], ["l"]),
        helper.make_node("Gather", ["l", "i"], ["y"], axis=1),
    ]
    constants = {"i": np.random.default_rng(0).permutation(80)}
    one = model(nodes, {"x": (2, 80)}, constants=constants)
    agrees(one, feeds={"x": np.abs(weights(2, 80)) + 1}, note="infinity and NaN in one value also")
