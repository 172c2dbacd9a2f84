"""Layers of online hard example mining agree with NumPy readings of Intel's code for CPUs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_proposals import run

import protogen as pg

F = np.float32
FLT_MIN = F(1.1754943508222875e-38)
MODES = ("", "normalization: FULL", "normalization: BATCH_SIZE", "normalization: NONE", "normalize: false",
         "normalization: PRE_FIXED pre_fixed_normalizer: 7", "normalization: PRE_FIXED")  # fmt: skip


def divisor(mode, count, outer):
    """get_normalizer: at least 1."""
    fixed = 7 if "7" in mode else 1
    value = {0: count, 1: count, 2: outer, 3: 1, 4: outer, 5: fixed, 6: fixed}[MODES.index(mode)]
    return max(1, value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4, 5), (3, 2, 1, 1)])
def test_softmax_loss(mode, shape):
    """src/caffe/layers/softmax_loss_ohem_layer.cpp of intel/caffe."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, shape).astype(F)
    label = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(F)
    text = (
        'layer { name: "l" type: "SoftmaxWithLossOHEM" bottom: "x" bottom: "t" top: "loss" top: "prob" top: "each" '
        f"loss_weight: 0 loss_weight: 0 loss_weight: 0 loss_param {{ {mode} }} }}"
    )
    actual = run(text, {"x": x, "t": label})
    power = np.exp(x - x.max(1, keepdims=True))
    prob = power / power.sum(1, keepdims=True)
    each = np.zeros(label.shape, F)
    for index in np.ndindex(label.shape):
        each[index] = -math.log(max(prob[(index[0], int(label[index]), *index[1:])], FLT_MIN))
    np.testing.assert_allclose(actual["prob"], prob, atol=2e-6)
    np.testing.assert_allclose(actual["each"], each, rtol=2e-5, atol=2e-6)
    expected = each.sum() / divisor(mode, label.size, shape[0])
    np.testing.assert_allclose(actual["loss"], expected, rtol=2e-5)
    assert actual["loss"].shape == ()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4, 5), (3, 2, 1, 1)])
@pytest.mark.parametrize("weighted", [True, False])
def test_smooth_l1_loss(mode, shape, weighted):
    """src/caffe/layers/smooth_L1_loss_ohem_layer.cpp of intel/caffe."""
    rng = np.random.default_rng(1)
    feeds = {name: rng.normal(0, 1.5, shape).astype(F) for name in "xtw"[: 2 + weighted]}
    bottoms = " ".join(f'bottom: "{name}"' for name in feeds)
    text = (
        f'layer {{ name: "l" type: "SmoothL1LossOHEM" {bottoms} top: "loss" top: "each" '
        f"loss_weight: 0 loss_weight: 0 loss_param {{ {mode} }} }}"
    )
    actual = run(text, feeds)
    d = (feeds["x"] - feeds["t"]) * feeds.get("w", F(1))
    error = np.where(np.abs(d) < 1, F(0.5) * d * d, np.abs(d) - F(0.5))
    n, c, h, w = (*shape, 1, 1)[:4]
    np.testing.assert_allclose(
        actual["each"], error.reshape(n, c, h, w).sum(1, keepdims=True), rtol=2e-5
    )
    np.testing.assert_allclose(actual["loss"], error.sum() / divisor(mode, n * h * w, n), rtol=2e-5)


@pytest.mark.parametrize("seed", range(8))
def test_selection_of_hard_regions(seed):
    """src/caffe/layers/box_annotator_ohem_layer.cpp of intel/caffe."""
    rng = np.random.default_rng(seed)
    count, images, channels, most = (int(v) for v in rng.integers((1, 1, 1, 1), (30, 4, 9, 9)))
    feeds = {
        "r": np.concatenate(
            [rng.integers(0, images, (count, 1)), rng.uniform(0, 9, (count, 4))], 1
        ).astype(F),
        "l": rng.permutation(count).reshape(count, 1, 1, 1).astype(F),
        "t": rng.integers(0, 21, (count, 1)).astype(F),
        "w": rng.normal(size=(count, channels)).astype(F),
    }
    text = (
        'layer { name: "l" type: "BoxAnnotatorOHEM" bottom: "r" bottom: "l" bottom: "t" bottom: "w" top: "a" top: "b" '
        f"box_annotator_ohem_param {{ roi_per_img: {most} ignore_label: -3 }} }}"
    )
    labels, weights = np.full((count, 1, 1, 1), F(-3)), np.zeros((count, channels, 1, 1), F)
    left = [most] * images
    for i in sorted(range(count), key=lambda i: -feeds["l"].ravel()[i]):
        image = int(feeds["r"][i, 0])
        if left[image] > 0:
            left[image] -= 1
            labels[i], weights[i, :, 0, 0] = feeds["t"][i, 0], feeds["w"][i]
    actual = run(text, feeds)
    np.testing.assert_array_equal(actual["a"], labels)
    np.testing.assert_array_equal(actual["b"], weights)


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        ('"SoftmaxWithLossOHEM" bottom: "x" bottom: "x" top: "y"', pg.InputError, '"x" must hold 2 labels'),
        ('"SoftmaxWithLossOHEM" bottom: "x" bottom: "t" top: "y" loss_param { ignore_label: 1 }', pg.UnsupportedError,
         "ignore_label is unsupported"),
        ('"SmoothL1LossOHEM" bottom: "x" bottom: "t" top: "y"', pg.InputError, '"t" must have the shape of "x", 2x3, got 2'),
        ('"BoxAnnotatorOHEM" bottom: "x" bottom: "t" bottom: "t" bottom: "x" top: "a" top: "b" '
         "box_annotator_ohem_param { roi_per_img: 1 }", pg.InputError, '"x" must have shape 2x5x1x1, got 2x3x1x1'),
        ('"BoxAnnotatorOHEM" bottom: "r" bottom: "t" bottom: "t" bottom: "x" top: "a" top: "b"', pg.InputError,
         "roi_per_img must be at least 1, got 0"),
        ('"BoxAnnotatorOHEM" bottom: "m" bottom: "n" bottom: "n" bottom: "n" top: "a" top: "b" '
         "box_annotator_ohem_param { roi_per_img: 1 }", pg.UnsupportedError, "losses of several positions per region (2x2)"),
    ],
)  # fmt: skip
def test_refused(layer, kind, message):
    shapes = {"x": (2, 3), "t": (2,), "r": (2, 5), "m": (2, 5, 2, 2), "n": (2, 1, 2, 2)}
    feeds = {name: np.zeros(shape, F) for name, shape in shapes.items()}
    with pytest.raises(kind) as caught:
        run(f'layer {{ name: "l" type: {layer} }}', feeds)
    assert message in str(caught.value)
