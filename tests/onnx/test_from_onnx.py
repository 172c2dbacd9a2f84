"""``pg.from_onnx``: operators with random attributes, names, the imported net, unsupported
models."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import protogen as pg
from protogen.errors import ProtogenWarning
from protogen.layers import kind_of
from protogen.onnx.importer import REGISTRY, import_model
from protogen.onnx.importer.activation import ERF_ERROR
from protogen.onnx.session import run_model

TOLERANCE = 1e-5  # of the largest value: sums of at most some hundred float32 products


def model(nodes, inputs, outputs=("y",), constants=None, opset=18):
    """Return a model of these nodes; ``inputs`` are shapes by name."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    for value in graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def agrees(onnx_model: onnx.ModelProto, tolerance: float = TOLERANCE, **options) -> pg.Net:
    """Import a model, run both on the same inputs, and compare all outputs."""
    net = pg.from_onnx(onnx_model, **options)
    generator = np.random.default_rng(0)
    feeds = {n: generator.standard_normal(net.shapes[n]).astype(np.float32) for n in net.inputs}
    expected = run_model(onnx_model.SerializeToString(), feeds)
    actual = pg.run(net, feeds)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert actual[name].shape == values.shape
        limit = tolerance * max(np.abs(values).max(), 1e-3)
        np.testing.assert_allclose(actual[name], values, rtol=0, atol=limit)
    return net


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stock(net: pg.Net) -> bool:
    return all(kind_of(layer).stock for layer in net.layers)


# Operators with random attributes, each compared with onnxruntime

lengths = st.integers(5, 11)
small = st.integers(1, 3)


@settings(max_examples=60)
@given(st.data())
def test_conv_agrees_with_onnxruntime(data):
    axes = data.draw(st.integers(1, 3), "axes")
    size = [data.draw(lengths) for _ in range(axes)]
    kernel = [data.draw(small) for _ in range(axes)]
    group = data.draw(st.sampled_from([1, 2]), "group")
    attributes = {
        "strides": [data.draw(small) for _ in range(axes)],
        "pads": [data.draw(st.integers(0, 3)) for _ in range(2 * axes)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(axes)],
        "group": group,
    }
    constants = {"w": weights(4, 4 // group, *kernel), "b": weights(4, seed=1)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
    assert stock(agrees(model([node], {"x": (2, 4, *size)}, constants=constants)))


@settings(max_examples=30)
@given(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), small, small, lengths)
def test_conv_with_automatic_pads(auto_pad, kernel, stride, size):
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=auto_pad, strides=[stride, 1])
    agrees(model([node], {"x": (1, 2, size, 7)}, constants={"w": weights(3, 2, kernel, 3)}))


@settings(max_examples=60)
@given(st.data())
def test_conv_transpose_agrees_with_onnxruntime(data):
    axes = data.draw(st.integers(1, 2), "axes")
    size = [data.draw(st.integers(2, 6)) for _ in range(axes)]
    kernel = [data.draw(st.integers(1, 4)) for _ in range(axes)]
    strides = [data.draw(small) for _ in range(axes)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(axes)]
    ends = [data.draw(st.integers(0, 2)) for _ in range(2 * axes)]
    extra = [data.draw(st.integers(0, s - 1)) for s in strides]  # onnxruntime's own limit
    whole = [
        s * (n - 1) + d * (k - 1) + 1 + e - a - b
        for n, k, s, d, e, a, b in zip(
            size, kernel, strides, dilations, extra, ends[:axes], ends[axes:], strict=True
        )
    ]
    assume(min(whole) > 0)
    group = data.draw(st.sampled_from([1, 2]), "group")
    node = helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], strides=strides, pads=ends, dilations=dilations,
        output_padding=extra, group=group,
    )  # fmt: skip
    constants = {"w": weights(4, 3, *kernel), "b": weights(3 * group, seed=1)}
    assert stock(agrees(model([node], {"x": (1, 4, *size)}, constants=constants)))


@settings(max_examples=80)
@given(st.data())
def test_pools_agree_with_onnxruntime(data):
    axes = data.draw(st.integers(1, 3), "axes")
    size = [data.draw(lengths) for _ in range(axes)]
    kernel = [data.draw(st.integers(1, 4)) for _ in range(axes)]
    kind = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attributes = {
        "kernel_shape": kernel,
        "strides": [data.draw(small) for _ in range(axes)],
        "pads": [data.draw(st.integers(0, k - 1)) for k in kernel * 2],
        "ceil_mode": data.draw(st.integers(0, 1)),
    }
    if kind == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    onnx_model = model([node], {"x": (1, 2, *size)}, opset=19)
    actual = run_model(onnx_model.SerializeToString(), {"x": np.ones((1, 2, *size), np.float32)})
    # onnxruntime has windows that begin in the pad at the end; ONNX's shape rule does not count
    # them.
    shape = onnx.shape_inference.infer_shapes(onnx_model).graph.output[0].type.tensor_type.shape
    assume(actual["y"].shape == tuple(d.dim_value for d in shape.dim))
    try:
        assert stock(agrees(onnx_model))
    except pg.UnsupportedError as error:
        assert "Caffe's Pooling cannot produce the windows" in str(error)  # noqa: PT017


@settings(max_examples=40)
@given(st.booleans(), st.booleans(), st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 2.0]),
       st.sampled_from(["none", "row", "number", "whole", "computed"]), st.booleans())  # fmt: skip
def test_gemm_agrees_with_onnxruntime(transpose_a, transpose_b, alpha, beta, bias, computed):
    m, k, n = 3, 4, 5
    inputs = {"x": (k, m) if transpose_a else (m, k)}
    constants = {}
    (inputs if computed else constants)["w"] = (
        ((n, k) if transpose_b else (k, n))
        if computed
        else weights(*((n, k) if transpose_b else (k, n)))
    )
    if bias == "computed":
        inputs["c"] = (m, n)
    elif bias != "none":
        constants["c"] = weights(*{"row": (n,), "number": (1,), "whole": (m, n)}[bias], seed=1)
    names = ["x", "w", "c"] if bias != "none" else ["x", "w"]
    node = helper.make_node(
        "Gemm",
        names,
        ["y"],
        alpha=alpha,
        beta=beta,
        transA=int(transpose_a),
        transB=int(transpose_b),
    )
    assert stock(agrees(model([node], inputs, constants=constants)))


def test_gemm_keeps_weights_in_both_orientations():
    """Y = X W and Y = X W^T: only Caffe's ``transpose`` differs; the weights are the model's
    own."""
    w = weights(40, 600)  # large enough to stay in the file
    for transposed in (0, 1):
        node = helper.make_node("Gemm", ["x", "w"], ["y"], name="ip", transB=transposed)
        shape = (1, 600 if transposed else 40)
        net = agrees(model([node], {"x": shape}, constants={"w": w}))
        layer = net.layers[-1]
        assert layer.params.inner_product_param.transpose is not bool(transposed)
        assert np.array_equal(net.weights["ip"][0], w)


def test_weights_are_views_of_the_file(tmp_path):
    w = weights(40, 600)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="ip")
    onnx.save(model([node], {"x": (1, 40)}, constants={"w": w}), tmp_path / "m.onnx")
    net = pg.from_onnx(tmp_path / "m.onnx")
    assert not net.weights["ip"][0].flags.writeable
    assert not net.weights["ip"][0].flags.owndata


def test_external_data_is_read_and_checked(tmp_path):
    w = weights(40, 600)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="ip")
    onnx_model = model([node], {"x": (1, 40)}, constants={"w": w})
    onnx.save(onnx_model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin",
              size_threshold=0)  # fmt: skip
    net = pg.from_onnx(tmp_path / "m.onnx")
    assert np.array_equal(net.weights["ip"][0], w)
    (tmp_path / "m.bin").write_bytes(b"short")
    with pytest.raises(pg.InputError, match="ends before the values"):
        pg.from_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.bin").unlink()
    with pytest.raises(pg.InputError, match=r"m\.bin"):
        pg.from_onnx(tmp_path / "m.onnx")


@settings(max_examples=40)
@given(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]), st.data())
def test_broadcasting_agrees_with_onnxruntime(operator, data):
    """Operands are computed values and constants, on either side."""
    shape = [data.draw(st.integers(1, 3)) for _ in range(4)]
    other = [n if data.draw(st.booleans()) else 1 for n in shape][data.draw(st.integers(0, 3)) :]
    names = data.draw(st.permutations(["x", "c"]))
    node = helper.make_node(operator, names, ["y"])
    constant = data.draw(st.booleans(), "constant")
    values = np.abs(weights(*other)) + 1
    inputs = {"x": shape} if constant else {"x": shape, "c": other}
    onnx_model = model([node], inputs, constants={"c": values} if constant else None)
    if operator == "Div" and (not constant or names[0] == "c"):
        return  # divisors near 0 give errors of any size
    assert stock(agrees(onnx_model))


@settings(max_examples=40)
@given(st.data())
def test_reductions_agree_with_onnxruntime(data):
    rank = data.draw(st.integers(1, 4))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    kind = data.draw(st.sampled_from(["Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp"]))
    node = helper.make_node(
        f"Reduce{kind}", ["x", "axes"], ["y"], keepdims=data.draw(st.integers(0, 1))
    )
    assume(len(axes) < rank or node.attribute[0].i)
    onnx_model = model([node], {"x": shape}, constants={"axes": np.array(axes)})
    assert stock(agrees(onnx_model, 1e-5))


@settings(max_examples=40)
@given(st.permutations([0, 1, 2, 3]), st.tuples(small, small, small, small))
def test_transpose_agrees_with_onnxruntime(order, shape):
    node = helper.make_node("Transpose", ["x"], ["y"], perm=order)
    onnx_model = model([node], {"x": shape})
    assert stock(agrees(onnx_model))
    types = [layer.type for layer in agrees(onnx_model, dialect="ssd").layers]
    assert len(types) <= 2


@settings(max_examples=40)
@given(st.data())
def test_pads_agree_with_onnxruntime(data):
    mode = data.draw(st.sampled_from(["constant", "edge", "reflect"]))
    pads = [data.draw(st.integers(0, 2)) for _ in range(8)]
    constants = {"p": np.array(pads), "v": np.float32(data.draw(st.sampled_from([0, 1.5])))}
    names = ["x", "p", "v"] if mode == "constant" else ["x", "p"]
    node = helper.make_node("Pad", names, ["y"], mode=mode)
    used = {name: constants[name] for name in names[1:]}
    assert stock(agrees(model([node], {"x": (3, 3, 4, 5)}, constants=used)))


@settings(max_examples=40)
@given(st.data())
def test_slices_agree_with_onnxruntime(data):
    axis = data.draw(st.integers(0, 3))
    step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
    low, high = sorted(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=2, unique=True)))
    begin, end = (low, high) if step > 0 else (high, low - 1 if low else -100)
    constants = {
        "a": np.array([begin]), "b": np.array([end]), "c": np.array([axis]), "d": np.array([step])
    }  # fmt: skip
    node = helper.make_node("Slice", ["x", *constants], ["y"])
    assert stock(agrees(model([node], {"x": (6, 6, 6, 6)}, constants=constants)))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
def test_resize_agrees_with_onnxruntime(mode, transformation, scale):
    node = helper.make_node(
        "Resize", ["x", "", "s"], ["y"], mode=mode,
        coordinate_transformation_mode=transformation,
    )  # fmt: skip
    constants = {"s": np.array([1, 1, scale, scale], np.float32)}
    assert stock(agrees(model([node], {"x": (1, 2, 6, 8)}, constants=constants)))


def test_erf_error_is_within_stated_bound():
    from math import erf

    node = helper.make_node("Erf", ["x"], ["y"])
    with pytest.warns(ProtogenWarning, match="an error of at most 1e-07"):
        net = pg.from_onnx(model([node], {"x": (1, 10001)}))
    x = np.linspace(-6, 6, 10001, dtype=np.float32)[None]
    expected = np.array([[erf(v) for v in x[0]]])
    # float32 itself rounds the value, and each of the polynomial's steps
    assert np.abs(pg.run(net, {"x": x})["y"] - expected).max() < ERF_ERROR + 3 * np.spacing(
        np.float32(1)
    )


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21, 22])
def test_operator_sets_agree_with_onnxruntime(opset):
    """Operators that changed between sets: Clip's limits, Slice's bounds, Softmax's axes."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], name="conv")]
    constants = {"w": weights(4, 3, 3, 3)}
    if opset < 11:
        nodes.append(helper.make_node("Clip", ["a"], ["b"], min=0.0, max=6.0))
    else:
        nodes.append(helper.make_node("Clip", ["a", "low", "high"], ["b"]))
        constants |= {"low": np.float32(0), "high": np.float32(6)}
    if opset < 10:
        nodes.append(helper.make_node("Slice", ["b"], ["c"], starts=[1], ends=[3], axes=[1]))
    else:
        nodes.append(helper.make_node("Slice", ["b", "s", "e", "i"], ["c"]))
        constants |= {"s": np.array([1]), "e": np.array([3]), "i": np.array([1])}
    nodes.append(helper.make_node("Softmax", ["c"], ["y"], axis=1))
    agrees(model(nodes, {"x": (1, 3, 6, 6)}, constants=constants, opset=opset))


def test_operator_sets_before_7_are_converted():
    node = helper.make_node("Add", ["x", "c"], ["y"], broadcast=1, axis=1)
    onnx_model = model([node], {"x": (3, 3, 4, 4)}, constants={"c": weights(3)}, opset=6)
    net = pg.from_onnx(onnx_model)
    x = weights(3, 3, 4, 4, seed=1)
    expected = x + weights(3)[:, None, None]
    assert np.allclose(pg.run(net, {"x": x})["y"], expected, atol=1e-6)
    assert "operator set 6" in net.message.source.text


# The imported net


def chain():
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], name="bn1"),
        helper.make_node("Relu", ["n"], ["r"], name="relu1"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="fc", transB=1),
    ]
    constants = {
        "w": weights(4, 3, 3, 3), "g": weights(4) + 3, "b": weights(4, seed=1),
        "m": weights(4, seed=2), "v": np.abs(weights(4, seed=3)) + 1, "w2": weights(5, 4),
        "b2": weights(5),
    }  # fmt: skip
    return model(nodes, {"data": (1, 3, 8, 8)}, constants=constants)


def test_chain_gets_plain_names_and_in_place_layers():
    net = agrees(chain())
    assert [(x.name, x.type, x.bottoms, x.tops) for x in net.layers] == [
        ("data", "Input", (), ("data",)),
        ("conv1", "Convolution", ("data",), ("r",)),
        ("bn1", "BatchNorm", ("r",), ("r",)),
        ("bn1_scale", "Scale", ("r",), ("r",)),
        ("relu1", "ReLU", ("r",), ("r",)),
        ("pool", "Pooling", ("r",), ("p",)),
        ("fc", "InnerProduct", ("p",), ("y",)),
    ]
    assert net.message.source.text.startswith("# From an ONNX model, operator set 18.\n")


def test_fold_merges_batch_normalization():
    net = agrees(chain(), fold=True)
    assert [x.type for x in net.layers[1:3]] == ["Convolution", "ReLU"]


def test_output_that_is_read_keeps_its_name():
    nodes = [
        helper.make_node("Abs", ["x"], ["a"], name="abs"),
        helper.make_node("Relu", ["a"], ["y"], name="relu"),
    ]
    net = agrees(model(nodes, {"x": (1, 3)}, outputs=("y", "a")))
    assert set(net.outputs) == {"a", "y"}


def test_no_layer_in_place_has_the_name_of_a_blob():
    """A value that is an output and is read has two blobs: one of them has the name of the layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["act"], name="act"),
        helper.make_node("Conv", ["act", "w"], ["d"], name="conv2"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants = {"w": np.ones((3, 3, 1, 1), np.float32)}
    net = agrees(model(nodes, {"x": (1, 3, 4, 4)}, outputs=("y", "act"), constants=constants))
    blobs = {top for layer in net.layers for top in layer.tops}
    in_place = [layer for layer in net.layers if layer.bottoms == layer.tops]
    assert not {layer.name for layer in in_place} & blobs
    assert "act" in {layer.name for layer in net.layers}


def test_output_that_is_an_input_or_a_duplicate():
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Identity", ["y"], ["again"]),
    ]
    agrees(model(nodes, {"x": (1, 3)}, outputs=("same", "y", "again")))


def test_value_with_two_readers_is_not_overwritten():
    """Two layers read a, so the ReLU must not work in place."""
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    net = agrees(model(nodes, {"x": (1, 3, 2, 2)}))
    assert len({top for layer in net.layers for top in layer.tops}) == len(net.layers)


def test_names_invalid_in_caffe_are_replaced(tmp_path):
    nodes = [helper.make_node("Relu", ["in\nput"], ['say "y"'], name="a\\b")]
    onnx_model = model(nodes, {"in\nput": (1, 3)}, outputs=('say "y"',))
    imported = import_model(onnx_model)
    assert imported.net.inputs == ("in_put",)
    assert imported.net.outputs == ("say _y_",)
    assert set(imported.renamed) == {"in\nput", 'say "y"', "a\\b"}
    assert imported.blobs == {"in\nput": "in_put", 'say "y"': "say _y_"}
    onnx.save(onnx_model, tmp_path / "m.onnx")
    written = pg.convert_onnx(tmp_path / "m.onnx", tmp_path / "net.prototxt", verify=True)
    assert written.names == tmp_path / "net.names.json"
    assert written.names.exists()
    assert written.caffemodel is None


def test_free_batch_is_1_unless_input_shapes_are_set():
    onnx_model = chain()
    onnx_model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert pg.from_onnx(onnx_model).shapes["data"] == (1, 3, 8, 8)
    net = pg.from_onnx(onnx_model, input_shapes={"data": (4, 3, 10, 12)})
    assert net.shapes["data"] == (4, 3, 10, 12)


def test_shape_arithmetic_is_folded():
    """The operators that PyTorch exports for x.view(x.size(0), -1)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    net = agrees(model(nodes, {"x": (2, 3, 4)}, constants=constants))
    assert [layer.type for layer in net.layers] == ["Input", "Flatten"]


def test_patterns_become_one_operator():
    nodes = [
        helper.make_node("Softplus", ["x"], ["s"]),
        helper.make_node("Tanh", ["s"], ["t"]),
        helper.make_node("Mul", ["x", "t"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["g"]),
        helper.make_node("Mul", ["g", "m"], ["w"]),
        helper.make_node("Add", ["w", "three"], ["h"]),
        helper.make_node("Clip", ["h", "low", "high"], ["c"]),
        helper.make_node("Div", ["c", "six"], ["y"]),
    ]
    constants = {n: np.float32(v) for n, v in (("three", 3), ("low", 0), ("high", 6), ("six", 6))}
    net = agrees(model(nodes, {"x": (1, 3, 4)}, constants=constants))
    types = [layer.type for layer in net.layers]
    assert types.count("Swish") == 1
    assert types[-2:] == ["Power", "Clip"]


def test_bias_and_slices_are_fused():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["a"], name="fc"),
        helper.make_node("Slice", ["a", "i0", "i2", "one"], ["p"]),
        helper.make_node("Slice", ["a", "i2", "i5", "one"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
    ]
    constants = {
        "w": weights(4, 5), "b": weights(5), "i0": np.array([0]), "i2": np.array([2]),
        "i5": np.array([2**31]), "one": np.array([-1]),
    }  # fmt: skip
    net = agrees(model(nodes, {"x": (2, 4)}, constants=constants))
    assert [layer.type for layer in net.layers] == ["Input", "InnerProduct", "Slice", "Concat"]


# Unsupported models


def refusal(onnx_model, **options) -> str:
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.from_onnx(onnx_model, **options)
    return str(caught.value)


def test_all_unsupported_operators_are_named_and_dependent_ones_counted():
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], name="places"),
        helper.make_node("Cast", ["places"], ["c"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Softmax", ["c"], ["r"], name="softmax"),
        helper.make_node("Det", ["x"], ["y"], name="det"),
    ]
    text = refusal(model(nodes, {"x": (3, 3)}, outputs=("y", "r")))
    assert text.splitlines() == [
        "2 operators have no equivalent in Caffe, and 1 more depends on them:",
        '  operator "places" (NonZero): the size of its result depends on the data, and Caffe\'s blobs have '
        "fixed shapes.",
        '  operator "det" (Det): Caffe has no layer for this operator.',
    ]


def test_control_flow_is_unsupported():
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "then", [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, (1, 3))],
    )  # fmt: skip
    onnx_model = model(
        [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body, name="choice")],
        {"x": (1, 3)},
    )
    onnx_model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, ()))
    assert refusal(onnx_model) == (
        'operator "choice" (If): control flow has no equivalent in Caffe: a net runs every layer once.'
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(TensorProto.UINT64, "UINT64"), (TensorProto.INT64, "INT64")]
)
def test_unsupported_element_type_is_named(kind, name):
    graph = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["y"])], "net",
        [helper.make_tensor_value_info("x", kind, (1, 3))],
        [helper.make_tensor_value_info("y", kind, (1, 3))],
    )  # fmt: skip
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert refusal(onnx_model) == (
        f'operator "y" (Abs): "x" has type {name}, but Caffe computes in float32.'
    )


def test_operator_of_another_domain_is_unsupported():
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft", name="f")
    onnx_model = model([node], {"x": (1, 3)})
    onnx_model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "Caffe has no layer for this operator of domain com.microsoft" in refusal(onnx_model)


def test_dialect_supports_more_layers():
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2], name="t")
    onnx_model = model([node], {"x": (1, 70, 70, 70)})
    verdicts = pg.check_onnx(onnx_model)
    net = pg.from_onnx(onnx_model, dialect="ssd")
    assert net.layers[-1].type == "Permute"
    assert [(verdict.type, verdict.kind, verdict.output) for verdict in verdicts] in (
        [("Transpose", "converts", "y")], [("Transpose", "dialect", "y")]
    )  # fmt: skip
    with pytest.raises(pg.InputError, match="dialect: unknown name 'sdd'"):
        pg.from_onnx(onnx_model, dialect="sdd")


def test_check_onnx_reports_every_kind():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Erf", ["r"], ["e"], name="erf"),
        helper.make_node("Det", ["e"], ["y"], name="det"),
    ]
    verdicts = pg.check_onnx(model(nodes, {"x": (1, 3, 3)}))
    assert [(verdict.name, verdict.kind, verdict.text) for verdict in verdicts] == [
        ("relu", "converts", "ReLU"),
        (
            "erf",
            "approximated",
            "erf is approximated with an error of at most 1e-07 by the tanh of a polynomial",
        ),
        ("det", "refused", "Caffe has no layer for this operator"),
    ]


def test_invalid_arguments_are_rejected():
    onnx_model = chain()
    with pytest.raises(pg.InputError, match=r'"dat": unknown input \(inputs: data\)'):
        pg.from_onnx(onnx_model, input_shapes={"dat": (1, 3, 8, 8)})
    with pytest.raises(pg.InputError, match="weights have the shapes 4x3x3x3, expected 4x2x3x3"):
        pg.from_onnx(onnx_model, input_shapes={"data": (1, 2, 8, 8)})
    product = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"x": (1, 4)},
        constants={"w": weights(4, 5)},
    )  # fmt: skip
    with pytest.raises(
        pg.InputError, match=r'given shapes do not fit the model: operator "m" \(MatMul\): '
    ):
        pg.from_onnx(product, input_shapes={"x": (1, 3)})
    onnx_model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(pg.InputError, match="axis 2 of shape 1x3xheightx8 has no fixed length"):
        pg.from_onnx(onnx_model)
    onnx_model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(pg.InputError, match='input "data": has no shape'):
        pg.from_onnx(onnx_model)


def test_every_documented_operator_is_registered():
    """The operators that docs/onnx.md lists."""
    expected = (
        "Conv ConvTranspose Gemm MatMul BatchNormalization InstanceNormalization "
        "LayerNormalization GroupNormalization LRN Relu LeakyRelu PRelu Elu Selu Celu Sigmoid "
        "HardSigmoid Tanh Softplus HardSwish Swish Gelu Mish Clip Abs Exp Log Pow Sqrt Reciprocal "
        "Neg Add Sub Mul Div Max Min Sum MaxPool AveragePool GlobalMaxPool GlobalAveragePool "
        "ReduceMean ReduceSum ReduceMax Concat Split Slice Pad Flatten Reshape Squeeze Unsqueeze "
        "Expand Tile Transpose Resize Upsample DepthToSpace SpaceToDepth Gather ArgMax Softmax "
        "LogSoftmax Dropout Identity Cast LSTM"
    )
    assert set(expected.split()) <= set(REGISTRY)


def test_exact_import_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtogenWarning)
        pg.from_onnx(chain())
