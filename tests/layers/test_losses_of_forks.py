"""Losses of forks: numbers of loops as in their public sources."""

from __future__ import annotations

import numpy as np
import pytest
from synopsys import close, net_of, run

import protogen as pg
from protogen.formats import prototxt

FLT_MIN = 1.1754943508222875e-38
SHAPES = [(3, 1, 4, 5), (2, 7), (4, 2, 3), (1, 3, 1, 1), (5,)]


def balanced(x, labels):
    """Forward_cpu of SigmoidCrossEntropyBalanceLoss, value by value."""
    loss_pos = loss_neg = 0.0
    for sample, row in zip(
        x.reshape(len(x), -1).astype(float), labels.reshape(len(x), -1), strict=True
    ):
        pos = neg = count_pos = count_neg = 0.0
        for value, label in zip(sample, row, strict=True):
            is_up = value >= 0
            term = value * (label - is_up) - np.log(1 + np.exp(value - 2 * value * is_up))
            if label == 1:
                count_pos, pos = count_pos + 1, pos - term
            elif label == 0:
                count_neg, neg = count_neg + 1, neg - term
        loss_pos += pos * count_neg / (count_pos + count_neg)
        loss_neg += neg * count_pos / (count_pos + count_neg)
    return (loss_pos + loss_neg) / len(x)


@pytest.mark.parametrize(
    ("type_", "dialect"),
    [("SigmoidCrossEntropyBalanceLoss", None), ("SigmoidCrossEntropyLoss", "hed")],
)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", SHAPES)
def test_balanced_loss(type_, dialect, seed, shape):
    """sigmoid_cross_entropy_balance_loss_layer.cpp of kmaninis/OSVOS-caffe, and
    sigmoid_cross_entropy_loss_layer.cpp of s9xie/hed, which is the same code. Labels above 1 do not
    count; large values keep their precision."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * (1, 30)[seed % 2]).astype(np.float32)
    labels = rng.integers(0, 2 + seed % 3, shape).astype(np.float32)
    labels.reshape(len(labels), -1)[:, 0] = seed % 2  # so that each sample has a label that counts
    options = {"dialect": dialect} if dialect else {}
    close(run(f'type: "{type_}"', x, labels, **options), np.float32(balanced(x, labels)))


def test_hed_differs_from_caffe():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(2, 8)), rng.integers(0, 2, (2, 8))
    arrays = [x.astype(np.float32), labels.astype(np.float32)]
    hed, caffe = (
        run('type: "SigmoidCrossEntropyLoss"', *arrays, dialect=dialect)
        for dialect in ("hed", "bvlc")
    )
    assert abs(hed - caffe) > 0.1 * abs(caffe)


def softmax(x, axis):
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def softmax_losses(x, labels, axis, ignored, entropy=0.0):
    """The loss of each position, and the labels that count; a loop over positions."""
    p = np.moveaxis(softmax(x.astype(float), axis), axis, -1)
    losses = np.zeros(p.shape[:-1])
    counted = np.zeros(p.shape[:-1], bool)
    for index in np.ndindex(p.shape[:-1]):
        label = int(labels.reshape(p.shape[:-1])[index])
        if label == ignored:
            continue
        losses[index] = -np.log(max(p[index][label], FLT_MIN))
        losses[index] += entropy * sum(np.log(max(v, FLT_MIN)) * v for v in p[index])
        counted[index] = True
    return losses, counted


def normalizer(mode, count, outer, valid):
    return max(1.0, {"FULL": count, "VALID": valid, "BATCH_SIZE": outer, "NONE": 1}[mode])


def drawn(seed):
    """Scores, labels, the axis of the classes and the ignored label."""
    rng = np.random.default_rng(seed)
    shape = [(3, 4, 2, 5), (6, 3), (2, 5, 7)][seed % 3]
    axis = 1 if seed % 2 else len(shape) - 1
    labels = rng.integers(-1, shape[axis], shape[:axis] + shape[axis + 1 :]).astype(np.float32)
    return (2 * rng.normal(size=shape)).astype(np.float32), labels, axis


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("seed", range(6))
def test_softmax_with_loss_of_rfcn(seed, mode):
    """softmax_loss_layer.cu of daijifeng001/caffe-rfcn: probabilities and the loss of each position."""
    x, labels, axis = drawn(seed)
    text = (
        f"softmax_param {{ axis: {axis} }} loss_param {{ ignore_label: -1 normalization: {mode} }}"
    )
    weights = "loss_weight: 1 loss_weight: 0 loss_weight: 0"
    loss, probability, each = run(f'type: "SoftmaxWithLoss" {weights} {text}', x, labels, tops=3)
    losses, counted = softmax_losses(x, labels, axis, -1)
    outer = int(np.prod(x.shape[:axis]))
    divisor = normalizer(mode, labels.size, outer, counted.sum())
    close(loss, np.float32(losses.sum() / divisor))
    close(probability, softmax(x, axis))
    close(each, losses.reshape(labels.shape))


def scores_and_labels(tops, **options):
    """A net of SoftmaxWithLoss with a loss_weight for each of its tops."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'
        for name, dims in (("a", "dim: 6 dim: 3"), ("b", "dim: 6"))
    )
    outputs = "".join(f'top: "y{i}" loss_weight: 0 ' for i in range(tops))
    layer = f'layer {{ name: "y" type: "SoftmaxWithLoss" bottom: "a" bottom: "b" {outputs}}}'
    return pg.Net(prototxt.parse(inputs + layer, "net.prototxt"), **options)


@pytest.mark.parametrize(
    ("tops", "dialect", "message"),
    [
        (2, "", "has a second top, but no Caffe release accepts one"),
        (2, "bvlc", "has a second top, but no Caffe release accepts one"),
        (3, "bvlc", "has 3 tops, but at most 3 are valid, in R-FCN's Caffe"),
        (3, "openvino", "has 3 tops, but at most 3 are valid, in R-FCN's Caffe"),
        (4, "", "has 4 tops"),
        (4, "rfcn", "has 4 tops"),
    ],
)
def test_tops_of_softmax_with_loss(tops, dialect, message):
    with pytest.raises(pg.InputError) as caught:
        scores_and_labels(tops, **({"dialect": dialect} if dialect else {}))
    assert message in str(caught.value)


@pytest.mark.parametrize("dialect", ["rfcn", "openvino"])
def test_second_top_of_softmax_with_loss(dialect):
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    net = scores_and_labels(2, dialect=dialect)
    close(pg.run(net, {"a": x, "b": np.zeros(6, np.float32)})["y1"], softmax(x, 1))


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("seed", range(9))
def test_softmax_with_loss_of_openvino(seed, mode):
    """softmax_loss_layer.cpp of openvinotoolkit/training_toolbox_caffe: the entropy, and only losses above 0
    count."""
    rng = np.random.default_rng(seed)
    shape = [(3, 4, 2, 5), (6, 3), (2, 5, 7)][seed % 3]
    x = (3 * rng.normal(size=shape)).astype(np.float32)
    labels = rng.integers(-1, shape[1], (shape[0], *shape[2:])).astype(np.float32)
    weight = (0.4, 1.5, 0.0)[seed // 3]
    weights = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
    text = f"ignore_label: -1 normalization: {mode} " + (
        f"max_entropy_weight: {weight} " * bool(weight)
    )
    if seed % 2:
        text += "weight_by_label_freqs: true " + " ".join(f"class_weighting: {w}" for w in weights)
    options = {} if weight else {"dialect": "openvino"}
    actual = run(f'type: "SoftmaxWithLoss" loss_param {{ {text} }}', x, labels, **options)
    losses, counted = softmax_losses(x, labels, 1, -1, weight)
    counted &= losses > 0
    factor = weights[np.maximum(labels, 0).astype(int)] if seed % 2 else 1.0
    total = (losses * counted * factor).sum()
    close(actual, np.float32(total / normalizer(mode, labels.size, shape[0], counted.sum())))


def test_certain_predictions_do_not_count_in_openvino():
    x = np.float32([[200, 0], [0, 1]])
    labels = np.zeros(2, np.float32)
    caffe, openvino = (
        run('type: "SoftmaxWithLoss"', x, labels, dialect=dialect)
        for dialect in ("bvlc", "openvino")
    )
    np.testing.assert_allclose(openvino, 2 * caffe, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma: 0", "gamma must be above 0 and at most 1, got 0"),
        ("gamma: 1.5", "gamma must be above 0 and at most 1, got 1.5"),
        ("scale: 0", "scale must be above 0, got 0"),
        ("min_weight: -1", "min_weight and max_weight must not be negative"),
        ("min_weight: 2 max_weight: 1", "max_weight 1 must be above min_weight 2"),
        ("min_weight: 2", "the weights of its classes depend on earlier iterations"),
    ],
)
def test_adaptive_weighting_of_openvino(text, message):
    x, labels = np.zeros((6, 3), np.float32), np.zeros(6, np.float32)
    with pytest.raises((pg.InputError, pg.UnsupportedError)) as caught:
        run(f'type: "SoftmaxWithLoss" loss_param {{ adaptive_weighting: true {text} }}', x, labels)
    assert message in str(caught.value)


def test_adaptive_weighting_has_tops_for_each_class():
    x, labels = np.zeros((6, 3), np.float32), np.zeros(6, np.float32)
    text = 'type: "SoftmaxWithLoss" loss_param { adaptive_weighting: true }' + " loss_weight: 0" * 7
    net, _ = net_of(text, (x, labels), tops=7)
    assert {net.shapes[f"y{i or ''}"] for i in range(7)} == {()}


def test_axis_of_openvino_is_one():
    x, labels = np.zeros((6, 3, 4), np.float32), np.zeros((6, 3), np.float32)
    text = 'type: "SoftmaxWithLoss" softmax_param { axis: 2 } loss_param { max_entropy_weight: 1 }'
    with pytest.raises(pg.UnsupportedError, match="its classes lie along axis 2"):
        run(text, x, labels)


@pytest.mark.parametrize(
    "mode", ["", "FULL", "VALID", "BATCH_SIZE", "NONE", "PRE_FIXED", "true", "false"]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tops", [1, 2])
def test_smooth_l1_loss_of_rfcn(mode, weighted, tops):
    """smooth_L1_loss_layer.cu of daijifeng001/caffe-rfcn: loss_param, and the loss of each region."""
    if not mode and tops == 1:
        mode = "VALID"
    rng = np.random.default_rng(len(mode))
    arrays = [(2 * rng.normal(size=(3, 4, 2, 5))).astype(np.float32) for _ in range(2 + weighted)]
    text = ""
    if mode in ("true", "false"):
        text = f"loss_param {{ normalize: {mode} }}"
    elif mode:
        text = f"loss_param {{ normalization: {mode} pre_fixed_normalizer: 7 }}"
    actual = run(
        f'type: "SmoothL1Loss" loss_weight: 1 {"loss_weight: 0 " * (tops - 1)} {text}',
        *arrays,
        tops=tops,
    )
    x = arrays[0].astype(float) - arrays[1]
    x = x * arrays[2] if weighted else x
    errors = np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5)
    divisors = {"BATCH_SIZE": 3, "false": 3, "NONE": 1, "PRE_FIXED": 7}
    loss = np.float32(errors.sum() / divisors.get(mode, 3 * 2 * 5))
    if tops == 1:
        close(actual, loss)
        return
    close(actual[0], loss)
    close(actual[1], errors.sum(1, keepdims=True))


def test_smooth_l1_loss_without_loss_param_is_that_of_fast_rcnn():
    """It divides by N, R-FCN's by N x H x W; the dialect decides."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 4, 2, 5)).astype(np.float32) for _ in range(2)]
    fast, rfcn = (
        run('type: "SmoothL1Loss"', *arrays, **options) for options in ({}, {"dialect": "rfcn"})
    )
    close(rfcn * 10, fast)


def test_sigma_and_loss_param_are_of_different_forks():
    x = np.zeros((2, 3), np.float32)
    text = "smooth_l1_loss_param { sigma: 3 } loss_param { normalization: FULL }"
    with pytest.raises(pg.UnsupportedError, match="sigma is set"):
        run(f'type: "SmoothL1Loss" {text}', x, x)


def mined(scores, regions, others, per_image, images):
    """HardMining, as in Forward_cpu of hard_mining_layer.cpp."""
    size = min(per_image * images, len(scores))
    of_image = [[] for _ in range(images)]
    for i, score in enumerate(scores):
        of_image[int(regions[i, 0])].append((score, i))
    keep, left = [], []
    for pairs in of_image:
        pairs.sort(reverse=True)
        keep += [i for _, i in pairs[:per_image]]
        left += pairs[per_image:]
    left.sort(reverse=True)
    keep += [i for _, i in left[: size - len(keep)]]
    keep.sort()
    return [blob[keep] for blob in (regions, *others)]


@pytest.mark.parametrize("seed", range(24))
def test_hard_mining(seed):
    """hard_mining_layer.cpp of zhaoweicai/cascade-rcnn, with equal scores and images without regions."""
    rng = np.random.default_rng(seed)
    count, images, per_image = (
        int(n) for n in (rng.integers(1, 30), rng.integers(1, 5), rng.integers(1, 9))
    )
    scores = rng.integers(0, 6, (count, 1)).astype(np.float32)
    regions = rng.normal(size=(count, 5)).astype(np.float32)
    regions[:, 0] = rng.integers(0, images, count)
    others = [
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.normal(size=(count, 2, 4, 3)).astype(np.float32),
    ]
    text = f"hard_mining_param {{ num_roi_per_image: {per_image} num_image: {images} }}"
    actual = run(f'type: "HardMining" {text}', scores, regions, *others, tops=3)
    expected = mined(scores[:, 0], regions, others, per_image, images)
    for one, other in zip(actual, expected, strict=True):
        assert one.ndim == 4
        np.testing.assert_array_equal(one.reshape(other.shape), other)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("hard_mining_param { num_image: 0 }", [(4, 1), (4, 5)], "num_roi_per_image and num_image must be at least 1"),
        ("", [(4, 2), (4, 5)], '"a" must have 4 entries of 1 value, got shape 4x2'),
        ("", [(4, 1), (4, 4)], '"b" must have 4 entries of 5 channels, got shape 4x4'),
        ("", [(4, 1), (3, 5)], '"b" must have 4 entries of 5 channels, got shape 3x5'),
        ("propagate_down: true propagate_down: false", [(4, 1), (4, 5)], "propagate_down must be false"),
        ("", [(5000, 1), (5000, 5)], "its export needs a constant"),
    ],
)  # fmt: skip
def test_wrong_hard_mining(text, shapes, message):
    with pytest.raises((pg.InputError, pg.UnsupportedError)) as caught:
        run(f'type: "HardMining" {text}', *(np.zeros(shape, np.float32) for shape in shapes))
    assert message in str(caught.value)
