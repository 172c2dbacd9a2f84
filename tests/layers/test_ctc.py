"""CTC losses and decoders of forks, against loops as in their sources.

``tests/truth`` compares CtcLoss and LabelsequenceAccuracy with a real Caffe.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import input_layer

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running.drawing import random_feeds

TOLERANCE = 2e-5
QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def layer_net(type_, arrays, params="", tops=1, dialect=""):
    names = [f"b{i}" for i in range(len(arrays))]
    lines = [input_layer(name, array.shape) for name, array in zip(names, arrays, strict=True)]
    blobs = [f'bottom: "{name}"' for name in names] + [f'top: "t{i}"' for i in range(tops)]
    lines.append(f'layer {{ name: "l" type: "{type_}" {" ".join(blobs)} {params} }}')
    return Net(prototxt.parse("\n".join(lines), "net.prototxt"), dialect=dialect)


def tops_of(type_, arrays, params="", tops=1, dialect=""):
    net = layer_net(type_, arrays, params, tops, dialect)
    feeds = {f"b{i}": array for i, array in enumerate(arrays)}
    outputs = pg.run(net, feeds, [f"t{i}" for i in range(tops)])
    return [outputs[f"t{i}"] for i in range(tops)]


def log_softmax(row):
    row = row.astype(np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def cost_of_paths(logs, labels, blank, merge=True):
    """-log of the sum over all paths (one label per step) that are read as ``labels``."""
    total = 0.0
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        read, before = [], None
        for label in path:
            if label != blank and not (merge and label == before):
                read.append(label)
            before = label
        if read == list(labels):
            total += np.exp(sum(logs[t, label] for t, label in enumerate(path)))
    return -np.log(total) if total else np.inf


def warp_ctc(logs, labels, blank):
    """The cost of warp-ctc: 0 if there are fewer steps than labels and repetitions."""
    repeats = sum(a == b for a, b in itertools.pairwise(labels))
    if len(labels) + repeats > len(logs):
        return 0.0
    return cost_of_paths(logs, labels, blank)


SCORES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 4), st.integers(0, 999))


@QUICK
@given(SCORES, st.integers(1, 3), st.booleans())
def test_labels_of_warp_ctc_loss(sizes, length, last):
    """Two bottoms: ``Forward_cpu`` of dlunion/CC4.0, src/caffe/layers/warp_ctc_loss_layer.cpp."""
    steps, samples, classes, seed = sizes
    rng = np.random.default_rng(seed)
    blank = classes - 1 if last else 0
    x = rng.standard_normal((steps, samples, classes)).astype(np.float32)
    labels = rng.integers(0, classes, (samples, length)).astype(np.float32)
    costs = []
    for n in range(samples):
        row = [int(label) for label in labels[n] if int(label) != blank]
        costs.append(warp_ctc(np.stack([log_softmax(x[t, n]) for t in range(steps)]), row, blank))
    params = f"ctc_loss_param {{ blank_label: {blank} }}"
    (loss,) = tops_of("WarpCTCLoss", [x, labels], params)
    assert loss.shape == ()
    assert abs(loss - np.mean(costs)) <= TOLERANCE * max(1, np.mean(costs))


def sequences(rng, steps, samples, labels_of, most):
    """Return sequence indicators and labels (T, N), with the numbers of steps and labels."""
    flags = np.ones((steps, samples), np.float32)
    labels = np.full((steps, samples), -1, np.float32)
    ends, counts = [], []
    for n in range(samples):
        end = int(rng.integers(1, steps + 1))
        flags[0, n] = 0
        flags[end:, n] = 0
        count = int(rng.integers(0 if end == 1 else 1, min(end, most) + 1))
        labels[:count, n] = rng.choice(labels_of, count)
        ends.append(end)
        counts.append(count)
    return flags, labels, ends, counts


@QUICK
@given(SCORES, st.booleans())
def test_indicators_of_warp_ctc_loss(sizes, last):
    """Three bottoms: ``ExtractInputData`` of the same file. Labels count from 1 if blank is 0, and
    a sample without a label has an infinite cost, which is left out."""
    steps, samples, classes, seed = sizes
    rng = np.random.default_rng(seed)
    blank = classes - 1 if last else 0
    x = rng.standard_normal((steps, samples, classes)).astype(np.float32)
    flags, labels, ends, counts = sequences(rng, steps, samples, range(classes - 1), 3)
    costs = []
    for n in range(samples):
        row = [int(label + 0.5) + (blank == 0) for label in labels[: counts[n], n]]
        logs = [log_softmax(x[t, n]) for t in range(ends[n])]
        if row:
            costs.append(warp_ctc(np.stack(logs), row, blank))
    params = f"ctc_loss_param {{ blank_label: {blank} }}"
    (loss,) = tops_of("WarpCTCLoss", [x, flags, labels], params)
    if not costs:
        assert np.isnan(loss)
    else:
        assert abs(loss - np.mean(costs)) <= TOLERANCE * max(1, np.mean(costs))


def test_lengths_of_warp_ctc_loss():
    """Four bottoms: the numbers of steps and labels, and labels (L, N)."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 3, 4)).astype(np.float32)
    steps, counts = [4, 2, 3], [2, 1, 3]
    labels = rng.integers(1, 4, (3, 3)).astype(np.float32)
    costs = [
        warp_ctc(
            np.stack([log_softmax(x[t, n]) for t in range(steps[n])]),
            [int(label) for label in labels[: counts[n], n]],
            0,
        )
        for n in range(3)
    ]
    arrays = [x, np.array(steps, np.float32), np.array(counts, np.float32), labels]
    (loss,) = tops_of("WarpCTCLoss", arrays)
    assert abs(loss - np.mean(costs)) <= TOLERANCE * np.mean(costs)


@QUICK
@given(SCORES, st.booleans(), st.booleans(), st.sampled_from([-1, 0]), st.integers(0, 1))
def test_ctc_loss_of_textboxes(sizes, merge, collapse, index, delay):
    """``Forward_cpu``, ``CalculateLoss`` and ``PopulateLPrimes`` of MhLiao/TextBoxes_plusplus,
    src/caffe/layers/ctc_loss_layer.cpp."""
    steps, samples, classes, seed = sizes
    delay = min(delay, steps - 1)
    rng = np.random.default_rng(seed)
    blank = classes - 1 if index < 0 else index
    x = rng.standard_normal((steps, samples, classes)).astype(np.float32)
    others = [label for label in range(classes) if label != blank]
    flags, labels, ends, counts = sequences(rng, steps, samples, others, 2)
    costs = []
    for n in range(samples):
        row = [int(label + 0.5) for label in labels[: counts[n], n]]
        if collapse:
            row = [label for i, label in enumerate(row) if i == 0 or label != row[i - 1]]
        logs = [log_softmax(x[t, n]) for t in range(delay, ends[n])]
        if not row:
            costs.append(0.0)
        elif not logs:
            return  # the fork refuses samples with fewer steps than labels
        else:
            costs.append(cost_of_paths(np.stack(logs), row, blank, merge))
    params = (
        f"ctc_loss_param {{ blank_index: {index} ctc_merge_repeated: {str(merge).lower()} "
        f"preprocess_collapse_repeated: {str(collapse).lower()} output_delay: {delay} }}"
    )
    (loss,) = tops_of("CTCLoss", [x, flags, labels], params)
    expected = np.mean(costs)
    if np.isinf(expected):
        assert loss == expected
    else:
        assert abs(loss - expected) <= TOLERANCE * max(1, expected)


def greedy(x, flags, blank, merge):
    """``CTCGreedyDecoderLayer::Decode`` of MhLiao/TextBoxes_plusplus (with ``flags``) and of
    dlunion/CC4.0 (without), src/caffe/layers/ctc_decoder_layer.cpp."""
    steps, samples, classes = x.shape
    sequences, scores = np.full((samples, steps, 1, 1), -1.0), np.zeros((samples, 1, 1, 1))
    for n in range(samples):
        before, count = -1, 0
        for t in range(steps):
            best = 0
            for c in range(1, classes):
                if x[t, n, c] > x[t, n, best]:
                    best = c
            scores[n] -= x[t, n, best]
            if best != blank and not (merge and best == before):
                sequences[n, count] = best
                count += 1
            before = best
            if flags is not None and (t + 1 == steps or flags[t + 1, n] == 0):
                break
    return sequences, scores


@QUICK
@given(SCORES, st.booleans(), st.sampled_from([-1, 0, 1]))
def test_greedy_decoder_of_textboxes(sizes, merge, index):
    steps, samples, classes, seed = sizes
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (steps, samples, classes)).astype(np.float32)  # with equal scores
    flags = rng.choice([0, 1, 1], (steps, samples)).astype(np.float32)
    params = (
        f"ctc_decoder_param {{ blank_index: {index} ctc_merge_repeated: {str(merge).lower()} }}"
    )
    actual = tops_of("CTCGreedyDecoder", [x, flags], params, tops=2)
    expected = greedy(x, flags, classes - 1 if index < 0 else index, merge)
    assert (actual[0] == expected[0]).all()
    assert (actual[1] == expected[1]).all()


@QUICK
@given(SCORES, st.sampled_from([0, 1, -1]))
def test_greedy_decoder_of_cc4(sizes, blank):
    steps, samples, classes, seed = sizes
    x = np.random.default_rng(seed).integers(-2, 3, (steps, samples, classes)).astype(np.float32)
    params = f"ctc_loss_param {{ blank_label: {blank} }}" if blank else ""
    (actual,) = tops_of("CTCGreedyDecoder", [x], params)
    assert (actual == greedy(x, None, classes - 1 if blank < 0 else blank, True)[0]).all()


def test_accuracies_have_no_form():
    x, labels = np.zeros((4, 2, 3)), np.zeros((2, 3))
    flags = np.zeros((4, 2))
    net = layer_net("CTCGreedyDecoder", [x, labels], dialect="cc4")
    assert net.shapes["t0"] == (1, 2, 1, 1)
    with pytest.raises(pg.UnsupportedError, match="the edit distance of two sequences"):
        lower(net)
    net = layer_net("CTCGreedyDecoder", [x, flags, flags], tops=3)
    assert [net.shapes[f"t{i}"] for i in range(3)] == [(2, 4, 1, 1), (2, 1, 1, 1), (1, 1, 1, 1)]
    assert layer_net("CTCGreedyDecoder", [x, flags, flags], tops=2).shapes["t1"] == (1, 1, 1, 1)
    with pytest.raises(pg.UnsupportedError, match="the edit distance of two sequences"):
        lower(net)
    assert tops_of("CTCGreedyDecoder", [x, flags, flags])[0].shape == (2, 4, 1, 1)


def test_ambiguous_decoder():
    x, second = np.zeros((4, 4, 3)), np.zeros((4, 4))
    with pytest.raises(pg.UnsupportedError, match="the labels of the accuracy in CC4"):
        lower(layer_net("CTCGreedyDecoder", [x, second]))
    for dialect, shape in (("cc4", (1, 2, 1, 1)), ("openvino", (4, 4, 1, 1))):
        net = layer_net("CTCGreedyDecoder", [x, second], dialect=dialect)
        assert net.shapes["t0"] == shape


@pytest.mark.parametrize(
    ("type_", "shapes", "params", "message"),
    [
        ("CtcLoss", [(4, 2, 3), (3, 2)], "", "its labels must have the shape 2xL"),
        ("CtcLoss", [(4, 2), (2, 2)], "", "must have 3 to 4 axes"),
        ("CtcLoss", [(4, 2, 3, 2), (2, 2)], "", "its scores must have three axes"),
        (
            "CtcLoss",
            [(4, 2, 3), (2, 2)],
            "alphabet_size: 4 time_step: 4",
            "alphabet_size must be 3",
        ),
        (
            "CtcLoss",
            [(4, 2, 3), (2, 2)],
            "alphabet_size: 3 time_step: 5",
            "time_step must be 1 to 4",
        ),
        ("WarpCTCLoss", [(4, 2, 3), (2, 2)], "blank_label: 3", "the blank label must be 0 to 2"),
        ("WarpCTCLoss", [(4, 2, 3), (4, 2), (3, 2)], "", "must have the shape 4x2"),
        ("WarpCTCLoss", [(4, 2, 3), (3,), (2,), (3, 2)], "", "must have 2 values"),
        ("CTCLoss", [(4, 2, 3), (4, 2), (4, 2)], "output_delay: 4", "output_delay must be 0 to 3"),
        ("CTCLoss", [(4, 2, 3), (4, 2)], "", "expected 3 bottoms, got 2"),
        ("LabelsequenceAccuracy", [(4, 2, 3), (3, 2)], "", "its labels must have the shape 4xL"),
    ],
)
def test_wrong_bottoms(type_, shapes, params, message):
    params = f"ctc_loss_param {{ {params} }}" if params else ""
    with pytest.raises(pg.InputError, match=message):
        layer_net(type_, [np.zeros(shape) for shape in shapes], params)


@pytest.mark.parametrize(
    ("type_", "shapes"),
    [
        ("CtcLoss", [(6, 2, 4), (2, 3)]),
        ("WarpCTCLoss", [(6, 2, 4), (2, 3)]),
        ("WarpCTCLoss", [(6, 2, 4), (6, 2), (6, 2)]),
        ("WarpCTCLoss", [(6, 2, 4), (2,), (2,), (3, 2)]),
        ("CTCLoss", [(6, 2, 4), (6, 2), (6, 2)]),
    ],
)
def test_drawn_labels_are_valid(type_, shapes):
    """The inputs that protogen draws give a finite loss above 0."""
    net = layer_net(type_, [np.zeros(shape) for shape in shapes])
    feeds = random_feeds(net, 0)
    loss = pg.run(net, feeds)["t0"]
    assert np.isfinite(loss)
    assert 0 < loss < 100
