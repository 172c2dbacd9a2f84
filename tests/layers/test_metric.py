"""Simple functions and layers of face recognition against loops written from the public sources.

happynear/caffe-windows, src/caffe/layers: insanity, arccos, cosine, truncation, soft_truncation, noise, slope,
gram, inner_distance, label_specific_add, margin_inner_product, largemargin_inner_product, pairwise, local,
moving_normalize (margin_inner_product is that of wy1iu/sphereface). openvinotoolkit/training_toolbox_caffe: grn, scale_filter, label_specific_add. Cambricon/caffe:
crelu. lmb-freiburg/flownet2: neg_relu. SeLu: selu_layer of the nets of soeaver/caffe-model.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg

F = np.float32
DRAWN = settings(max_examples=25, deadline=None)
SHAPE = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def net(text: str, *shapes: tuple[int, ...], tops: int = 1, **options) -> pg.Net:
    names = "abc"[: len(shapes)]
    blobs = " ".join(
        [f'bottom: "{name}"' for name in names] + [f'top: "y{i}"' for i in range(tops)]
    )
    built = net_with(dict(zip(names, shapes, strict=True)), f'layer {{ name: "y" {blobs} {text} }}')
    return pg.Net(built.message, **options)


def run(text: str, *arrays: np.ndarray, weights=(), tops: int = 1, **options) -> np.ndarray:
    built = net(text, *(a.shape for a in arrays), tops=tops, **options)
    if weights:
        built.take_weights({"y": list(weights)})
    outputs = pg.run(built, dict(zip("abc", arrays, strict=False)))
    return outputs["y0"] if tops == 1 else [outputs[f"y{i}"] for i in range(tops)]


def close(actual: np.ndarray, expected: np.ndarray, largest: float = 1e-6) -> None:
    """``largest``: the largest value inside of the function, if its result can be far smaller."""
    assert actual.shape == expected.shape
    largest = max(largest, np.nanmax(np.abs(expected), initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * largest, equal_nan=True)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def each(function, x: np.ndarray) -> np.ndarray:
    return np.array([function(float(v)) for v in x.reshape(-1)], np.float32).reshape(x.shape)


def leaky(x: float, slope: float) -> float:
    return max(x, 0) + slope * min(x, 0)


MEAN = (8 - 3) / (math.log(8) - math.log(3))
FUNCTIONS = {
    'type: "NegReLU" relu_param { negative_slope: 0.3 }': lambda x: min(x, 0) + 0.3 * max(x, 0),
    'type: "NegReLU"': lambda x: min(x, 0),
    'type: "Insanity" insanity_param { lb: 3 ub: 8 }': lambda x: max(x, 0) + min(x, 0) / MEAN,
    'type: "Cosine"': math.cos,
    'type: "Truncation" truncation_param { lower_bound: -0.5 upper_bound: 0.7 }': (
        lambda x: min(max(x, -0.5), 0.7)
    ),
    'type: "SoftTruncation" soft_truncation_param { c: -3 }': lambda x: 1 - math.exp(x / 3),
    'type: "SeLu" selu_param { lambda: 1.5 alpha: 2 }': (
        lambda x: 1.5 * x if x > 0 else 1.5 * 2 * (math.exp(x) - 1)
    ),
    'type: "SeLu"': lambda x: 1.050700987 * (x if x > 0 else 1.67326324 * (math.exp(x) - 1)),
    'type: "SeLuDropout" selu_dropout_param { dropout_ratio: 0.2 }': lambda x: x,
    'type: "Noise" noise_param { gaussian_std: 0.5 }': lambda x: x,
}


@pytest.mark.parametrize("text", FUNCTIONS)
@settings(max_examples=8, deadline=None)
@given(shape=SHAPE, seed=st.integers(0, 99))
def test_functions(tmp_path_factory, text, shape, seed):
    """The values, and those of the stock layers that ``rewrite`` writes."""
    shape = (2, *shape) if "Insanity" in text else shape
    x = drawn(seed, *shape)
    expected = each(FUNCTIONS[text], x)
    largest = 1 if "SoftTruncation" in text else 1e-6  # 1 - exp(x)
    close(run(text, x), expected, largest)
    if "Cosine" in text:
        return
    path = tmp_path_factory.mktemp("rewrite") / "n.prototxt"
    net(text, shape).save(path)
    result = pg.rewrite(path)
    assert not result.retained
    close(pg.run(result.net, {"a": x})["y0"], expected, largest)


def test_arccos():
    x = np.linspace(-1.1, 1.1, 12, dtype=np.float32).reshape(3, 4)
    with np.errstate(invalid="ignore"):
        close(run('type: "Arccos"', x), np.arccos(x))


def test_identities_of_phase_test_are_random_in_phase_train():
    x = drawn(0, 2, 3, 4, 5)
    for text in (
        'type: "ScaleFilter" scale_filter_param { min_scale: 0.5 max_scale: 2 }',
        'type: "Noise" noise_param { uniform_range: 1 }',
        'type: "Insanity"',
    ):
        if "Insanity" not in text:
            np.testing.assert_array_equal(run(text, x), x)
        with pytest.raises(pg.UnsupportedError, match="values are random in phase TRAIN"):
            run(text, x, phase="TRAIN")
    with pytest.raises(pg.InputError, match="ub must be above lb"):
        net('type: "Insanity" insanity_param { lb: 3 ub: 2 }', (2, 3))


@DRAWN
@given(shape=SHAPE, data=st.data(), slope=st.sampled_from([0.0, 0.25]), seed=st.integers(0, 99))
def test_crelu(tmp_path_factory, shape, data, slope, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = drawn(seed, *shape)
    text = f'type: "CReLU" crelu_param {{ concat_axis: {axis} negative_slope: {slope} }}'
    both = (each(lambda v: leaky(v, slope), part) for part in (x, -x))
    expected = np.concatenate(list(both), axis)
    close(run(text, x), expected)
    path = tmp_path_factory.mktemp("rewrite") / "n.prototxt"
    net(text, shape).save(path)
    close(pg.run(pg.rewrite(path).net, {"a": x})["y0"], expected)


@DRAWN
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    bias=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 9),
)
def test_grn_slope_and_gram(shape, bias, seed):
    x = drawn(seed, *shape)
    n, c, h, w = shape
    norm = np.sqrt((x * x).sum(1, keepdims=True) + F(bias))
    close(run(f'type: "GRN" grn_param {{ bias: {bias} }}', x), x / norm)
    slope = np.empty((n, c + 2, h, w), np.float32)
    gram = np.empty((n, c, c, 1), np.float32)
    for i in range(n):
        slope[i, :c] = x[i]
        for row in range(h):
            for column in range(w):
                slope[i, c, row, column] = row / h
                slope[i, c + 1, row, column] = column / w
        for j in range(c):
            for k in range(c):
                gram[i, j, k, 0] = (x[i, j] * x[i, k]).sum() / (h * w) / c
    close(run('type: "Slope"', x), slope)
    close(run('type: "Gram"', x), gram)


@DRAWN
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    outputs=st.integers(1, 4),
    axis=st.integers(0, 1),
    kind=st.sampled_from(["L1", "L2"]),
    unit=st.booleans(),
    two=st.booleans(),
    seed=st.integers(0, 99),
)
def test_inner_distance(shape, outputs, axis, kind, unit, two, seed):
    x = drawn(seed, *shape)
    length = math.prod(shape[axis:])
    vectors = drawn(seed + 1, outputs, length)
    text = (
        f'type: "InnerDistance" inner_distance_param {{ num_output: {outputs} axis: {axis} '
        f'distance_type: "{kind}" normalize: {str(unit).lower()} }}'
    )
    used = vectors.astype(np.float64)
    if unit and not two:
        used /= np.sqrt((used * used).sum(1, keepdims=True) + 1e-6)
    rows = x.reshape(-1, length)
    expected = np.empty((len(rows), outputs), np.float32)
    for m in range(len(rows)):
        for n in range(outputs):
            d = rows[m] - used[n]
            expected[m, n] = (d * d).sum() if kind == "L2" else np.abs(d).sum()
    bottoms = [x, vectors] if two else [x]
    result = run(text, *bottoms, weights=() if two else (vectors,))
    close(result, expected.reshape(*shape[:axis], outputs))


@DRAWN
@given(
    n=st.integers(1, 4),
    classes=st.integers(1, 5),
    bias=st.sampled_from([-0.4, 0.4]),
    dialect=st.sampled_from(["happynear", "openvino"]),
    phase=st.sampled_from(["TRAIN", "TEST"]),
    tops=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_label_specific_add(n, classes, bias, dialect, phase, tops, seed):
    x = drawn(seed, n, classes)
    label = np.random.default_rng(seed).integers(0, classes, n).astype(np.float32)
    text = f'type: "LabelSpecificAdd" label_specific_add_param {{ bias: {bias} }}'
    result = run(text, x, label, tops=tops, dialect=dialect, phase=phase)
    expected = x.copy()
    for i in range(n if phase == "TRAIN" else 0):
        place = i, int(label[i])
        if dialect == "happynear" and expected[place] > -F(bias):
            expected[place] += F(bias)
        if dialect == "openvino" and expected[place] > abs(F(bias)):
            expected[place] -= abs(F(bias))
    close(result if tops == 1 else result[0], expected)


def test_label_specific_add_is_ambiguous_in_training():
    text = 'type: "LabelSpecificAdd" label_specific_add_param { bias: 0.4 }'
    run(text, drawn(0, 2, 3), np.float32([0, 1]))
    with pytest.raises(pg.UnsupportedError, match="the type is ambiguous in phase TRAIN"):
        run(text, drawn(0, 2, 3), np.float32([0, 1]), phase="TRAIN")


def margin(cos: float, kind: int) -> float:
    """f of the paper: (-1)^k cos(m t) - 2k."""
    t = math.acos(max(-1, min(1, cos)))
    k = min(int(t * kind / math.pi), kind - 1)
    return (-1) ** k * math.cos(kind * t) - 2 * k


@DRAWN
@given(
    n=st.integers(1, 4),
    length=st.integers(1, 5),
    classes=st.integers(1, 4),
    kind=st.integers(1, 4),
    base=st.sampled_from([0.0, 3.0]),
    least=st.sampled_from([0.0, 5.0]),
    large=st.booleans(),
    seed=st.integers(0, 99),
)
def test_margins(n, length, classes, kind, base, least, large, seed):
    """The polynomials of the source are the piecewise cosine of the papers."""
    x, weight = drawn(seed, n, length), drawn(seed + 1, classes, length)
    label = np.random.default_rng(seed).integers(0, classes, n).astype(np.float32)
    name = ("SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE")[kind - 1]
    block = "largemargin_inner_product_param" if large else "margin_inner_product_param"
    type_ = "LargeMarginInnerProduct" if large else "MarginInnerProduct"
    text = (
        f'type: "{type_}" {block} {{ num_output: {classes} type: {name} base: {base} '
        f"lambda_min: {least} }}"
    )
    mixing = max(base, least)
    expected = np.empty((n, classes), np.float32)
    near_edge = np.zeros((n, classes), bool)
    for i in range(n):
        for j in range(classes):
            w = weight[j] if large else weight[j] / np.linalg.norm(weight[j])
            size = float(np.linalg.norm(x[i]) * np.linalg.norm(w))
            score = float(x[i] @ w)
            t = math.acos(max(-1, min(1, score / size))) * kind / math.pi
            near_edge[i, j] = kind > 1 and abs(t - round(t)) < 1e-3
            own = size * margin(score / size, kind) if j == int(label[i]) else score
            expected[i, j] = score if kind == 1 else (own + mixing * score) / (1 + mixing)
    scores, used = run(text, x, label, weights=(weight,), tops=2)
    np.testing.assert_allclose(used, [mixing])
    close(np.where(near_edge, 0, scores), np.where(near_edge, 0, expected))


def test_margins_that_depend_on_the_iteration_are_refused():
    text = (
        'type: "MarginInnerProduct" margin_inner_product_param { num_output: 3 type: DOUBLE '
        "base: 5 gamma: 0.1 }"
    )
    with pytest.raises(pg.UnsupportedError, match="each iteration changes its lambda"):
        run(text, drawn(0, 2, 4), np.float32([0, 1]), weights=(drawn(1, 3, 4),))


@DRAWN
@given(
    m=st.integers(1, 4),
    n=st.integers(1, 4),
    c=st.integers(1, 4),
    seed=st.integers(0, 99),
    operation=st.sampled_from(["SUM", "SUM", "PROD", "MAX"]),
    coefficients=st.booleans(),
)
def test_pairwise(m, n, c, seed, operation, coefficients):
    a, b = drawn(seed, m, c, 1, 1), drawn(seed + 1, n, c)
    factors = (2.0, -0.5) if coefficients and operation == "SUM" else (1.0, 1.0)
    fields = f"operation: {operation} "
    fields += " ".join(f"coeff: {f}" for f in factors) if factors != (1.0, 1.0) else ""
    expected = np.empty((m, n, c), np.float32)
    for i in range(m):
        for j in range(n):
            u, v = a[i, :, 0, 0], b[j]
            values = {
                "SUM": factors[0] * u + factors[1] * v,
                "PROD": u * v,
                "MAX": np.maximum(u, v),
            }
            expected[i, j] = values[operation]
    close(run(f'type: "Pairwise" pairwise_param {{ {fields} }}', a, b), expected)


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, k) for k in (2, 3, 6, 6))),
    outputs=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_local(shape, outputs, kernel, stride, pad, bias, seed):
    n, c, h, w = shape
    text = (
        f'type: "Local" local_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} '
        f"pad: {pad} bias_term: {str(bias).lower()} }}"
    )
    if min(h, w) < kernel:
        with pytest.raises(pg.InputError, match="larger than its bottom"):
            net(text, shape)
        return
    high, wide = ((size + 2 * pad - kernel) // stride + 1 for size in (h, w))
    x = drawn(seed, *shape)
    weight = drawn(seed + 1, outputs, 1, c * kernel * kernel, high * wide)
    shift = drawn(seed + 2, 1, 1, outputs, high * wide)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = np.zeros((n, outputs, high, wide))
    for i in range(n):
        for m in range(outputs):
            for y in range(high):
                for u in range(wide):
                    window = padded[
                        i, :, y * stride : y * stride + kernel, u * stride : u * stride + kernel
                    ]
                    total = window.reshape(-1) @ weight[m, 0, :, y * wide + u]
                    expected[i, m, y, u] = total + (shift[0, 0, m, y * wide + u] if bias else 0)
    blobs = (weight, shift) if bias else (weight,)
    close(run(text, x, weights=blobs), expected.astype(np.float32))


def test_moving_normalize_is_refused():
    built = net('type: "MovingNormalize"', (2, 3), tops=2)
    assert built.shapes["y1"] == (1,)
    with pytest.raises(pg.UnsupportedError, match="each run changes the length"):
        pg.to_onnx(built)


@DRAWN
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    kind=st.sampled_from(["L1", "L2"]),
    tops=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_normalize(shape, kind, tops, seed):
    """normalize_layer.cpp: each pixel by the norm of its channels."""
    x = drawn(seed, *shape)
    text = f'type: "Normalize" normalize_param {{ normalize_type: "{kind}" bp_norm: true }}'
    result = run(text, x, tops=tops)
    four = x.reshape(*shape, *[1] * (4 - len(shape)))
    n, _, h, w = four.shape
    norm, expected = np.empty((n, 1, h, w), np.float32), np.empty_like(four)
    for i in range(n):
        for y in range(h):
            for u in range(w):
                values = four[i, :, y, u].astype(np.float64)
                total = (values * values).sum() if kind == "L2" else np.abs(values).sum()
                size = math.sqrt(total + 1e-6) if kind == "L2" else total + 1e-6
                norm[i, 0, y, u] = size
                expected[i, :, y, u] = values / size
    close(result if tops == 1 else result[0], expected)
    if tops == 2:
        close(result[1], norm)


def test_normalize_without_parameters_is_ambiguous():
    x = drawn(0, 2, 3)
    with pytest.raises(pg.UnsupportedError, match="ambiguous without parameters"):
        pg.to_onnx(net('type: "Normalize"', (2, 3)))
    run('type: "Normalize"', x, weights=(np.ones((), np.float32),))  # SSD's has a blob
    norm = np.sqrt((x * x).sum(1, keepdims=True) + F(1e-6))
    close(run('type: "Normalize"', x, dialect="happynear"), (x / norm).reshape(2, 3, 1, 1))
    run('type: "Normalize"', x, weights=(np.ones((), np.float32),), dialect="ssd")


@pytest.mark.parametrize("sizes", ["hole: 2", "hole_h: 2 hole_w: 3", "hole: 1"])
def test_hole_convolution(tmp_path, sizes):
    """hole_conv_layer.cpp of yangguorun/SegStereo: the dilation of Convolution by another name."""
    x, weight, bias = drawn(0, 2, 4, 9, 8), drawn(1, 6, 2, 3, 3), drawn(2, 6)
    rest = "num_output: 6 kernel_size: 3 pad: 2 stride: 2 group: 2"
    text = f'type: "HoleConvolution" convolution_param {{ {rest} {sizes} }}'
    dilation = [int(word) for word in sizes.split() if word.isdigit()]
    plain = " ".join(f"dilation: {d}" for d in dilation)
    stock = f'type: "Convolution" convolution_param {{ {rest} {plain} }}'
    expected = run(stock, x, weights=(weight, bias))
    close(run(text, x, weights=(weight, bias)), expected)
    built = net(text, x.shape)
    built.take_weights({"y": [weight, bias]})
    built.save(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    result = pg.rewrite(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    assert result.net.layers[-1].type == "Convolution"
    close(pg.run(result.net, {"a": x})["y0"], expected)
    with pytest.raises(pg.InputError, match="hole is missing"):
        net(text.replace(sizes, ""), x.shape)


@DRAWN
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    axis=st.integers(-2, 1),
    outputs=st.integers(1, 4),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_inner_product_with_weights_as_bottoms(shape, axis, outputs, bias, seed):
    """inner_product_layer.cpp: bottom 1 holds the weights, bottom 2 the bias."""
    x = drawn(seed, *shape)
    place = axis % len(shape)
    length = math.prod(shape[place:])
    weight, shift = drawn(seed + 1, outputs, length, 1), drawn(seed + 2, outputs)
    text = (
        f'type: "InnerProduct" inner_product_param {{ axis: {axis} bias_term: {str(bias).lower()} '
        "num_output: 9 normalize: true }"
    )
    expected = np.zeros((math.prod(shape[:place]), outputs))
    for m, row in enumerate(x.reshape(-1, length)):
        for n in range(outputs):
            expected[m, n] = row.astype(np.float64) @ weight[n, :, 0] + (shift[n] if bias else 0)
    bottoms = (x, weight, shift) if bias else (x, weight)
    close(run(text, *bottoms), expected.reshape(*shape[:place], outputs).astype(np.float32))
    with pytest.raises(pg.InputError, match="expected 1 bottom"):
        net(text, *(b.shape for b in bottoms), dialect="bvlc")
