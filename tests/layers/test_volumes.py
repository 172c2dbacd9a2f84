"""Convolution and Pooling of volumes, against loops written after the sources of the forks:
facebook/C3D (convolution3d_layer.cpp, deconvolution3d_layer.cpp, pool3d_layer.cpp; Cambricon/caffe has
the same), chuckcho/video-caffe (cudnn_ndconv_layer.cpp, cudnn_ndpooling_layer.cpp),
ZhaofanQiu/pseudo-3d-residual-networks (caffe_add_layers/src/pooling3d_layer.cpp),
foss-for-synopsys-dwc-arc-processors/synopsys-caffe (pooling3d_layer.cpp) and intel/caffe
(pooling_layer.cpp)."""

import itertools
import math

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg

EXAMPLES = settings(max_examples=40, deadline=None)
LOWEST = -np.finfo(np.float32).max
VOLUMES = st.tuples(st.integers(1, 2), st.integers(1, 3), *[st.integers(1, 6)] * 3)
THREES = st.tuples(*[st.integers(1, 3)] * 3)


def as_text(name, values):
    return f"{name} {{ {' '.join(f'dim: {v}' for v in values)} }}"


# Pooling


def pooled(x, method, kernel, stride, begin, end, out, last_mask=False):
    """The loops of the sources: windows are cut at the borders; MAX starts from -FLT_MAX, and AVE
    divides by the size of the window, cut at the padded border (AVE_EXC_PAD: at the border)."""
    top = np.zeros((*x.shape[:2], *out), np.float32)
    mask = np.full(top.shape, -1, np.float32)
    sizes = x.shape[2:]
    for place in itertools.product(*map(range, out)):
        first = [p * s - q for p, s, q in zip(place, stride, begin, strict=True)]
        past = [min(f + k, n + q) for f, k, n, q in zip(first, kernel, sizes, end, strict=True)]
        size = math.prod(b - a for a, b in zip(first, past, strict=True))
        low = [max(f, 0) for f in first]
        high = [min(b, n) for b, n in zip(past, sizes, strict=True)]
        for n, c in np.ndindex(*x.shape[:2]):
            best, where, total, count = LOWEST, -1, 0.0, 0
            for at in itertools.product(*(range(a, b) for a, b in zip(low, high, strict=True))):
                value = x[(n, c, *at)]
                total, count = total + float(value), count + 1
                if value > best:
                    best, where = value, np.ravel_multi_index(at, sizes)
            mask[(n, c, *place)] = where
            divisor = {"AVE": size, "AVE_EXC_PAD": count}.get(method, 1)
            with np.errstate(all="ignore"):
                top[(n, c, *place)] = best if method == "MAX" else np.float64(total) / divisor
    return (top, mask) if last_mask else top


def rounded_up(n, k, s, p):
    return math.ceil((n + 2 * p - k) / s) + 1


def windows(lengths, kernel, stride, pads):
    """The numbers of windows, rounded up; with pads, none begins in the pad at the end of an axis."""
    out = [rounded_up(*axis) for axis in zip(lengths, kernel, stride, pads, strict=True)]
    if not any(pads):
        return out
    return [
        o - 1 if (o - 1) * s >= n + p else o
        for o, s, n, p in zip(out, stride, lengths, pads, strict=True)
    ]


@EXAMPLES
@given(
    VOLUMES,
    st.sampled_from(["MAX", "AVE"]),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 9),
)
def test_pooling3d_of_c3d(shape, method, kernel, stride, pad, old, seed):
    pad = pad if method == "AVE" else 0
    kernels, strides, pads = (
        (kernel[0], kernel[1], kernel[1]),
        (stride[0], stride[1], stride[1]),
        (0, pad, pad),
    )
    out = [rounded_up(*axis) for axis in zip(shape[2:], kernels, strides, pads, strict=True)]
    fields = f"pool: {method} kernel_size: {kernel[1]} kernel_depth: {kernel[0]} pad: {pad} "
    fields += f"stride: {stride[1]} temporal_stride: {stride[0]}"
    text = f'"Pooling3D" {"pooling_param" if old else "pooling3d_param"} {{ {fields} }}'
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [shape])
        return
    x = numbers(np.random.default_rng(seed), *shape)
    (y,) = tops_of(text, [x])
    assert_close(y, pooled(x, method, kernels, strides, pads, pads, out))


@EXAMPLES
@given(VOLUMES, st.sampled_from(["MAX", "AVE"]), THREES, THREES, st.data())
def test_pooling3d_of_p3d(shape, method, kernel, stride, data):
    pads = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    out = windows(shape[2:], kernel, stride, pads)
    fields = " ".join(
        f"{name}_{axis}: {value}"
        for name, values in (("kernel", kernel), ("stride", stride), ("pad", pads))
        for axis, value in zip("lhw", values, strict=True)
    )
    text = f'"Pooling3D" pooling3d_param {{ pool: {method} {fields} }}'
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [shape])
        return
    x = numbers(np.random.default_rng(0), *shape)
    expected, mask = pooled(x, method, kernel, stride, pads, pads, out, last_mask=True)
    (y,) = tops_of(text, [x])
    assert_close(y, expected)
    if method == "MAX" and all(k >= s for k, s in zip(kernel, stride, strict=True)):
        both = tops_of(text, [x], tops=2)
        assert_close(both[0], expected)
        np.testing.assert_array_equal(both[1], mask)


@EXAMPLES
@given(
    VOLUMES,
    st.sampled_from(["MAX", "AVE", "AVE_EXC_PAD"]),
    THREES,
    THREES,
    st.booleans(),
    st.data(),
)
def test_pooling3d_of_synopsys(shape, method, kernel, stride, ceil, data):
    begin = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    end = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    rounds = math.ceil if ceil else math.floor
    out = [
        rounds((n + a + b - k) / s) + 1
        for n, a, b, k, s in zip(shape[2:], begin, end, kernel, stride, strict=True)
    ]
    if any(begin) or any(end):
        out = [
            o - 1 if (o - 1) * s >= n + a else o
            for o, s, n, a in zip(out, stride, shape[2:], begin, strict=True)
        ]
    fields = " ".join(
        f"{name}_{axis}{side}: {value}"
        for name, side, values in (
            ("kernel", "", kernel),
            ("stride", "", stride),
            ("pad", 0, begin),
            ("pad", 1, end),
        )
        for axis, value in zip("dhw", values, strict=True)
    )
    text = (
        f'"Pooling3D" pooling3d_param {{ pool: {method} ceil_mode: {str(ceil).lower()} {fields} }}'
    )
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [shape])
        return
    x = numbers(np.random.default_rng(0), *shape)
    last = [o * s - s - a for o, s, a in zip(out, stride, begin, strict=True)]
    empty = any(a >= n for a, n in zip(last, shape[2:], strict=True))
    if method == "AVE_EXC_PAD" and empty:
        with pytest.raises(pg.UnsupportedError, match="windows without a pixel"):
            tops_of(text, [x])
        return
    (y,) = tops_of(text, [x])
    assert_close(y, pooled(x, method, kernel, stride, begin, end, out))


@pytest.mark.parametrize("fields", ["global_pooling: true pool: AVE", "global_pooling: true"])
def test_global_pooling_of_volumes(fields):
    x = numbers(np.random.default_rng(0), 2, 3, 4, 5, 2)
    (y,) = tops_of(f'"Pooling3D" pooling3d_param {{ {fields} }}', [x])
    expected = x.mean((2, 3, 4)) if "AVE" in fields else x.max((2, 3, 4))
    assert_close(y, expected.reshape(2, 3, 1, 1, 1))
    (y,) = tops_of(f'"Pooling" pooling_param {{ {fields} }}', [x], dialect="intel")
    assert_close(y, expected.reshape(2, 3, 1, 1, 1))


def test_pooling3d_without_evidence_is_ambiguous():
    text = '"Pooling3D" pooling3d_param { kernel_size: 2 stride: 2 }'
    x = numbers(np.random.default_rng(0), 1, 2, 4, 4, 4)
    with pytest.raises(pg.UnsupportedError, match="the type is ambiguous"):
        tops_of(text, [x])
    (y,) = tops_of(text, [x], dialect="synopsys")
    assert_close(y, pooled(x, "MAX", (2,) * 3, (2,) * 3, (0,) * 3, (0,) * 3, (2,) * 3))


@EXAMPLES
@given(
    st.integers(1, 3).flatmap(
        lambda axes: st.tuples(
            st.tuples(*[st.integers(2, 7)] * axes),
            st.tuples(*[st.integers(1, 3)] * axes),
            st.tuples(*[st.integers(1, 3)] * axes),
            st.just(axes),
        )
    ),
    st.sampled_from(["MAX", "AVE"]),
    st.data(),
)
def test_nd_pooling(sizes, method, data):
    lengths, kernel, stride, axes = sizes
    pads = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    out = []
    for n, k, s, p in zip(lengths, kernel, stride, pads, strict=True):
        o = rounded_up(n, k, s, p)
        out.append(o - 1 if p > 0 and (o - 1) * s >= n + p else o)
    shapes = [
        as_text(f"{f}_shape", v)
        for f, v in zip(("kernel", "stride", "pad"), (kernel, stride, pads), strict=True)
    ]
    text = f'"NdPooling" pooling_param {{ pool: {method} {" ".join(shapes)} }}'
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [(2, 2, *lengths)])
        return
    x = numbers(np.random.default_rng(0), 2, 2, *lengths)
    ends = [
        (o - 1) * s + k - n - p
        for o, s, k, n, p in zip(out, stride, kernel, lengths, pads, strict=True)
    ]
    if method == "AVE" and any(end > p for end, p in zip(ends, pads, strict=True)):
        with pytest.raises(pg.UnsupportedError, match="cuDNN does not define the average"):
            tops_of(text, [x])
        return
    (y,) = tops_of(text, [x])
    assert_close(y, pooled(x, method, kernel, stride, pads, pads, out))
    assert axes == y.ndim - 2


@EXAMPLES
@given(VOLUMES, st.sampled_from(["MAX", "AVE"]), THREES, THREES, st.data())
def test_pooling_of_intel(shape, method, kernel, stride, data):
    pads = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    out = windows(shape[2:], kernel, stride, pads)
    fields = " ".join(
        f"{name}: {value}"
        for name, values in (("kernel_size_3d", kernel), ("stride_3d", stride), ("pad_3d", pads))
        for value in values
    )
    text = f'"Pooling" pooling_param {{ pool: {method} {fields} }}'
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [shape])
        return
    x = numbers(np.random.default_rng(0), *shape)
    assert_close(tops_of(text, [x])[0], pooled(x, method, kernel, stride, pads, pads, out))


STOCK = [
    '"Pooling3D" pooling3d_param { kernel_size: 2 kernel_depth: 1 stride: 2 }',
    '"Pooling3D" pooling3d_param { kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2 }',
    '"Pooling3D" pooling3d_param { pool: AVE kernel_size: 3 kernel_depth: 3 stride: 2 }',
    '"Pooling3D" pooling3d_param { kernel_l: 3 kernel_size: 2 stride: 2 pad_l: 1 }',
    '"Pooling3D" pooling3d_param { kernel_d: 2 kernel_h: 3 kernel_w: 2 stride: 2 }',
    '"Pooling3D" pooling3d_param { pool: AVE global_pooling: true }',
    '"NdPooling" pooling_param { pool: MAX kernel_shape { dim: 1 dim: 2 dim: 2 } }',
    '"Pooling" pooling_param { kernel_size_3d: 2 stride_3d: 2 }',
]


@pytest.mark.parametrize("text", STOCK)
def test_stock_layers_pool_the_same(text, tmp_path):
    x = numbers(np.random.default_rng(0), 2, 3, 5, 6, 7)
    assert_close(stock_tops_of(tmp_path, text, [x]), tops_of(text, [x])[0])


def test_windows_that_stock_caffe_drops_have_no_stock_layers(tmp_path):
    text = (
        '"Pooling3D" pooling3d_param { pool: AVE kernel_size: 3 kernel_depth: 1 stride: 3 pad: 2 }'
    )
    layer_net(text, [(1, 1, 2, 6, 6)]).save(tmp_path / "net.prototxt")
    result = pg.rewrite(tmp_path / "net.prototxt")
    assert "no stock Pooling has these windows" in result.retained[0].reason


# Convolution


def convolved(x, weight, bias, stride, pad, group=1):
    """A sum over every pixel and weight, in float64."""
    kernel, per_group = weight.shape[2:], weight.shape[1]
    out = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(x.shape[2:], pad, kernel, stride, strict=True)
    ]
    top = np.zeros((x.shape[0], weight.shape[0], *out))
    of_group = weight.shape[0] // group
    for o in range(weight.shape[0]):
        base = o // of_group * per_group
        for place in itertools.product(*map(range, out)):
            for tap in itertools.product(*map(range, kernel)):
                at = [p * s - q + t for p, s, q, t in zip(place, stride, pad, tap, strict=True)]
                if all(0 <= a < n for a, n in zip(at, x.shape[2:], strict=True)):
                    part = x[(slice(None), slice(base, base + per_group), *at)].astype(np.float64)
                    top[(slice(None), o, *place)] += part @ weight[(o, slice(None), *tap)]
    return (top + bias.reshape(-1, *[1] * len(kernel))).astype(np.float32)


def deconvolved(x, weight, bias, stride, pad):
    """Each pixel adds its kernel to the top; then the padding is cut off."""
    kernel = weight.shape[2:]
    out = [
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, pad, kernel, strict=True)
    ]
    top = np.zeros((x.shape[0], weight.shape[1], *out))
    for at in itertools.product(*map(range, x.shape[2:])):
        for tap in itertools.product(*map(range, kernel)):
            to = [a * s - p + t for a, s, p, t in zip(at, stride, pad, tap, strict=True)]
            if all(0 <= a < n for a, n in zip(to, out, strict=True)):
                part = x[(slice(None), slice(None), *at)].astype(np.float64)
                top[(slice(None), slice(None), *to)] += (
                    part @ weight[(slice(None), slice(None), *tap)]
                )
    return (top + bias.reshape(-1, 1, 1, 1)).astype(np.float32)


CONVOLUTIONS = [
    # kernel_depth, kernel_size, temporal_stride, stride, temporal_pad, pad
    (3, 3, 1, 1, 1, 1),
    (1, 2, 1, 2, 0, 1),
    (2, 3, 2, 1, 1, 0),
    (2, 1, 3, 2, 0, 0),
]


@pytest.mark.parametrize("sizes", CONVOLUTIONS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("block", ["convolution_param", "convolution3d_param"])
def test_convolution_of_volumes(sizes, transposed, block, tmp_path):
    depth, size, temporal_stride, stride, temporal_pad, pad = sizes
    rng = np.random.default_rng(0)
    x = numbers(rng, 2, 3, 4, 5, 6)
    first, second = (3, 4) if transposed else (4, 3)
    weight, bias = numbers(rng, first, second, depth, size, size), numbers(rng, 1, 1, 1, 1, 4)
    fields = f"num_output: 4 kernel_size: {size} kernel_depth: {depth} stride: {stride} pad: {pad} "
    fields += f"temporal_stride: {temporal_stride} temporal_pad: {temporal_pad} "
    fields += "group: 3 filter_group: 2"  # without effect in the source
    text = f'"{"Deconvolution3D" if transposed else "Convolution3D"}" {block} {{ {fields} }}'
    strides, pads = (temporal_stride, stride, stride), (temporal_pad, pad, pad)
    expected = (deconvolved if transposed else convolved)(x, weight, bias, strides, pads)
    assert_close(tops_of(text, [x], [weight, bias])[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [x], [weight, bias]), expected)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_nd_convolution(axes, group, tmp_path):
    rng = np.random.default_rng(0)
    lengths, kernel = (5, 6, 4)[:axes], (3, 2, 1)[:axes]
    stride, pad = (1, 2, 1)[:axes], (1, 0, 1)[:axes]
    x = numbers(rng, 2, 4, *lengths)
    weight, bias = numbers(rng, 6, 4 // group, *kernel), numbers(rng, 6)
    shapes = [
        as_text(f"{f}_shape", v) for f, v in (("kernel", kernel), ("stride", stride), ("pad", pad))
    ]
    fields = f"num_output: 6 group: {group} {' '.join(shapes)}"
    text = f'"NdConvolution" convolution_param {{ {fields} }}'
    expected = convolved(x, weight, bias, stride, pad, group)
    assert_close(tops_of(text, [x], [weight, bias])[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [x], [weight, bias]), expected)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        (
            '"Convolution3D" convolution3d_param { num_output: 2 kernel_size: 3 }',
            (1, 1, 4, 4, 4),
            "must be at least 1, got 3, 0, 1 and 1",
        ),
        (
            '"Convolution3D" convolution3d_param { num_output: 3 kernel_size: 3 kernel_depth: 3 '
            "filter_group: 2 }",
            (1, 1, 4, 4, 4),
            "filter_group 2 does not divide 3 outputs",
        ),
        (
            '"Convolution3D" convolution3d_param { num_output: 3 kernel_size: 3 kernel_depth: 3 }',
            (1, 1, 4, 4),
            "must have 5 axes",
        ),
        (
            '"NdConvolution" convolution_param { num_output: 3 kernel_shape { dim: 4 dim: 3 } }',
            (1, 1, 4, 4),
            "each spatial axis of its top must have at least 2 positions",
        ),
        (
            '"NdConvolution" convolution_param { num_output: 3 kernel_shape { dim: 4 } }',
            (1, 1, 4, 4),
            "kernel_shape has 1 axis for a bottom with 2 spatial axes",
        ),
        (
            '"Pooling3D" pooling3d_param { kernel_depth: 2 kernel_size: 2 pad: 1 }',
            (1, 1, 4, 4, 4),
            "pool MAX does not support pad in this fork",
        ),
        (
            '"Pooling3D" pooling3d_param { kernel_l: 2 kernel_size: 2 pad_l: 2 }',
            (1, 1, 4, 4, 4),
            "each pad must be smaller than the kernel",
        ),
        (
            '"Pooling" pooling_param { kernel_size_3d: 2 kernel_size_3d: 2 }',
            (1, 1, 4, 4, 4),
            "expected 1 or 3 kernel_size_3d, got 2",
        ),
        ('"Pooling" pooling_param { kernel_size: 2 }', (1, 1, 4, 4, 4), "must have 4 axes"),
    ],
)
def test_parameters_that_the_forks_refuse(text, shape, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(text, [shape])
