"""Quantised models: refused by default, converted in float32 with ``drop_quantisation``, with the scales."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.errors import ProtogenWarning
from protogen.onnx.importer import import_model
from protogen.onnx.session import run_model

node = helper.make_node
SHAPE = (2, 3, 8, 8)
STEP = np.float32(0.05)  # the scale of all computed values


def quantized(array, scale, axis=None):
    """Return int8 values: round(array / scale), with a scale per index of the axis if it is set."""
    if axis is not None:
        scale = scale.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    return np.clip(np.round(array / scale), -128, 127).astype(np.int8), scale


def net_weights(per_axis):
    rng = np.random.default_rng(0)
    conv, dense = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal((4 * 9, 5))
    scales = (np.linspace(0.01, 0.03, 4), np.linspace(0.02, 0.04, 5)) if per_axis else (0.02, 0.03)
    result = {}
    for name, array, scale, axis in (("w", conv, scales[0], 0), ("d", dense, scales[1], 1)):
        scale = np.asarray(scale, np.float32)
        integers, wide = quantized(array, scale, axis if per_axis else None)
        result[name] = integers
        result[f"{name}_scale"] = scale
        result[f"{name}_zero"] = np.zeros(scale.shape, np.int8)
        result[f"{name}_real"] = (integers * wide).astype(np.float32)
    return result


def pair(name, out):
    """Return QuantizeLinear and DequantizeLinear of a value."""
    return [
        node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]),
        node("DequantizeLinear", [f"{name}_q", "s", "z"], [out]),
    ]


def model(nodes, constants, outputs=("y",), kinds=None, kind=TensorProto.FLOAT):
    kinds = kinds or {}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, SHAPE)],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def in_pairs(per_axis):
    """Return a net in the QDQ form."""
    weights = net_weights(per_axis)
    constants = {k: v for k, v in weights.items() if not k.endswith("real")}
    constants |= {"s": STEP, "z": np.int8(3), "flat": np.array([2, -1])}
    nodes = [
        *pair("x", "x_real"),
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=0),
        node("Conv", ["x_real", "w_real"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["r_q"]),
        node("MaxPool", ["r_q"], ["p_q"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p_q", "flat"], ["f_q"]),
        node("DequantizeLinear", ["f_q", "s", "z"], ["f"]),
        node("DequantizeLinear", ["d", "d_scale", "d_zero"], ["d_real"], axis=1),
        node("MatMul", ["f", "d_real"], ["m"]),
        *pair("m", "y"),
    ]
    return model(nodes, constants), weights


def in_operators(per_axis):
    """Return the same net in the form of QLinear operators."""
    weights = net_weights(per_axis)
    constants = {k: v for k, v in weights.items() if not k.endswith("real")}
    constants |= {"s": STEP, "z": np.int8(3), "flat": np.array([2, -1])}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        node("QLinearConv", ["x_q", "s", "z", "w", "w_scale", "w_zero", "s", "z"], ["c_q"]),
        node("QLinearLeakyRelu", ["c_q", "s", "z", "s", "z"], ["r_q"], domain="com.microsoft", alpha=0.0),
        node("MaxPool", ["r_q"], ["p_q"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p_q", "flat"], ["f_q"]),
        node("QLinearMatMul", ["f_q", "s", "z", "d", "d_scale", "d_zero", "s", "z"], ["m_q"]),
        node("DequantizeLinear", ["m_q", "s", "z"], ["y"]),
    ]  # fmt: skip
    return model(nodes, constants), weights


def without(weights):
    """Return the net without quantisation, with the rounded weights."""
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p", "flat"], ["f"]),
        node("MatMul", ["f", "d"], ["y"]),
    ]
    constants = {"w": weights["w_real"], "d": weights["d_real"], "flat": np.array([2, -1])}
    return model(nodes, constants)


def values():
    # Within the range of int8 with this scale, and small enough for the sums to be so too.
    return (np.random.default_rng(1).standard_normal(SHAPE) * 0.3).astype(np.float32)


FORMS = {"pairs": in_pairs, "operators": in_operators}


@pytest.mark.parametrize("per_axis", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_net_computes_without_roundings(form, per_axis):
    one, weights = FORMS[form](per_axis)
    imported = import_model(one, drop_quantisation=True)
    assert {"Convolution", "ReLU", "Pooling", "InnerProduct"} >= {
        layer.type for layer in imported.net.layers
    } - {"Input", "Reshape", "Flatten", "Split"}
    x = values()
    actual = pg.run(imported.net, {"x": x})["y"]
    expected = run_model(without(weights).SerializeToString(), {"x": x})["y"]
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_the_scales_are_those_of_the_model():
    one, weights = in_pairs(per_axis=True)
    scales = import_model(one, drop_quantisation=True).scales()
    step = {"scale": float(STEP), "zero_point": 3, "type": "INT8", "axis": None}
    assert scales["activations"] == {"x": step, "r": step, "y": step}
    assert scales["weights"]["w"]["scale"] == [float(one) for one in weights["w_scale"]]
    assert scales["weights"]["w"]["axis"] == 0
    assert scales["weights"]["d"]["axis"] == 1


def test_an_input_of_integers_stays_one():
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["t"]), node("Relu", ["t"], ["y"])]
    one = model(nodes, {"s": STEP, "z": np.uint8(100)}, kind=TensorProto.UINT8)
    x = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    net = pg.from_onnx(one, drop_quantisation=True)
    expected = run_model(one.SerializeToString(), {"x": x})["y"]
    np.testing.assert_allclose(pg.run(net, {"x": x.astype(np.float32)})["y"], expected, rtol=1e-6)


def test_an_output_of_integers_becomes_real():
    nodes = [node("Relu", ["x"], ["t"]), node("QuantizeLinear", ["t", "s", "z"], ["y"])]
    one = model(nodes, {"s": STEP, "z": np.int8(3)}, kinds={"y": TensorProto.INT8})
    x = values()
    actual = pg.run(pg.from_onnx(one, drop_quantisation=True), {"x": x})["y"]
    np.testing.assert_array_equal(actual, np.maximum(x, 0))


def test_a_quantised_model_is_refused_with_the_way_out():
    with pytest.raises(pg.UnsupportedError, match="--drop-quantisation"):
        pg.from_onnx(in_pairs(per_axis=False)[0])


def test_weights_that_are_quantised_alone_convert():
    weights = net_weights(per_axis=True)
    nodes = [
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=0),
        node("Conv", ["x", "w_real"], ["y"]),
    ]
    constants = {k: v for k, v in weights.items() if k in ("w", "w_scale", "w_zero")}
    net = pg.from_onnx(model(nodes, constants))
    np.testing.assert_array_equal(net.weights["y"][0], weights["w_real"])


def test_the_option_on_a_model_without_quantisation_is_refused():
    with pytest.raises(pg.InputError, match="quantises no computed value"):
        pg.from_onnx(without(net_weights(per_axis=False)), drop_quantisation=True)


def test_computing_with_quantised_values_is_refused():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(pg.UnsupportedError, match="computes with quantised values"):
        pg.from_onnx(model(nodes, {"s": STEP, "z": np.int8(0)}), drop_quantisation=True)


def test_convert_writes_the_scales(protogen, tmp_path):
    onnx.save(in_pairs(per_axis=True)[0], tmp_path / "m.onnx")
    done = protogen(
        "convert", "m.onnx", "-o", "n.prototxt", "--caffemodel", "n.caffemodel",
        "--drop-quantisation", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the quantisation of 3 values is dropped" in done.stderr
    scales = json.loads((tmp_path / "n.scales.json").read_text())
    assert set(scales) == {"activations", "weights"}
    assert set(scales["activations"]) == {"x", "r", "y"}


def test_scales_need_the_option(protogen, tmp_path):
    onnx.save(in_pairs(per_axis=False)[0], tmp_path / "m.onnx")
    done = protogen("convert", "m.onnx", "-o", "n.prototxt", "--scales", "s.json")
    assert done.returncode == 2
    assert "--scales needs --drop-quantisation" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_warning_names_the_loss():
    with pytest.warns(ProtogenWarning, match="without its roundings"):
        pg.from_onnx(in_pairs(per_axis=False)[0], drop_quantisation=True)
