"""Layers of forks that move values, against loops written after the sources of the forks:
Reverse and Transpose (tianzhi0549/CTPN, caffe/src/caffe/layers/reverse_layer.cpp and
transpose_layer.cpp; Synopsys' and Cambricon's reverse_layer.cpp), Flip (happynear/caffe-windows,
flip_layer.cpp), Padding (TheLegendAli/DeepLab-Context, padding_layer.cpp) and AddPad
(Cambricon/caffe, mlu_addpad_layer.cpp)."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.layers import kind_of

EXAMPLES = settings(max_examples=40, deadline=None)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
SEEDS = st.integers(0, 99)


def reversed_by_loop(x, axis):
    """to_index = counts[axis] (axis_count - 2 ind - 1) + index, over flat indices."""
    counts = [int(np.prod(x.shape[i + 1 :])) for i in range(x.ndim)]
    flat, out = x.reshape(-1), np.empty(x.size, np.float32)
    for index in range(x.size):
        ind = (index // counts[axis]) % x.shape[axis]
        out[counts[axis] * (x.shape[axis] - 2 * ind - 1) + index] = flat[index]
    return out.reshape(x.shape)


@EXAMPLES
@given(SHAPES, st.data(), SEEDS)
def test_reverse_is_the_loop_of_its_source(shape, data, seed):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = numbers(np.random.default_rng(seed), *shape)
    (y,) = tops_of(f'"Reverse" reverse_param {{ axis: {axis} }}', [x])
    np.testing.assert_array_equal(y, reversed_by_loop(x, axis))


def test_reverse_of_several_axes_reverses_each():
    x = numbers(np.random.default_rng(0), 2, 3, 4, 5)
    (y,) = tops_of('"Reverse" reverse_param { axis: -1 axis: 1 }', [x])
    np.testing.assert_array_equal(y, reversed_by_loop(reversed_by_loop(x, 3), 1))


@pytest.mark.parametrize(("dialect", "axis"), [("ctpn", 0), ("cambricon", 1), ("synopsys", None)])
def test_reverse_without_axis_depends_on_the_fork(dialect, axis):
    x = numbers(np.random.default_rng(0), 2, 3, 4, 5)
    (y,) = tops_of('"Reverse"', [x], dialect=dialect)
    np.testing.assert_array_equal(y, x if axis is None else reversed_by_loop(x, axis))
    with pytest.raises(pg.UnsupportedError, match="axis is not set, and its default differs"):
        tops_of('"Reverse"', [x])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"Reverse" reverse_param { axis: 4 }', "axis 4 is out of range"),
        ('"Reverse" reverse_param { axis: 1 axis: -3 }', "each axis at most once"),
        ('"Transpose" transpose_param { dim: 0 dim: 1 }', "dim must name each axis"),
        ('"Transpose" transpose_param { dim: 0 dim: 1 dim: 1 dim: 3 }', "dim must name each axis"),
        ('"Padding" padding_param { pad_beg: 2 pad_end: -1 }', "both pad or both crop"),
        ('"Padding" padding_param { pad_beg: -2 pad_end: -2 }', "the output size would be 0x1"),
        ('"AddPad" addpad_param { pad: 1 pad_h: 1 }', "pad and pad_h or pad_w are both set"),
        ('"AddPad" addpad_param { }', "expected one pad, got 0"),
    ],
)
def test_parameters_that_the_forks_refuse(text, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(text, [(2, 3, 4, 5)])


@EXAMPLES
@given(SHAPES, st.data(), SEEDS)
def test_transpose_is_the_loop_of_its_source(shape, data, seed):
    dims = data.draw(st.permutations(range(len(shape))))
    x = numbers(np.random.default_rng(seed), *shape)
    text = " ".join(f"dim: {dim}" for dim in dims)
    (y,) = tops_of(f'"Transpose" transpose_param {{ {text} }}', [x])
    expected = np.empty(tuple(shape[dim] for dim in dims), np.float32)
    for index in np.ndindex(*shape):
        expected[tuple(index[dim] for dim in dims)] = x[index]
    np.testing.assert_array_equal(y, expected)


@EXAMPLES
@given(SHAPES, st.sampled_from(["", "true", "false"]), st.sampled_from(["", "true", "false"]))
def test_flip_is_the_loop_of_its_source(shape, width, height):
    fields = f"flip_width: {width} " if width else ""
    fields += f"flip_height: {height}" if height else ""
    x = numbers(np.random.default_rng(0), *shape)
    if len(shape) > 4:
        with pytest.raises(pg.InputError, match="must have 1 to 4 axes"):
            tops_of(f'"Flip" flip_param {{ {fields} }}', [x])
        return
    (y,) = tops_of(f'"Flip" flip_param {{ {fields} }}', [x])
    four = x.reshape((*shape, 1, 1, 1)[:4])
    expected = np.empty_like(four)
    rows, columns = four.shape[2:]
    for h in range(rows):
        for w in range(columns):
            from_h = rows - 1 - h if height == "true" else h
            from_w = columns - 1 - w if width != "false" else w
            expected[:, :, h, w] = four[:, :, from_h, from_w]
    np.testing.assert_array_equal(y, expected.reshape(shape))


def padded_by_loop(x, pads, value=0.0):
    """Copy each pixel to its place in a larger or smaller plane."""
    top, left, bottom, right = pads
    n, c, rows, columns = x.shape
    out = np.full((n, c, rows + top + bottom, columns + left + right), value, np.float32)
    for h in range(out.shape[2]):
        for w in range(out.shape[3]):
            if 0 <= h - top < rows and 0 <= w - left < columns:
                out[:, :, h, w] = x[:, :, h - top, w - left]
    return out


PADS = [
    ('"Padding" padding_param { pad_beg: 2 pad_end: 1 }', (2, 2, 1, 1), 0),
    ('"Padding" padding_param { pad_beg: -1 pad_end: -2 }', (-1, -1, -2, -2), 0),
    ('"Padding" padding_param { pad_end: -2 }', (0, 0, -2, -2), 0),
    ('"Padding" padding_param { pad_l: 1 pad_r: 3 pad_t: 2 pad_value: -5 }', (2, 1, 0, 3), -5),
    ('"Padding" padding_param { }', (0, 0, 0, 0), 0),
    ('"AddPad" addpad_param { pad: 2 }', (2, 2, 2, 2), 0),
    ('"AddPad" addpad_param { pad_w: 3 }', (0, 3, 0, 3), 0),
]


@pytest.mark.parametrize(("text", "pads", "value"), PADS)
def test_padding_and_its_stock_layers(text, pads, value, tmp_path):
    x = numbers(np.random.default_rng(0), 2, 3, 5, 4)
    expected = padded_by_loop(x, pads, value)
    np.testing.assert_array_equal(tops_of(text, [x])[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [x]), expected, 1e-6 if value else 0)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ('"Reverse" reverse_param { axis: 0 }', (6, 2)),
        ('"Reverse" reverse_param { axis: 2 }', (2, 3, 4, 5)),
        ('"Reverse" reverse_param { axis: 1 axis: 3 }', (2, 3, 4, 5)),
        ('"Reverse" reverse_param { axis: 1 }', (2, 9000)),  # as its factors
        ('"Reverse" reverse_param { axis: 1 }', (2, 1, 3)),
        ('"Flip" flip_param { flip_height: true }', (2, 3, 4, 5)),
        ('"Flip" flip_param { flip_width: false }', (2, 3, 4, 5)),
        ('"Transpose" transpose_param { dim: 2 dim: 0 dim: 1 }', (3, 4, 5)),
        ('"Transpose" transpose_param { dim: 0 dim: 3 dim: 1 dim: 2 }', (2, 3, 4, 5)),
    ],
)
def test_stock_layers_move_the_same_values(text, shape, tmp_path):
    x = numbers(np.random.default_rng(0), *shape)
    np.testing.assert_array_equal(stock_tops_of(tmp_path, text, [x]), tops_of(text, [x])[0])


def test_reverse_of_a_long_prime_length_has_no_stock_layers(tmp_path):
    text = '"Reverse" reverse_param { axis: 0 }'
    layer_net(text, [(2053, 1)]).save(tmp_path / "net.prototxt")
    result = pg.rewrite(tmp_path / "net.prototxt")
    assert "need 2053 slices, at most 2048" in result.retained[0].reason


@pytest.mark.parametrize(
    "text",
    [
        '"Reverse" reverse_param { axis: 1 }',
        '"Flip" flip_param { flip_height: true }',
        '"Transpose" transpose_param { dim: 0 dim: 3 dim: 1 dim: 2 }',
    ],
)
def test_bottoms_for_tops_gives_the_values_that_arrive(text):
    net = layer_net(text, [(2, 3, 4, 5)])
    layer = net.layers[-1]
    wanted = numbers(np.random.default_rng(0), *net.shapes["y0"])
    kind = kind_of(layer)
    (x,) = kind.bottoms_for_tops(layer, [wanted], [(2, 3, 4, 5)], np.random.default_rng(0))
    np.testing.assert_array_equal(tops_of(text, [x])[0], wanted)
