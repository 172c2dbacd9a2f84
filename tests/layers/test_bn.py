"""BN of forks, against loops written after the sources: alexgkendall/caffe-segnet, hszhao/PSPNet and
yangguorun/SegStereo (src/caffe/layers/bn_layer.cpp), and how a net or its weights tell them apart."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of

import protogen as pg
from protogen.layers import layer_type

X = numbers(np.random.default_rng(0), 3, 4, 5, 6) * np.float32(2) + np.float32(1)
FILLERS = "scale_filler { value: 1 } shift_filler { value: 0 }"


def blobs(count, shape=(1, 4, 1, 1), seed=1):
    rng = np.random.default_rng(seed)
    arrays = [numbers(rng, *shape) for _ in range(count)]
    if count == 4:
        arrays[3] = np.abs(arrays[3]) + np.float32(0.1)
    return arrays


def by_channel(x, axis, learned, eps, statistics=None):
    """Scale, shift and normalise the values of each channel in turn."""
    out = np.empty_like(x)
    for c in range(x.shape[axis]):
        part = x.take(c, axis).astype(np.float64)
        mean, variance = (
            (part.mean(), part.var())
            if statistics is None
            else (float(statistics[0].flat[c]), float(statistics[1].flat[c]))
        )
        value = (part - mean) / np.sqrt(variance + eps)
        value = value * float(learned[0].flat[c]) + float(learned[1].flat[c])
        out[(slice(None),) * axis + (c,)] = value
    return out


@pytest.mark.parametrize(
    ("phase", "fields", "batch"),
    [
        ("TEST", "eps: 0.25", False),
        ("TRAIN", "eps: 0.25", True),
        ("TRAIN", "eps: 0.25 frozen: true", False),
        ("TEST", "eps: 0.25 icnet: true", False),
    ],
)
def test_pspnet(phase, fields, batch, tmp_path):
    b = blobs(4)
    text = f'"BN" bn_param {{ {fields} }}'
    expected = by_channel(X, 1, b[:2], 0.25, None if batch else b[2:])
    assert_close(tops_of(text, [X], b, phase=phase)[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [X], b, phase=phase), expected)


@pytest.mark.parametrize(
    ("phase", "fields", "batch"),
    [
        ("TEST", "", False),
        ("TEST", "moving_average: true decay: 0.05", False),
        ("TEST", "use_history_in_test: false", True),
        ("TRAIN", "", True),
        ("TRAIN", "frozen: true", False),
        ("TEST", "axis: 2", False),
        ("TRAIN", "axis: 2", True),
    ],
)
def test_segstereo(phase, fields, batch):
    axis = 2 if "axis: 2" in fields else 1
    b = blobs(4, (1, 4, 1, 1) if axis == 1 else (1, 1, 5, 1))
    text = f'"BN" bn_param {{ {FILLERS} var_eps: 0.125 {fields} }}'
    expected = by_channel(X, axis, b[:2], 0.125, None if batch else b[2:])
    assert_close(tops_of(text, [X], b, phase=phase)[0], expected)


def test_segnet_learns_from_the_batch_or_has_merged_statistics():
    b = blobs(2)
    expected = by_channel(X, 1, b, 1e-9)
    assert_close(tops_of('"BN" bn_param { bn_mode: LEARN }', [X], b)[0], expected)
    ones, zeros = np.ones(4), np.zeros(4)
    expected = by_channel(X, 1, b, 0.0, [zeros, ones])
    assert_close(tops_of('"BN" bn_param { bn_mode: INFERENCE }', [X], b)[0], expected)


TELLS = [
    # fields, param, count of blobs, their shape: dialect, epsilon
    ("", 0, 4, (1, 4, 1, 1), "pspnet", 1e-5),
    ("", 0, 2, (1, 4, 1, 1), "segnet", 1e-9),
    ("", 0, 4, (1, 4), "tsn", 1e-5),
    ("slope_filler { value: 1 } frozen: true", 0, 4, (1, 4), "tsn", 1e-5),
    (FILLERS, 0, 4, (1, 4, 1, 1), "segstereo", 1e-10),
]


@pytest.mark.parametrize(("fields", "params", "count", "shape", "dialect", "eps"), TELLS)
def test_weights_tell_the_fork(fields, params, count, shape, dialect, eps, tmp_path):
    small = np.full((2, 4, 3, 3), 1e-3, np.float32) + 1e-3 * numbers(
        np.random.default_rng(0), 2, 4, 3, 3
    )
    b = blobs(count, shape)
    if count == 4:
        b[3] = b[3] * np.float32(1e-6)
    text = f'"BN" bn_param {{ {fields} }} {"param { } " * params}'
    expected = by_channel(small, 1, b[:2], eps, b[2:] or None)
    assert_close(tops_of(text, [small], b)[0], expected, 1e-4)
    net = layer_net(text, [small.shape])
    net.take_weights({"l": b})
    assert net.layers[-1].dialect == dialect
    assert net.with_inputs({"x0": (5, 4, 3, 3)}).layers[-1].dialect == dialect
    net.save(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    loaded = pg.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel")
    assert_close(pg.run(loaded, {"x0": small})["y0"], expected, 1e-4)


def test_without_evidence_both_meanings_are_named():
    with pytest.raises(pg.UnsupportedError, match="SegNet's BN has the blobs scale and shift"):
        tops_of('"BN"', [X], phase="TEST")


@pytest.mark.parametrize(
    ("text", "dialect", "count"),
    [
        ('"BN" param { } param { } param { } param { }', "", 4),  # a param for each blob
        ('"BN"', "cambricon", 4),
        ('"BN"', "minicaffe", 4),
        ('"BN"', "segnet", 2),
        ('"BN"', "synopsys", 2),
        ('"BN" bn_param { icnet: true }', "synopsys", 4),
        ('"BN" bn_param { eps: 1 }', "synopsys", 2),  # Synopsys reads it only with icnet
    ],
)
def test_number_of_blobs(text, dialect, count):
    net = layer_net(text, [X.shape], dialect=dialect)
    assert len(net.parameter_shapes["l"]) == count


def test_weights_of_another_fork_than_the_user_names_are_refused():
    net = layer_net('"BN"', [X.shape], dialect="segnet")
    with pytest.raises(pg.InputError, match="the weights have 4 blobs, but the layer has 2"):
        net.take_weights({"l": blobs(4)})


def test_axis_without_channels_is_refused():
    with pytest.raises(pg.InputError, match="axis must be 1 or 2, got 3"):
        layer_net('"BN" bn_param { axis: 3 }', [X.shape])
    assert layer_type("BN").source == "hszhao/PSPNet"
