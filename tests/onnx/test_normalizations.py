"""Normalisations whose scale, bias, mean or variance are computed, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from operators import agrees, model, weights

channel_shapes = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)


def normalization(type_, arrays, constant, opset=18, **attributes) -> tuple[onnx.ModelProto, dict]:
    """Return a model of one operator, and its feeds; the inputs in ``constant`` are constants."""
    node = helper.make_node(type_, list(arrays), ["y"], **attributes)
    inputs = {name: one.shape for name, one in arrays.items() if name not in constant}
    constants = {name: one for name, one in arrays.items() if name in constant}
    one = model([node], inputs, constants=constants, opset=opset)
    return one, {name: arrays[name] for name in inputs}


def some(data, *names: str) -> set[str]:
    return {name for name in names if data.draw(st.booleans(), f"constant {name}")}


@settings(max_examples=100)
@given(st.data())
def test_batch_normalization(data):
    shape = data.draw(channel_shapes)
    n = shape[1]
    arrays = {"x": weights(*shape), "s": weights(n, seed=1), "b": weights(n, seed=2),
              "m": weights(n, seed=3), "v": np.abs(weights(n, seed=4)) + 0.1}  # fmt: skip
    attributes = {"epsilon": data.draw(st.sampled_from([1e-5, 1e-3]))}
    opset = data.draw(st.sampled_from([7, 9, 14, 15, 22]))
    one, feeds = normalization(
        "BatchNormalization", arrays, some(data, "s", "b", "m", "v"), opset, **attributes
    )
    agrees(one, feeds=feeds, layers=6)


@settings(max_examples=60)
@given(st.data())
def test_instance_normalization(data):
    shape = (*data.draw(channel_shapes), 5)
    n = shape[1]
    arrays = {"x": weights(*shape), "s": weights(n, seed=1), "b": weights(n, seed=2)}
    one, feeds = normalization("InstanceNormalization", arrays, some(data, "s", "b"))
    agrees(one, feeds=feeds, layers=5)


@settings(max_examples=60)
@given(st.data())
def test_group_normalization(data):
    groups = data.draw(st.integers(1, 3))
    shape = (data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 3)),
             *data.draw(channel_shapes)[:2])  # fmt: skip
    arrays = {"x": weights(*shape), "s": weights(shape[1], seed=1), "b": weights(shape[1], seed=2)}
    one, feeds = normalization(
        "GroupNormalization", arrays, some(data, "s", "b"), 21, num_groups=groups, epsilon=1e-2
    )
    agrees(one, feeds=feeds, layers=5)


@settings(max_examples=100)
@given(st.data())
def test_layer_normalization(data):
    shape = data.draw(channel_shapes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    whole = shape[axis % len(shape) :]
    own = tuple(data.draw(st.sampled_from([1, n])) for n in whole)
    own = data.draw(st.sampled_from([whole, own]))
    arrays = {"x": weights(*shape), "s": weights(*own, seed=1)}
    type_ = data.draw(st.sampled_from(["LayerNormalization", "RMSNormalization"]))
    if type_ == "LayerNormalization" and data.draw(st.booleans(), "bias"):
        arrays["b"] = weights(*own, seed=2)
    opset = 17 if type_ == "LayerNormalization" else 23
    one, feeds = normalization(type_, arrays, some(data, "s", "b"), opset, axis=axis, epsilon=1e-2)
    agrees(one, feeds=feeds, tolerance=3e-5)


CHANNELS = {"s": weights(4, seed=1), "b": weights(4, seed=2)}
STATISTICS = {"m": weights(4, seed=3), "v": np.abs(weights(4, seed=4)) + 0.1}
X = {"x": weights(2, 4, 3, 5)}
NODES = {
    "BatchNormalization": (X | CHANNELS | STATISTICS, {}, set(), 6),
    "BatchNormalization, mean": (X | CHANNELS | STATISTICS, {}, {"s", "b", "v"}, 4),
    "BatchNormalization, scale": (X | CHANNELS | STATISTICS, {}, {"m", "v"}, 3),
    "InstanceNormalization": (X | CHANNELS, {}, set(), 5),
    "GroupNormalization": (X | CHANNELS, {"num_groups": 2}, set(), 5),
    "LayerNormalization": (X | {"s": weights(5), "b": weights(5, seed=2)}, {}, set(), 5),
    "LayerNormalization, bias": (X | {"s": weights(5), "b": weights(5, seed=2)}, {}, {"s"}, 5),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_in_real_caffe(name):
    arrays, attributes, constant, layers = NODES[name]
    one, feeds = normalization(name.split(",", maxsplit=1)[0], arrays, constant, 21, **attributes)
    agrees(one, feeds=feeds, layers=layers, live=True)
