"""Layers without golden numbers from real Caffe, against their formulas in NumPy, through
onnxruntime; and messages for layers that Caffe rejects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.onnx.session import run_model

RANDOM = np.random.default_rng(3)


def run(layer: str, weights: list[np.ndarray] | None = None, **arrays: np.ndarray):
    """Return all outputs of one layer "n", or of several complete layers, for float32 arrays."""
    text = layer if layer.startswith("layer") else f'layer {{ name: "n" {layer} }}'
    net = net_with({name: array.shape for name, array in arrays.items()}, text)
    if weights is not None:
        net.weights["n"] = weights
    return run_model(pg.to_onnx(net).SerializeToString(), arrays)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


def test_upsample_with_mask_restores_maxima():
    """SegNet: after pooling and upsampling, each maximum is at its old position, 0 elsewhere."""
    x = normal(2, 3, 6, 8)
    layers = """layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u" upsample_param { scale: 2 } }"""
    windows = x.reshape(2, 3, 3, 2, 4, 2)
    most = windows == windows.max(axis=(3, 5), keepdims=True)
    assert_close(run(layers, x=x)["u"], np.where(most, windows, 0).reshape(x.shape))


def test_filter_selects_samples():
    tops = run('type: "Filter" bottom: "x" bottom: "y" bottom: "s" top: "a" top: "b"',
                x=(x := normal(4, 2, 3)), y=(y := normal(4, 5)), s=np.float32([1, 0, 0, 2]))  # fmt: skip
    assert_close(tops["a"], x[[0, 3]])
    assert_close(tops["b"], y[[0, 3]])


def test_infogain_loss_equals_its_formula():
    x, labels, gain = normal(5, 4), np.float32([0, 3, 1, 1, 2]), np.abs(normal(1, 1, 4, 4))
    tops = run('type: "InfogainLoss" bottom: "x" bottom: "l" bottom: "h" top: "loss" top: "p" loss_weight: 1 loss_weight: 0',
                x=x, l=labels, h=gain)  # fmt: skip
    p = softmax(x, 1)
    expected = -(gain[0, 0][labels.astype(int)] * np.log(p)).sum() / 5
    assert_close(tops["loss"], expected)
    assert_close(tops["p"], p)


@pytest.mark.parametrize(
    ("param", "divisor"),
    [("", "valid"), ("normalization: FULL", 6), ("normalization: BATCH_SIZE", 3), ("normalization: NONE", 1),
     ("normalization: VALID", "valid"), ("normalize: true", "valid"), ("normalize: false", 3)],
)  # fmt: skip
@pytest.mark.parametrize("ignored", [None, 1, 9])
def test_loss_is_divided_by_the_normalizer(param, divisor, ignored):
    """SoftmaxWithLoss at two positions of three samples: the divisor of the sum."""
    x, labels = normal(3, 4, 2), np.float32([[0, 1], [1, 3], [2, 1]])
    skip = "" if ignored is None else f"ignore_label: {ignored}"
    tops = run(f'type: "SoftmaxWithLoss" bottom: "x" bottom: "l" top: "loss" loss_param {{ {param} {skip} }}', x=x, l=labels)  # fmt: skip
    p = softmax(x, 1)
    counts = labels != ignored
    terms = [
        -math.log(p[n, int(labels[n, i]), i]) for n, i in np.ndindex(labels.shape) if counts[n, i]
    ]
    assert_close(
        tops["loss"], np.float64(sum(terms) / (len(terms) if divisor == "valid" else divisor))
    )


@pytest.mark.parametrize("param", ["", "ignore_label: 1", "normalization: VALID ignore_label: 1"])
def test_sigmoid_cross_entropy_equals_its_formula(param):
    x, t = normal(3, 2, 2), np.float32(RANDOM.integers(0, 2, (3, 2, 2)))
    tops = run(f'type: "SigmoidCrossEntropyLoss" bottom: "x" bottom: "t" top: "loss" loss_param {{ {param} }}', x=x, t=t)  # fmt: skip
    p = sigmoid(x)
    terms = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    counts = t != 1 if "ignore" in param else np.ones_like(t, bool)
    assert_close(tops["loss"], terms[counts].sum() / (counts.sum() if "VALID" in param else 3))


def gates(x: np.ndarray, c: np.ndarray, cont: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Caffe's lstm_unit_layer.cpp: gates i, f, o, g."""
    i, f, o, g = np.split(x.astype(np.float64), 4, axis=-1)
    new = cont[..., None] * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return new, sigmoid(o) * np.tanh(new)


def test_lstm_unit_equals_its_formula():
    c, x, cont = normal(1, 3, 5), normal(1, 3, 20), np.float32([[1, 0, 1]])
    tops = run('type: "LSTMUnit" bottom: "c" bottom: "x" bottom: "cont" top: "new" top: "h"', c=c, x=x, cont=cont)  # fmt: skip
    new, h = gates(x, c, cont)
    assert_close(tops["new"], new)
    assert_close(tops["h"], h)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_recurrent_layers_equal_their_formulas(kind, static, exposed):
    """All forms of bottoms: static input, states as input and output, sequences that end."""
    steps, batch, width, d = 4, 2, 3, 5
    rows = 4 * d if kind == "LSTM" else d
    x, cont = normal(steps, batch, width), np.float32([[0, 0], [1, 1], [1, 0], [1, 1]])
    if exposed:
        cont[0] = 1
    fixed, states = (
        normal(batch, 6),
        [normal(1, batch, d) for _ in range(2 if kind == "LSTM" else 1)],
    )
    weights = [
        normal(rows, width),
        normal(rows),
        *([normal(rows, 6)] if static else []),
        normal(rows, d),
    ]
    weights += [normal(d, d), normal(d)] if kind == "RNN" else []
    arrays = {"x": x, "cont": cont} | ({"fixed": fixed} if static else {})
    arrays |= {f"s{i}": state for i, state in enumerate(states)} if exposed else {}
    tops = ["y", *(f"t{i}" for i in range(len(states)) if exposed)]
    text = " ".join([f'bottom: "{name}"' for name in arrays] + [f'top: "{name}"' for name in tops])
    outputs_by_name = run(f'type: "{kind}" {text} recurrent_param {{ num_output: {d} expose_hidden: {str(exposed).lower()} }}', weights, **arrays)  # fmt: skip

    at = 3 if static else 2
    h = states[0][0].astype(np.float64) if exposed else np.zeros((batch, d))
    c = states[-1][0].astype(np.float64) if exposed else np.zeros((batch, d))
    outputs = []
    for t in range(steps):
        read = x[t] @ weights[0].T.astype(np.float64) + weights[1]
        read += fixed @ weights[2].T if static else 0
        read += (h * cont[t][:, None]) @ weights[at].T
        if kind == "LSTM":
            c, h = gates(read, c, cont[t])
            outputs.append(h)
        else:
            h = np.tanh(read)
            outputs.append(np.tanh(h @ weights[at + 1].T + weights[at + 2]))
    assert_close(outputs_by_name["y"], np.stack(outputs))
    for name, state in zip(tops[1:], [h, c], strict=False):
        assert_close(outputs_by_name[name], state[None])


# Layers that Caffe rejects. "x" is 2x3x6x8, "y" 2x3x5x5, "v" 4, "s" 2.
SHAPES = {
    "x": (2, 3, 6, 8),
    "y": (2, 3, 5, 5),
    "v": (4,),
    "s": (2,),
    "r": (4, 2, 3),
    "c": (4, 2),
    "five": (1, 2, 3, 4, 5),
    "cell": (1, 2, 3),
    "goes_on": (1, 2),
}
REFUSED = [
    ('"Concat" bottom: "x" bottom: "x" top: "t" concat_param { axis: 1 concat_dim: 1 }', "axis and concat_dim are both set. Keep axis."),
    ('"Slice" bottom: "x" top: "t" top: "u" slice_param { axis: 1 slice_dim: 1 }', "axis and slice_dim are both set. Keep axis."),
    ('"Slice" bottom: "x"', "has no top."),
    ('"Slice" bottom: "x" top: "t" top: "u" slice_param { slice_point: 3 }', "slice_point must be increasing and within 1 to 2, got [3]."),
    ('"Slice" bottom: "x" top: "t" top: "u" top: "w" slice_param { slice_point: 2 slice_point: 1 }', "slice_point must be increasing and within 1 to 2, got [2, 1]."),
    ('"Flatten" bottom: "x" top: "t" flatten_param { axis: 2 end_axis: 0 }', "end_axis 0 is before axis 2."),
    ('"Reshape" bottom: "x" top: "t" reshape_param { axis: 2 num_axes: 3 }', "num_axes 3 from axis 2 is out of range for a bottom with 4 axes."),
    ('"Reshape" bottom: "x" top: "t" reshape_param { axis: 3 shape { dim: 8 dim: 0 } }', "dim number 1 is 0 and copies axis 4, but the bottom has only 4 axes."),
    ('"Reshape" bottom: "x" top: "t" reshape_param { shape { dim: -2 } }', "dim must be -1, 0 or a positive length, got -2."),
    ('"Reshape" bottom: "x" top: "t" reshape_param { shape { dim: -1 dim: -1 } }', "only one dim may be -1."),
    ('"Crop" bottom: "x" bottom: "y" top: "t" crop_param { axis: 1 offset: 1 offset: 1 }', "expected 1 offset or 3, got 2."),
    ('"Crop" bottom: "x" bottom: "r" top: "t"', "its second bottom must have at least as many axes as the first, got shapes 2x3x6x8 and 4x2x3."),
    ('"Tile" bottom: "x" top: "t"', "tiles must be set to at least 1, got 0."),
    ('"BatchReindex" bottom: "x" bottom: "c" top: "t"', '"c" must have 1 axis, got shape 4x2.'),
    ('"Filter" bottom: "x" top: "t"', "expected at least 2 bottoms, got 1."),
    ('"EuclideanLoss" bottom: "x" bottom: "y" top: "t"', "its first two bottoms must hold the same number of values, got shapes 2x3x6x8 and 2x3x5x5."),
    ('"HingeLoss" bottom: "x" bottom: "v" top: "t"', "its first two bottoms must have the same number of samples, got shapes 2x3x6x8 and 4."),
    ('"SoftmaxWithLoss" bottom: "x" bottom: "s" top: "t"', '"s" must hold 96 labels for scores of shape 2x3x6x8, got shape 2.'),
    ('"SoftmaxWithLoss" bottom: "x" bottom: "v" top: "t"', "its first two bottoms must have the same number of samples, got shapes 2x3x6x8 and 4."),
    ('"SoftmaxWithLoss" bottom: "c" bottom: "v" top: "t" top: "p" loss_weight: 1 loss_weight: 0', "has a second top, but no Caffe release accepts one. Remove it, and add a Softmax layer for the probabilities."),
    ('"SoftmaxWithLoss" bottom: "c" bottom: "v" top: "t" loss_weight: 1 loss_weight: 0', "expected 1 loss_weight (the number of tops), got 2. Give one loss_weight for each top (0: the top is not a loss)."),
    ('"EuclideanLoss" bottom: "x" bottom: "x" top: "t" top: "u"', "expected 1 top, got 2."),
    ('"SigmoidCrossEntropyLoss" bottom: "x" bottom: "x" top: "t" top: "u"', "expected 1 top, got 2."),
    ('"InfogainLoss" bottom: "c" bottom: "v" bottom: "x" top: "t" loss_param { normalize: true }', "loss_param.normalize is not supported by this layer. Use loss_param.normalization."),
    ('"InfogainLoss" bottom: "c" bottom: "v" bottom: "x" top: "t"', '"x" must hold 2 x 2 values, got shape 2x3x6x8.'),
    ('"ContrastiveLoss" bottom: "x" bottom: "x" bottom: "s" top: "t"', "its first two bottoms must hold one vector per sample, all of the same length, got shapes 2x3x6x8 and 2x3x6x8. Put a Flatten layer before it."),
    ('"ContrastiveLoss" bottom: "c" bottom: "c" bottom: "c" top: "t"', '"c" must have one value per sample, got shape 4x2.'),
    ('"MultinomialLogisticLoss" bottom: "c" bottom: "c" top: "t"', '"c" must have one value per sample, got shape 4x2.'),
    ('"Eltwise" bottom: "x" bottom: "x" top: "t" eltwise_param { operation: PROD coeff: 1 coeff: 2 }', "coeff is not allowed with operation PROD. Remove coeff, or put a Scale or Power layer before this layer."),
    ('"AbsVal" bottom: "x" top: "x"', 'its top "x" is also its bottom, but Caffe cannot compute this layer in place. Rename the top.'),
    ('"Eltwise" bottom: "x" bottom: "x" top: "x" eltwise_param { operation: PROD }', 'works in place on "x", but it reads this blob twice: Caffe treats the top as a second blob of the same name and refuses the net. Rename the top.'),
    ('"Filter" bottom: "x" bottom: "c" top: "t"', '"c" must have one value per sample, got shape 4x2.'),
    ('"Filter" bottom: "x" bottom: "v" top: "t"', '"x" must have 4 samples like "v", got shape 2x3x6x8.'),
    ('"MVN" bottom: "five" top: "t"', "its bottom must have at most 4 axes, got 1x2x3x4x5."),
    ('"PReLU" bottom: "s" top: "t"', 'bottom "s" must have 2 to 4 axes, got 2.'),
    ('"BatchNorm" bottom: "s" top: "t"', 'bottom "s" must have 2 to 32 axes, got 2.'),
    ('"Bias" bottom: "x" top: "t" bias_param { axis: 4 num_axes: 0 }', "axis 4 is out of range for a blob with 4 axes."),
    ('"InnerProduct" bottom: "x" top: "t" inner_product_param { num_output: 2 axis: 4 }', "axis 4 is out of range for a blob with 4 axes."),
    ('"Log" bottom: "x" top: "t" log_param { base: 1 }', "base must not be 1: its logarithm is 0. Set another base, or -1 for e."),
    ('"Im2col" bottom: "s" top: "t" convolution_param { axis: 0 kernel_size: 1 }', "its bottom has no spatial axes."),
    ('"LSTM" bottom: "r" bottom: "c" bottom: "v" top: "t" recurrent_param { num_output: 2 }', "x_static must have 2 samples, got shape 4."),
    ('"Accuracy" bottom: "c" bottom: "v" top: "t" accuracy_param { top_k: 3 }', "top_k must be at most 2, the number of classes, got 3."),
    ('"Reorg" bottom: "x" top: "t" reorg_param { stride: 0 }', "stride must be at least 1, got 0."),
    ('"PixelShuffle" bottom: "x" top: "t" pixelshuffle_param { upscale_factor: 2 }', "upscale_factor 2 requires a channel count divisible by 4, got 3."),
    ('"Upsample" bottom: "x" bottom: "y" top: "t" upsample_param { scale: 2 }', "its mask must have the shape of its first bottom, 2x3x6x8, got 2x3x5x5."),
    ('"Upsample" bottom: "x" top: "t" upsample_param { scale: 0 }', "the output size would be 0x0. Set a scale of at least 1."),
    ('"Interp" bottom: "x" top: "t" interp_param { zoom_factor: 0 }', "zoom_factor, shrink_factor and full_zoom_factor must be at least 1, got 0, 1 and 1."),
    ('"Interp" bottom: "x" top: "t" interp_param { height: 4 width: 4 pad_beg: 1 }', "pad_beg and pad_end must be 0 or negative, because they crop the input, got 1 and 0."),
    ('"Interp" bottom: "r" top: "t" interp_param { height: 4 width: 4 }', "its bottom must have 4 axes, got shape 4x2x3."),
    ('"PriorBox" bottom: "x" bottom: "x" top: "t"', "missing min_size. Set one or more."),
    ('"PriorBox" bottom: "x" bottom: "x" top: "t" prior_box_param { min_size: 4 min_size: 5 max_size: 9 }', "has 2 min_size, but 1 max_size. Set one max_size per min_size, or none."),
    ('"LSTM" bottom: "r" bottom: "v" top: "t" recurrent_param { num_output: 2 }', "cont must have the shape T x N of x, 4x2, got 4."),
    ('"LSTM" bottom: "r" bottom: "c" top: "t"', "num_output is missing or 0. Set the number of outputs."),
    ('"LSTMUnit" bottom: "r" bottom: "r" bottom: "c" top: "t" top: "u"', "cont must have the shape 1 x N of c (c is 4x2x3), got 4x2."),
    ('"LSTMUnit" bottom: "cell" bottom: "cell" bottom: "goes_on" top: "t" top: "o"', "gates must have the shape 1 x N x 4D of c (c is 1x2x3), got 1x2x3."),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "message"), REFUSED, ids=[f"{row[0].split()[0]}-{i}" for i, row in enumerate(REFUSED)])  # fmt: skip
def test_invalid_layer_is_rejected(layer, message):
    with pytest.raises(pg.InputError) as caught:
        _ = net_with(SHAPES, f'layer {{ name: "n" type: {layer} }}').graph
    kind = layer.split('"')[1]
    place, _, rest = str(caught.value).partition(": ")
    assert place == f"net.prototxt:{len(SHAPES) + 1}:1"
    assert rest == f'layer "n" ({kind}): {message}'


NOT_IN_ONNX = [
    ('"InfogainLoss" bottom: "c" bottom: "v" top: "t" infogain_loss_param { source: "h" }',
     "the information gain matrix is in a separate file. Add the matrix as a third bottom."),
    ('"SoftmaxWithLoss" bottom: "c" bottom: "v" bottom: "v" top: "t"',
     "has a third bottom, which forks use as weights in different ways. Remove the third bottom: BVLC Caffe's layer takes two."),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "message"), NOT_IN_ONNX)
def test_layer_without_onnx_export_is_rejected(layer, message):
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.to_onnx(net_with(SHAPES, f'layer {{ name: "n" type: {layer} }}'))
    assert str(caught.value).endswith(f": {message}")


def test_depthwise_kernel_larger_than_input_is_rejected():
    """Convolution computes a pixel there; the fork's layer has unsigned sizes and computes none."""
    layer = 'layer { name: "n" type: "ConvolutionDepthwise" bottom: "x" top: "t" convolution_param { num_output: 3 kernel_h: 7 kernel_w: 1 stride: 2 } }'
    with pytest.raises(pg.InputError, match="kernel size 7 is larger than 6 pixels with pad 0"):
        _ = net_with(SHAPES, layer).graph
