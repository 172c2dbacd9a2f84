"""Layer types of Synopsys' fork, against loops as in its source
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synopsys import close, net_of, rewritten, run

import protogen as pg

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def words(name, values):
    """Return a repeated field as text."""
    return " ".join(f"{name}: {value}" for value in values)


def each(x, function):
    """Return the function of each value."""
    return np.array([function(float(value)) for value in x.ravel()]).reshape(x.shape)


POINTWISE = {
    "Atan": ("", math.atan),
    "Ceil": ("", math.ceil),
    "Floor": ("", math.floor),
    "Round": ("", round),
    "Sin": ("", math.sin),
    "HardTanH": ("", lambda x: max(-1, min(x, 1))),
    "Softplus": ("", lambda x: math.log(math.exp(x) + 1)),
    "Softsign": ("", lambda x: x / (1 + abs(x))),
    "ScaledTanH": (
        "scaled_tanh_param { alpha: 1.5 beta: 0.75 }",
        lambda x: 1.5 * math.tanh(0.75 * x),
    ),
    "ThresholdedReLU": ("thresholded_relu_param { alpha: 0.5 }", lambda x: x if x > 0.5 else 0),
    "SeLU": (
        "selu_param { lambda: 1.25 alpha: 1.5 }",
        lambda x: 1.25 * x if x > 0 else 1.25 * 1.5 * (math.exp(x) - 1),
    ),
    "SeLUDropout": ("selu_dropout_param { dropout_ratio: 0.25 }", lambda x: x),
    "HardSigmoid": (
        "hard_sigmoid_param { alpha: 0.3 beta: 0.4 }",
        lambda x: max(0, min(0.3 * x + 0.4, 1)),
    ),
}


@pytest.mark.parametrize("type_", POINTWISE)
def test_functions_of_single_values(tmp_path, type_):
    block, function = POINTWISE[type_]
    x = np.concatenate([4 * normal(1, 40), [0.5, 1.5, -0.5, -2.5, 0, 1, -1]]).astype(np.float32)
    text = f'type: "{type_}" {block}'
    close(run(text, x), each(x, function))
    if type_ not in ("Atan", "Ceil", "Floor", "Round", "Sin"):
        rewritten(tmp_path, text, (3, 4))


def test_softplus_of_large_values():
    close(run('type: "Softplus"', np.float32([100, 500])), np.float32([100, 500]))


@pytest.mark.parametrize("axis", [0, 1, -1, 2])
def test_log_softmax(axis):
    """log_softmax_layer.cpp: the logarithm of the softmax, at least that of 1e-45."""
    x = 5 * normal(2, 3, 4, 5)
    y = np.exp(x - x.max(axis, keepdims=True).astype(np.float64))
    y = np.log(y / y.sum(axis, keepdims=True))
    text = f'type: "LogSoftmax" log_softmax_param {{ axis: {axis} }}'
    close(run(text, x), y)
    low = run(text.replace(str(axis), "0"), np.float32([0, -500]))
    close(low, np.float32([0, np.log(np.float32(1e-45))]))


def broadcast(a, b, function):
    """The loops of add_layer.cpp and its siblings."""
    rank = max(a.ndim, b.ndim)
    sizes = [(*[1] * (rank - x.ndim), *x.shape) for x in (a, b)]
    top = np.zeros([max(pair) for pair in zip(*sizes, strict=True)], np.float32)
    for place in np.ndindex(top.shape):
        parts = []
        for x, size in zip((a, b), sizes, strict=True):
            index = [0 if n == 1 else i for i, n in zip(place, size, strict=True)]
            parts.append(x[tuple(index[rank - x.ndim :])])
        top[place] = function(*parts)
    return top


PAIRS = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "FloorDiv": lambda a, b: np.floor(a / b),
    "FloorMod": lambda a, b: a - np.floor(a / b) * b,
    "Maximum": lambda a, b: a if a > b else b,
    "Minimum": lambda a, b: a if a < b else b,
    "Pow": lambda a, b: abs(a) ** b,
}


@st.composite
def broadcasts(draw):
    """Draw the shapes of two operands."""
    top = draw(st.lists(st.integers(1, 4), max_size=4))
    shapes = []
    for _ in range(2):
        cut = draw(st.integers(0, len(top)))
        shapes.append(tuple(draw(st.sampled_from([1, n])) for n in top[cut:]))
    return shapes


@SETTINGS
@given(st.sampled_from(sorted(PAIRS)), broadcasts(), st.integers(0, 99))
def test_pairs(type_, shapes, seed):
    a, b = (np.float32(normal(seed + i, *shape)) for i, shape in enumerate(shapes))
    if type_ == "Pow":
        a = np.abs(a)
    expected = broadcast(np.asarray(a), np.asarray(b), PAIRS[type_])
    close(run(f'type: "{type_}"', np.asarray(a), np.asarray(b)), expected)


@pytest.mark.parametrize(
    ("type_", "block", "shape"),
    [
        ("Mul", words("mul_shape", [3, 1]).join(["mul_param { ", " }"]), (3, 1)),
        ("Pow", "", (2, 3, 4)),
        ("Add", "blobs { shape { dim: 4 } %s }", (4,)),
        ("Sub", "blobs { shape { dim: 3 dim: 4 } %s }", (3, 4)),
        ("Maximum", "blobs { shape { dim: 1 } %s }", (1,)),
    ],
)
def test_pairs_with_a_parameter_blob(type_, block, shape):
    a, b = np.abs(normal(3, 2, 3, 4)), normal(4, *shape)
    inline = "%" in block
    block = block % words("data", b.ravel()) if inline else block
    y = run(f'type: "{type_}" {block}', a, weights=None if inline else [b])
    close(y, broadcast(a, b, PAIRS[type_]))


def test_a_parameter_blob_of_unknown_shape_is_refused():
    with pytest.raises(pg.UnsupportedError, match="does not set its shape"):
        net_of('type: "Add"', [normal(0, 2, 3)])


@pytest.mark.parametrize("type_", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((2, 3, 4, 5), (2, 3, 1, 1)),
        ((2, 3, 4, 5), (4, 5)),
        ((3, 1, 1), (2, 3, 4, 5)),
        ((2, 3, 4, 5), (1, 3, 4, 1)),
    ],
)
def test_pairs_are_rewritten(tmp_path, type_, shapes):
    rewritten(tmp_path, f'type: "{type_}"', *shapes)


def test_other_pairs_are_rewritten(tmp_path):
    assert rewritten(tmp_path, 'type: "Maximum"', (2, 3), (2, 3)) == ["Eltwise"]


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((2, 3), (2,)), ((4,), (2, 3))])
def test_pairs_refuse_other_shapes(shapes):
    with pytest.raises(pg.InputError, match="aligned at the end"):
        net_of('type: "Add"', [normal(0, *shape) for shape in shapes])


def test_not_equal():
    """not_equal_layer.cpp."""
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 3, (3, 4)).astype(np.float32) for _ in range(2))
    close(run('type: "NotEqual"', a, b), a != b)
    close(run('type: "NotEqual" not_equal_param { comparand: 2 }', a), a != 2)


def positions(shape, axes):
    """Yield the index of each line over these axes, and the indices of its values."""
    others = [i for i in range(len(shape)) if i not in axes]
    for out in np.ndindex(*[shape[i] for i in others]):
        line = []
        for inner in np.ndindex(*[shape[i] for i in axes]):
            index = dict(zip(others, out, strict=True)) | dict(zip(axes, inner, strict=True))
            line.append(tuple(index[i] for i in range(len(shape))))
        yield out, line


REDUCED = {
    "ReduceSum": ("reduce_sum_param", sum),
    "ReduceMean": ("reduce_mean_param", lambda v: sum(v) / len(v)),
    "ReduceMax": ("reduce_max_param", max),
    "ReduceMin": ("reduce_min_param", min),
    "ReduceProd": ("reduce_prod_param", math.prod),
    "ReduceL1": ("reduce_l1_param", lambda v: sum(map(abs, v))),
    "ReduceL2": ("reduce_l2_param", lambda v: math.sqrt(sum(x * x for x in v))),
    "ReduceLogSumExp": ("reduce_logsumexp_param", lambda v: math.log(sum(map(math.exp, v)))),
    "ReduceAll": ("reduce_all_param", all),
    "ReduceAny": ("reduce_any_param", any),
    "CountNonzero": ("count_nonzero_param", lambda v: sum(x != 0 for x in v)),
}


@SETTINGS
@given(st.sampled_from(sorted(REDUCED)), SHAPES, st.booleans(), st.data())
def test_reductions(type_, shape, keeps, data):
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    given_axes = [axis - data.draw(st.sampled_from([0, len(shape)])) for axis in axes]
    block, function = REDUCED[type_]
    x = normal(len(shape), *shape)
    if type_ in ("ReduceAll", "ReduceAny", "CountNonzero"):
        x = np.float32(x > 0)
    reduced = axes or list(range(len(shape)))
    top = [n for i, n in enumerate(shape) if i not in reduced]
    expected = np.zeros(top, np.float32)
    for out, line in positions(shape, reduced):
        expected[out] = function([float(x[index]) for index in line])
    if keeps:
        expected = expected.reshape([1 if i in reduced else n for i, n in enumerate(shape)])
    field = "axes" if "_l" in block and "log" not in block else "axis"
    flag = int(keeps) if field == "axes" else str(keeps).lower()
    text = f'type: "{type_}" {block} {{ {words(field, given_axes)} keepdims: {flag} }}'
    close(run(text, x), expected)


@pytest.mark.parametrize("type_", ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 3), (3,), (), (-1, -2)])
@pytest.mark.parametrize("keeps", [0, 1])
def test_reductions_are_rewritten(tmp_path, type_, axes, keeps):
    block = REDUCED[type_][0]
    field = "axes" if "_l" in block else "axis"
    flag = keeps if field == "axes" else str(bool(keeps)).lower()
    text = f'type: "{type_}" {block} {{ {words(field, axes)} keepdims: {flag} }}'
    assert rewritten(tmp_path, text, (2, 3, 4, 5))[0] == "Reduction"


def test_a_repeated_axis_is_refused():
    with pytest.raises(pg.InputError, match="repeated"):
        net_of('type: "ReduceSum" reduce_sum_param { axis: 1 axis: -1 }', [normal(0, 2, 3)])


@pytest.mark.parametrize("stride", [1, 2, 3, 41])
def test_upsample_darknet(tmp_path, stride):
    x = normal(6, 2, 3, 3, 2)
    expected = np.zeros((2, 3, 3 * stride, 2 * stride), np.float32)
    for h, w in itertools.product(range(3 * stride), range(2 * stride)):
        expected[:, :, h, w] = x[:, :, h // stride, w // stride]
    text = f'type: "UpsampleDarknet" upsample_darknet_param {{ stride: {stride} }}'
    close(run(text, x), expected)
    if 1 < stride < 4:
        rewritten(tmp_path, text, x.shape)


def scale_of(m, n, aligned):
    """CalculateResizeScale of resize_bilinear_layer.cpp, in float32."""
    if aligned and m > 1:
        return np.float32(n - 1) / np.float32(m - 1)
    return np.float32(n) / np.float32(m)


def nearest(m, n, form):
    """The position that each of m pixels reads, as in resize_nearest_neighbor_layer.cpp."""
    scale, places = scale_of(m, n, form == "align_corners"), []
    for i in range(m):
        middle = (np.float32(i) + np.float32(0.5)) * scale
        if form == "half_pixel_onnx":
            place = math.floor(float(middle) - 0.5)
        elif form == "half_pixel_centers":
            place = math.floor(middle)
        elif form == "align_corners":
            x = np.float32(i) * scale
            place = math.floor(x) + (float(x) - math.floor(x) >= 0.5)
        else:
            place = math.floor(np.float32(i) * scale)
        places.append(max(0, min(place, n - 1)))
    return places


def size_words(size, scales, names):
    """Return the fields of sizes, or of scales where the size is None."""
    parts = [
        f"scale_{name}: {scale}" if n is None else f"output_{name}: {n}"
        for n, scale, name in zip(size, scales, names, strict=True)
    ]
    return " ".join(parts)


SIZES = st.one_of(st.none(), st.integers(1, 13))
FORMS = ("", "align_corners", "half_pixel_centers", "half_pixel_onnx")


@SETTINGS
@given(
    st.sampled_from(FORMS),
    st.sampled_from(["NHWC", "NCHW"]),
    st.tuples(SIZES, SIZES),
    st.sampled_from([0.7, 1, 2, 2.5]),
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
)
def test_resize_nearest_neighbor(form, layout, size, scale, before):
    x = normal(7, 2, *before, 3)
    out = [
        int(np.floor(np.float32(n) * np.float32(scale))) if m is None else m
        for n, m in zip(before, size, strict=True)
    ]
    rows, columns = (nearest(m, n, form) for m, n in zip(out, before, strict=True))
    expected = x[:, rows][:, :, columns]
    if layout == "NCHW":
        x, expected = x.transpose(0, 3, 1, 2), expected.transpose(0, 3, 1, 2)
    flag = f"{form}: true" if form else ""
    text = (
        f'type: "ResizeNearestNeighbor" resize_nearest_neighbor_param {{ data_format: "{layout}" '
        f"{size_words(size, (scale, scale), ('height', 'width'))} {flag} }}"
    )
    close(run(text, x), expected)


def interpolate(x, axis, m, form):
    """One axis of compute_interpolation_weights of resize_bilinear_layer.cpp."""
    n = x.shape[axis]
    scale, lines = float(scale_of(m, n, form == "align_corners")), []
    for i in range(m):
        place = i * scale
        if form in ("half_pixel_centers", "pytorch_half_pixel"):
            place = (i + 0.5) * scale - 0.5
        if form == "pytorch_half_pixel" and m == 1:
            place = -0.5
        low, high = max(math.floor(place), 0), min(math.ceil(place), n - 1)
        part = place - math.floor(place)
        first, second = x.take(low, axis), x.take(high, axis)
        lines.append(first + (second - first) * part)
    return np.stack(lines, axis)


@SETTINGS
@given(
    st.sampled_from(["", "align_corners", "half_pixel_centers", "pytorch_half_pixel"]),
    st.sampled_from(["NHWC", "NCHW", "NCHWD"]),
    st.tuples(SIZES, SIZES, SIZES),
    st.sampled_from([0.7, 1, 2, 2.5]),
    st.tuples(*[st.integers(2, 7)] * 3),
)
def test_resize_bilinear(form, layout, size, scale, before):
    count = 3 if layout == "NCHWD" else 2
    size, before = size[:count], before[:count]
    x = normal(8, 2, *before, 3) if layout == "NHWC" else normal(8, 2, 3, *before)
    expected = x
    for i, (n, m) in enumerate(zip(before, size, strict=True)):
        m = int(np.floor(np.float32(n) * np.float32(scale))) if m is None else m
        expected = interpolate(expected, i + (1 if layout == "NHWC" else 2), m, form)
    flag = f"{form}: true" if form else ""
    names = ("height", "width", "depth")[:count]
    text = (
        f'type: "ResizeBilinear" resize_bilinear_param {{ data_format: "{layout}" '
        f"{size_words(size, [scale] * count, names)} {flag} }}"
    )
    close(run(text, x), expected)


@pytest.mark.parametrize("form", ["", "align_corners", "half_pixel_centers"])
@pytest.mark.parametrize("type_", ["ResizeBilinear", "ResizeNearestNeighbor"])
def test_resizes_are_rewritten(tmp_path, type_, form):
    block = "resize_bilinear_param" if "near" in type_[6:].lower() and "Bi" in type_ else ""
    block = block or "resize_nearest_neighbor_param"
    flag = f"{form}: true" if form else ""
    text = f'type: "{type_}" {block} {{ data_format: "NCHW" output_height: 8 output_width: 12 {flag} }}'
    if type_ == "ResizeNearestNeighbor" and form == "align_corners":
        return  # no stock layers read these pixels
    rewritten(tmp_path, text, (2, 3, 4, 6))


def test_icnet_subgraph():
    """icnet_subgraph_layer.cpp: the bottom plus four averages, resized with aligned corners."""
    x = normal(9, 2, 2, 40, 70)
    total = x.astype(np.float64)
    branches = [(33, 65, 33, 65), (17, 33, 16, 32), (13, 25, 10, 20), (8, 15, 5, 10)]
    for kh, kw, sh, sw in branches:
        oh, ow = math.ceil((40 - kh) / sh) + 1, math.ceil((70 - kw) / sw) + 1
        pooled = np.zeros((2, 2, oh, ow))
        for i, j in itertools.product(range(oh), range(ow)):
            part = x[:, :, i * sh : min(i * sh + kh, 40), j * sw : min(j * sw + kw, 70)]
            pooled[:, :, i, j] = part.mean((2, 3))
        pooled = interpolate(interpolate(pooled, 2, 40, "align_corners"), 3, 70, "align_corners")
        total += pooled
    close(run('type: "ICNetSubgraph"', x), total)


@SETTINGS
@given(SHAPES, st.data())
def test_squeeze_and_expand(shape, data):
    x = normal(1, *shape)
    ones = [i for i, n in enumerate(shape) if n == 1]
    axes = data.draw(st.sets(st.sampled_from(ones))) if ones else set()
    listed = [axis - data.draw(st.sampled_from([0, len(shape)])) for axis in axes]
    lengths = [n for i, n in enumerate(shape) if n != 1 or (axes and i not in axes)]
    close(
        run(f'type: "Squeeze" squeeze_param {{ {words("axis", listed)} }}', x), x.reshape(lengths)
    )
    listed = data.draw(st.lists(st.integers(-len(shape) - 1, len(shape)), max_size=3))
    top = list(shape)
    for i, axis in enumerate(listed):
        place = axis if axis >= 0 else axis + len(shape) + 1
        top.insert(place + i, 1)
    text = f'type: "ExpandDimsND" expand_dims_nd_param {{ {words("axis", listed)} }}'
    close(run(text, x), x.reshape(top))


def test_squeeze_refuses_another_axis():
    with pytest.raises(pg.InputError, match="axis 1 must have length 1"):
        net_of('type: "Squeeze" squeeze_param { axis: 1 }', [normal(0, 1, 3)])


def test_reshaping_types_are_rewritten(tmp_path):
    for text, shape in (
        ('type: "Squeeze"', (2, 1, 3, 1)),
        ('type: "ExpandDimsND" expand_dims_nd_param { axis: 0 axis: -1 }', (2, 3)),
    ):
        assert rewritten(tmp_path, text, shape) == ["Reshape"]


@SETTINGS
@given(SHAPES.filter(lambda s: len(s) < 5), st.integers(1, 3), st.data())
def test_stack_and_unstack(shape, count, data):
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    parts = [normal(i, *shape) for i in range(count)]
    stacked = run(f'type: "Stack" stack_param {{ axis: {axis} }}', *parts)
    close(stacked, np.stack(parts, axis))
    back = run(f'type: "Unstack" unstack_param {{ axis: {axis} }}', stacked, tops=count)
    for actual, expected in zip([back] if count == 1 else back, parts, strict=True):
        close(actual, expected)


def test_stack_is_rewritten(tmp_path):
    text = 'type: "Stack" stack_param { axis: -1 }'
    assert rewritten(tmp_path, text, (2, 3), (2, 3)) == ["Reshape", "Reshape", "Concat"]


@SETTINGS
@given(SHAPES, st.sampled_from(["CONSTANT", "EDGE", "REFLECT", "SYMMETRIC", "Pad"]), st.data())
def test_pads(shape, mode, data):
    """pad_layer.cpp and mirror_pad_layer.cpp: each axis is mirrored after those behind it."""
    most = [{"REFLECT": n - 1, "SYMMETRIC": n}.get(mode, 3) for n in shape]
    pads = [data.draw(st.tuples(st.integers(0, m), st.integers(0, m))) for m in most]
    x = normal(2, *shape)
    top = np.full([n + a + b for n, (a, b) in zip(shape, pads, strict=True)], 1.5, np.float32)
    for place in np.ndindex(top.shape):
        source = []
        for i, n, (before, _) in zip(place, shape, pads, strict=True):
            i -= before
            if mode == "EDGE":
                i = max(0, min(i, n - 1))
            elif mode == "REFLECT":
                i = -i if i < 0 else 2 * (n - 1) - i if i >= n else i
            elif mode == "SYMMETRIC":
                i = -i - 1 if i < 0 else 2 * n - 1 - i if i >= n else i
            source.append(i)
        if all(0 <= i < n for i, n in zip(source, shape, strict=True)):
            top[place] = x[tuple(source)]
    flat = words("paddings", itertools.chain(*pads))
    text = f'type: "MirrorPad" mirror_pad_param {{ {flat} constant_values: 1.5 mode: "{mode}" }}'
    if mode == "Pad":
        text = f'type: "Pad" pad_param {{ {flat} constant_values: 1.5 }}'
    close(run(text, x), top)


@pytest.mark.parametrize("value", [0, 1.5])
def test_pad_is_rewritten(tmp_path, value):
    pads = words("paddings", [0, 0, 0, 0, 1, 2, 0, 3])
    text = f'type: "Pad" pad_param {{ {pads} constant_values: {value} }}'
    assert "Convolution" in rewritten(tmp_path, text, (2, 3, 4, 5))


@SETTINGS
@given(SHAPES, st.data())
def test_tiles(shape, data):
    x = normal(3, *shape)
    multiples = [data.draw(st.integers(1, 3)) for _ in shape]
    top = np.zeros([n * m for n, m in zip(shape, multiples, strict=True)], np.float32)
    for place in np.ndindex(top.shape):
        top[place] = x[tuple(i % n for i, n in zip(place, shape, strict=True))]
    close(run(f'type: "TileND" tile_nd_param {{ {words("multiples", multiples)} }}', x), top)
    head = data.draw(st.lists(st.integers(1, 3), max_size=2))
    sizes = [*head, *(n if n > 1 else data.draw(st.integers(1, 3)) for n in shape)]
    text = f'type: "BroadcastTo" broadcast_to_param {{ {words("shape", sizes)} }}'
    close(run(text, x), np.broadcast_to(x, sizes))


def test_tiles_are_rewritten(tmp_path):
    text = 'type: "TileND" tile_nd_param { multiples: 2 multiples: 1 multiples: 3 }'
    assert rewritten(tmp_path, text, (2, 3, 4)) == ["Tile", "Tile"]
    text = f'type: "BroadcastTo" broadcast_to_param {{ {words("shape", [2, 3, 4, 5])} }}'
    assert rewritten(tmp_path, text, (3, 1, 5)) == ["Reshape", "Tile", "Tile"]


def space_to_batch(x, blocks, pads):
    """TensorFlow's definition, which the comments of space_to_batch_nd_layer.cpp repeat."""
    count = len(blocks)
    wide = np.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - count - 1)])
    parts = []
    for offset in np.ndindex(*blocks):
        slices = tuple(slice(o, None, b) for o, b in zip(offset, blocks, strict=True))
        parts.append(wide[(slice(None), *slices)])
    return np.concatenate(parts, 0)


@SETTINGS
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.data())
def test_space_to_batch_and_back(batch, count, rest, data):
    blocks = [data.draw(st.integers(1, 3)) for _ in range(count)]
    lengths = [b * data.draw(st.integers(1, 3)) for b in blocks]
    pads = [data.draw(st.tuples(st.integers(0, 1), st.integers(0, 1))) for _ in blocks]
    sizes = [n - a - b for n, (a, b) in zip(lengths, pads, strict=True)]
    assume(min(sizes) > 0)
    x = normal(4, batch, *sizes, *[2] * rest)
    flat = list(itertools.chain(*pads))
    text = (
        f'type: "SpaceToBatchND" space_to_batch_nd_param {{ {words("block_shape", blocks)} '
        f"{words('paddings', flat)} }}"
    )
    y = run(text, x)
    close(y, space_to_batch(x, blocks, pads))
    text = (
        f'type: "BatchToSpaceND" batch_to_space_nd_param {{ {words("block_shape", blocks)} '
        f"{words('crops', flat)} }}"
    )
    close(run(text, y), x)


def test_blocks_refuse_sizes_that_do_not_divide():
    text = (
        'type: "SpaceToBatchND" space_to_batch_nd_param { block_shape: 2 paddings: 0 paddings: 0 }'
    )
    with pytest.raises(pg.InputError, match="does not divide"):
        net_of(text, [normal(0, 1, 3, 2)])
    text = 'type: "BatchToSpaceND" batch_to_space_nd_param { block_shape: 2 crops: 0 crops: 0 }'
    with pytest.raises(pg.InputError, match="does not divide"):
        net_of(text, [normal(0, 3, 3, 2)])
