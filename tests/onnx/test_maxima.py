"""MaxPool with the indices of the maxima, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.shape_inference import infer_shapes
from operators import agrees, model, refusal, weights

from protogen.errors import UnsupportedError
from protogen.onnx.session import run_model

INDICES = {"i": TensorProto.INT64}
flags = st.integers(0, 1)


def ties(*shape: int) -> np.ndarray:
    """Return values of which many are equal."""
    return np.round(weights(*shape))


@settings(max_examples=150)
@given(st.data())
def test_indices_of_maxima(data):
    axes = data.draw(st.integers(1, 2), "axes")
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    size = [data.draw(st.integers(k, 8)) for k in kernel]
    automatic = data.draw(st.none() | st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    # onnxruntime refuses automatic pads where a stride is larger than the kernel.
    attributes = {
        "kernel_shape": kernel,
        "strides": [data.draw(st.integers(1, k if automatic else 4)) for k in kernel],
        "storage_order": data.draw(flags),
    }
    if automatic:
        attributes["auto_pad"] = automatic
    else:
        attributes["pads"] = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    opset = data.draw(st.sampled_from([8, 11, 12, 22]))
    if opset >= 10 and not automatic:
        attributes["ceil_mode"] = data.draw(flags)
    outputs = data.draw(st.sampled_from([("y", "i"), ("i",)]))
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), *size)
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], **attributes)
    one = model([node], {"x": shape}, outputs, opset=opset, kinds=INDICES)
    x = ties(*shape)
    expected = run_model(one.SerializeToString(), {"x": x})["i"].shape
    inferred = infer_shapes(one).graph.output[-1].type.tensor_type.shape
    # onnxruntime has windows that begin in the pad at the end; ONNX's shape rule does not count them.
    assume(expected == tuple(d.dim_value for d in inferred.dim))
    try:
        agrees(one, feeds={"x": x})
    except UnsupportedError as error:  # one axis would need CEIL, and another one FLOOR
        assert "cannot produce the windows" in str(error)  # noqa: PT017


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize(
    ("size", "attributes"),
    [
        ((6, 5), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((7, 5), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
        ((9,), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ],
)
def test_in_real_caffe(size, attributes, storage_order):
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], **attributes, storage_order=storage_order)
    one = model([node], {"x": (2, 3, *size)}, ("y", "i"), kinds=INDICES)
    agrees(one, feeds={"x": ties(2, 3, *size)}, live=True)


def test_indices_are_compared():
    """An operator reads the indices: where the maximum is the first pixel of its plane."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "y"], ["z"]),
    ]
    agrees(model(nodes, {"x": (2, 3, 4, 6)}, ("z",)), live=True)


REFUSED = {
    "along three axes": (
        (1, 1, 4, 4, 4), {"kernel_shape": [2, 2, 2]},
        "Caffe's Pooling has the indices of the maxima (the second output) only for windows along one or "
        "two axes and without dilation",
    ),
    "with dilation": (
        (1, 1, 6, 6), {"kernel_shape": [2, 2], "dilations": [2, 2]},
        "Caffe's Pooling has the indices of the maxima (the second output) only for windows along one or "
        "two axes and without dilation",
    ),
    "above 2^24": (
        (1, 65, 512, 512), {"kernel_shape": [2, 2]},
        "the indices of the maxima (the second output) go up to 17039359, but float32 holds every whole "
        "number only up to 16777216",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    shape, attributes, problem = REFUSED[name]
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], **attributes)
    one = model([node], {"x": shape}, ("y", "i"), kinds=INDICES)
    assert refusal(one) == f'operator "y" (MaxPool): {problem}.'
