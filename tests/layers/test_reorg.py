"""Layers that move blocks of pixels to channels, against loops as in the forks' sources.

SpaceToDepth and DepthToSpace: foss-for-synopsys-dwc-arc-processors/synopsys-caffe.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg
from protogen.formats import prototxt

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def run(text, x, **options):
    built = net_with({"data": x.shape}, f'layer {{ name: "y" bottom: "data" top: "y" {text} }}')
    return pg.run(pg.Net(built.message, **options), {"data": x})["y"]


def numbers(shape):
    """Return an array of different numbers, so that each position is recognised."""
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


def darknet_loops(flat, b_w, b_h, b_c, b_n, stride, forward, size):
    """``reorg_cpu`` of eric612/MobileNet-YOLO, include/caffe/layers/reorg_layer.hpp."""
    top = np.zeros(size, np.float32)
    t_c, t_w, t_h = b_c // (stride * stride), b_w * stride, b_h * stride
    for n, c, h, w in itertools.product(range(b_n), range(b_c), range(b_h), range(b_w)):
        bottom_index = w + b_w * (h + b_h * (c + b_c * n))
        c2, offset = c % t_c, c // t_c
        w2, h2 = w * stride + offset % stride, h * stride + offset // stride
        top_index = w2 + t_w * (h2 + t_h * (c2 + t_c * n))
        if forward:
            top[top_index] = flat[bottom_index]
        else:
            top[bottom_index] = flat[top_index]
    return top


def reorg(x, stride, reverse, dialect):
    """``ReorgLayer::Forward_cpu``: of eric612/MobileNet-YOLO, intel/caffe and Cambricon/caffe with the
    bottom's sizes; of synopsys-caffe with H and W exchanged; of sophgo/caffe with the top's."""
    n, c, h, w = x.shape
    s = stride
    top = (n, c // (s * s), h * s, w * s) if reverse else (n, c * s * s, h // s, w // s)
    sizes = {"synopsys": (h, w, c), "tpumlir": (top[3], top[2], top[1])}.get(dialect, (w, h, c))
    return darknet_loops(x.ravel(), *sizes, n, s, reverse, math.prod(top)).reshape(top)


@st.composite
def reorgs(draw):
    """Draw dialect, stride, reverse and the shape of the bottom; in tpumlir also sizes that do not
    divide."""
    dialect = draw(st.sampled_from(["yolo", "intel", "cambricon", "synopsys", "tpumlir"]))
    s = 2 if dialect == "synopsys" else draw(st.integers(1, 3))
    reverse = dialect != "synopsys" and draw(st.booleans())
    n, a, h, w = (draw(st.integers(1, 3)) for _ in range(4))
    if dialect == "tpumlir":
        c = draw(st.sampled_from([s**4, s**4 + s * s, 2 * s**4])) if reverse else a
        return dialect, s, reverse, (n, c, h * s + draw(st.integers(0, s - 1)), w * s)
    return dialect, s, reverse, (n, a * s * s, h * s, w * s)


@SETTINGS
@given(reorgs())
def test_reorg(drawn):
    dialect, s, reverse, shape = drawn
    x = numbers(shape)
    text = f'type: "Reorg" reorg_param {{ stride: {s} reverse: {str(reverse).lower()} }}'
    expected = reorg(x, s, reverse, dialect)
    np.testing.assert_array_equal(run(text, x, dialect=dialect), expected)


@pytest.mark.parametrize("dialect", ["yolo", "tpumlir"])
def test_the_batch_may_be_dynamic(dialect):
    layer = 'layer { name: "y" bottom: "data" top: "y" type: "Reorg" reorg_param { stride: 2 } }'
    built = pg.Net(net_with({"data": (1, 4, 4, 2)}, layer).message, dialect=dialect)
    x = numbers((3, 4, 4, 2))
    for opset in (13, 18, 21):
        actual = pg.run(pg.to_onnx(built, free_axes=(0,), opset=opset), {"data": x})["y"]
        np.testing.assert_array_equal(actual, reorg(x, 2, False, dialect))


def test_reorg_differs_between_forks():
    """The first plane of a top of 4 channels, as a person can check it."""
    x = numbers((1, 4, 2, 2))
    text = 'type: "Reorg" reorg_param { stride: 2 }'
    blocks = run(text, x, dialect="tpumlir").ravel()
    np.testing.assert_array_equal(blocks, [1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 4, 8, 12, 16])
    darknet = run(text, x, dialect="yolo").ravel()
    np.testing.assert_array_equal(darknet, [1, 3, 9, 11, 2, 4, 10, 12, 5, 7, 13, 15, 6, 8, 14, 16])
    with pytest.raises(pg.UnsupportedError, match="order of its channels differs between forks"):
        run(text, x)


@SETTINGS
@given(st.tuples(*[st.integers(1, 3)] * 4))
def test_python_class_of_synopsys(size):
    """``reorg`` in python/darknet.py of synopsys-caffe: views of numpy."""
    n, a, h, w = size
    x = numbers((n, 4 * a, 2 * h, 2 * w))
    viewed = x.reshape(n, a, 4 * h, 4 * w)
    output = np.zeros(x.shape, np.float32)
    for b, k, row, column in np.ndindex(x.shape):
        offset = k // a
        output[b, k, row, column] = viewed[b, k % a, row * 2 + offset // 2, column * 2 + offset % 2]
    text = 'type: "Python" python_param { module: "yolov2" layer: "darknet_reorg" }'
    expected = output.reshape(n, 16 * a, h, w)
    np.testing.assert_array_equal(run(text, x), expected)


def test_reorg_with_stride_1_needs_no_dialect():
    x = numbers((2, 3, 2, 5))
    np.testing.assert_array_equal(run('type: "Reorg" reorg_param { stride: 1 }', x), x)


@pytest.mark.parametrize(("dialect", "stride", "reverse", "shape", "problem"), [
    ("yolo", 2, False, (1, 6, 4, 4), "channels must be divisible by 4, got 6"),
    ("intel", 2, False, (1, 4, 5, 4), "height and width must be divisible by 2, got 5x4"),
    ("yolo", 3, True, (1, 12, 3, 3), "channels must be divisible by 9, got 12"),
    ("cambricon", 2, True, (1, 4, 3, 2), "height and width must be divisible by 2, got 3x2"),
    ("synopsys", 3, False, (1, 9, 3, 3), "must have stride 2 and no reverse, got stride 3"),
    ("tpumlir", 2, True, (1, 12, 2, 2), "must have at least 16 channels, got 12"),
    ("yolo", 0, False, (1, 4, 4, 4), "stride must be at least 1, got 0"),
])  # fmt: skip
def test_reorg_that_the_code_cannot_run(dialect, stride, reverse, shape, problem):
    text = f'type: "Reorg" reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}'
    with pytest.raises(pg.InputError, match=problem):
        run(text, numbers(shape), dialect=dialect)


@pytest.mark.parametrize(("text", "shape", "dialect"), [
    ('"Reorg" reorg_param { stride: 2 }', (2, 8, 6, 4), "yolo"),
    ('"Reorg" reorg_param { stride: 3 reverse: true }', (2, 9, 2, 3), "intel"),
    ('"Reorg" reorg_param { stride: 2 }', (2, 4, 6, 4), "synopsys"),
    ('"Reorg" reorg_param { stride: 2 }', (2, 3, 6, 4), "tpumlir"),
    ('"Reorg" reorg_param { stride: 2 reverse: true }', (2, 32, 3, 2), "tpumlir"),
    ('"PeriodicShuffle" periodic_shuffle_param { num_output: 3 group_size: 2 }', (2, 12, 2, 3), ""),
    ('"SpaceToDepth" space_to_depth_param { block_size: 3 data_format: "NCHW" }', (2, 2, 3, 6), ""),
    ('"DepthToSpace" depth_to_space_param { block_size: 2 data_format: "DCR" }', (2, 8, 2, 3), ""),
    ('"DepthToSpace" depth_to_space_param { block_size: 2 data_format: "CRD" }', (2, 8, 2, 3), ""),
])  # fmt: skip
def test_rewrite(tmp_path, text, shape, dialect):
    """The stock layers give the same numbers; ``rewrite`` compares them too."""
    path = tmp_path / "net.prototxt"
    layer = f'layer {{ name: "y" bottom: "data" top: "y" type: {text} }}'
    path.write_text(prototxt.write(net_with({"data": shape}, layer).message))
    x = numbers(shape)
    expected = pg.run(pg.load(path, dialect=dialect), {"data": x})["y"]
    result = pg.rewrite(path, dialect=dialect)
    assert {layer.type for layer in result.net.layers} <= {
        "Input", "Reshape", "Convolution", "Deconvolution",
    }  # fmt: skip
    np.testing.assert_array_equal(pg.run(result.net, {"data": x})["y"], expected)


def test_rewrite_of_a_size_that_mixes_images_is_refused(tmp_path):
    path = tmp_path / "net.prototxt"
    layer = 'layer { name: "y" bottom: "data" top: "y" type: "Reorg" reorg_param { stride: 2 } }'
    path.write_text(prototxt.write(net_with({"data": (2, 2, 5, 4)}, layer).message))
    result = pg.rewrite(path, dialect="tpumlir")
    assert "mix the images of a batch" in result.retained[0].reason


@SETTINGS
@given(st.integers(1, 3), st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_periodic_shuffle(group, channels, size):
    """src/caffe/layers/periodic_shuffle_layer.cpp of Wangyupei/CED."""
    n, h, w = size
    x = numbers((n, channels * group * group, h, w))
    expected = np.empty((n, channels, h * group, w * group), np.float32)
    for i, c1, h1, w1 in np.ndindex(x.shape):
        place = c1 // channels
        row, column = group * h1 + place // group, group * w1 + place % group
        expected[i, c1 % channels, row, column] = x[i, c1, h1, w1]
    text = (
        'type: "PeriodicShuffle" periodic_shuffle_param '
        f"{{ num_output: {channels} group_size: {group} }}"
    )
    np.testing.assert_array_equal(run(text, x), expected)


def depth(channel, size, b, row, column, form):
    """Return the index in the axis with the blocks, as in space_to_depth_layer.cpp and
    depth_to_space_layer.cpp of synopsys-caffe."""
    if form == "CRD":
        return (channel * b + row % b) * b + column % b
    return channel + (row % b * b + column % b) * size


@SETTINGS
@given(st.sampled_from(["NHWC", "NCHW"]), st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 4))
def test_space_to_depth(form, b, size):
    n, c, h, w = size
    shape = (n, h * b, w * b, c) if form == "NHWC" else (n, c, h * b, w * b)
    x = numbers(shape)
    top = (n, h, w, c * b * b) if form == "NHWC" else (n, c * b * b, h, w)
    expected = np.empty(top, np.float32)
    for i, row, column, channel in np.ndindex(n, h * b, w * b, c):
        d = depth(channel, c, b, row, column, form)
        if form == "NHWC":
            expected[i, row // b, column // b, d] = x[i, row, column, channel]
        else:
            expected[i, d, row // b, column // b] = x[i, channel, row, column]
    text = f'type: "SpaceToDepth" space_to_depth_param {{ block_size: {b} data_format: "{form}" }}'
    np.testing.assert_array_equal(run(text, x), expected)


@SETTINGS
@given(
    st.sampled_from(["NHWC", "NCHW", "DCR", "CRD"]), st.integers(1, 3),
    st.tuples(*[st.integers(1, 3)] * 4),
)  # fmt: skip
def test_depth_to_space(form, b, size):
    n, c, h, w = size
    x = numbers((n, h, w, c * b * b) if form == "NHWC" else (n, c * b * b, h, w))
    top = (n, h * b, w * b, c) if form == "NHWC" else (n, c, h * b, w * b)
    expected = np.empty(top, np.float32)
    for i, row, column, channel in np.ndindex(n, h * b, w * b, c):
        d = depth(channel, c, b, row, column, form)
        if form == "NHWC":
            expected[i, row, column, channel] = x[i, row // b, column // b, d]
        else:
            expected[i, channel, row, column] = x[i, d, row // b, column // b]
    text = f'type: "DepthToSpace" depth_to_space_param {{ block_size: {b} data_format: "{form}" }}'
    np.testing.assert_array_equal(run(text, x), expected)


@pytest.mark.parametrize(("text", "shape", "problem"), [
    ('"SpaceToDepth" space_to_depth_param { block_size: 2 data_format: "NCHW" }', (1, 1, 3, 4),
     "height and width must be divisible by 2, got 3x4"),
    ('"DepthToSpace" depth_to_space_param { block_size: 2 }', (1, 3, 3, 6),
     "channels must be divisible by 4, got 6"),
    ('"DepthToSpace" depth_to_space_param { block_size: 2 data_format: "nchw" }', (1, 4, 3, 3),
     "data_format must be one of NHWC, NCHW, DCR, CRD, got 'nchw'"),
    ('"DepthToSpace" depth_to_space_param { block_size: -1 }', (1, 4, 3, 3),
     "the blocks must have a size of at least 1, got -1"),
    ('"PeriodicShuffle" periodic_shuffle_param { num_output: 2 }', (1, 4, 2, 2),
     "require 8 channels, got 4"),
    ('"PassThrough" pass_through_param { num_output: 9 block_height: 2 block_width: 2 }',
     (1, 3, 4, 4), "num_output must be 12 for 3 channels, got 9"),
    ('"PassThrough"', (1, 3, 5, 4), "blocks of 2x2 pixels do not fit into 5x4 pixels"),
])  # fmt: skip
def test_mistakes(text, shape, problem):
    with pytest.raises(pg.InputError, match=problem):
        run(f"type: {text}", numbers(shape))


@pytest.mark.parametrize(("params", "shape", "top"), [
    ("pass_through_param { num_output: 12 block_height: 2 block_width: 2 }", (2, 3, 4, 6),
     (2, 12, 2, 3)),
    ("reorg_param { stride: 3 }", (1, 2, 6, 9), (1, 18, 2, 3)),
    ("reorg_param { reverse: true }", (1, 8, 2, 3), (1, 2, 4, 6)),
])  # fmt: skip
def test_pass_through_has_shapes_only(params, shape, top):
    layer = f'layer {{ name: "y" bottom: "data" top: "y" type: "PassThrough" {params} }}'
    net = net_with({"data": shape}, layer)
    assert net.shapes["y"] == top
    with pytest.raises(pg.UnsupportedError, match="no public source defines the order"):
        pg.run(net, {"data": numbers(shape)})
