"""Convolutions with computed kernels and biases, and Col2Im, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator
from operators import TOLERANCE, agrees, close, model, refusal, weights

import protogen as pg
from protogen.onnx.session import run_model

flags = st.integers(0, 1)


def conv_model(type_, x, w, b, constant, opset=18, **attributes) -> onnx.ModelProto:
    """Return a model of one convolution; the inputs in ``constant`` are constants."""
    arrays = {"x": x, "w": w} | ({} if b is None else {"b": b})
    node = helper.make_node(type_, list(arrays), ["y"], **attributes)
    inputs = {name: one.shape for name, one in arrays.items() if name not in constant}
    constants = {name: one for name, one in arrays.items() if name in constant}
    return model([node], inputs, constants=constants, opset=opset)


@settings(max_examples=150)
@given(st.data())
def test_convolutions(data):
    """Weight and bias are constants or computed; any rank, pads, groups."""
    axes = data.draw(st.integers(1, 3), "axes")
    group = data.draw(st.integers(1, 3), "group")
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    attributes = {
        "group": group,
        "strides": [data.draw(st.integers(1, 3)) for _ in range(axes)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(axes)],
    }
    automatic = data.draw(st.none() | st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    if automatic:
        attributes["auto_pad"] = automatic
        # onnxruntime refuses automatic pads with dilation.
        attributes["dilations"] = [1] * axes
        # Automatic pads would be negative for a stride larger than the kernel.
        attributes["strides"] = [
            min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)
        ]
    else:
        attributes["pads"] = [data.draw(st.integers(0, 3)) for _ in range(2 * axes)]
    size = [data.draw(st.integers(5, 7)) for _ in range(axes)]
    x = weights(data.draw(st.integers(1, 2)), group * data.draw(st.integers(1, 2)), *size)
    w = weights(group * data.draw(st.integers(1, 2)), x.shape[1] // group, *kernel, seed=1)
    b = weights(w.shape[0], seed=2) if data.draw(st.booleans(), "bias") else None
    constant = data.draw(st.sampled_from([set(), {"b"}, {"w"}, {"x"}]), "constant")
    agrees(conv_model("Conv", x, w, b, constant, data.draw(st.sampled_from([7, 11, 22])),
                      **attributes))  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_transposed_convolutions(data):
    axes = data.draw(st.integers(1, 3), "axes")
    group = data.draw(st.integers(1, 3), "group")
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(axes)]
    attributes = {"group": group, "strides": strides, "dilations": dilations}
    if data.draw(st.booleans(), "automatic pads"):
        attributes["auto_pad"] = data.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    else:
        attributes["pads"] = [data.draw(st.integers(0, 2)) for _ in range(2 * axes)]
        # onnxruntime demands that the output padding is smaller than the stride.
        attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in strides]
    size = [data.draw(st.integers(3, 5)) for _ in range(axes)]
    x = weights(data.draw(st.integers(1, 2)), group * data.draw(st.integers(1, 2)), *size)
    w = weights(x.shape[1], data.draw(st.integers(1, 2)), *kernel, seed=1)
    b = weights(w.shape[1] * group, seed=2) if data.draw(st.booleans(), "bias") else None
    constant = data.draw(st.sampled_from([set(), {"b"}, {"w"}]), "constant")
    one = conv_model("ConvTranspose", x, w, b, constant, **attributes)
    inferred = onnx.shape_inference.infer_shapes(one).graph.output[0].type.tensor_type.shape
    assume(min(d.dim_value for d in inferred.dim) > 0)
    names = {"x": x, "w": w, "b": b}
    feeds = {value.name: names[value.name] for value in one.graph.input}
    expected = run_model(one.SerializeToString(), feeds)["y"].shape
    assume(expected == tuple(d.dim_value for d in inferred.dim))
    agrees(one)


CASES = {
    "Conv": ("Conv", (2, 4, 7, 6), (6, 2, 3, 2), {"group": 2, "strides": [2, 1]}, 14),
    "uneven pads": ("Conv", (1, 3, 7, 6), (4, 3, 3, 3), {"pads": [0, 1, 2, 0]}, 14),
    "each channel": ("Conv", (1, 4, 7, 7), (4, 1, 3, 3), {"group": 4, "pads": [1] * 4}, 10),
    "1x1": ("Conv", (1, 4, 7, 7), (5, 4, 1, 1), {}, 9),
    "rows": ("Conv", (2, 4, 9), (6, 4, 3), {"dilations": [2]}, 12),
    "volume": ("Conv", (1, 2, 4, 5, 4), (3, 2, 2, 3, 2), {"pads": [1] * 6}, 12),
    "ConvTranspose": ("ConvTranspose", (2, 4, 4, 3), (4, 2, 3, 3),
                      {"group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1]}, 14),
}  # fmt: skip


@pytest.mark.parametrize("constant", [set(), {"b"}, {"w"}], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_in_real_caffe(name, constant):
    type_, x, w, attributes, layers = CASES[name]
    outputs = w[0] if type_ == "Conv" else w[1] * attributes.get("group", 1)
    arrays = weights(*x), weights(*w, seed=1), weights(outputs, seed=2)
    one = conv_model(type_, *arrays, constant, **attributes)
    agrees(one, layers=layers, live=True)


# Col2Im


@settings(max_examples=150)
@given(st.data())
def test_columns_to_images(data):
    axes = data.draw(st.integers(1, 3), "axes")
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(axes)]
    pads = [data.draw(st.integers(0, 2)) for _ in range(2 * axes)]
    image = [data.draw(st.integers(5, 8)) for _ in range(axes)]
    windows = [
        (n + pads[i] + pads[axes + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i, n in enumerate(image)
    ]
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)) * int(np.prod(kernel)),
             int(np.prod(windows)))  # fmt: skip
    node = helper.make_node("Col2Im", ["x", "i", "k"], ["y"], strides=strides, dilations=dilations,
                            pads=pads)  # fmt: skip
    one = model([node], {"x": shape}, constants={"i": np.array(image), "k": np.array(kernel)})
    # onnxruntime places windows along one or three axes wrongly; so ONNX's own implementation.
    x = weights(*shape)
    (expected,) = ReferenceEvaluator(one).run(None, {"x": x})
    close(pg.run(pg.from_onnx(one), {"x": x})["y"], expected, TOLERANCE)


@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 2], "pads": [1, 0, 1, 0]}])
def test_columns_to_images_in_real_caffe(attributes):
    node = helper.make_node("Col2Im", ["x", "i", "k"], ["y"], **attributes)
    constants = {"i": np.array([6, 7]), "k": np.array([2, 3])}
    columns = 5 * 5 if not attributes else 4 * 3
    agrees(model([node], {"x": (2, 12, columns)}, constants=constants), layers=2, live=True)


REFUSED = {
    "large kernels": (
        ("Conv", ["x", "w"]), {"x": (1, 64, 60, 60), "w": (64, 64, 3, 3)}, {},
        'operator "y" (Conv): the product of two computed matrices takes 124010496 multiplications, but '
        "the limit is 67108864.",
    ),
    "large blocks": (
        ("Col2Im", ["x", "i", "k"]), {"x": (1, 3 * 64 * 64, 4)},
        {"i": np.array([128, 128]), "k": np.array([64, 64])},
        'operator "y" (Col2Im): takes 50331648 weights, but the limit is 4194304.',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    (type_, inputs), shapes, constants, text = REFUSED[name]
    attributes = {"strides": [64, 64]} if type_ == "Col2Im" else {}
    node = helper.make_node(type_, inputs, ["y"], **attributes)
    assert refusal(model([node], shapes, constants=constants)) == text
