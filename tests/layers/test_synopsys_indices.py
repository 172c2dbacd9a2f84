"""Layer types of Synopsys' fork that read or write by index, against loops as in its source
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synopsys import close, net_of, run

import protogen as pg

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def words(name, values):
    """Return a repeated field as text."""
    return " ".join(f"{name}: {value}" for value in values)


def gathered(x, axis, indices, shape):
    """gather_layer.cpp: one line after another."""
    head, tail = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    lines = x.reshape(head, x.shape[axis], tail)
    parts = [lines[m, index] for m in range(head) for index in indices]
    return np.array(parts).reshape((*x.shape[:axis], *shape, *x.shape[axis + 1 :]))


@SETTINGS
@given(SHAPES, st.lists(st.integers(1, 3), max_size=2), st.data())
def test_gather(shape, sizes, data):
    x, axis = normal(1, *shape), data.draw(st.integers(0, len(shape) - 1))
    sizes = sizes or [0]
    count = math.prod(sizes) if sizes != [0] else 1
    indices = [data.draw(st.integers(0, shape[axis] - 1)) for _ in range(count)]
    top = [] if sizes == [0] else sizes
    text = (
        f'type: "Gather" gather_param {{ {words("indices", indices)} {words("shape", sizes)} '
        f"axis: {axis - data.draw(st.sampled_from([0, len(shape)]))} }}"
    )
    expected = gathered(x, axis, indices, top)
    close(run(text, x), expected)
    second = np.array(indices, np.float32).reshape(top)
    text = f'type: "GatherV2" gather_v2_param {{ axis: {axis} }}'
    close(run(text, x, second), expected)


def test_gather_refuses_an_index_beyond_the_axis():
    text = 'type: "Gather" gather_param { indices: 3 shape: 1 axis: 1 }'
    with pytest.raises(pg.InputError, match="index 3 is beyond the length 3 of axis 1"):
        net_of(text, [normal(0, 2, 3)])


@SETTINGS
@given(SHAPES, st.lists(st.integers(1, 3), max_size=2), st.data())
def test_gather_nd(shape, sizes, data):
    x, depth = normal(2, *shape), data.draw(st.integers(1, len(shape)))
    rows = [
        [data.draw(st.integers(0, n - 1)) for n in shape[:depth]] for _ in range(math.prod(sizes))
    ]
    text = (
        f'type: "GatherND" gather_nd_param {{ {words("indices", itertools.chain(*rows))} '
        f"{words('indices_shape', [*sizes, depth])} }}"
    )
    expected = np.array([x[tuple(row)] for row in rows]).reshape((*sizes, *shape[depth:]))
    close(run(text, x), expected)


@SETTINGS
@given(SHAPES, st.tuples(*[st.booleans()] * 3), st.data())
def test_scatter_nd(shape, flags, data):
    assume(not all(flags))
    depth = data.draw(st.integers(1, len(shape)))
    places = list(np.ndindex(*shape[:depth]))
    count = data.draw(st.integers(1, len(places)))
    rows = data.draw(st.permutations(places))[:count]
    x, updates = normal(3, *shape), normal(4, count, *shape[depth:])
    expected = x.copy()
    for row, update in zip(rows, updates, strict=True):
        expected[row] = update
    operands = [x, np.array(rows, np.float32).reshape(count, depth), updates]
    fields = ""
    for name, flag, operand in zip(("data", "indices", "updates"), flags, operands, strict=True):
        if flag:
            fields += f" is_{name}_param: true {words(f'{name}_shape', operand.shape)}"
    bottoms = [operand for operand, flag in zip(operands, flags, strict=True) if not flag]
    blobs = [operand for operand, flag in zip(operands, flags, strict=True) if flag]
    text = f'type: "ScatterND" scatter_nd_param {{ {fields} }}'
    close(run(text, *bottoms, weights=blobs or None), expected)


@SETTINGS
@given(SHAPES.filter(lambda s: len(s) < 4), st.integers(1, 4), st.data())
def test_one_hot(shape, depth, data):
    """one_hot_layer.cpp: the whole part of a value from 0 to below depth."""
    x = (
        np.random.default_rng(5)
        .choice([-1.5, -0.5, 0, 0.7, 1, 2.9, 3, 9], shape)
        .astype(np.float32)
    )
    axis = data.draw(st.integers(-1, len(shape)))
    place = len(shape) if axis == -1 else axis
    top = np.full((*shape[:place], depth, *shape[place:]), 0.25, np.float32)
    for index in np.ndindex(*shape):
        if 0 <= x[index] < depth:
            top[(*index[:place], int(x[index]), *index[place:])] = 2.5
    text = f'type: "OneHot" one_hot_param {{ depth: {depth} on_value: 2.5 off_value: 0.25 axis: {axis} }}'
    close(run(text, x), top)


@SETTINGS
@given(SHAPES.filter(lambda s: len(s) > 1), st.data())
def test_reverse_sequence(shape, data):
    seq, batch = data.draw(st.permutations(range(len(shape))))[:2]
    x = normal(6, *shape)
    counts = [data.draw(st.integers(0, shape[seq])) for _ in range(shape[batch])]
    expected = x.copy()
    for index in np.ndindex(*shape):
        count, other = counts[index[batch]], list(index)
        if index[seq] < count:
            other[seq] = count - 1 - index[seq]
            expected[tuple(other)] = x[index]
    text = (
        f'type: "ReverseSequence" reverse_sequence_param {{ seq_axis: {seq} batch_axis: {batch} }}'
    )
    close(run(text, x, np.array(counts, np.float32)), expected)


@SETTINGS
@given(SHAPES, st.booleans(), st.booleans(), st.data())
def test_topk_gather(shape, has_axis, has_indices, data):
    """topk_gather_layer.cpp: pairs of value and index in descending order, of the first line."""
    axis = data.draw(st.integers(0, len(shape) - 1)) if has_axis else 0
    top_k = data.draw(st.integers(1, shape[axis]))
    x = np.random.default_rng(7).integers(0, 4, shape).astype(np.float32)
    given_axis = f"axis: {axis}" if has_axis else ""
    text = f'type: "TopkGather" topk_gather_param {{ top_k: {top_k} {given_axis} }}'
    if has_indices:
        indices = [data.draw(st.integers(0, shape[axis] - 1)) for _ in range(shape[axis])]
        bottoms = [x, np.array(indices, np.float32)]
    else:
        step = math.prod(shape[axis + 1 :]) if has_axis else 1
        line = [(x.ravel()[j * step], j) for j in range(shape[axis])]
        indices = [j for _, j in sorted(line, reverse=True)]
        bottoms = [x]
    close(run(text, *bottoms), gathered(x, axis, indices[:top_k], (top_k,)))


@SETTINGS
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from(["mod", "div"]),
    st.sampled_from(["", "max_norm: 1.25"]),
    st.data(),
)
def test_embedding_lookup(lengths, strategy, norm, data):
    tables = [normal(i, n, 2, 3) for i, n in enumerate(lengths)]
    count, total = len(lengths), sum(lengths)
    if count == 1:
        rows = {i: (0, i) for i in range(total)}
    elif strategy == "mod":
        rows = {i: (i % count, i // count) for i in range(total * count)}
    else:
        a, b = divmod(total, count)
        assume(a)
        split = b * (a + 1)
        rows = {
            i: divmod(i, a + 1) if i < split else (b + (i - split) // a, (i - split) % a)
            for i in range(total)
        }
    valid = [i for i, (which, row) in rows.items() if which < count and row < lengths[which]]
    ids = data.draw(st.lists(st.sampled_from(valid), min_size=1, max_size=4))
    lines = []
    for i in ids:
        which, row = rows[i]
        line = tables[which][row]
        size = np.sqrt((line.astype(np.float64) ** 2).sum())
        lines.append(line * (1.25 / size) if norm and size > 1.25 else line)
    text = (
        f'type: "EmbeddingLookup" embedding_lookup_param {{ {words("ids", ids)} '
        f'ids_shape: {len(ids)} partition_strategy: "{strategy}" {norm} }}'
    )
    close(run(text, *tables), np.array(lines))


@pytest.mark.parametrize("numbers", [(0, 5, 1), (1, 2, 0.1), (3, -1, -0.7), (0.5, 0.5, 1)])
def test_range(numbers):
    start, limit, delta = map(np.float32, numbers)
    expected, number = [], start
    while number < limit if delta > 0 else number > limit:
        expected.append(number)
        number = np.float32(number + delta)
    text = f'type: "Range" range_param {{ start: {start} limit: {limit} delta: {delta} }}'
    if not expected:
        return
    close(run(text), np.array(expected, np.float32))


def test_shape():
    close(run('type: "Shape"', normal(0, 2, 3, 5)), np.float32([2, 3, 5]))


@pytest.mark.parametrize(
    ("indices", "form", "shape", "values", "expected"),
    [
        ([1], [0], [3], [2.5], {(1,): 2.5}),
        ([0, 2], [2], [3], [2.5], {(0,): 2, (2,): 2}),
        ([0, 2], [2], [3], [2.5, 1], {(0,): 2.5, (2,): 1}),
        ([0, 1, 1, 2], [2, 2], [2, 3], [1.5, -1], {(0, 1): 1.5, (1, 2): -1}),
    ],
)
def test_sparse_to_dense(indices, form, shape, values, expected):
    top = np.full(shape, 0.5, np.float32)
    for place, value in expected.items():
        top[place] = value
    text = (
        f'type: "SparseToDense" sparse_to_dense_param {{ {words("sparse_indices", indices)} '
        f"{words('sparse_indices_shape', form)} {words('output_shape', shape)} "
        f"{words('sparse_values', values)} default_value: 0.5 }}"
    )
    close(run(text), top)


@SETTINGS
@given(SHAPES, st.data())
def test_piece(shape, data):
    x, begins, sizes = normal(8, *shape), [], []
    for n in shape:
        begins.append(data.draw(st.integers(0, n - 1)))
        sizes.append(data.draw(st.one_of(st.just(-1), st.integers(1, n - begins[-1]))))
    text = f'type: "Piece" piece_param {{ {words("begin", begins)} {words("size", sizes)} }}'
    slices = [slice(b, None if s == -1 else b + s) for b, s in zip(begins, sizes, strict=True)]
    close(run(text, x), x[tuple(slices)])


def strided(shape, p):
    """strided_slice_layer.cpp: begin, end and stride of each axis of ``b_shape``, and the top's shape;
    None where the source reads beyond its arrays or the top would be empty."""
    begin, end, steps = list(p["begin"]), list(p["end"]), list(p["strides"])
    b_shape, count = list(shape), len(begin)
    dot = next((i for i in range(count) if p["ellipsis_mask"] >> i & 1), -1)

    def limited(value, n, least=0, most=-1):
        return min(value, n + most) if value >= 0 else max(value + n, least)

    for i in range(count):
        shrinks, inserts = p["shrink_axis_mask"] >> i & 1, p["new_axis_mask"] >> i & 1
        if i >= len(b_shape) and not (inserts and i != dot) and i != dot:
            return None
        if i < len(b_shape):
            begin[i] = limited(begin[i], b_shape[i])
        if shrinks and i != dot:
            steps[i] = 1 if steps[i] > 0 else -1
            end[i] = begin[i] + steps[i]
        if inserts and i != dot and (dot == -1 or i < dot):
            b_shape.insert(i, 1)
            begin[i], end[i], steps[i] = 0, 1, 1
    for i in range(count - 1, -1, -1):
        if p["new_axis_mask"] >> i & 1 and i > dot != -1:
            b_shape.insert(len(b_shape) + i - count + 1, 1)
            begin[i], end[i], steps[i] = 0, 1, 1
    rank = len(b_shape)
    more = rank - count
    if more < (-1 if dot == count - 1 else 0):
        return None
    wide = [list(values) + [0] * max(more, 0) for values in (begin, end, steps)]
    if dot != -1:
        for i in range(count - 1, dot, -1):
            for values in wide:
                values[i + more] = values[i]
        for i in range(dot, dot + more + 1):
            wide[0][i], wide[1][i], wide[2][i] = 0, b_shape[i], 1
    else:
        for i in range(count, rank):
            wide[0][i], wide[1][i], wide[2][i] = 0, b_shape[i], 1
    begin, end, steps = (values[:rank] for values in wide)
    for i, n in enumerate(b_shape):
        begin[i], end[i] = limited(begin[i], n), limited(end[i], n, -1, 0)
    for i in range(count):
        if i == dot or (p["shrink_axis_mask"] | p["new_axis_mask"]) >> i & 1:
            continue
        axis = i + more if dot != -1 and i > dot else i
        if p["begin_mask"] >> i & 1:
            begin[axis] = 0 if steps[axis] > 0 else b_shape[axis] - 1
        if p["end_mask"] >> i & 1:
            end[axis] = b_shape[axis] if steps[axis] > 0 else -1
    if any((e - b) * s <= 0 for b, e, s in zip(begin, end, steps, strict=True)):
        return None
    lengths = [(abs(e - b) - 1) // abs(s) + 1 for b, e, s in zip(begin, end, steps, strict=True)]
    top = list(lengths)
    for i in range(count - 1, -1, -1):
        if p["shrink_axis_mask"] >> i & 1 and not p["new_axis_mask"] >> i & 1 and i != dot:
            del top[i + more if dot != -1 and i > dot else i]
    return b_shape, begin, steps, lengths, top


MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), st.data())
def test_strided_slice(shape, data):
    count = data.draw(st.integers(1, len(shape) + 1))
    bits = st.integers(0, 2**count - 1)
    p = {name: data.draw(st.one_of(st.just(0), bits)) for name in MASKS}
    p["ellipsis_mask"] = data.draw(st.sampled_from([0, 0, *(1 << i for i in range(count))]))
    numbers = st.integers(-5, 5)
    for name in ("begin", "end"):
        p[name] = [data.draw(numbers) for _ in range(count)]
    p["strides"] = [data.draw(st.sampled_from([1, 1, 2, -1, -2])) for _ in range(count)]
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    fields = " ".join(words(name, p[name]) for name in ("begin", "end", "strides"))
    fields += " " + " ".join(f"{name}: {p[name]}" for name in MASKS)
    text = f'type: "StridedSlice" strided_slice_param {{ {fields} }}'
    expected = strided(shape, p)
    if expected is None:
        with pytest.raises(pg.ProtogenError):
            run(text, x)
        return
    try:
        y = run(text, x)
    except pg.UnsupportedError as refusal:
        if "after the ellipsis" not in str(refusal):
            raise
        return
    b_shape, begin, steps, lengths, top = expected
    wide, values = x.reshape(b_shape), []
    for place in np.ndindex(*lengths):
        values.append(wide[tuple(b + i * s for b, i, s in zip(begin, place, steps, strict=True))])
    close(y, np.array(values, np.float32).reshape(top))


@SETTINGS
@given(SHAPES, st.data())
def test_strided_slice_along_axes(shape, data):
    """The form of ONNX's Slice: a begin beyond the axis is its last value."""
    axes = data.draw(st.permutations(range(len(shape))))[: data.draw(st.integers(1, len(shape)))]
    x, slices, p = normal(9, *shape), [slice(None)] * len(shape), {"begin": [], "end": []}
    for axis in axes:
        n = shape[axis]
        begin, end = data.draw(st.integers(-5, 5)), data.draw(st.integers(-5, 5))
        p["begin"].append(begin)
        p["end"].append(end)
        begin = min(begin, n - 1) if begin >= 0 else max(begin + n, 0)
        end = min(end, n) if end >= 0 else max(end + n, -1)
        assume(end > begin)
        slices[axis] = slice(begin, end)
    text = (
        f'type: "StridedSlice" strided_slice_param {{ {words("begin", p["begin"])} '
        f"{words('end', p['end'])} {words('axes', axes)} }}"
    )
    close(run(text, x), x[tuple(slices)])
