"""Fields and enum values of forks that change numbers, against the formulas in their sources."""

import math

import numpy as np
import pytest
from nets import net_with

import protogen as pg

X = np.random.default_rng(0).normal(size=(2, 4, 7, 6)).astype(np.float32)


def net(text: str, *shapes: tuple[int, ...], **options) -> pg.Net:
    """Build a net with inputs data, data1, ... and the layer ``y`` with this text."""
    names = ["data", *(f"data{i}" for i in range(1, len(shapes)))]
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    shaped = dict(zip(names, shapes, strict=True))
    built = net_with(shaped, f'layer {{ name: "y" {bottoms} top: "y" {text} }}')
    built = pg.Net(built.message, **options)
    random = np.random.default_rng(1)
    for layer, blobs in built.parameter_shapes.items():
        if blobs:
            built.weights[layer] = [
                np.asarray(random.normal(size=blob), np.float32) for blob in blobs
            ]
    return built


def y(text: str, *arrays: np.ndarray, **options) -> np.ndarray:
    built = net(text, *(a.shape for a in arrays), **options)
    names = ["data", *(f"data{i}" for i in range(1, len(arrays)))]
    return pg.run(built, dict(zip(names, arrays, strict=True)))["y"]


def pooled(x: np.ndarray, k: int, s: int, p: int, f) -> np.ndarray:
    """Apply f to each of Caffe's windows (number rounded up, last one clipped)."""
    n = x.shape[2:]
    out = [math.ceil((m + 2 * p - k) / s) + 1 for m in n]
    out = [o - 1 if p and (o - 1) * s >= m + p else o for o, m in zip(out, n, strict=True)]
    tops = np.empty((*x.shape[:2], *out), np.float32)
    for i in range(out[0]):
        for j in range(out[1]):
            rows = slice(max(i * s - p, 0), min(i * s - p + k, n[0]))
            columns = slice(max(j * s - p, 0), min(j * s - p + k, n[1]))
            tops[:, :, i, j] = f(x[:, :, rows, columns], axis=(2, 3))
    return tops


def test_dropout_without_scale_train_multiplies_in_test():
    """TEST multiplies by 1 - ratio if TRAIN did not divide by it."""
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.3 scale_train: %s }'
    np.testing.assert_allclose(y(text % "false", X), X * np.float32(0.7), rtol=1e-6)
    np.testing.assert_array_equal(y(text % "true", X), X)


def test_dropout_with_sample_weights_test_is_rejected():
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.3 sample_weights_test: true }'
    with pytest.raises(pg.UnsupportedError, match="values are random"):
        y(text, X)


@pytest.mark.parametrize(("k", "s", "p"), [(3, 2, 1), (2, 2, 0), (3, 2, 0), (3, 1, 1), (5, 3, 2)])
def test_average_excludes_padding(k, s, p):
    window = f"kernel_size: {k} stride: {s} pad: {p}"
    expected = pooled(X, k, s, p, np.mean)
    for words in ("pool: AVE avg_include_pad: false", "pool: AVE_EXC_PAD"):
        actual = y(f'type: "Pooling" pooling_param {{ {words} {window} }}', X)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k", "s", "p"), [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_min_pooling(k, s, p):
    text = f'type: "Pooling" pooling_param {{ pool: MIN kernel_size: {k} stride: {s} pad: {p} }}'
    np.testing.assert_array_equal(y(text, X), pooled(X, k, s, p, np.min))


def test_global_min_pooling():
    text = 'type: "Pooling" pooling_param { pool: MIN global_pooling: true }'
    np.testing.assert_array_equal(y(text, X), X.min(axis=(2, 3), keepdims=True))


def test_round_mode_overrides_ceil_mode():
    text = 'type: "Pooling" pooling_param { kernel_size: 2 stride: 2 %s }'
    sizes = {
        "": 4, "ceil_mode: false": 3, "ceil_mode: true": 4, "round_mode: FLOOR": 3,
        "round_mode: CEIL ceil_mode: false": 4, "round_mode: FLOOR ceil_mode: true": 3,
    }  # fmt: skip
    for words, size in sizes.items():
        assert net(text % words, X.shape).shapes["y"][2] == size, words


@pytest.mark.parametrize("kind", ["Convolution", "InnerProduct"])
def test_relu_field_of_weighted_layers(kind):
    block = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}[kind]
    window = "kernel_size: 3" if kind == "Convolution" else ""
    text = f'type: "{kind}" {block} {{ num_output: 3 {window} %s }}'
    plain = y(text % "", X)
    assert (plain < 0).any()
    np.testing.assert_array_equal(y(text % "relu: true", X), np.maximum(plain, 0))
    actual = y(text % "relu: true negative_slope: 0.25", X)
    np.testing.assert_allclose(actual, np.where(plain > 0, plain, plain * 0.25), rtol=1e-6)
    np.testing.assert_array_equal(y(text % "negative_slope: 0.25", X), plain)


def test_inner_product_normalize():
    text = 'type: "InnerProduct" inner_product_param { num_output: 3 normalize: true }'
    built = net(text, X.shape)
    weight, bias = built.weights["y"]
    rows = weight / np.sqrt((weight * weight).sum(1, keepdims=True) + 1e-6)
    actual = pg.run(built, {"data": X})["y"]
    np.testing.assert_allclose(actual, X.reshape(2, -1) @ rows.T + bias, rtol=1e-4, atol=1e-5)
    with pytest.raises(pg.UnsupportedError, match="transpose"):
        y(text.replace("normalize", "transpose: true normalize"), X)


@pytest.mark.parametrize("words", ["hole: 2", "hole_h: 2 hole_w: 2", "dilation_h: 2 dilation_w: 2"])
def test_dilation_under_names_of_forks(words):
    text = 'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 %s }'
    np.testing.assert_array_equal(y(text % words, X), y(text % "dilation: 2", X))
    with pytest.raises(pg.InputError, match="are both set"):
        y(text % f"dilation: 2 {words}", X)


def test_incomplete_dilation_is_rejected():
    text = 'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 hole_h: 2 }'
    with pytest.raises(pg.InputError, match="hole_h and hole_w must both be set"):
        y(text, X)
    deconvolution = (
        'type: "Deconvolution" convolution_param { num_output: 3 kernel_size: 3 hole: 2 }'
    )
    with pytest.raises(pg.UnsupportedError, match=r"convolution_param\.hole is set to 2"):
        y(deconvolution, X)


@pytest.mark.parametrize(
    ("words", "formula"),
    [
        ("SUB", np.subtract),
        ("DIV", np.divide),
        ("MIN", np.minimum),
    ],
)
def test_eltwise_operations_of_forks(words, formula):
    text = f'type: "Eltwise" eltwise_param {{ operation: {words} }}'
    other = np.abs(X[::-1]) + 1
    np.testing.assert_allclose(y(text, X, other), formula(X, other), rtol=1e-6)
    if words != "MIN":
        with pytest.raises(pg.InputError, match="expected 2 bottoms, got 3"):
            y(text, X, X, X)


def test_eltwise_sum_of_one_bottom():
    text = 'type: "Eltwise" eltwise_param { operation: SUM coeff: 0.5 }'
    np.testing.assert_array_equal(y(text, X), X * 0.5)
    with pytest.raises(pg.InputError, match="expected at least 2 bottoms, got 1"):
        y('type: "Eltwise" eltwise_param { operation: MAX }', X)


@pytest.mark.parametrize(("word", "formula"), [("MAX", np.max), ("MIN", np.min)])
def test_reduction_max_and_min(word, formula):
    text = f'type: "Reduction" reduction_param {{ operation: {word} axis: 1 coeff: 2 }}'
    np.testing.assert_allclose(y(text, X), 2 * formula(X, axis=(1, 2, 3)), rtol=1e-6)


SIZES = {
    "height: 17 width: 17": 17,
    "shrink_factor: 2": 5,
    "zoom_factor: 2": 17,
    "zoom_factor: 2 shrink_factor: 4": 5,  # (9 - 1) / 4 + 1 = 3, then 3 + 2 * 1
    "height: 17 width: 17 shrink_factor: 2": 5,
    "height: 6 width: 6 zoom_factor: 2": 17,
    "height: 6 width: 6 zoom_factor: 2 shrink_factor: 2": 6,
    "full_zoom_factor: 2": 18,
    "full_zoom_factor: 2 zoom_factor: 2": 17,
    "full_zoom_factor: 2 height: 6 width: 6": 6,
}


@pytest.mark.parametrize("words", SIZES)
def test_interp_precedence_of_size_fields(words):
    text = f'type: "Interp" interp_param {{ {words} }}'
    assert net(text, (1, 2, 9, 9)).shapes["y"][2:] == (SIZES[words],) * 2


def test_upsample_without_factor_depends_on_dialect():
    with pytest.raises(
        pg.UnsupportedError, match="its default differs between forks: 1 in yolo, 2 in huawei"
    ):
        y('type: "Upsample"', X)
    assert net('type: "Upsample"', X.shape, dialect="yolo").shapes["y"] == X.shape
    assert net('type: "Upsample"', X.shape, dialect="huawei").shapes["y"][2:] == (14, 12)
    with pytest.raises(pg.InputError, match="pad_out_h requires a scale of 2, got 3"):
        net('type: "Upsample" upsample_param { scale: 3 pad_out_h: true }', X.shape)


def test_shuffle_channel_default_group():
    actual = y('type: "ShuffleChannel"', X)
    np.testing.assert_array_equal(actual, X)


def test_label_smoothing_does_not_change_the_loss():
    """Intel's and NVIDIA's forks report the same loss with it."""
    labels = np.array([1, 3], np.float32)
    text = 'type: "SoftmaxWithLoss" loss_param { %s }'
    scores = X[:, :, 0, 0]
    assert y(text % "label_smoothing: 0.1", scores, labels) == y(text % "", scores, labels)


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return -np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(labels)), labels.astype(int)])


def test_class_weighting():
    """SegNet: the sum of weighted terms, divided by the number of labels and not by their
    weights."""
    labels = np.array([1, 3], np.float32)
    scores = X[:, :, 0, 0]
    weights = [0.5, 2, 1, 3]
    words = " ".join(f"class_weighting: {w}" for w in weights)
    text = f'type: "SoftmaxWithLoss" loss_param {{ weight_by_label_freqs: true {words} %s }}'
    terms = cross_entropy(scores, labels) * np.array([2, 3])
    np.testing.assert_allclose(y(text % "", scores, labels), terms.sum() / 2, rtol=1e-5)
    loss = y(text % "ignore_label: 1", scores, labels)
    np.testing.assert_allclose(loss, terms[1], rtol=1e-5)
    with pytest.raises(pg.InputError, match=r"expected 4 class_weighting \(one per class\), got 5"):
        y(text % "class_weighting: 1", scores, labels)
    with pytest.raises(pg.InputError, match="class_weighting is missing"):
        y('type: "SoftmaxWithLoss" loss_param { weight_by_label_freqs: true }', scores, labels)


def test_pre_fixed_normalizer():
    labels = np.array([1, 3], np.float32)
    scores = X[:, :, 0, 0]
    text = 'type: "SoftmaxWithLoss" loss_param { normalization: PRE_FIXED %s }'
    total = cross_entropy(scores, labels).sum()
    np.testing.assert_allclose(y(text % "", scores, labels), total, rtol=1e-5)
    loss = y(text % "pre_fixed_normalizer: 8", scores, labels)
    np.testing.assert_allclose(loss, total / 8, rtol=1e-5)


def test_scale_limits():
    text = 'type: "Scale" scale_param { bias_term: true min_value: -0.5 max_value: 0.75 }'
    built = net(text, X.shape)
    scale, bias = built.weights["y"]
    assert scale.min() < -0.5 or scale.max() > 0.75
    expected = X * np.clip(scale, -0.5, 0.75)[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(pg.run(built, {"data": X})["y"], expected, rtol=1e-5, atol=1e-6)


def test_roi_pooling_pad_ratio():
    """MS-CNN widens a region by pad_ratio of its size on each side before it is scaled."""
    text = 'type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 %s }'
    rois = np.array([[0, 2, 2, 3, 3], [1, 1, 2, 4, 5]], np.float32)
    wider = rois.copy()
    pad = (rois[:, 3:] - rois[:, 1:3] + 1) * 0.5
    wider[:, 1:3] -= pad
    wider[:, 3:] += pad
    np.testing.assert_array_equal(y(text % "pad_ratio: 0.5", X, rois), y(text % "", X, wider))


def test_relu6_negative_slope():
    actual = y('type: "ReLU6" relu6_param { negative_slope: 0.1 }', X * 5)
    np.testing.assert_allclose(actual, np.minimum(np.where(X > 0, X, X * 0.1) * 5, 6), rtol=1e-5)


def normalized(built: pg.Net, eps: float, divided: bool) -> np.ndarray:
    mean, variance, factor, *own = built.weights["y"]
    scale, shift = [*own, *(np.ones(4), np.zeros(4))[len(own) :]]
    by = 1 / factor if divided else 1
    shaped = [np.reshape(a, (-1, 1, 1)) for a in (mean * by, variance * by, scale, shift)]
    return (X - shaped[0]) / np.sqrt(shaped[1] + eps) * shaped[2] + shaped[3]


@pytest.mark.parametrize(
    ("words", "eps", "divided", "blobs"),
    [
        ("use_alpha_beta: true", 1e-5, True, 5),
        ("use_weight_bias: true", 1e-5, True, 5),
        ("use_weight_bias: true bias_term: false", 1e-5, True, 4),
        ("scale_bias: true eps: 1e-7", 1e-5, False, 5),
        ("scale_bias: true eps: 1e-3", 1e-3, False, 5),
        ("relu: true", 1e-5, True, 3),
        ("relu: true use_weight_bias: true", 1e-5, True, 5),
    ],
)
def test_batch_norm_with_scale_and_bias_blobs(words, eps, divided, blobs):
    built = net(f'type: "BatchNorm" batch_norm_param {{ {words} }}', X.shape)
    assert len(built.parameter_shapes["y"]) == blobs
    built.weights["y"] = [
        np.abs(b) + 0.5 if i in (1, 2) else b for i, b in enumerate(built.weights["y"])
    ]
    expected = normalized(built, eps, divided)
    expected = np.maximum(expected, 0) if "relu" in words else expected
    np.testing.assert_allclose(pg.run(built, {"data": X})["y"], expected, rtol=1e-4, atol=1e-5)


def test_segnet_bn():
    scaled = 'type: "BN" bn_param { bn_mode: INFERENCE }'
    built = net(scaled, X.shape)
    scale, shift = (b.reshape(-1, 1, 1) for b in built.weights["y"])
    np.testing.assert_allclose(
        pg.run(built, {"data": X})["y"], X * scale + shift, rtol=1e-5, atol=1e-6
    )
    mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    expected = (X - mean) / np.sqrt(variance + 1e-9) * scale + shift
    for words, options in (
        ("bn_mode: LEARN", {}),
        ("scale_filler { value: 1 }", {}),
        ("", {"dialect": "segnet"}),
    ):
        actual = y(f'type: "BN" bn_param {{ {words} }}', X, **options)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        pg.UnsupportedError,
        match="the type is ambiguous: SegNet's BN has the blobs scale and shift",
    ):
        y('type: "BN"', X)


def test_intel_pooling_with_kernel_1_drops_the_last_window():
    """It drops a last window beyond the input even without a pad."""
    text = 'type: "Pooling" pooling_param { kernel_size: 1 stride: 2 }'
    assert net(text, (1, 1, 6, 6)).shapes["y"][2:] == (4, 4)
    assert net(text, (1, 1, 6, 6), dialect="intel").shapes["y"][2:] == (3, 3)
    assert net(text, (1, 1, 7, 7), dialect="intel").shapes["y"][2:] == (4, 4)
