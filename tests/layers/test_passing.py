"""Scatter, Gather and BatchReduction (yjxiong/caffe: batch_reduction_layer.cpp), SpatialDropout
(intel/caffe), GetDataDim (dlunion/CC4.0) and ChannelScale (happynear/caffe-windows), against loops
written after these sources."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg

EXAMPLES = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("type_", ["Scatter", "Gather"])
def test_one_device_passes_blobs_on(type_, tmp_path):
    rng = np.random.default_rng(0)
    arrays = [numbers(rng, 2, 3), numbers(rng, 2, 4, 5)]
    for top, array in zip(tops_of(f'"{type_}"', arrays, tops=2), arrays, strict=True):
        np.testing.assert_array_equal(top, array)
    with pytest.raises(pg.InputError, match="expected 2 tops, got 1"):
        layer_net(f'"{type_}"', [(2, 3), (2, 3)])
    if type_ == "Scatter":
        np.testing.assert_array_equal(stock_tops_of(tmp_path, '"Scatter"', arrays[:1]), arrays[0])


def reduced(x, axis, operation, levels, k, pos):
    """The pointer walk of the source: num x levels x ticks x step."""
    ticks = [level * level for level in levels]
    if levels == [1]:
        ticks = [x.shape[axis]]
    rest = x.shape[axis + 1 + pos :]
    step, num = int(np.prod(rest, dtype=int)), int(np.prod(x.shape[:axis], dtype=int))
    flat, at, rows = x.reshape(-1).astype(np.float64), 0, []
    for _ in range(num):
        if operation == "TOPK":
            block = flat[at : at + ticks[0] * step].reshape(ticks[0], step)
            rows.append(np.sort(block, axis=0)[::-1][:k].sum(axis=0) / k)
            at += ticks[0] * step
            continue
        for tick in ticks:
            total = np.zeros(step)
            for t in range(tick):
                total += flat[at : at + step] * (1 / tick if operation == "MEAN" else 1)
                stride = 1 if t == tick - 1 else tick + 1
                at += step * (stride if pos else 1)
            rows.append(total)
    shape = [*x.shape[:axis], *([] if levels == [1] else [len(levels)]), *rest]
    return np.concatenate(rows).reshape(shape).astype(np.float32)


@EXAMPLES
@given(
    st.sampled_from(["SUM", "MEAN", "TOPK"]),
    st.sampled_from([[1], [2], [1, 2], [1, 2, 3]]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_batch_reduction(operation, levels, axis, pos, negative):
    pos = pos and len(levels) == 1 and operation != "TOPK"
    if operation == "TOPK":
        levels = levels[:1]
    length = sum(level * level for level in levels) if levels != [1] else 5
    shape = [2, 3, 2]
    shape.insert(axis, length)
    if pos:
        shape.insert(axis, length)
    k = min(3, length)
    fields = " ".join(f"level: {level}" for level in levels) if levels != [1] else ""
    at = axis - len(shape) if negative else axis
    text = (
        f'"BatchReduction" batch_reduction_param {{ {fields} pos: {str(pos).lower()} '
        f"reduction_param {{ operation: {operation} axis: {at} k: {k} }} }}"
    )
    x = numbers(np.random.default_rng(0), *shape)
    assert_close(tops_of(text, [x])[0], reduced(x, axis, operation, levels, k, pos))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("reduction_param { operation: SUMSQ }", "operation SUMSQ is not implemented"),
        ("level: 1 level: 2 reduction_param { axis: 1 }", "must sum to the 3 positions"),
        ("level: 1 level: 2 pos: true reduction_param { axis: 1 }", "need a single level"),
        ("reduction_param { operation: TOPK axis: 1 k: 4 }", "k must be from 1 to 3, got 4"),
        ("pos: true reduction_param { axis: 2 }", "pos needs an axis after"),
    ],
)
def test_batch_reductions_that_the_fork_refuses(fields, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(f'"BatchReduction" batch_reduction_param {{ {fields} }}', [(2, 3, 4)])


def test_batch_reduction_of_a_diagonal_needs_equal_axes():
    text = '"BatchReduction" batch_reduction_param { pos: true reduction_param { axis: 1 } }'
    with pytest.raises(pg.UnsupportedError, match="axes of different lengths"):
        layer_net(text, [(2, 3, 4)])


def test_spatial_dropout_is_the_identity_in_test(tmp_path):
    x = numbers(np.random.default_rng(0), 2, 3, 4, 5)
    text = '"SpatialDropout" dropout_param { dropout_ratio: 0.3 }'
    np.testing.assert_array_equal(tops_of(text, [x])[0], x)
    np.testing.assert_array_equal(stock_tops_of(tmp_path, text, [x]), x)
    with pytest.raises(pg.UnsupportedError, match="random"):
        tops_of(text, [x], phase="TRAIN")


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 7), (2, 4)])
def test_get_data_dim(shape):
    x = numbers(np.random.default_rng(0), *shape)
    height, width = (*shape, 1, 1)[2:4]
    expected = np.float32([[[[height, width]]]] * shape[0])
    np.testing.assert_array_equal(tops_of('"GetDataDim"', [x])[0], expected)


@pytest.mark.parametrize("second", [(2, 1, 4, 5), (2, 20), (2, 4, 5)])
def test_channel_scale(second, tmp_path):
    rng = np.random.default_rng(0)
    x, scale = numbers(rng, 2, 3, 4, 5), numbers(rng, *second)
    expected = np.empty_like(x)
    pixels, flat = x.reshape(2, 3, 20), scale.reshape(2, 20)
    for n in range(2):
        for s in range(20):
            for c in range(3):
                expected.reshape(2, 3, 20)[n, c, s] = flat[n, s] * pixels[n, c, s]
    np.testing.assert_array_equal(tops_of('"ChannelScale"', [x, scale])[0], expected)
    assert_close(stock_tops_of(tmp_path, '"ChannelScale"', [x, scale]), expected)
    text = '"ChannelScale" channel_scale_param { do_forward: false }'
    np.testing.assert_array_equal(tops_of(text, [x, scale])[0], x)


@pytest.mark.parametrize(("blob", "scale"), [(3.0, 3.0), (-1.0, 0.5), (99.0, 30.0)])
def test_channel_scale_with_a_global_scale(blob, scale, tmp_path):
    rng = np.random.default_rng(0)
    x, other = numbers(rng, 2, 3, 4, 5), numbers(rng, 2, 1, 4, 5)
    fields = "global_scale: true min_global_scale: 0.5 max_global_scale: 30"
    text = f'"ChannelScale" channel_scale_param {{ {fields} }}'
    blobs = [np.float32([blob])]
    first, second = tops_of(text, [x, other], blobs, tops=2)
    assert_close(first, x * np.float32(scale))
    np.testing.assert_array_equal(second, np.float32([scale]))
    assert_close(stock_tops_of(tmp_path, text, [x, other], blobs), x * np.float32(scale))


def test_channel_scale_of_other_sizes_is_refused():
    with pytest.raises(pg.InputError, match="one value for each pixel of 2x3x4x5, got 2x1x4x4"):
        layer_net('"ChannelScale"', [(2, 3, 4, 5), (2, 1, 4, 4)])


def test_layer_of_callbacks_is_refused():
    with pytest.raises(pg.UnsupportedError, match="it runs code of the user's program"):
        tops_of('"CPP"', [numbers(np.random.default_rng(0), 2, 3)])
