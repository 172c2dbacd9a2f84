"""Cumulative sums, powers, norms, activations with any parameters, against onnxruntime and real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from operators import agrees, model, refusal, weights

import protogen as pg
from protogen.errors import UnsupportedError
from protogen.onnx.session import run_model

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
flags = st.integers(0, 1)


def drawn_axis(data, shape):
    return data.draw(st.integers(-len(shape), len(shape) - 1), "axis")


# Cumulative sums and products


@settings(max_examples=100)
@given(st.data())
def test_cumulative_sum(data):
    shape = data.draw(shapes)
    axis = np.array(drawn_axis(data, shape), data.draw(st.sampled_from([np.int32, np.int64])))
    node = helper.make_node("CumSum", ["x", "a"], ["y"], exclusive=data.draw(flags),
                            reverse=data.draw(flags))  # fmt: skip
    one = model(
        [node], {"x": shape}, constants={"a": axis}, opset=data.draw(st.sampled_from([11, 14]))
    )
    agrees(one, layers=3)


@settings(max_examples=100)
@given(st.data())
def test_cumulative_product(data):
    shape = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple))
    axis, exclusive, reverse = drawn_axis(data, shape), data.draw(flags), data.draw(flags)
    node = helper.make_node("CumProd", ["x", "a"], ["y"], exclusive=exclusive, reverse=reverse)
    agrees(model([node], {"x": shape}, constants={"a": np.array(axis)}, opset=26), layers=24)


# Powers


@settings(max_examples=150)
@given(st.data())
def test_powers(data):
    """Constant exponents of any shape; those without a fraction also take negative values."""
    shape = data.draw(shapes)
    wide = [data.draw(st.sampled_from([1, n] if n > 1 else [1, 3])) for n in shape]
    wide = wide[data.draw(st.integers(0, len(wide))) :]
    numbers = data.draw(st.sampled_from([[0.0, 1.0, 2.0, 3.0], [-1.0, 0.5, 1.0, 2.0, 0.0], [2.0]]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    exponents = rng.choice(numbers, wide if wide else ())
    kind = np.int64 if not (exponents % 1).any() and data.draw(st.booleans()) else np.float32
    node = helper.make_node("Pow", ["x", "e"], ["y"])
    one = model([node], {"x": shape}, constants={"e": np.asarray(exponents, kind)},
                opset=data.draw(st.sampled_from([12, 15])))  # fmt: skip
    x = weights(*shape)
    if min(numbers) < 0:
        x = np.abs(x) + 0.25
    try:
        agrees(one, feeds={"x": x}, layers=32)
    except UnsupportedError as error:
        assert "different exponents take too many layers" in str(error)  # noqa: PT017


@pytest.mark.parametrize(("exponents", "layers"), [
    (np.float32(2), 1),
    (np.float32(1), 0),
    (np.full((3, 1, 1), 0.5), 1),
    (np.array([0.5, 2, 1]).reshape(3, 1, 1), 4),
    (np.array([[2, 1, 2, 3], [0, 1, 2, 3]]).reshape(1, 1, 2, 4), 9),
    (np.array([1, 2, 3] * 9), 6),
])  # fmt: skip
def test_powers_in_real_caffe(exponents, layers):
    node = helper.make_node("Pow", ["x", "e"], ["y"])
    width = exponents.shape[-1] if exponents.ndim and exponents.shape[-1] > 1 else 5
    one = model([node], {"x": (2, 3, 2, width)}, constants={"e": exponents.astype(np.float32)})
    agrees(one, feeds={"x": np.abs(weights(2, 3, 2, width)) + 0.1}, layers=layers, live=True)


@settings(max_examples=60)
@given(st.data())
def test_exponentials(data):
    shape = data.draw(shapes)
    own = [n if data.draw(st.booleans()) else 1 for n in shape]
    own = own[data.draw(st.integers(0, len(own))) :]
    base = np.random.default_rng(0).choice(np.float32([1, 2, 0.5, 10, np.e]), own or ())
    node = helper.make_node("Pow", ["b", "x"], ["y"])
    agrees(model([node], {"x": shape}, constants={"b": base}), layers=10)


@pytest.mark.parametrize("base", [2.0, 1.0, float(np.float32(np.e)), 0.1])
def test_exponentials_in_real_caffe(base):
    node = helper.make_node("Pow", ["b", "x"], ["y"])
    agrees(model([node], {"x": (2, 3)}, constants={"b": np.float32(base)}), layers=1, live=True)


# Norms


@settings(max_examples=100)
@given(st.data())
def test_lp_normalization(data):
    """A vector of zeros stays, and one of very small numbers is normalised."""
    shape = data.draw(shapes)
    axis = drawn_axis(data, shape)
    node = helper.make_node(
        "LpNormalization", ["x"], ["y"], axis=axis, p=data.draw(st.integers(1, 2))
    )
    x = np.moveaxis(weights(*shape), axis, 0).copy()
    x[(slice(None), *[0] * (len(shape) - 1))] = data.draw(st.sampled_from([0.0, 1e-18, 5.0]))
    one = model([node], {"x": shape}, opset=data.draw(st.sampled_from([11, 18, 22])))
    agrees(one, feeds={"x": np.moveaxis(x, 0, axis)}, layers=9)


@settings(max_examples=100)
@given(st.data())
def test_lp_pools(data):
    axes = data.draw(st.integers(1, 3), "axes")
    size = [data.draw(st.integers(4, 8)) for _ in range(axes)]
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    attributes = {
        "kernel_shape": kernel,
        "p": data.draw(st.integers(1, 4)),
        "strides": [data.draw(st.integers(1, 3)) for _ in range(axes)],
        "pads": [data.draw(st.integers(0, k - 1)) for k in kernel * 2],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(axes)],
        "ceil_mode": data.draw(flags),
    }
    if data.draw(st.booleans(), "automatic pads"):
        attributes["auto_pad"] = data.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        del attributes["pads"], attributes["ceil_mode"]
    node = helper.make_node("LpPool", ["x"], ["y"], **attributes)
    onnx_model = model([node], {"x": (2, 2, *size)}, opset=data.draw(st.sampled_from([18, 22])))
    expected = run_model(onnx_model.SerializeToString(), {"x": weights(2, 2, *size)})["y"].shape
    inferred = onnx.shape_inference.infer_shapes(onnx_model).graph.output[0].type.tensor_type.shape
    # onnxruntime has windows that begin in the pad at the end; ONNX's shape rule does not count them.
    assume(expected == tuple(d.dim_value for d in inferred.dim) and min(expected) > 0)
    try:
        agrees(onnx_model)
    except UnsupportedError as error:
        assert "the place of the windows is undefined" in str(error)  # noqa: PT017


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 3, 7), (2, 3, 2, 3, 4)])
def test_global_lp_pools(shape, p):
    node = helper.make_node("GlobalLpPool", ["x"], ["y"], p=p)
    agrees(model([node], {"x": shape}), layers=6 if len(shape) != 4 else 4, live=True)


# Activations

signed = st.sampled_from([-2.0, -0.3, 0.0, 0.25, 1.0, 1.7])
DRAWN = {
    "Shrink": {"lambd": signed, "bias": signed},
    "Celu": {"alpha": signed.filter(bool)},
    "Elu": {"alpha": signed},
    "Selu": {"alpha": signed, "gamma": signed},
    "ThresholdedRelu": {"alpha": signed},
    "LeakyRelu": {"alpha": signed},
    "HardSigmoid": {"alpha": signed, "beta": signed},
}


@settings(max_examples=150)
@given(st.data())
def test_activations_with_any_parameters(data):
    type_ = data.draw(st.sampled_from(sorted(DRAWN)))
    attributes = {key: data.draw(values, key) for key, values in DRAWN[type_].items()}
    shape = data.draw(shapes)
    node = helper.make_node(type_, ["x"], ["y"], **attributes)
    agrees(model([node], {"x": shape}), feeds={"x": 2 * weights(*shape)}, layers=8)


@settings(max_examples=100)
@given(st.data())
def test_prelu(data):
    """One slope, one per channel, per pixel, or of any other shape; constant or computed."""
    shape = data.draw(shapes)
    own = [n if data.draw(st.booleans()) else 1 for n in shape]
    own = own[data.draw(st.integers(0, len(own))) :]
    node = helper.make_node("PRelu", ["x", "s"], ["y"])
    slope = weights(*own, seed=1)
    if own and data.draw(st.booleans(), "computed"):
        one = model([node], {"x": shape, "s": own})
        agrees(one, feeds={"x": weights(*shape), "s": slope}, layers=11)
    else:
        agrees(model([node], {"x": shape}, constants={"s": slope}), layers=6)


@settings(max_examples=100)
@given(st.data())
def test_softmaxes(data):
    """Before operator set 13, the axes from the given one on are one axis."""
    shape = data.draw(shapes)
    type_ = data.draw(st.sampled_from(["Softmax", "LogSoftmax", "Hardmax"]))
    opset = data.draw(st.sampled_from([7, 9, 11, 12, 13, 18, 23]))
    least = -len(shape) if opset >= 11 else 0
    axis = data.draw(st.none() | st.integers(least, len(shape) - 1), "axis")
    if axis is None and opset < 13:
        assume(len(shape) > 1)  # the default axis is 1
    node = helper.make_node(type_, ["x"], ["y"], **({} if axis is None else {"axis": axis}))
    x = weights(*shape)
    if type_ == "Hardmax":
        x = np.round(x)  # so that several values are the largest
    agrees(model([node], {"x": shape}, opset=opset), feeds={"x": x}, layers=13)


@settings(max_examples=100)
@given(st.data())
def test_many_operands(data):
    """Constants and computed values of any shapes in one operator."""
    type_ = data.draw(st.sampled_from(["Sum", "Mean", "Max", "Min"]))
    shape = data.draw(shapes)
    arrays = {}
    for i in range(data.draw(st.integers(1, 4))):
        own = [n if data.draw(st.booleans()) else 1 for n in shape]
        arrays[f"x{i}"] = weights(*own[data.draw(st.integers(0, len(own) - 1)) :], seed=i)
    computed = data.draw(st.sets(st.sampled_from(sorted(arrays)), min_size=1))
    constants = {name: array for name, array in arrays.items() if name not in computed}
    node = helper.make_node(type_, list(arrays), ["y"])
    one = model([node], {n: arrays[n].shape for n in sorted(computed)}, constants=constants)
    agrees(one, feeds={name: arrays[name] for name in computed})


NODES = {
    "CumSum of channels": (("CumSum", ["x", "a"], {}), {"a": np.array(1)}, 14, 1),
    "CumSum of rows": (("CumSum", ["x", "a"], {"reverse": 1}), {"a": np.array(3)}, 14, 1),
    "CumProd": (("CumProd", ["x", "a"], {}), {"a": np.array(2)}, 26, 5),
    "long CumProd": (("CumProd", ["x", "a"], {"exclusive": 1}), {"a": np.array(3)}, 26, 19),
    "LpNormalization 1": (("LpNormalization", ["x"], {"axis": 1, "p": 1}), {}, 18, 8),
    "LpNormalization 2": (("LpNormalization", ["x"], {"axis": -1}), {}, 18, 7),
    "LpPool": (
        ("LpPool", ["x"], {"kernel_shape": [2, 3], "p": 3, "pads": [1, 0, 0, 1]}),
        {},
        18,
        4,
    ),
    "LpPool 1": (("LpPool", ["x"], {"kernel_shape": [2, 2], "p": 1, "strides": [2, 2]}), {}, 18, 2),
    "Shrink": (("Shrink", ["x"], {"bias": 0.2, "lambd": 0.6}), {}, 18, 6),
    "hard Shrink": (("Shrink", ["x"], {}), {}, 18, 3),
    "Shrink below 0": (("Shrink", ["x"], {"bias": 0.2, "lambd": -0.6}), {}, 18, 4),
    "Celu": (("Celu", ["x"], {"alpha": -0.7}), {}, 18, 6),
    "Hardmax": (("Hardmax", ["x"], {}), {}, 18, 6),
    "Hardmax of channels": (("Hardmax", ["x"], {"axis": 1}), {}, 18, 11),
}


@pytest.mark.parametrize("name", NODES)
def test_in_real_caffe(name):
    (type_, inputs, attributes), constants, opset, layers = NODES[name]
    node = helper.make_node(type_, inputs, ["y"], **attributes)
    one = model([node], {"x": (2, 3, 4, 10)}, constants=constants, opset=opset)
    agrees(one, layers=layers, live=True)


REFUSED = {
    "two computed operands of Pow": (
        ("Pow", ["x", "x"]), {},
        'operator "y" (Pow): the exponent "x" is computed as well as the base. If the base is positive, '
        "write Exp(exponent * Log(base)) in the model.",
    ),
    "a negative base": (
        ("Pow", ["c", "x"]), {"c": np.float32(-2)},
        'operator "y" (Pow): the constant base must be above 0, because Caffe\'s Exp has no other.',
    ),
    "many exponents": (
        ("Pow", ["x", "c"]), {"c": np.arange(3 * 5000, dtype=np.float32).reshape(3, 5000)},
        'operator "y" (Pow): 15000 different exponents take too many layers (30001).',
    ),
    "a long axis": (
        ("CumSum", ["x", "c"]), {"c": np.array(1)},
        'operator "y" (CumSum): takes a matrix of 5000 x 5000 values, but the limit is 4194304.',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    (type_, inputs), constants, text = REFUSED[name]
    node = helper.make_node(type_, inputs, ["y"])
    assert refusal(model([node], {"x": (3, 5000)}, constants=constants)) == text


# Grids


@settings(max_examples=40)
@given(st.data())
def test_constant_grids(data):
    """Each mode, pad and alignment; one grid for all samples or one for each."""
    opset = data.draw(st.sampled_from([16, 20, 22]))
    modes = ["bilinear", "nearest", "bicubic"] if opset < 20 else ["linear", "nearest", "cubic"]
    attributes = {
        "mode": data.draw(st.sampled_from(modes)),
        "padding_mode": data.draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": data.draw(flags),
    }
    batch, height, width = (data.draw(st.integers(1, 5)) for _ in range(3))
    x, out = (batch, 2, height, width), (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    grid = 0.8 * weights(batch, *out, 2, seed=1)
    if data.draw(st.booleans(), "the same grid"):
        grid = np.broadcast_to(grid[:1], grid.shape).copy()
    node = helper.make_node("GridSample", ["x", "g"], ["y"], **attributes)
    agrees(model([node], {"x": x}, constants={"g": grid}, opset=opset), layers=9)


def test_constant_grid_in_real_caffe():
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear")
    grid = np.broadcast_to(weights(1, 6, 7, 2), (2, 6, 7, 2)).copy()
    agrees(model([node], {"x": (2, 3, 5, 4)}, constants={"g": grid}, opset=20), layers=3, live=True)


def test_large_grid_is_refused():
    node = helper.make_node("GridSample", ["x", "g"], ["y"])
    one = model([node], {"x": (1, 1, 60, 60)}, constants={"g": weights(1, 60, 60, 2)}, opset=16)
    assert refusal(one) == (
        'operator "y" (GridSample): takes a matrix of 3600 x 3600 factors, but the limit is 4194304.'
    )


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 3, 1, 6), (2, 1, 3, 4, 5)])
def test_affine_grid(size, align_corners):
    node = helper.make_node("AffineGrid", ["x", "n"], ["y"], align_corners=align_corners)
    axes = len(size) - 2
    one = model([node], {"x": (size[0], axes, axes + 1)}, constants={"n": np.array(size)}, opset=20)
    if align_corners and 1 in size[2:]:  # onnxruntime divides by 0
        assert "leaves the coordinate of an axis of length 1 undefined" in refusal(one)
    else:
        agrees(one, layers=8, live=True)


@pytest.mark.parametrize(
    ("operator", "names", "problem"),
    [
        ("Split", ["x", "n"], 'split must be integers, but the constant "n" is not'),
        ("Slice", ["x", "n", "i"], 'starts must be integers, but the constant "n" is not'),
        ("SplitToSequence", ["x", "n"], 'split must be integers, but the constant "n" is not'),
        ("Col2Im", ["x", "n", "i"], 'image_shape must be integers, but the constant "n" is not'),
    ],
)
def test_numbers_where_integers_are_required_are_refused(operator, names, problem):
    """Some readers round such numbers; NaN has no integer."""
    constants = {"n": np.array([np.nan], np.float32), "i": np.array([2, 2])}
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    one = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(pg.InputError, match=problem):
        pg.check_onnx(one)
