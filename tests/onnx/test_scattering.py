"""Updates at constant positions, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from operators import agrees, model, refusal, weights

REDUCTIONS = ("none", "add", "mul", "max", "min")


def scatter(data, type_, shape, indices, counts, reduction, **attributes):
    """Compare a scatter whose data and updates are constant or computed, but not both constant."""
    computed = data.draw(st.sampled_from([("x", "u"), ("x",), ("u",)]), "computed")
    arrays = {"x": weights(*shape), "u": weights(*counts, seed=1)}
    constants = {name: array for name, array in arrays.items() if name not in computed}
    feeds = {name: array for name, array in arrays.items() if name in computed}
    if reduction != "none":
        attributes["reduction"] = reduction
    node = helper.make_node(type_, ["x", "i", "u"], ["y"], **attributes)
    inputs = {name: array.shape for name, array in feeds.items()}
    one = model([node], inputs, constants=constants | {"i": indices})
    agrees(one, feeds=feeds, tolerance=0.0 if reduction in ("none", "max", "min") else 1e-6)


def box(data, shape):
    """Return the places of a part of a blob: some indices of each axis, or any places."""
    kind = data.draw(st.sampled_from(["runs", "indices", "any", "steps"]), "places")
    flat = np.arange(np.prod(shape)).reshape(shape)
    if kind == "any":
        count = data.draw(st.integers(1, flat.size))
        order = data.draw(st.permutations(range(flat.size)))
        return np.array(order[:count])
    lines = []
    for n in shape:
        first, last = sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))))
        if kind == "indices":
            lines.append(data.draw(st.permutations(range(n)))[: last + 1])
        else:
            lines.append(range(first, last + 1, 2 if kind == "steps" else 1))
    return flat[np.ix_(*lines)]


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@settings(max_examples=200)
@given(st.data())
def test_scatter_nd_of_single_values(data):
    """As PyTorch exports x[:, 1:3] = y: an index for each axis."""
    shape = data.draw(shapes, "shape")
    places = box(data, shape)
    indices = np.stack(np.unravel_index(places, shape), -1)
    if data.draw(st.booleans(), "negative"):
        indices = indices - np.array(shape)
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    scatter(data, "ScatterND", shape, indices, places.shape, reduction)


@settings(max_examples=200)
@given(st.data())
def test_scatter_nd_of_blocks(data):
    """Positions can repeat if the reduction is not none."""
    shape = data.draw(shapes, "shape")
    count = data.draw(st.integers(1, len(shape)), "tuple")
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    total = int(np.prod(shape[:count]))
    if reduction == "none":
        places = data.draw(st.permutations(range(total)))
    else:
        places = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=8))
    places = np.array(places[: data.draw(st.integers(1, total))])
    indices = np.stack(np.unravel_index(places, shape[:count]), -1)
    scatter(data, "ScatterND", shape, indices, (*places.shape, *shape[count:]), reduction)


@settings(max_examples=200)
@given(st.data())
def test_scatter_elements(data):
    shape = data.draw(shapes, "shape")
    axis = data.draw(st.integers(-len(shape), len(shape) - 1), "axis")
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    counts = [data.draw(st.integers(1, n)) for n in shape]
    length = shape[axis]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000), "seed"))
    if reduction == "none" or data.draw(st.booleans(), "without repeats"):
        order = rng.permuted(np.broadcast_to(
            np.arange(length).reshape(-1, *[1] * (len(shape) - 1 - axis % len(shape))),
            [*counts[: axis % len(shape)], length, *counts[axis % len(shape) + 1 :]],
        ), axis=axis % len(shape))  # fmt: skip
        indices = order.take(range(counts[axis]), axis=axis)
    else:
        indices = rng.integers(-length, length, counts)
    scatter(data, "ScatterElements", shape, indices, counts, reduction, axis=axis)


def written(key, shape=(2, 3, 6, 8)):
    """Return the model of x[key] = u as PyTorch exports it, with data of this shape."""
    places = np.arange(np.prod(shape)).reshape(shape)[key]
    indices = np.stack(np.unravel_index(places, shape), -1)
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"])
    return model([node], {"x": shape, "u": places.shape}, constants={"i": indices})


KEYS = {
    "x[:, 1:2]": ((slice(None), slice(1, 2)), 2),
    "x[:, 1]": ((slice(None), 1), 3),
    "x[..., 0]": ((..., 0), 3),
    "x[:, :, 2:4, 3:5]": ((slice(None), slice(None), slice(2, 4), slice(3, 5)), 4),
    "x[1:]": ((slice(1, None),), 2),
    "x[:]": ((slice(None),), 0),
    "x[:, ::2]": ((slice(None), slice(None, None, 2)), 3),
    "x[..., ::2]": ((..., slice(None, None, 2)), 3),
    "x[..., ::2, 1::2]": ((..., slice(None, None, 2), slice(1, None, 2)), 6),
    "x[0, 0, 0, 0]": ((slice(0, 1), slice(0, 1), slice(0, 1), slice(0, 1)), 8),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_parts_take_few_layers(name):
    key, layers = KEYS[name]
    agrees(written(key), layers=layers, live=True, tolerance=0.0)


def test_infinity_that_is_overwritten_leaves_no_trace():
    x = weights(2, 3, 6, 8)
    x[:, 1, 2] = np.inf
    x[:, 1, 3] = np.nan
    feeds = {"x": x, "u": weights(2, 1, 6, 8, seed=1)}
    agrees(written((slice(None), slice(1, 2))), feeds=feeds, tolerance=0.0)


@pytest.mark.parametrize("computed", [("x", "u"), ("x",), ("u",)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("many", [False, True])
def test_reductions_in_real_caffe(reduction, many, computed):
    rng = np.random.default_rng(0)
    indices = rng.permutation(200)[:120] if many else np.arange(20, 50)
    shape, counts = (2, 200, 3), (2, indices.size, 3)
    arrays = {"x": weights(*shape), "u": weights(*counts, seed=1)}
    constants = {name: array for name, array in arrays.items() if name not in computed}
    feeds = {name: array for name, array in arrays.items() if name in computed}
    attributes = {"reduction": reduction} if reduction != "none" else {}
    node = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=1, **attributes)
    wide = np.broadcast_to(indices[:, None], counts)
    one = model([node], {name: array.shape for name, array in feeds.items()},
                constants=constants | {"i": wide})  # fmt: skip
    agrees(one, feeds=feeds, live=True, layers=8)


def test_old_scatter():
    node = helper.make_node("Scatter", ["x", "i", "u"], ["y"], axis=1)
    one = model([node], {"x": (1, 5), "u": (1, 2)}, constants={"i": np.array([[1, 3]])}, opset=9)
    agrees(one, live=True, tolerance=0.0, layers=3)


def test_embedded_box_of_a_large_picture():
    """Two rows of two columns: the number of layers does not depend on the number of rows."""
    key = (slice(None), slice(None), slice(20, 80), slice(30, 70))
    agrees(written(key, (1, 1, 100, 100)), layers=4, tolerance=0.0)


REFUSED = {
    "twice": (
        np.array([[0], [0]]), {},
        'operator "y" (ScatterND): two updates have the same position, which ONNX leaves undefined.',
    ),
    "often": (
        np.array([[0]] * 9), {"reduction": "max"},
        'operator "y" (ScatterND): 9 updates have the same position, but the limit is 8.',
    ),
    "outside": (
        np.array([[4]]), {}, 'operator "y" (ScatterND): index 4 is outside an axis of length 4.',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    indices, attributes, text = REFUSED[name]
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], **attributes)
    inputs = {"x": (4, 2), "u": (len(indices), 2)}
    assert refusal(model([node], inputs, constants={"i": indices})) == text
