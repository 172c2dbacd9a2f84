"""Lstm and ContinuationIndicator of forks, and ONNX's LSTM and RNN for a known cont.

``tests/truth`` compares with the CPU code of TPU-MLIR's Caffe. Here are the GPU code of the forks, which
no judge runs, and forms that ``tests/truth`` does not draw.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import input_layer, net_with

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running.runtime import run_program

TOLERANCE = 2e-5
QUICK = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_on_gpu(x, clip, weight, recurrent, bias):
    """``Forward_gpu`` of tianzhi0549/CTPN, caffe/src/caffe/layers/lstm_layer.cu: ClipAdd,
    ActivationForward and LSTMForward of each step."""
    steps, streams = x.shape[:2]
    size = recurrent.shape[1]
    flat = x.reshape(steps * streams, -1).astype(np.float64)
    gates = (flat @ weight.T.astype(np.float64) + bias).reshape(steps, streams, 4 * size)
    h, c = np.zeros((streams, size)), np.zeros((streams, size))
    top = np.zeros((steps, streams, size))
    for t in range(steps):
        for n in range(streams):
            flag = clip.flat[t + n] if clip is not None else float(t > 0)
            gate = gates[t, n] + flag * (recurrent.astype(np.float64) @ h[n])
            i, f, o = (sigmoid(gate[k * size : (k + 1) * size]) for k in range(3))
            g = np.tanh(gate[3 * size :])
            c[n] = flag * f * c[n] + i * g
            top[t, n] = o * np.tanh(c[n])
        h = top[t].copy()
    return top


def difference(a, b):
    """Return the largest difference relative to the largest magnitude."""
    assert a.shape == b.shape
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)


def lstm_net(shape, clip_shape=None, size=3, dialect="", constant=None, type_="Lstm"):
    inputs = {"x": shape}
    layers = ""
    if clip_shape and constant is None:
        inputs["clip"] = clip_shape
    elif clip_shape:
        layers = (
            'layer { name: "clip" type: "Parameter" top: "clip" parameter_param { shape { '
            + " ".join(f"dim: {n}" for n in clip_shape)
            + " } } }\n"
        )
    second = ' bottom: "clip"' if clip_shape else ""
    layers += (
        f'layer {{ name: "l" type: "{type_}" bottom: "x"{second} top: "y" '
        f"lstm_param {{ num_output: {size} }} }}"
    )
    built = net_with(inputs, layers)
    net = Net(built.message, dialect=dialect)
    if constant is not None:
        net.take_weights({"clip": [constant]})
    return net


def filled(net, rng, name="l"):
    weights = [
        rng.standard_normal(shape).astype(np.float32) for shape in net.graph.parameter_shapes[name]
    ]
    net.take_weights({**net.weights, name: weights})
    return weights


@QUICK
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([(2,), (1, 3)]),
    st.sampled_from(["none", "fed", "constant"]),
    st.sampled_from(["ctpn", "cc4"]),
    st.integers(0, 999),
)
def test_lstm_on_gpu(steps, streams, inner, clip, dialect, seed):
    rng = np.random.default_rng(seed)
    flags = rng.choice([0, 1, 1], steps + streams - 1 + seed % 2).astype(np.float32)
    net = lstm_net(
        (steps, streams, *inner),
        flags.shape if clip != "none" else None,
        dialect=dialect,
        constant=flags if clip == "constant" else None,
    )
    weights = filled(net, rng)
    x = rng.standard_normal((steps, streams, *inner)).astype(np.float32)
    feeds = {"x": x, "clip": flags} if clip == "fed" else {"x": x}
    expected = lstm_on_gpu(x, None if clip == "none" else flags, *weights)
    assert difference(pg.run(net, feeds)["y"], expected) < TOLERANCE


def test_lstm_uses_the_operator_of_onnx_if_clip_is_known():
    def operators(net):
        filled(net, np.random.default_rng(0))
        return [node.op_type for node in lower(net).nodes]

    assert operators(lstm_net((4, 1, 2))).count("LSTM") == 1
    flags = np.array([0, 1, 0, 1], np.float32)
    assert operators(lstm_net((4, 1, 2), (4,), constant=flags)).count("LSTM") == 2
    assert "LSTM" not in operators(lstm_net((4, 1, 2), (4,)))


def test_several_streams_of_lstm():
    """The CPU code adds the state of the first stream to the gates of every stream."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 2, 2)).astype(np.float32)
    tops = {}
    for dialect in ("", "tpumlir", "ctpn"):
        net = lstm_net(x.shape, dialect=dialect)
        weights = filled(net, np.random.default_rng(2))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tops[dialect] = pg.run(net, {"x": x})["y"]
        assert bool(caught) == (dialect == "")
        assert not caught or "the state of the first stream" in str(caught[0].message)
    assert (tops[""] == tops["tpumlir"]).all()
    right = lstm_on_gpu(x, None, *weights)
    assert difference(tops["ctpn"], right) < TOLERANCE
    assert difference(tops[""][:, :1], right[:, :1]) < TOLERANCE
    assert difference(tops[""], right) > 0.01


@pytest.mark.parametrize(
    ("shape", "clip_shape"),
    [((4, 1, 3), None), ((4, 3, 3), None), ((4, 1, 3), (4,)), ((1, 2, 3), None)],
)
def test_lstm_as_stock_layer(shape, clip_shape, tmp_path):
    dialect = "ctpn" if shape[1] > 1 else "tpumlir"
    net = lstm_net(shape, clip_shape, dialect=dialect)
    rng = np.random.default_rng(3)
    filled(net, rng)
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    result = pg.rewrite(
        tmp_path / "net.prototxt", caffemodel=tmp_path / "net.caffemodel", dialect=dialect
    )
    assert [layer.type for layer in result.net.message.layer if layer.type == "Lstm"] == []
    feeds = {"x": rng.standard_normal(shape).astype(np.float32)}
    if clip_shape:
        feeds["clip"] = np.array([1, -0.5, 0, 1], np.float32)  # not 0: the sequence continues
    assert difference(pg.run(result.net, feeds)["y"], pg.run(net, feeds)["y"]) < TOLERANCE


@pytest.mark.parametrize(
    ("shape", "clip", "options", "message"),
    [
        ((3, 2), None, {}, "must have 3 to 32 axes"),
        ((3, 2, 2), (3,), {}, "clip must have T \\+ N - 1 = 4 values or more"),
        ((3, 2, 2), (3, 2), {}, "clip must have all its values on its first axis"),
        ((3, 2, 2), None, {"size": 0}, "num_output is missing or 0"),
        ((3, 2, 2, 2), None, {"dialect": "tpumlir"}, "x must have three axes"),
        ((3, 2, 2, 2), None, {"type_": "LstmJun"}, "x must have three axes"),
    ],
)
def test_wrong_lstm(shape, clip, options, message):
    with pytest.raises(pg.InputError, match=message):
        lstm_net(shape, clip, **options)


def indicator(params, bottoms=(), dialect="", size=(3, 2)):
    """Return a net with the top y = cont + z."""
    inputs = {f"x{i}": shape for i, shape in enumerate(bottoms)}
    names = " ".join(f'bottom: "{name}"' for name in inputs)
    lines = [input_layer(name, shape) for name, shape in {**inputs, "z": size}.items()]
    lines.append(
        f'layer {{ name: "c" type: "ContinuationIndicator" {names} top: "c" '
        f"continuation_indicator_param {{ {params} }} }}"
    )
    lines.append('layer { name: "y" type: "Eltwise" bottom: "c" bottom: "z" top: "y" }')
    return Net(prototxt.parse("\n".join(lines), "net.prototxt"), dialect=dialect)


@pytest.mark.parametrize(
    ("params", "bottoms", "dialect", "shape"),
    [
        ("time_step: 3 batch_size: 2", (), "", (3, 2)),
        ("time_step: 3", (), "tpumlir", (3, 1)),
        ("time_step: 3", ((4, 5),), "cc4", (3, 4)),
        ("time_step: 3", ((4, 5),), "tpumlir", (3, 1)),
        ("time_step: 3 batch_size: 4", ((4, 5),), "", (3, 4)),
    ],
)
def test_streams_of_continuation_indicator(params, bottoms, dialect, shape):
    """src/caffe/layers/continuation_indicator_layer.cpp of dlunion/CC4.0; the Caffe of TPU-MLIR takes
    batch_size, and 1 without it."""
    assert indicator(params, bottoms, dialect, shape).shapes["c"] == shape


def test_flag_of_continuation_indicator():
    """With flag, TPU-MLIR's Caffe writes 1 in the first step too."""
    for flag, first in (("", 0), ("flag: true", 1)):
        net = indicator(f"time_step: 3 batch_size: 2 {flag}", dialect="tpumlir")
        values = np.ones((3, 2))
        values[0] = first
        assert (pg.run(net, {"z": np.zeros((3, 2))})["y"] == values).all()


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("flag", ["", "flag: true"])
def test_continuation_indicator_as_stock_layers(steps, flag, tmp_path):
    net = indicator(f"time_step: {steps} batch_size: 2 {flag}", size=(steps, 2), dialect="tpumlir")
    net.save(tmp_path / "net.prototxt")
    result = pg.rewrite(tmp_path / "net.prototxt", dialect="tpumlir")
    assert {layer.type for layer in result.net.message.layer} <= {
        "Input",
        "DummyData",
        "Concat",
        "Eltwise",
    }
    feeds = {"z": np.zeros((steps, 2))}
    assert (pg.run(result.net, feeds)["y"] == pg.run(net, feeds)["y"]).all()


def test_ambiguous_continuation_indicator():
    with pytest.raises(pg.UnsupportedError, match="the first axis of its bottom, in CC4"):
        lower(indicator("time_step: 3", ((4, 5),), size=(3, 4)))
    with pytest.raises(pg.InputError, match="batch_size must be above 0"):
        indicator("time_step: 3")


CONT = """
layer { name: "c" type: "ContinuationIndicator" top: "c"
  continuation_indicator_param { time_step: 5 batch_size: 2 } }
"""
FED = """
layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 5 dim: 2 } } }
"""


@pytest.mark.parametrize("type_", ["LSTM", "RNN"])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_known_cont(type_, static, exposed):
    """ONNX's operator for a known cont gives the values of the steps one by one for a cont that is
    an input."""
    rng = np.random.default_rng(4)
    states = {"LSTM": 2, "RNN": 1}[type_] if exposed else 0
    feeds = {"x": rng.standard_normal((5, 2, 2, 3)).astype(np.float32)}
    bottoms = ["x", "c"]
    if static:
        feeds["s"] = rng.standard_normal((2, 4)).astype(np.float32)
        bottoms.append("s")
    for i in range(states):
        feeds[f"h{i}"] = rng.standard_normal((1, 2, 3)).astype(np.float32)
        bottoms.append(f"h{i}")
    tops = ["y", *(f"t{i}" for i in range(states))]
    layer = (
        f'layer {{ name: "l" type: "{type_}" '
        + " ".join(f'bottom: "{name}"' for name in bottoms)
        + " "
        + " ".join(f'top: "{name}"' for name in tops)
        + " recurrent_param { num_output: 3 "
        + ("expose_hidden: true " if exposed else "")
        + "} }"
    )
    results = []
    shapes = {name: array.shape for name, array in feeds.items()}
    weights = None
    for cont in (CONT, FED):
        net = net_with(shapes, cont + layer)
        weights = weights or filled(net, rng)
        net.take_weights({"l": weights})
        assert (type_ in [node.op_type for node in lower(net).nodes]) == (cont is CONT)
        flags = np.ones((5, 2), np.float32)
        flags[0] = 0
        inputs = {**feeds, "c": flags} if cont is FED else feeds
        results.append(pg.run(net, inputs, tops))
    for name in tops:
        assert difference(results[0][name], results[1][name]) < TOLERANCE


@QUICK
@given(st.integers(1, 5), st.integers(1, 3), st.sampled_from(["LSTM", "RNN"]), st.integers(0, 99))
def test_any_known_cont(steps, streams, type_, seed):
    """cont may have any values: an operator begins at each step where it is not 1."""
    rng = np.random.default_rng(seed)
    cont = rng.choice([0, 1, 1, 0.5], (steps, streams)).astype(np.float32)
    layer = (
        f'layer {{ name: "l" type: "{type_}" bottom: "x" bottom: "c" top: "y" '
        "recurrent_param { num_output: 2 } }"
    )
    sizes = f"dim: {steps} dim: {streams}"
    constant = f'layer {{ name: "c" type: "Parameter" top: "c" parameter_param {{ shape {{ {sizes} }} }} }}\n'
    x = rng.standard_normal((steps, streams, 2)).astype(np.float32)
    known = net_with({"x": x.shape}, constant + layer)
    weights = filled(known, rng)
    known.take_weights({"l": weights, "c": [cont]})
    fed = net_with({"x": x.shape, "c": cont.shape}, layer)
    fed.take_weights({"l": weights})
    expected = pg.run(fed, {"x": x, "c": cont})["y"]
    assert difference(run_program(lower(known), {"x": x})["y"], expected) < TOLERANCE
