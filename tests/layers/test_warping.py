"""SpatialTransformer, Transformer, STLoss and LocLoss of forks, against loops as in their sources."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import input_layer

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running.runtime import newest_opset, run_program

TOLERANCE = 2e-5
QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)
F = np.float32
NAMES = [f"theta_{i}_{j}" for i in (1, 2) for j in (1, 2, 3)]


def layer_net(type_, arrays, params=""):
    names = [f"b{i}" for i in range(len(arrays))]
    lines = [input_layer(name, array.shape) for name, array in zip(names, arrays, strict=True)]
    blobs = " ".join(f'bottom: "{name}"' for name in names)
    lines.append(f'layer {{ name: "l" type: "{type_}" {blobs} top: "y" {params} }}')
    return Net(prototxt.parse("\n".join(lines), "net.prototxt"))


def tops_of(net, arrays):
    """Return the top before and with GridSample, and in the newest operator set."""
    feeds = {f"b{i}": array for i, array in enumerate(arrays)}
    return [run_program(lower(net, opset=opset), feeds)["y"] for opset in (13, 18, newest_opset())]


def close(actual, expected):
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-30)


def spatial_transformer(u, theta, set_, size):
    """``Forward_cpu`` and ``SpatialTransformerForwardGPU`` of daerduoCarey/SpatialTransformerLayer,
    src/caffe/layers/st_layer.cpp and st_layer.cu."""
    n, c, h, w = u.shape
    top = np.zeros((n, c, *size), F)
    for i in range(n):
        full, k = [], 0
        for name in NAMES:
            full.append(F(set_[name]) if name in set_ else theta[i].flat[k])
            k += name not in set_
        for s in range(size[0]):
            for t in range(size[1]):
                point = F(s / size[0] * 2 - 1), F(t / size[1] * 2 - 1)
                px = full[0] * point[0] + full[1] * point[1] + full[2]
                py = full[3] * point[0] + full[4] * point[1] + full[5]
                x, y = F(F(px + F(1)) / F(2) * F(h)), F(F(py + F(1)) / F(2) * F(w))
                for m in (math.floor(x), math.floor(x) + 1):
                    for q in (math.floor(y), math.floor(y) + 1):
                        if 0 <= m < h and 0 <= q < w:
                            weight = (1 - abs(x - m)) * (1 - abs(y - q))
                            top[i, :, s, t] += F(weight) * u[i, :, m, q]
    return top


@QUICK
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.sets(st.sampled_from(NAMES), max_size=5),
    st.sampled_from([0.1, 0.5, 2.0]),
    st.integers(0, 999),
)
def test_spatial_transformer(shape, size, names, spread, seed):
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(shape).astype(F)
    set_ = {name: float(round(rng.normal(), 3)) for name in NAMES if name in names}
    identity = [x for x, name in zip((1, 0, 0, 0, 1, 0), NAMES, strict=True) if name not in set_]
    theta = (identity + spread * rng.standard_normal((shape[0], len(identity)))).astype(F)
    theta = theta if seed % 2 else theta.reshape(*theta.shape, 1, 1)
    fields = [f"{name}: {value}" for name, value in set_.items()]
    fields += [f"output_{axis}: {n}" for axis, n in zip("HW", size, strict=True) if n]
    net = layer_net("SpatialTransformer", [u, theta], f"st_param {{ {' '.join(fields)} }}")
    expected = spatial_transformer(
        u, theta, set_, [n or m for n, m in zip(size, shape[2:], strict=True)]
    )
    for actual in tops_of(net, [u, theta]):
        assert close(actual, expected)


def transformer(x, theta):
    """``Forward_gpu`` of happynear/caffe-windows, src/caffe/layers/transformer_layer.cu: the matrix
    product, ``FixCoordinate`` and ``TransformerForward``."""
    n, _, h, w = x.shape
    top = np.zeros_like(x)
    for i in range(n):
        matrix = theta[i].reshape(2, 3)
        for s in range(h):
            for t in range(w):
                target = np.array([F(s) / F(h) * F(2) - F(1), F(t) / F(w) * F(2) - F(1), 1], F)
                position = []
                for axis, length in enumerate((h, w)):
                    source = F(0)
                    for k in range(3):
                        source = F(source + matrix[axis, k] * target[k])
                    high = F(1 - F(2) / F(length))
                    source = F(-1) if -1 - 1e-4 < source < -1 else source
                    source = high if high < source < high + 1e-4 else source
                    position.append(F(F(F(source * F(length)) / F(2)) + F(length) / F(2)))
                a, b = position
                if not (0 <= a <= h - 1 and 0 <= b <= w - 1):
                    continue
                for m in range(math.floor(a), math.ceil(a) + 1):
                    for q in range(math.floor(b), math.ceil(b) + 1):
                        weight = (1 - abs(a - m)) * (1 - abs(b - q))
                        top[i, :, s, t] += F(weight) * x[i, :, m, q]
    return top


@QUICK
@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 6), st.integers(0, 999))
def test_transformer(n, c, length, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, c, length, length)).astype(F)
    spread = [0, 1e-6, 0.3, 1.0][seed % 4]
    theta = (np.array([1, 0, 0, 0, 1, 0]) + spread * rng.standard_normal((n, 6))).astype(F)
    net = layer_net("Transformer", [x, theta])
    for actual in tops_of(net, [x, theta]):
        assert close(actual, transformer(x, theta))


def test_transformer_of_a_map_that_is_not_square():
    net = layer_net("Transformer", [np.zeros((1, 1, 3, 4)), np.zeros((1, 6))])
    assert net.shapes["y"] == (1, 1, 3, 4)
    with pytest.raises(pg.UnsupportedError, match="with a wrong stride"):
        lower(net)


@QUICK
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 999))
def test_st_loss(n, height, width, seed):
    """``STLossForwardGPU`` and ``Forward_gpu`` of daerduoCarey/SpatialTransformerLayer,
    src/caffe/layers/st_loss_layer.cu."""
    theta = np.random.default_rng(seed).standard_normal((n, 6)).astype(F)
    total = 0.0
    for i in range(n):
        for s in range(height):
            for t in range(width):
                x, y = s * 2.0 / height - 1, t * 2.0 / width - 1
                for a, b, c in theta[i].reshape(2, 3):
                    z = a * x + b * y + c
                    edge = -1 if z < -1 else 1 if z > 1 else z
                    total += (z - edge) ** 2 / 2
    params = f"st_loss_param {{ output_H: {height} output_W: {width} }}"
    expected = np.array(total / (n * height * width))
    for actual in tops_of(layer_net("STLoss", [theta], params), [theta]):
        assert close(actual, expected)


@QUICK
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from([0.1, 1.0]))
def test_loc_loss(shape, threshold):
    """``LocLossForwardGPU`` and ``Forward_gpu`` of daerduoCarey/SpatialTransformerLayer,
    src/caffe/layers/loc_loss_layer.cu."""
    x = np.random.default_rng(0).standard_normal(shape).astype(F)
    total = 0.0
    for value in x.ravel():
        if value < -threshold:
            total += (value + threshold) ** 2 / 2
        elif value > threshold:
            total += (value - threshold) ** 2 / 2
    net = layer_net("LocLoss", [x], f"loc_loss_param {{ threshold: {threshold} }}")
    for actual in tops_of(net, [x]):
        assert close(actual, np.array(total / x.size))


@pytest.mark.parametrize(
    ("type_", "shapes", "params", "message"),
    [
        ("SpatialTransformer", [(2, 3, 4, 4), (2, 5)], "", "theta must have 6 values"),
        (
            "SpatialTransformer",
            [(2, 3, 4, 4), (2, 6)],
            "st_param { theta_1_1: 1 }",
            "theta must have 5 values",
        ),
        ("SpatialTransformer", [(2, 3, 4, 4), (3, 6)], "", "for each of 2 samples"),
        (
            "SpatialTransformer",
            [(2, 3, 4, 4), (2, 6)],
            'st_param { sampler_type: "nearest" }',
            'sampler_type must be "bilinear"',
        ),
        (
            "SpatialTransformer",
            [(2, 3, 4, 4), (2, 6)],
            "st_param { output_H: 0 }",
            "must be above 0",
        ),
        ("Transformer", [(2, 3, 4, 4), (2, 5)], "", "theta must have the shape 2x6"),
        ("LocLoss", [(2, 5)], "loc_loss_param { threshold: 0 }", "threshold must be above 0"),
        ("STLoss", [(2, 5)], "st_loss_param { output_H: 2 output_W: 2 }", "the shape Nx6"),
        ("STLoss", [(2, 6)], "st_loss_param { output_H: 0 output_W: 2 }", "must be above 0"),
    ],
)
def test_wrong_bottoms(type_, shapes, params, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(type_, [np.zeros(shape) for shape in shapes], params)
