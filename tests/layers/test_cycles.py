"""Layers of Cambricon/caffe (sqrt_layer.cpp, mult_layer.cpp, cycleadd_layer.cpp, cyclesub_layer.cpp,
cyclemult_layer.cpp and unpooling_layer.cpp), against loops written after them."""

import math

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg

EXAMPLES = settings(max_examples=40, deadline=None)


def test_sqrt(tmp_path):
    x = np.abs(numbers(np.random.default_rng(0), 2, 3, 4))
    assert_close(tops_of('"Sqrt"', [x])[0], np.sqrt(x))
    assert_close(stock_tops_of(tmp_path, '"Sqrt"', [x]), np.sqrt(x))


@pytest.mark.parametrize("second", [(2, 3, 4), (2, 12), (24,)])
def test_mult_pairs_values_in_memory_order(second, tmp_path):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, 2, 3, 4), numbers(rng, *second)
    expected = (a.reshape(-1) * b.reshape(-1)).reshape(a.shape)
    np.testing.assert_array_equal(tops_of('"Mult"', [a, b])[0], expected)
    assert_close(stock_tops_of(tmp_path, '"Mult"', [a, b]), expected)


def cycle(a, b, operation):
    """top[n, i, j] = a[n, i, j] op b[i], with j over the values of a channel."""
    out = np.empty_like(a)
    channels = a.shape[1]
    flat, top, values = a.reshape(len(a), -1), out.reshape(len(a), -1), b.reshape(-1)
    interval = flat.shape[1] // channels
    for n in range(len(a)):
        for i in range(channels):
            for j in range(interval):
                at = i * interval + j
                top[n, at] = operation(flat[n, at], values[i])
    return out


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (1, 3, 2)])
@pytest.mark.parametrize(
    ("type_", "operation"),
    [("CycleAdd", np.add), ("CycleSub", np.subtract), ("CycleMult", np.multiply)],
)
def test_cycles(type_, operation, shape, tmp_path):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, *shape), numbers(rng, 1, shape[1], 1, 1)
    expected = cycle(a, b, operation)
    np.testing.assert_array_equal(tops_of(f'"{type_}"', [a, b])[0], expected)
    assert_close(stock_tops_of(tmp_path, f'"{type_}"', [a, b]), expected)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('"Mult"', [(2, 3), (2, 4)], "equally many values"),
        ('"CycleAdd"', [(2, 3, 4, 5), (2, 3, 1, 1)], "must have the shape 1x3x1x1"),
        ('"CycleAdd"', [(2, 3, 4, 5, 6), (1, 3, 1, 1)], "at most 4 axes"),
        ('"UnPooling"', [(1, 2, 3, 3)], "out_kernel_size is missing"),
        (
            '"UnPooling" unpooling_param { out_kernel_size: 2 out_pad: 2 }',
            [(1, 2, 3, 3)],
            "out_pad must be smaller",
        ),
        (
            '"UnPooling" unpooling_param { out_kernel_h: 2 }',
            [(1, 2, 3, 3)],
            "set out_kernel_size, or",
        ),
    ],
)
def test_bottoms_that_the_fork_refuses(text, shapes, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(text, shapes)


def unpooled(x, method, kernel, stride, pad):
    """The three loops of the source, with its mask of counts."""
    height, width = x.shape[2:]
    size = [
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, pad, kernel, strict=True)
    ]
    top = np.zeros((*x.shape[:2], *size), np.float64)
    counts = np.zeros(size, np.int64)
    windows = {}
    for h in range(height):
        for w in range(width):
            low = [h * stride[0] - pad[0], w * stride[1] - pad[1]]
            high = [min(a + k, n + p) for a, k, n, p in zip(low, kernel, size, pad, strict=True)]
            area = math.prod(b - a for a, b in zip(low, high, strict=True))
            windows[h, w] = (
                [max(a, 0) for a in low],
                [min(b, n) for b, n in zip(high, size, strict=True)],
                area,
            )
            begin, end, _ = windows[h, w]
            counts[begin[0] : end[0], begin[1] : end[1]] += 1
    for (h, w), (begin, end, area) in windows.items():
        if method == "FIXED":
            middle = []
            for start, k, n in zip(
                (h * stride[0] - pad[0], w * stride[1] - pad[1]), kernel, size, strict=True
            ):
                at = math.trunc((start + start + k - 1) / 2)
                middle.append(min(max(at, 0), n - 1))
            top[:, :, middle[0], middle[1]] = x[:, :, h, w]
            continue
        value = x[:, :, h, w, None, None] / (area if method == "DIV" else 1)
        place = (slice(None), slice(None), slice(begin[0], end[0]), slice(begin[1], end[1]))
        top[place] += value / counts[place[2:]]
    return top.astype(np.float32)


TWOS = st.tuples(*[st.integers(1, 4)] * 2)


@EXAMPLES
@given(st.sampled_from(["FIXED", "DIV", "REP"]), TWOS, TWOS, TWOS, st.data())
def test_unpooling(method, sizes, kernel, stride, data):
    pad = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    out = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(sizes, stride, pad, kernel, strict=True)]
    fields = " ".join(
        f"out_{name}_{axis}: {value}"
        for name, values in (("kernel", kernel), ("stride", stride), ("pad", pad))
        for axis, value in zip("hw", values, strict=True)
    )
    text = f'"UnPooling" unpooling_param {{ unpool: {method} {fields} }}'
    x = numbers(np.random.default_rng(0), 2, 2, *sizes)
    if min(out) < 1:
        with pytest.raises(pg.InputError, match="the output size would be"):
            layer_net(text, [x.shape])
        return
    assert_close(tops_of(text, [x])[0], unpooled(x, method, kernel, stride, pad))


@pytest.mark.parametrize("method", ["FIXED", "DIV", "REP"])
@pytest.mark.parametrize("large", [(7, 9), (4, 3), (8, 6)])
def test_unpooling_to_the_size_of_a_bottom(method, large):
    rng = np.random.default_rng(0)
    x, like = numbers(rng, 1, 2, 4, 3), numbers(rng, 1, 1, *large)
    kernel = [math.ceil(m / n) for n, m in zip((4, 3), large, strict=True)]
    stride = [1 if k == m else k for k, m in zip(kernel, large, strict=True)]
    pad = [
        math.floor(((n - 1) * s + k - m) / 2)
        for n, s, k, m in zip((4, 3), stride, kernel, large, strict=True)
    ]
    text = f'"UnPooling" unpooling_param {{ unpool: {method} out_kernel_size: 2 }}'
    assert_close(tops_of(text, [x, like])[0], unpooled(x, method, kernel, stride, pad))
