"""DeformableConvolution and ModulatedDeformableConvolution of forks, against loops as in their
sources."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import input_layer

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running.runtime import run_program

TOLERANCE = 2e-5
QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)
F = np.float32


def layer_net(type_, shapes, params, dialect=""):
    names = [f"b{i}" for i in range(len(shapes))]
    lines = [input_layer(name, shape) for name, shape in zip(names, shapes, strict=True)]
    blobs = " ".join(f'bottom: "{name}"' for name in names)
    block = "deformable_convolution_param"
    block = f"modulated_{block}" if type_.startswith("Modulated") else block
    lines.append(f'layer {{ name: "l" type: "{type_}" {blobs} top: "y" {block} {{ {params} }} }}')
    return Net(prototxt.parse("\n".join(lines), "net.prototxt"), dialect=dialect)


def sample(plane, y, x):
    """``deformable_im2col_bilinear`` of unsky/Deformable-ConvNets-caffe,
    deformable_conv_cxx/deformable_im2col.cu, with the bounds of its caller."""
    h, w = plane.shape
    if not (y >= 0 and x >= 0 and y < h and x < w):
        return F(0)
    places = []
    for position, length in ((y, h), (x, w)):
        low = math.floor(position)
        if low >= length - 1:
            low = high = length - 1
            position = F(low)
        else:
            high = low + 1
        places.append((low, high, position - low))
    (y0, y1, ly), (x0, x1, lx) = places
    return (
        (1 - ly) * (1 - lx) * plane[y0, x0]
        + (1 - ly) * lx * plane[y0, x1]
        + ly * (1 - lx) * plane[y1, x0]
        + ly * lx * plane[y1, x1]
    )


def modulated_sample(plane, y, x):
    """``dmcn_im2col_bilinear`` of zhanglonghao1992/Deformable-ConvNets-v1-v2-caffe,
    Deformable_ConvNets_v1_v2/modulated_deformable_im2col.cu, with the bounds of its caller."""
    h, w = plane.shape
    if not (y > -1 and x > -1 and y < h and x < w):
        return F(0)
    y0, x0 = math.floor(y), math.floor(x)
    ly, lx = y - y0, x - x0
    total = F(0)
    for m, share in ((y0, 1 - ly), (y0 + 1, ly)):
        for q, part in ((x0, 1 - lx), (x0 + 1, lx)):
            if 0 <= m <= h - 1 and 0 <= q <= w - 1:
                total += share * part * plane[m, q]
    return total


def deformable(x, offsets, factors, weight, bias, p, size):
    """``deformable_im2col_gpu_kernel``, ``modulated_deformable_im2col_gpu_kernel`` and the products of
    ``Forward_gpu`` of both repositories. Offsets and factors are read by the size of the top."""
    n, c, _, _ = x.shape
    (kh, kw), (oh, ow) = p["kernel"], size
    each = c // p["deformable"]
    top = np.zeros((n, len(weight), oh, ow))
    for i in range(n):
        flat = offsets[i].ravel()
        columns = np.zeros((c, kh * kw, oh, ow))
        for channel in range(c):
            base = channel // each * 2 * kh * kw * oh * ow
            factor_base = channel // each * kh * kw * oh * ow
            for r in range(oh):
                for s in range(ow):
                    for k in range(kh * kw):
                        at = base + (2 * k * oh + r) * ow + s
                        dy, dx = flat[at], flat[at + oh * ow]
                        y = F(r * p["stride"] - p["pad"] + k // kw * p["dilation"]) + dy
                        z = F(s * p["stride"] - p["pad"] + k % kw * p["dilation"]) + dx
                        if factors is None:
                            value = sample(x[i, channel], y, z)
                        else:
                            value = modulated_sample(x[i, channel], y, z)
                            value *= factors[i].ravel()[factor_base + (k * oh + r) * ow + s]
                        columns[channel, k, r, s] = value
        group, out = p["group"], len(weight) // p["group"]
        for g in range(group):
            inner = columns[g * c // group : (g + 1) * c // group].reshape(-1, oh * ow)
            rows = weight[g * out : (g + 1) * out].reshape(out, -1)
            top[i, g * out : (g + 1) * out] = (rows @ inner).reshape(out, oh, ow)
    return top if bias is None else top + bias[:, None, None]


@QUICK
@given(st.data())
@pytest.mark.parametrize("type_", ["DeformableConvolution", "ModulatedDeformableConvolution"])
def test_deformable_convolution(type_, data):
    draw = data.draw
    p = {
        "kernel": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "stride": draw(st.integers(1, 2)),
        "pad": draw(st.integers(0, 2)),
        "dilation": draw(st.integers(1, 2)),
        "group": draw(st.integers(1, 2)),
        "deformable": draw(st.integers(1, 2)),
    }
    n, c = draw(st.integers(1, 2)), 2 * draw(st.integers(1, 2))
    h, w = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    size = [
        (length + 2 * p["pad"] - (p["dilation"] * (k - 1) + 1)) // p["stride"] + 1
        for length, k in zip((h, w), p["kernel"], strict=True)
    ]
    assume(min(size) > 0 and size[0] * size[1] <= h * w)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    pixels = p["deformable"] * math.prod(p["kernel"])
    arrays = [
        rng.standard_normal((n, c, h, w)).astype(F),
        (rng.standard_normal((n, 2 * pixels, h, w)) * draw(st.sampled_from([0, 0.5, 2]))).astype(F),
    ]
    if type_.startswith("Modulated"):
        arrays.append(rng.random((n, pixels, h, w)).astype(F))
    with_bias = draw(st.booleans())
    params = (
        f"num_output: 4 kernel_h: {p['kernel'][0]} kernel_w: {p['kernel'][1]} stride: {p['stride']} "
        f"pad: {p['pad']} dilation: {p['dilation']} group: {p['group']} "
        f"deformable_group: {p['deformable']} bias_term: {str(with_bias).lower()}"
    )
    net = layer_net(type_, [array.shape for array in arrays], params)
    shapes = net.graph.parameter_shapes["l"]
    weights = [rng.standard_normal(shape).astype(F) for shape in shapes]
    net.take_weights({"l": weights})
    factors = arrays[2] if len(arrays) > 2 else None
    bias = weights[1] if with_bias else None
    expected = deformable(arrays[0], arrays[1], factors, weights[0], bias, p, size)
    feeds = {f"b{i}": array for i, array in enumerate(arrays)}
    actual = run_program(lower(net), feeds)["y"]
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-30)


BASE = "num_output: 4 kernel_size: 3 pad: 1 group: 1 deformable_group: 1"


@pytest.mark.parametrize(
    ("shapes", "params", "message"),
    [
        ([(1, 4, 5, 5), (1, 18, 4, 5)], BASE, "must have the shape 1x18x5x5"),
        ([(1, 4, 5, 5), (1, 9, 5, 5)], BASE, "must have the shape 1x18x5x5"),
        ([(1, 4, 5), (1, 18, 5)], BASE, "must have 4 axes"),
        ([(1, 4, 5, 5), (1, 18, 5, 5)], BASE.replace("pad: 1", "pad: 2"), "has more pixels"),
        ([(1, 4, 5, 5), (1, 18, 5, 5)], BASE.replace("group: 1 ", "group: 3 "), "group 3 does not"),
        ([(1, 4, 5, 5), (1, 18, 5, 5)], BASE + " axis: 2", "axis must be 1"),
        ([(1, 4, 1, 1), (1, 18, 1, 1)], BASE.replace("pad: 1", "pad: 0"), "its kernel is larger"),
    ],
)
def test_wrong_bottoms(shapes, params, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net("DeformableConvolution", shapes, params)


def test_default_groups():
    """group is 1 by default in the caffe.proto of unsky/Deformable-ConvNets-caffe and of
    zhanglonghao1992/Deformable-ConvNets-v1-v2-caffe; deformable_group is 4 and 1."""
    params = "num_output: 4 kernel_size: 1"
    shapes = [(1, 4, 5, 5), (1, 8, 5, 5)]
    net = layer_net("DeformableConvolution", shapes, params)
    with pytest.raises(
        pg.UnsupportedError, match="deformable_group is not set: it is 4 by default"
    ):
        lower(net)
    net = layer_net("DeformableConvolution", shapes, params + " deformable_group: 4")
    assert net.graph.parameter_shapes["l"] == ((4, 4, 1, 1), (4,))
    net = layer_net("DeformableConvolution", shapes, params, dialect="pytorch2caffe")
    assert net.graph.parameter_shapes["l"] == ((4, 1, 1, 1), (4,))
    modulated = [(1, 4, 5, 5), (1, 2, 5, 5), (1, 1, 5, 5)]
    net = layer_net("ModulatedDeformableConvolution", modulated, params)
    assert net.graph.parameter_shapes["l"] == ((4, 4, 1, 1), (4,))
