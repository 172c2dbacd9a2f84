"""Recurrent layers and non-maximum suppression of Synopsys' fork, against loops as in its source
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers)."""

import itertools

import numpy as np
import pytest
from synopsys import close, net_of, run

import protogen as pg


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sigmoid(x):
    return 0.5 * np.tanh(0.5 * x) + 0.5


ACTIVATIONS = {"Sigmoid": sigmoid, "TanH": np.tanh, "ReLU": lambda x: np.maximum(x, 0)}
# Activations by default, the number of gates, of states, and of blobs after those of x.
TYPES = {
    "SimpleRNN": (("TanH",), 1, 1),
    "GRU": (("Sigmoid", "TanH"), 3, 1),
    "LSTMV2": (("Sigmoid", "TanH", "TanH"), 4, 2),
    "PeepholeLSTM": (("Sigmoid", "TanH", "TanH"), 4, 2),
}


def step(type_, x, states, blobs, kinds):
    """One time step: gates of x, the states times cont, the recurrent blobs."""
    act = [ACTIVATIONS[kind] for kind in kinds]
    h = states[0]
    if type_ == "SimpleRNN":
        return [act[0](x + h @ blobs[0].T)]
    parts = np.split(x, TYPES[type_][1], axis=1)
    if type_ == "GRU":
        z, r = (act[0](parts[k] + h @ blobs[k].T) for k in range(2))
        before = len(blobs) == 4
        inner = r * (h @ blobs[2].T + blobs[3]) if before else (r * h) @ blobs[2].T
        n = act[1](inner + parts[2])
        return [n + z * (h - n)]
    c = states[1]
    i, o, f, g = np.split(x + h @ blobs[0].T, 4, axis=1)
    if type_ == "PeepholeLSTM":
        i, f = i + blobs[1] * c, f + blobs[2] * c
    c = act[0](i) * act[1](g) + act[0](f) * c
    if type_ == "PeepholeLSTM":
        o = o + blobs[3] * c
    return [act[0](o) * act[2](c), c]


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("words", ["", "activations", "linear_before_reset: 1"])
def test_recurrent(type_, static, exposed, words):
    if words.startswith("linear") and type_ != "GRU":
        return
    kinds, gates, count = TYPES[type_]
    if words == "activations":
        kinds = ("ReLU", "Sigmoid", "TanH")[: len(kinds)]
        words = " ".join(f'activations: "{kind}"' for kind in kinds)
    steps, batch, d = 4, 3, 2
    x, cont = normal(1, steps, batch, 2, 3), np.float32(normal(2, steps, batch) > -0.5)
    cont[0, 0] = 1
    weight, bias = normal(3, gates * d, 6), normal(4, gates * d)
    more, own = normal(5, gates * d, 5), [normal(6, gates * d, d)]
    if type_ == "GRU":
        own = [normal(7 + k, d, d) for k in range(3)]
        own += [normal(10, d)] if "linear" in words else []
    if type_ == "PeepholeLSTM":
        own += [normal(11 + k, d) for k in range(3)]
    blobs = [weight, bias, *([more] if static else []), *own]
    still, states = normal(14, batch, 5), [np.zeros((batch, d))] * count
    bottoms = [x, cont, *([still] if static else [])]
    if exposed:
        states = [normal(15 + k, 1, batch, d) for k in range(count)]
        bottoms += states
        states = [state[0] for state in states]
    outputs = []
    for t in range(steps):
        now = x[t].reshape(batch, 6) @ weight.T + bias + (still @ more.T if static else 0)
        states = step(type_, now, [s * cont[t][:, None] for s in states], own, kinds)
        outputs.append(states[0])
    flag = "expose_hidden: true" if exposed else ""
    text = f'type: "{type_}" recurrent_param {{ num_output: {d} {words} {flag} }}'
    tops = 1 + (count if exposed else 0)
    y = run(text, *bottoms, weights=blobs, tops=tops)
    y = y if exposed else [y]
    close(y[0], np.stack(outputs))
    for actual, state in zip(y[1:], states if exposed else [], strict=True):
        close(actual, state[None])


def test_another_activation_is_refused():
    text = 'type: "GRU" recurrent_param { num_output: 2 activations: "ELU" }'
    with pytest.raises(pg.UnsupportedError, match='the activation "ELU"'):
        net_of(text, [normal(0, 2, 1, 3), normal(0, 2, 1)])


def overlap(first, second):
    """The intersection over the union of two boxes y1, x1, y2, x2; 0 for an empty box."""
    boxes = [
        (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
        for b in (first, second)
    ]
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    sides = [min(b[k + 2] for b in boxes) - max(b[k] for b in boxes) for k in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (sum(areas) - shared) if min(areas) > 0 else 0.0


def remaining(boxes, threshold):
    """apply_nms of nms_layer.cpp."""
    order, i = list(range(len(boxes))), 0
    while i < len(order) - 1:
        order[i + 1 :] = [
            j for j in order[i + 1 :] if overlap(boxes[order[i]], boxes[j]) <= threshold
        ]
        i += 1
    return order


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("threshold", "top_k"), [(0.7, 3), (0.3, 2), (0.1, 1), (0.5, 5)])
def test_nms(axis, threshold, top_k):
    rng = np.random.default_rng(16)
    boxes = rng.random((9, 4)).astype(np.float32)
    boxes[4] = boxes[1] + np.float32(0.01)
    places = remaining(boxes, threshold)[:top_k]
    x = boxes if axis == 0 else np.ascontiguousarray(boxes.T)
    words = f"top_k: {top_k} axis: {axis} iou_threshold: {threshold}"
    if len(places) < top_k:
        return
    np.testing.assert_array_equal(run(f'type: "NMS" nms_param {{ {words} }}', x), places)
    chosen = boxes[places] if axis == 0 else boxes[places].T
    np.testing.assert_array_equal(
        run(f'type: "NMSGather" nms_gather_param {{ {words} }}', x), chosen
    )


@pytest.mark.parametrize("centre", [0, 1])
@pytest.mark.parametrize(("threshold", "least", "most"), [(0.5, 0.2, 4), (0.1, 0.5, 2), (0, 0, 9)])
def test_non_max_suppression(centre, threshold, least, most):
    """non_max_suppression_layer.cpp."""
    rng = np.random.default_rng(17)
    boxes, scores = rng.random((2, 8, 4)), rng.random((2, 3, 8))
    boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    boxes[:, 3] = boxes[:, 2] + np.float32(0.01)
    corners = boxes
    if centre:
        half = boxes[..., 2:] / 2
        corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    rows = []
    for b, c in itertools.product(range(2), range(3)):
        chosen = []
        for i in sorted(range(8), key=lambda i: -scores[b, c, i]):
            if scores[b, c, i] <= least or len(chosen) >= most:
                continue
            if all(overlap(corners[b, i], corners[b, j]) <= threshold for j in chosen):
                chosen.append(i)
        rows += [[b, c, i] for i in chosen]
    expected = np.zeros((2 * 3 * most, 3))
    expected[: len(rows)] = rows
    text = (
        'type: "NonMaxSuppression" non_max_suppression_param { '
        f"max_output_boxes_per_class: {most} iou_threshold: {threshold} score_threshold: {least} "
        f"center_point_box: {centre} }}"
    )
    np.testing.assert_array_equal(run(text, boxes, scores), expected)
