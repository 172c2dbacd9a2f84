"""Layers of hszhao/PSPNet and TheLegendAli/DeepLab-Context (src/caffe/layers: seg_accuracy_layer.cpp with
util/confusion_matrix.cpp, unique_label, bias_channel, spatial_product, censor_label, ignore_overlay,
histogram, relative_error and gain_channel), against loops written after them, and their V1 nets."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.formats import prototxt
from protogen.net.upgrade import upgrade

EXAMPLES = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 99)


def labels_of(rng, classes, shape, *more):
    return rng.choice([*range(classes), *more], shape).astype(np.float32)


def accuracy_by_loop(scores, labels, ignored):
    classes = scores.shape[1]
    matrix = np.zeros((classes, classes))
    for n, h, w in np.ndindex(len(scores), *scores.shape[2:]):
        label = int(labels[n, 0, h, w])
        if label in ignored:
            continue
        pairs = [(scores[n, c, h, w], c) for c in range(classes)]
        matrix[label, max(pairs)[1]] += 1
    total = matrix.sum()
    accuracy = matrix.trace() / total if total else 0
    recalls = [matrix[i, i] / matrix[i].sum() for i in range(classes) if matrix[i].sum()]
    recall = sum(recalls) / len(recalls) if recalls else 0
    jaccard = 0
    for i in range(classes):
        union = matrix[i].sum() + matrix[:, i].sum() - matrix[i, i]
        jaccard += 1 if matrix[i, i] == union else matrix[i, i] / union
    return np.float32([[[[accuracy, recall, jaccard / classes]]]])


@EXAMPLES
@given(st.integers(1, 4), st.sampled_from([[], [255], [0, 255]]), st.booleans(), SEEDS)
def test_seg_accuracy(classes, ignored, ties, seed):
    rng = np.random.default_rng(seed)
    scores = numbers(rng, 2, classes, 3, 4)
    if ties:
        scores = np.round(scores)
    labels = labels_of(rng, classes, (2, 1, 3, 4), *ignored)
    fields = " ".join(f"ignore_label: {label}" for label in ignored)
    (y,) = tops_of(f'"SegAccuracy" seg_accuracy_param {{ {fields} }}', [scores, labels])
    assert_close(y, accuracy_by_loop(scores, labels, ignored))


def test_seg_accuracy_without_reset_depends_on_earlier_batches():
    arrays = [numbers(np.random.default_rng(0), 1, 2, 3, 3), np.zeros((1, 1, 3, 3), np.float32)]
    with pytest.raises(pg.UnsupportedError, match="depend on earlier batches"):
        tops_of('"SegAccuracy" seg_accuracy_param { reset: false }', arrays)


@EXAMPLES
@given(st.sampled_from([[], [255], [1, 255]]), st.sampled_from([[], [0], [3, 0, 3]]), SEEDS)
def test_unique_label(ignored, forced, seed):
    rng = np.random.default_rng(seed)
    x = labels_of(rng, 4, (3, 1, 2, 3), 255)
    fields = "max_labels: 7 " + " ".join(f"ignore_label: {label}" for label in ignored)
    fields += " " + " ".join(f"force_label: {label}" for label in forced)
    (y,) = tops_of(f'"UniqueLabel" unique_label_param {{ {fields} }}', [x])
    expected = np.full((3, 7, 1, 1), -1, np.float32)
    for n in range(3):
        present_labels = {float(v) for v in x[n].flat if v not in ignored} | {
            float(f) for f in forced
        }
        for j, label in enumerate(sorted(present_labels)):
            expected[n, j] = label
    np.testing.assert_array_equal(y, expected)


@EXAMPLES
@given(
    st.sampled_from(["IMAGE", "PIXEL"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([[], [2]]),
    SEEDS,
)
def test_bias_channel(kind, sets_bias, sets_background, ignored, seed):
    rng = np.random.default_rng(seed)
    x = numbers(rng, 2, 4, 3, 5)
    shape = (2, 6, 1, 1) if kind == "IMAGE" else (2, 1, 3, 5)
    labels = labels_of(rng, 4, shape, -1)
    fields = f"label_type: {kind} fg_bias: 0.75 " + " ".join(f"ignore_label: {i}" for i in ignored)
    bg = 0.5 if sets_bias else 1.0
    background = 1 if sets_background else 0
    fields += (" bg_bias: 0.5" if sets_bias else "") + (
        " background_label: 1" if sets_background else ""
    )
    (y,) = tops_of(f'"BiasChannel" bias_channel_param {{ {fields} }}', [x, labels])
    expected = x.copy()
    skipped = {-1, *ignored}
    for n in range(2):
        if kind == "IMAGE":
            for label in map(int, labels[n].flat):
                if label not in skipped:
                    expected[n, label] += bg if label == 0 else 0.75
            continue
        for h, w in np.ndindex(3, 5):
            label = int(labels[n, 0, h, w])
            if label in skipped:
                continue
            if sets_bias or sets_background:
                expected[n, background, h, w] += bg
                if label != background:
                    expected[n, label, h, w] += 0.75
            else:
                expected[n, label, h, w] += 0.75
    assert_close(y, expected)


def test_spatial_product(tmp_path):
    rng = np.random.default_rng(0)
    x, mask = numbers(rng, 2, 3, 4, 5), numbers(rng, 2, 1, 4, 5)
    expected = np.stack([x[:, c] * mask[:, 0] for c in range(3)], axis=1)
    np.testing.assert_array_equal(tops_of('"SpatialProduct"', [x, mask])[0], expected)
    assert_close(stock_tops_of(tmp_path, '"SpatialProduct"', [x, mask]), expected)


@EXAMPLES
@given(SEEDS)
def test_censor_label(seed):
    rng = np.random.default_rng(seed)
    labels, of_image = labels_of(rng, 5, (2, 1, 3, 4), 255), labels_of(rng, 5, (2, 3, 1, 1), -1)
    (y,) = tops_of('"CensorLabel" censor_label_param { ignore_label: 255 }', [labels, of_image])
    expected = np.full_like(labels, 255)
    for n, h, w in np.ndindex(2, 3, 4):
        present = {v for v in of_image[n].flat if v != -1}
        if labels[n, 0, h, w] in present:
            expected[n, 0, h, w] = labels[n, 0, h, w]
    np.testing.assert_array_equal(y, expected)


def test_ignore_overlay():
    rng = np.random.default_rng(0)
    first, second = labels_of(rng, 3, (2, 1, 3, 4), 255), labels_of(rng, 3, (2, 1, 3, 4), 255)
    (y,) = tops_of('"IgnoreOverlay" ignore_overlay_param { ignore_label: 255 }', [first, second])
    np.testing.assert_array_equal(y, np.where(first == 255, 255, second))


@pytest.mark.parametrize("ignored", [[], [255]])
def test_histogram_adds_all_samples_in_the_first_row(ignored):
    x = labels_of(np.random.default_rng(0), 4, (3, 1, 3, 4), *ignored)
    fields = "num_labels: 4 " + " ".join(f"ignore_label: {i}" for i in ignored)
    (y,) = tops_of(f'"Histogram" histogram_param {{ {fields} }}', [x])
    expected = np.zeros((3, 4, 1, 1), np.float32)
    for label in x.flat:
        if label not in ignored:
            expected[0, int(label)] += 1
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("factor", [1.0, 1e-6])
def test_relative_error(factor):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, 2, 3, 4, 5), numbers(rng, 2, 3, 4, 5) * np.float32(factor)
    count = a.size
    top = ((a.astype(np.float64) - b) ** 2).sum() / count
    bottom = max((b.astype(np.float64) ** 2).sum() / count, 1e-6)
    assert_close(tops_of('"RelativeError"', [a, b])[0], np.float32([[[[np.sqrt(top / bottom)]]]]))


@pytest.mark.parametrize("norm_mean", [True, False])
def test_gain_channel(norm_mean):
    rng = np.random.default_rng(0)
    x, gain = numbers(rng, 2, 4, 3, 5), np.float32([0.5, -1, 2, 0]).reshape(1, 4, 1, 1)
    fields = f"num_output_nz: 2 thresh: 0.25 norm_mean: {str(norm_mean).lower()}"
    (y,) = tops_of(f'"GainChannel" gain_channel_param {{ {fields} }}', [x], [gain])
    gains = [max(float(g), 0.25) for g in gain.flat]
    if norm_mean:
        total = sum(gains)
        gains = [4 / total * g for g in gains]
    assert_close(y, x * np.float32(gains).reshape(1, 4, 1, 1))


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (
            '"DenseCRF" dense_crf_param { max_iter: 3 }',
            [(1, 2, 4, 4), (1, 1, 1, 2)],
            "it filters in a permutohedral lattice",
        ),
        (
            '"DomainTransform"',
            [(1, 2, 4, 4), (1, 1, 4, 4), (1, 1, 1, 2)],
            "each pixel depends on the filtered pixel",
        ),
        (
            '"DomainTransformForwardOnly"',
            [(1, 2, 4, 4), (1, 1, 4, 4), (1, 1, 1, 2)],
            "each pixel depends on the filtered pixel",
        ),
        ('"AdaptiveBiasChannel"', [(1, 2, 4, 4), (1, 3, 1, 1)], "labels in random order"),
    ],
)
def test_layers_that_onnx_cannot_express(text, shapes, message):
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    with pytest.raises(pg.UnsupportedError, match=message):
        tops_of(text, arrays)
    assert layer_net(text, shapes).shapes["y0"] == shapes[0]


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('"SegAccuracy"', [(1, 2, 4, 4), (1, 2, 4, 4)], "must have the shape 1x1x4x4"),
        (
            '"UniqueLabel" unique_label_param { max_labels: 1 force_label: 2 }',
            [(1, 1, 4, 4)],
            "max_labels 1 must be larger",
        ),
        (
            '"BiasChannel" bias_channel_param { fg_bias: -1 }',
            [(1, 2, 4, 4), (1, 2, 1, 1)],
            "must not be negative",
        ),
        ('"SpatialProduct"', [(1, 2, 4, 4), (1, 2, 4, 4)], "must have one channel"),
        (
            '"DenseCRF" dense_crf_param { pos_w: 3 }',
            [(1, 2, 4, 4), (1, 1, 1, 2)],
            "pos_w and pos_xy_std must have equally many values",
        ),
        ('"GainChannel" gain_channel_param { num_output_nz: 3 }', [(1, 2, 4, 4)], "from 1 to 2"),
    ],
)
def test_parameters_that_the_forks_refuse(text, shapes, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(text, shapes)


def test_layers_of_channels_that_are_refused():
    x = np.ones((2, 4, 3, 3), np.float32)
    text = '"DominantChannel" dominant_channel_param { top_k: 2 }'
    assert layer_net(text, [x.shape]).shapes["y0"] == (2, 2, 1, 1)
    with pytest.raises(pg.UnsupportedError, match="orders channels by several counts"):
        tops_of(text, [x])
    with pytest.raises(pg.InputError, match="top_k must be from 1 to 3, got 4"):
        layer_net(text.replace("2", "4"), [x.shape])
    with pytest.raises(pg.UnsupportedError, match="a file that is not part of the net"):
        tops_of('"ChannelAggregator" channel_aggregator_param { label_map_file: "f" }', [x])


V1 = """
input: "data"  input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { bottom: "data" top: "fc8" name: "fc8" type: CONVOLUTION strict_dim: false blobs_lr: 10
  convolution_param { num_output: 2 kernel_size: 1 hole: 2 } }
layers { bottom: "fc8" top: "interp" name: "interp" type: INTERP interp_param { zoom_factor: 2 } }
layers { bottom: "interp" top: "crop" name: "crop" type: PADDING padding_param { pad_beg: -2 pad_end: -3 } }
layers { name: "mat" type: MAT_WRITE bottom: "crop" mat_write_param { prefix: "p" source: "s" strip: 0 } }
"""


def test_v1_net_of_deeplab():
    log = []
    document = upgrade(prototxt.parse(V1, "net.prototxt"), log)
    net = pg.Net(document)
    types = [layer.type for layer in net.layers]
    assert types == ["Input", "Convolution", "Interp", "Padding", "MatWrite"]
    assert net.shapes["crop"] == (1, 2, 12, 12)
    rng = np.random.default_rng(0)
    net.take_weights({"fc8": [numbers(rng, 2, 3, 1, 1), numbers(rng, 2)]})
    outputs = pg.run(net, {"data": numbers(rng, 1, 3, 9, 9)}, blobs=["crop"])
    assert outputs["crop"].shape == (1, 2, 12, 12)


def test_v1_types_of_c3d():
    text = """
    input: "data" input_shape { dim: 1 dim: 3 dim: 4 dim: 6 dim: 6 }
    layers { bottom: "data" top: "c" name: "c" type: CONVOLUTION3D convolution_param {
      num_output: 2 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1 } }
    layers { bottom: "c" top: "p" name: "p" type: POOLING3D pooling_param {
      pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }
    """
    net = pg.Net(upgrade(prototxt.parse(text, "net.prototxt")))
    assert [layer.type for layer in net.layers] == ["Input", "Convolution3D", "Pooling3D"]
    assert net.shapes["p"] == (1, 2, 4, 3, 3)
