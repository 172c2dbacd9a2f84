"""Fields that Synopsys' fork adds to the layers of BVLC Caffe, against loops as in its source
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synopsys import close, net_of, rewritten, run

import protogen as pg

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same_pads(size, kernel, stride):
    """The pads of pad_type 1 in conv_layer.cpp, im2col.cpp and pooling_layer.cpp."""
    along = kernel - stride if size % stride == 0 else kernel - size % stride
    along = max(along, 0)
    return along // 2, along - along // 2


def convolution(x, weight, stride, pads, dilation, same):
    """conv_layer.cpp and im2col.cpp, for one group without a bias."""
    n, _, h, w = x.shape
    out, _, kh, kw = weight.shape
    t, b, left, right = pads
    if same:
        (t, b), (left, right) = same_pads(h, kh, stride), same_pads(w, kw, stride)
        oh, ow = -(-h // stride), -(-w // stride)
    else:
        oh = (h + t + b - (dilation * (kh - 1) + 1)) // stride + 1
        ow = (w + left + right - (dilation * (kw - 1) + 1)) // stride + 1
    y = np.zeros((n, out, oh, ow))
    for i, j, u, v in itertools.product(range(oh), range(ow), range(kh), range(kw)):
        row, column = i * stride - t + u * dilation, j * stride - left + v * dilation
        if 0 <= row < h and 0 <= column < w:
            y[:, :, i, j] += x[:, :, row, column] @ weight[:, :, u, v].T
    return y


PADS = st.tuples(*[st.integers(0, 3)] * 4)


@SETTINGS
@given(
    PADS,
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 2),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
    st.integers(0, 99),
)
def test_convolution_pads(pads, same, stride, dilation, kernel, size, seed):
    assume(all((k - 1) * dilation < n for k, n in zip(kernel, size, strict=True)))
    x, weight = normal(seed, 2, 3, *size), normal(seed + 1, 4, 3, *kernel)
    form = "pad_t: {} pad_b: {} pad_l: {} pad_r: {}".format(*pads)
    text = (
        f'type: "Convolution" convolution_param {{ num_output: 4 bias_term: false '
        f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride: {stride} dilation: {dilation} "
        f"{'pad_type: 1' if same else form} }}"
    )
    close(run(text, x, weights=[weight]), convolution(x, weight, stride, pads, dilation, same))


@pytest.mark.parametrize("type_", ["Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"])
@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (1, 0, 2, 1), (1, 1, 1, 1), (2, 0, 0, 0)])
def test_convolution_pads_are_rewritten(tmp_path, type_, pads):
    group = 6 if type_ != "Convolution" else 1
    text = (
        f'type: "{type_}" convolution_param {{ num_output: 6 kernel_size: 3 stride: 2 '
        f"pad_t: {pads[0]} pad_b: {pads[1]} pad_l: {pads[2]} pad_r: {pads[3]} }}"
    )
    weights = [normal(1, 6, 6 // group, 3, 3), normal(2, 6)]
    assert rewritten(tmp_path, text, (2, 6, 7, 8), weights=weights) == ["Convolution"]


def test_pads_in_two_forms_are_refused():
    x = normal(0, 1, 1, 5, 5)
    for block, word in (
        ("convolution_param { num_output: 1 kernel_size: 3 pad: 1 pad_l: 1 }", "pad_h or pad_w"),
        ("convolution_param { num_output: 1 kernel_size: 3 pad_type: 1 pad_l: 1 }", "pad_type"),
        ("convolution_param { num_output: 1 kernel_size: 3 pad_type: 2 }", "must be 0 or 1"),
    ):
        with pytest.raises(pg.InputError, match=word):
            net_of(f'type: "Convolution" {block}', [x])


@SETTINGS
@given(PADS, st.integers(1, 3), st.tuples(st.integers(2, 4), st.integers(2, 4)), st.integers(0, 99))
def test_deconvolution_pads(pads, stride, kernel, seed):
    """deconv_layer.cpp: s (n - 1) + K - pad_t - pad_b rows."""
    x, weight = normal(seed, 2, 3, 4, 5), normal(seed + 1, 3, 2, *kernel)
    t, b, left, right = pads
    full = np.zeros((2, 2, stride * 3 + kernel[0], stride * 4 + kernel[1]))
    for i, j, u, v in itertools.product(range(4), range(5), range(kernel[0]), range(kernel[1])):
        full[:, :, i * stride + u, j * stride + v] += x[:, :, i, j] @ weight[:, :, u, v]
    h, w = full.shape[2:]
    assume(h - t - b > 0 and w - left - right > 0)
    text = (
        f'type: "Deconvolution" convolution_param {{ num_output: 2 bias_term: false '
        f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride: {stride} "
        f"pad_t: {t} pad_b: {b} pad_l: {left} pad_r: {right} }}"
    )
    close(run(text, x, weights=[weight]), full[:, :, t : h - b, left : w - right])


def pooling(x, method, kernel, stride, pads, same, ceil):
    """pooling_layer.cpp."""
    n, c, h, w = x.shape
    (t, b, left, right), (kh, kw) = pads, kernel
    if same:
        (t, b), (left, right) = same_pads(h, kh, stride), same_pads(w, kw, stride)
        oh, ow = math.ceil(h / stride), math.ceil(w / stride)
    else:
        up = math.ceil if ceil else math.floor
        oh = int(up((h + t + b - kh) / stride)) + 1
        ow = int(up((w + left + right - kw) / stride)) + 1
        if any(pads):
            oh -= (oh - 1) * stride >= h + t
            ow -= (ow - 1) * stride >= w + left
    y = np.zeros((n, c, oh, ow))
    for i, j in itertools.product(range(oh), range(ow)):
        top, start = i * stride - t, j * stride - left
        if method == "MAX":
            bottom, end = min(top + kh, h), min(start + kw, w)
        else:
            bottom, end = min(top + kh, h + b), min(start + kw, w + right)
        count = (bottom - top) * (end - start)
        part = x[:, :, max(top, 0) : min(bottom, h), max(start, 0) : min(end, w)]
        if method == "MAX":
            y[:, :, i, j] = part.max((2, 3), initial=-3.4028234663852886e38)
        else:
            count = count if method == "AVE" else part.shape[2] * part.shape[3]
            with np.errstate(divide="ignore", invalid="ignore"):
                y[:, :, i, j] = np.float64(part.sum((2, 3))) / count
    return y


@SETTINGS
@given(
    st.sampled_from(["MAX", "AVE", "AVE_EXC_PAD", "AVE_TF"]),
    PADS,
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
    st.integers(0, 99),
)
def test_pooling_pads(method, pads, same, ceil, stride, kernel, size, seed):
    bounds = (kernel[0], kernel[0], kernel[1], kernel[1])
    assume(same or all(pad < k for pad, k in zip(pads, bounds, strict=True)))
    x = normal(seed, 2, 3, *size)
    form = "pad_t: {} pad_b: {} pad_l: {} pad_r: {}".format(*pads)
    expected = pooling(x, method, kernel, stride, pads, same, ceil)
    assume(np.isfinite(expected).all())
    text = (
        f'type: "Pooling" pooling_param {{ pool: {method} kernel_h: {kernel[0]} '
        f"kernel_w: {kernel[1]} stride: {stride} round_mode: {'CEIL' if ceil else 'FLOOR'} "
        f"{'pad_type: 1' if same else form} }}"
    )
    close(run(text, x), expected)


@pytest.mark.parametrize(
    "words",
    [
        "kernel_size: 3 stride: 2 pad_t: 0 pad_b: 1 pad_l: 0 pad_r: 1",
        "kernel_size: 3 stride: 2 pad_type: 1",
        "kernel_size: 3 stride: 1 pad_t: 1 pad_b: 1 pad_l: 1 pad_r: 1",
        "kernel_size: 2 stride: 2 pool: AVE_TF",
        "pool: AVE_EXC_PAD kernel_size: 3 stride: 2 ceil_mode: false",
        "pool: AVE kernel_size: 2 stride: 2 pad_b: 1 pad_r: 1 round_mode: FLOOR",
        "pool: AVE_TF global_pooling: true",
    ],
)
def test_pooling_is_rewritten(tmp_path, words):
    assert rewritten(tmp_path, f'type: "Pooling" pooling_param {{ {words} }}', (2, 3, 8, 8)) == [
        "Pooling"
    ]


@pytest.mark.parametrize("type_", ["ReLU", "XLU"])
@pytest.mark.parametrize("slope", [0, 0.25, -0.5])
@pytest.mark.parametrize(
    "words", ["", "relu6: true", "maximum: 2.5", "minimum: -0.5", "minimum: 1"]
)
@pytest.mark.parametrize("limit", [None, 1.5, -1.0])
def test_relu_limits(tmp_path, type_, slope, words, limit):
    """relu_layer.cpp and xlu_layer.cpp."""
    x = 8 * normal(3, 3, 5, 2)
    fields = dict(word.split(": ") for word in [words] if word)
    maximum = float(fields.get("maximum", 0)) if limit is None else limit
    expected = np.maximum(x, 0) + slope * np.minimum(x, 0)
    if "relu6" in fields:
        expected = np.minimum(expected, 6)
    if maximum > 0:
        expected = np.minimum(expected, maximum)
    if "minimum" in fields:
        expected = np.maximum(expected, float(fields["minimum"]))
    block = "relu_param" if type_ == "ReLU" else "xlu_param"
    text = f'type: "{type_}" {block} {{ negative_slope: {slope} {words} }}'
    more = [] if limit is None else [np.array([limit, 9], np.float32)]
    close(run(text, x, *more, dialect="synopsys"), expected)
    if limit is None and (words or type_ == "XLU"):
        assert rewritten(tmp_path, text, (3, 5, 2))[-1] == ("Clip" if words else "ReLU")


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("factor", [1.0, 3.0, 0.0])
def test_batch_norm_adds_eps_after_the_root(tmp_path, stored, factor):
    """batch_norm_layer.cpp: sqrt(variance) + eps."""
    x, mean, variance = normal(4, 3, 4, 5, 2), normal(5, 4), np.abs(normal(6, 4)) + 0.1
    text = (
        'type: "BatchNorm" batch_norm_param { eps: 0.125 add_eps_before_sqrt: false icnet: true '
        f"use_global_stats: {str(stored).lower()} }}"
    )
    scale = 1 / factor if factor else 0.0
    m, v = mean * scale, variance * scale
    if not stored:
        m, v = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shaped = [np.reshape(a, (1, 4, 1, 1)) for a in (m, np.sqrt(v) + 0.125)]
    weights = [mean, variance, [factor]]
    close(run(text, x, weights=weights), (x - shaped[0]) / shaped[1])
    if stored:
        assert rewritten(tmp_path, text, x.shape, weights=weights) == ["BatchNorm"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("across", [True, False])
def test_eps_of_mvn_and_normalize(tmp_path, before, across):
    """mvn_layer.cpp and normalize_layer.cpp."""
    x, flag = normal(7, 2, 3, 4, 5), str(before).lower()
    axes = (1, 2, 3) if across else (2, 3)
    text = (
        f'type: "MVN" mvn_param {{ eps: 0.25 add_eps_before_sqrt: {flag} '
        f"across_channels: {str(across).lower()} }}"
    )
    variance = x.var(axes, keepdims=True)
    root = np.sqrt(variance + 0.25) if before else np.sqrt(variance) + 0.25
    close(run(text, x), (x - x.mean(axes, keepdims=True)) / root)
    text = (
        f'type: "Normalize" norm_param {{ eps: 0.25 add_eps_before_sqrt: {flag} '
        f"across_spatial: {str(across).lower()} channel_shared: false }}"
    )
    total, weights = (x**2).sum((1, 2, 3) if across else 1, keepdims=True), [normal(8, 3)]
    root = np.sqrt(total) + 0.25 if across and not before else np.sqrt(total + 0.25)
    close(run(text, x, weights=weights), x / root * weights[0].reshape(1, 3, 1, 1))
    assert "Scale" in rewritten(tmp_path, text, x.shape, weights=weights)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("values", [True, False])
def test_argmax_of_the_smallest(axis, values):
    """argmax_layer.cpp with min_first: pairs of value and index in ascending order."""
    x = np.random.default_rng(9).integers(0, 4, (3, 5, 4)).astype(np.float32)
    word = "" if axis is None else f"axis: {axis}"
    text = (
        f'type: "ArgMax" argmax_param {{ top_k: 3 min_first: true {word} '
        f"out_max_val: {str(values).lower()} }}"
    )
    y = run(text, x)
    flat = x.reshape(3, -1) if axis is None else np.moveaxis(x, axis, -1)
    pairs = [
        sorted((value, i) for i, value in enumerate(line))
        for line in flat.reshape(-1, flat.shape[-1])
    ]
    best = np.array(pairs)[:, :3]
    if axis is None:
        parts = [best[..., 1], best[..., 0]] if values else [best[..., 1]]
        close(y, np.stack(parts, 1).reshape(y.shape))
    else:
        picked = best[..., 0 if values else 1].reshape(*flat.shape[:-1], 3)
        close(y, np.moveaxis(picked, -1, axis))


@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX", "MIN", "DIV"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3,), 1), ((2,), 0), ((3, 4), 1), ((4, 5), -2), ((2, 3), 0), ((), 0)]
)
def test_eltwise_of_a_repeated_bottom(tmp_path, operation, shape, axis):
    """eltwise_layer.cpp: the axes of bottom[1] are those of bottom[0] from axis on."""
    x, y = normal(10, 2, 3, 4, 5), normal(11, *shape) + 3
    start = axis % 4
    spread = y.reshape(*[1] * start, *shape, *[1] * (4 - start - len(shape)))
    expected = {
        "SUM": x + spread,
        "PROD": x * spread,
        "MAX": np.maximum(x, spread),
        "MIN": np.minimum(x, spread),
        "DIV": x / spread,
    }[operation]
    text = f'type: "Eltwise" eltwise_param {{ operation: {operation} axis: {axis} }}'
    close(run(text, x, y), expected)
    if operation in ("SUM", "PROD") and axis:
        assert rewritten(tmp_path, text, x.shape, shape) in (["Bias"], ["Scale"])


def test_eltwise_refuses_other_shapes():
    with pytest.raises(pg.InputError, match="from axis 1 on"):
        net_of('type: "Eltwise" eltwise_param { axis: 1 }', [normal(0, 2, 3, 4), normal(0, 4)])
    with pytest.raises(pg.InputError, match="same shape"):
        net_of('type: "Eltwise"', [normal(0, 2, 3, 4), normal(0, 2)])


@pytest.mark.parametrize("factor", [2, 3])
def test_reshape_shuffles_pixels(tmp_path, factor):
    """reshape_layer.cpp with pixelshuffler."""
    x = np.arange(2 * 2 * factor**2 * 3 * 2, dtype=np.float32).reshape(2, -1, 3, 2)
    r = factor
    expected = np.zeros((2, 2, 3 * r, 2 * r))
    for c, h, w in itertools.product(range(x.shape[1]), range(3), range(2)):
        row, column = h * r + (c // r) % r, w * r + (c % (r * r)) % r
        expected[:, c // (r * r), row, column] = x[:, c, h, w]
    text = f'type: "Reshape" reshape_param {{ pixelshuffler: {factor} }}'
    close(run(text, x), expected)
    assert rewritten(tmp_path, text, x.shape) == ["Deconvolution"]
