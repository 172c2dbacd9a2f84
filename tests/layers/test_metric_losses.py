"""Losses of happynear/caffe-windows against loops written from src/caffe/layers: focal, center (also dlunion/
CC4.0), triplet, general_triplet, confidence_penalty and correlation_loss_layer.cpp; and l1_loss_layer.cpp of
NVIDIA/caffe."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg

F = np.float32
DRAWN = settings(max_examples=25, deadline=None)


def net(text: str, *shapes: tuple[int, ...], tops: int = 1, **options) -> pg.Net:
    names = "abc"[: len(shapes)]
    text += " loss_weight: 1 loss_weight: 0" if tops == 2 else ""
    blobs = " ".join(
        [f'bottom: "{name}"' for name in names] + [f'top: "y{i}"' for i in range(tops)]
    )
    built = net_with(dict(zip(names, shapes, strict=True)), f'layer {{ name: "y" {blobs} {text} }}')
    return pg.Net(built.message, **options)


def run(text: str, *arrays: np.ndarray, weights=(), tops: int = 1, **options) -> list[np.ndarray]:
    built = net(text, *(a.shape for a in arrays), tops=tops, **options)
    if weights:
        built.take_weights({"y": list(weights)})
    outputs = pg.run(built, dict(zip("abc", arrays, strict=False)))
    return [outputs[f"y{i}"] for i in range(tops)]


def close(actual: np.ndarray, expected: object) -> None:
    expected = np.asarray(expected, np.float32)
    assert actual.shape == expected.shape
    largest = max(1e-6, np.max(np.abs(expected), initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * largest)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def labels(seed: int, classes: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed + 7).integers(0, classes, shape).astype(np.float32)


@DRAWN
@given(
    shape=st.tuples(*(st.integers(1, k) for k in (3, 4, 3, 2))),
    kind=st.sampled_from(["ORIGIN", "LINEAR", "ONEADDP"]),
    gamma=st.sampled_from([0.0, 2.0, 0.5]),
    alpha=st.sampled_from([None, 1.0, 1.5]),
    mode=st.sampled_from(["", "FULL", "BATCH_SIZE", "NONE"]),
    ignores=st.booleans(),
    tops=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_focal_loss(shape, kind, gamma, alpha, mode, ignores, tops, seed):
    x = drawn(seed, *shape)
    n, classes, h, w = shape
    label = labels(seed, classes, n, h, w)
    fields = f"type: {kind} gamma: {gamma}" + (f" alpha: {alpha}" if alpha else "")
    normal = (f"normalization: {mode} " if mode else "") + ("ignore_label: 0" if ignores else "")
    text = f'type: "FocalLoss" focal_loss_param {{ {fields} }} loss_param {{ {normal} }}'
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    loss, count = 0.0, 0
    for i in range(n):
        for y in range(h):
            for u in range(w):
                own = int(label[i, y, u])
                if ignores and own == 0:
                    continue
                value = p[i, own, y, u]
                base = (alpha or 1.0) + (value if kind == "ONEADDP" else -value)
                loss -= base**gamma * math.log(max(value, 1.17549e-38))
                count += 1
    divisor = {"FULL": n * h * w, "BATCH_SIZE": n, "NONE": 1, "": count}[mode]
    result = run(text, x, label, tops=tops, dialect="happynear")
    close(result[0], loss / max(1, divisor))
    if tops == 2:
        close(result[1], p)


def test_focal_loss_is_ambiguous():
    x, label = drawn(0, 2, 3), labels(0, 3, 2)
    with pytest.raises(pg.UnsupportedError, match=r"happynear's has \(alpha - p\)\^gamma"):
        run('type: "FocalLoss" focal_loss_param { gamma: 2 }', x, label)
    run('type: "FocalLoss" focal_loss_param { alpha: 1 }', x, label)


@DRAWN
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    classes=st.integers(1, 4),
    kind=st.sampled_from(["L1", "L2"]),
    seed=st.integers(0, 99),
)
def test_center_loss(shape, classes, kind, seed):
    x, label = drawn(seed, *shape), labels(seed, classes, shape[0])
    centers = drawn(seed + 1, classes, math.prod(shape[1:]))
    fields = f'num_output: {classes} distance_type: "{kind}"'
    loss = 0.0
    for i in range(shape[0]):
        d = x[i].reshape(-1).astype(np.float64) - centers[int(label[i])]
        loss += np.abs(d).sum() if kind == "L1" else (d * d).sum() / 2
    text = f'type: "CenterLoss" center_loss_param {{ {fields} }}'
    close(run(text, x, label, weights=(centers,))[0], loss / shape[0])


@DRAWN
@given(
    n=st.integers(1, 4),
    c=st.integers(1, 4),
    margin=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_triplet_loss(n, c, margin, seed):
    a, p, m = (drawn(seed + i, n, c, 1, 1) for i in range(3))
    loss = 0.0
    for i in range(n):
        near, far = (((a[i] - other[i]).astype(np.float64) ** 2).sum() for other in (p, m))
        loss += max(margin + near - far, 0.0)
    text = f'type: "TripletLoss" triplet_loss_param {{ margin: {margin} }}'
    close(run(text, a, p, m)[0], loss / n / 2)
    with pytest.raises(pg.UnsupportedError, match=r"triplet_loss_param\.group_size"):
        run(text.replace("margin:", "group_size: 2 margin:"), a, p, m)


@DRAWN
@given(
    n=st.integers(1, 4),
    classes=st.integers(2, 5),
    margin=st.sampled_from([0.2, -0.5]),
    weight=st.sampled_from([1.0, -2.0]),
    hardest=st.booleans(),
    first=st.booleans(),
    tops=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_general_triplet_loss(n, classes, margin, weight, hardest, first, tops, seed):
    x, label = drawn(seed, n, classes), labels(seed, classes, n)
    fields = (
        f"margin: {margin} negative_weight: {weight} hardest_only: {str(hardest).lower()} "
        f"positive_first: {str(first).lower()} positive_upper_bound: 0.3"
    )
    total = same = other = 0.0
    for i in range(n):
        own = float(x[i, int(label[i])])
        same += own
        terms = [0.0] * classes
        for j in range(classes):
            if j != int(label[i]):
                terms[j] = max(0.0, own + margin - float(x[i, j])) * weight
                other += float(x[i, j])
        if hardest and weight > 0:
            terms = [max(terms)]
        if first and own > 0.3:
            terms = [0.0]
        total += sum(map(abs, terms))
    text = f'type: "GeneralTripletLoss" general_triplet_loss_param {{ {fields} }}'
    if hardest and weight < 0:
        with pytest.raises(
            pg.UnsupportedError, match="hardest_only with a negative_weight below 0"
        ):
            run(text, x, label, tops=tops)
        return
    result = run(text, x, label, tops=tops)
    close(result[0], total / n)
    if tops == 2:
        close(result[1], [same / n, other / n / (classes - 1)])


@DRAWN
@given(
    n=st.integers(2, 4),
    classes=st.integers(1, 4),
    beta=st.sampled_from([0.1, 0.0]),
    seed=st.integers(0, 99),
)
def test_confidence_penalty_loss(n, classes, beta, seed):
    p, label = np.abs(drawn(seed, n, classes)), labels(seed, classes, n)
    p.flat[0] = 0
    loss = 0.0
    for i in range(n):
        for j in range(classes):
            log = math.log(max(float(p[i, j]), 1e-20))
            loss -= (1 - beta) * log if j == int(label[i]) else beta / (n - 1) * log
    text = f'type: "ConfidencePenaltyLoss" confidence_penalty_loss_param {{ beta: {beta} }}'
    close(run(text, p, label)[0], loss / n)


def test_correlation_loss():
    a, b = drawn(0, 3, 1, 2, 2), drawn(1, 3, 1, 4)
    expected = (a.reshape(-1).astype(np.float64) @ b.reshape(-1)) / 12
    close(run('type: "CorrelationLoss"', a, b)[0], expected)
    with pytest.raises(pg.InputError, match="must have one channel"):
        net('type: "CorrelationLoss"', (3, 2), (3, 2))


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4), (2, 3, 4, 2)])
def test_l1_loss_of_nvcaffe(shape):
    a, b = drawn(0, *shape), drawn(1, *shape)
    expected = np.abs(a.astype(np.float64) - b).sum() / shape[0]
    close(run('type: "L1Loss"', a, b)[0], expected)


@pytest.mark.parametrize("type_", ["SoftContrastiveLoss", "BatchContrastiveLoss", "NCALoss"])
def test_losses_that_depend_on_the_run_before_are_refused(type_):
    built = net(f'type: "{type_}"', (3, 3), (3,), tops=2)
    assert built.shapes["y1"] == (2,)
    with pytest.raises(pg.UnsupportedError, match="adds the loss to that of the run before"):
        pg.to_onnx(built)
