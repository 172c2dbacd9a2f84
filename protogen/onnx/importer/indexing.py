"""Operators that select values by constant indices, and one-hot values of indices."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from protogen.onnx.importer.arithmetic import eltwise, floats, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import along_axis, gathered, permuted, reshaped, selection, tiled
from protogen.onnx.importer.logic import is_whole
from protogen.onnx.importer.maxima import MOST_INDICES
from protogen.onnx.importer.normalization import softmax_form
from protogen.onnx.importer.reduction import maximum_place
from protogen.onnx.importer.registry import ANY, FLOATS, imports
from protogen.onnx.importer.selection import Axis, axes_of, selected

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from protogen.geometry import Shape

EMPTY = "the output is empty, but Caffe blobs cannot be empty"
# Operators whose result are indices of an axis of their input, from 0 on.
_INDICES = frozenset(("ArgMax", "ArgMin", "TopK"))
_VIEWS = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))


def positive(
    ctx: ImportContext, indices: NDArray[Any], lengths: int | NDArray[Any]
) -> NDArray[Any]:
    """Return indices counted from the start of an axis of this length; negative ones count from its end.

    Raises:
        UnsupportedError: an index is outside the axis, or there are none.
    """
    import numpy as np

    wide = indices.astype(np.int64)
    if not wide.size:
        raise ctx.unsupported(EMPTY)
    outside = (wide < -np.asarray(lengths)) | (wide >= lengths)
    if outside.any():
        ends = np.broadcast_to(lengths, wide.shape)
        raise ctx.unsupported(
            f"index {wide[outside][0]} is outside an axis of length {ends[outside][0]}"
        )
    return np.where(wide < 0, wide + lengths, wide)


@imports("Gather", takes=ANY)
def gather(ctx: ImportContext, data: str, indices: str, *, axis: int = 0) -> None:
    """Constant indices: a selection from an axis. Computed indices into a constant table: Embed; into a
    computed one: BatchReindex."""
    import numpy as np

    constant = ctx.constant(indices)
    if constant is not None:
        shape = ctx.shape(data)
        axis %= len(shape)
        places = positive(ctx, constant, shape[axis])
        y = gathered(ctx, data, axis, places.reshape(-1).tolist(), "part")
        reshaped(ctx, y, (*shape[:axis], *places.shape, *shape[axis + 1 :]))
        return
    table = ctx.constant(data)
    if table is None:
        _picked(ctx, data, indices, axis)
        return
    axis %= table.ndim
    rows = np.moveaxis(floats(ctx, table), axis, 0).reshape(table.shape[axis], -1)
    before = ctx.shape(indices)
    params = {"num_output": rows.shape[1], "input_dim": rows.shape[0], "bias_term": False}
    y = ctx.add("Embed", [indices], {"embed_param": params}, [rows], role="rows")
    y = reshaped(ctx, y, (*before, *table.shape[:axis], *table.shape[axis + 1 :]), "table")
    count = len(before)
    order = [
        *range(count, count + axis),
        *range(count),
        *range(count + axis, count + table.ndim - 1),
    ]
    ctx.pass_through(permuted(ctx, y, order, "moved"))


def _picked(ctx: ImportContext, data: str, indices: str, axis: int) -> None:
    """Select computed indices from an axis of a computed value, which becomes the first axis."""
    shape, before = ctx.shape(data), ctx.shape(indices)
    axis %= len(shape)
    rest = [i for i in range(len(shape)) if i != axis]
    x = permuted(ctx, data, [axis, *rest], "turned")
    y = _reindexed(ctx, x, _counted(ctx, indices, shape[axis]))
    y = permuted(ctx, y, [*range(1, axis + 1), 0, *range(axis + 1, len(shape))], "back")
    reshaped(ctx, y, (*shape[:axis], *before, *shape[axis + 1 :]))


def _reindexed(ctx: ImportContext, x: str, places: str) -> str:
    """Add a BatchReindex: samples of x at computed places, which are from 0 on."""
    flat = reshaped(ctx, places, (prod(ctx.shape(places)),), "flat")
    return ctx.add("BatchReindex", [x, flat], role="picked")


def _counted(ctx: ImportContext, indices: str, lengths: int | NDArray[Any]) -> str:
    """Return computed indices counted from the start of their axis: ONNX's negative ones count from its
    end. ``lengths`` has the length of the axis, or one for each index of a tuple, the last axis."""
    import numpy as np

    if ctx.kind(indices) in FLOATS:
        raise ctx.unsupported(f'indices "{indices}" must be integers, but they are floating point')
    if (within := _range_of(ctx, indices)) is not None and within <= np.min(lengths):
        return indices
    negated = powered(ctx, indices, scale=-1.0, role="negated")
    below = ctx.add("Threshold", [negated], role="below")
    if isinstance(lengths, int):
        total = {"eltwise_param": {"coeff": [1.0, float(lengths)]}}
        return ctx.add("Eltwise", [indices, below], total, role="counted")
    below = with_constant(ctx, below, lengths, "Scale", "lengths")
    return eltwise(ctx, "SUM", [indices, below], "counted")


def _check_places(ctx: ImportContext, count: int) -> None:
    """Raise an UnsupportedError if float32 cannot hold the places of this many values."""
    if count > MOST_INDICES:
        raise ctx.unsupported(
            f"computed indices select from {count} places, but float32 numbers at most {MOST_INDICES}"
        )


@imports("GatherElements", takes=ANY)
def gather_elements(ctx: ImportContext, data: str, indices: str, *, axis: int = 0) -> None:
    """y[i, j, k] = x[i, indices[i, j, k], k] (along axis 1)."""
    shape = ctx.shape(data)
    constant = ctx.constant(indices)
    if constant is None:
        _picked_elements(ctx, data, indices, axis % len(shape))
        return
    places = element_places(ctx, constant, shape, axis)
    if _is_small(axes_of(places, shape)):
        selected(ctx, data, places)
        return
    # With the axis last, each row of the others selects from itself: a matrix of blocks.
    axis %= len(shape)
    order = [i for i in range(len(shape)) if i != axis] + [axis]
    turned = tuple(shape[i] for i in order)
    x = permuted(ctx, data, order, "turned")
    places = element_places(ctx, constant.transpose(order), turned, -1)
    back = sorted(range(len(order)), key=order.__getitem__)
    ctx.pass_through(permuted(ctx, selected(ctx, x, places, "row"), back, "back"))


def _picked_elements(ctx: ImportContext, data: str, indices: str, axis: int) -> None:
    """The same with computed indices: the places in the flat blob are a line of each index."""
    import numpy as np

    shape, lengths = ctx.shape(data), ctx.shape(indices)
    _check_places(ctx, prod(shape))
    step = prod(shape[axis + 1 :])
    y = _counted(ctx, indices, shape[axis])
    y = powered(ctx, y, scale=float(step), role="step") if step > 1 else y
    starts = element_places(ctx, np.zeros(lengths, np.int64), shape, axis)
    y = with_constant(ctx, y, starts, "Bias", "places") if starts.any() else y
    x = reshaped(ctx, data, (prod(shape),), "values")
    reshaped(ctx, _reindexed(ctx, x, y), lengths)


def _is_small(axes: list[Axis]) -> bool:
    """Whether the matrices of a selection are not too large."""
    return all(one.is_whole or selection(one.indices, one.length) is not None for one in axes)


def element_places(
    ctx: ImportContext, indices: NDArray[Any], shape: Shape, axis: int
) -> NDArray[Any]:
    """Return the places in a flat blob of this shape that the indices of an axis mean, one for each."""
    import numpy as np

    axis %= len(shape)
    coordinates: list[NDArray[Any]] = [*np.indices(indices.shape, sparse=True)]
    coordinates[axis] = positive(ctx, indices, shape[axis])
    return np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*coordinates)), shape))


@imports("GatherND", takes=ANY)
def gather_nd(ctx: ImportContext, data: str, indices: str, *, batch_dims: int = 0) -> None:
    """y[i, j] = x[i, indices[i, j, 0], indices[i, j, 1], ...] (with one batch axis)."""
    constant = ctx.constant(indices)
    if constant is None:
        _picked_blocks(ctx, data, indices, batch_dims)
        return
    selected(ctx, data, places_of_tuples(ctx, constant, ctx.shape(data), batch_dims))


def _picked_blocks(ctx: ImportContext, data: str, indices: str, batch: int) -> None:
    """The same with computed indices: the places of the blocks are the products of the tuples with their
    distances."""
    import numpy as np

    shape, outer = ctx.shape(data), ctx.shape(indices)[:-1]
    count = batch + ctx.shape(indices)[-1]
    _check_places(ctx, prod(shape[:count]))
    y = _counted(ctx, indices, np.array(shape[batch:count]))
    steps = np.array([prod(shape[i + 1 : count]) for i in range(count)])
    if batch + 1 == count:
        y = with_constant(ctx, y, steps[batch:], "Scale", "steps")
    else:
        y = along_axis(ctx, y, len(outer), steps[None, batch:], "steps")
    grid = np.indices(outer, sparse=True)[:batch]
    starts = np.broadcast_to(sum(a * b for a, b in zip(grid, steps, strict=False)), outer)
    y = with_constant(ctx, y, starts[..., None], "Bias", "places") if starts.any() else y
    x = reshaped(ctx, data, (prod(shape[:count]), *shape[count:]), "blocks")
    reshaped(ctx, _reindexed(ctx, x, y), (*outer, *shape[count:]))


def places_of_tuples(
    ctx: ImportContext, indices: NDArray[Any], shape: Shape, batch: int = 0
) -> NDArray[Any]:
    """Return the places in a flat blob of this shape that tuples of indices mean, the last axis of
    ``indices``. A tuple shorter than the axes after the batch selects whole blocks."""
    import numpy as np

    count = indices.shape[-1]
    lengths = np.array(shape[batch : batch + count], np.int64)
    tuples = positive(ctx, indices, lengths)
    outer, rest = indices.shape[:-1], shape[batch + count :]
    grid = np.indices((*outer, *rest), sparse=True)
    parts = [tuples[..., i].reshape(*outer, *(1,) * len(rest)) for i in range(count)]
    coordinates = [*grid[:batch], *parts, *grid[len(outer) :]]
    return np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*coordinates)), shape))


@imports("ReverseSequence", takes=ANY)
def reverse_sequence(
    ctx: ImportContext, x: str, lengths: str, *, batch_axis: int = 1, time_axis: int = 0
) -> None:
    """The first steps of each sample in reverse order, as many as a constant length."""
    import numpy as np

    shape = ctx.shape(x)
    counts = ctx.require_constant(lengths, "sequence_lens").astype(np.int64)
    steps = shape[time_axis]
    if counts.min() < 0 or counts.max() > steps:
        raise ctx.unsupported(f"a length must be from 0 to {steps}, got {counts.tolist()}")
    step = np.arange(steps)[:, None]
    sources = np.where(step < counts, counts - 1 - step, step)  # (step, sample)
    places = np.moveaxis(np.arange(np.prod(shape)).reshape(shape), (time_axis, batch_axis), (0, 1))
    places = places[sources, np.arange(len(counts))]
    selected(ctx, x, np.moveaxis(places, (0, 1), (time_axis, batch_axis)))


@imports("Trilu", takes=ANY)
def trilu(ctx: ImportContext, x: str, k: str | None = None, *, upper: int = 1) -> None:
    """The product with a mask of 0 and 1."""
    import numpy as np

    shape = ctx.shape(x)
    diagonal = int(ctx.require_constant(k, "k").reshape(())) if k else 0
    ones = np.ones(shape[-2:], np.float32)
    mask = np.triu(ones, diagonal) if upper else np.tril(ones, diagonal)
    if mask.all():
        ctx.pass_through(x)
    elif not mask.any():
        powered(ctx, x, scale=0.0)
    else:
        note_spread(ctx)
        with_constant(ctx, x, mask, "Scale")


@imports("EyeLike", takes=ANY)
def eye_like(ctx: ImportContext, x: str, *, dtype: int = 1, k: int = 0) -> None:
    """A constant: only the shape of the input matters."""
    import numpy as np

    rows, columns = ctx.shape(x)
    ctx.parameter(ctx.out, np.eye(rows, columns, k=k, dtype=np.float32))


@imports("OneHot", takes=ANY)
def one_hot(ctx: ImportContext, indices: str, depth: str, values: str, *, axis: int = -1) -> None:
    count = int(ctx.require_constant(depth, "depth").reshape(-1)[0])
    off, on = (float(one) for one in floats(ctx, ctx.require_constant(values, "values")))
    if ctx.kind(indices) in FLOATS and not is_whole(ctx, indices):
        raise ctx.unsupported(
            "the indices have fractions, which ONNX cuts off, and Caffe has no layer for that"
        )
    rank = len(ctx.shape(indices))
    within = _range_of(ctx, indices)
    is_within = within is not None and within <= count
    ctx.pass_through(hot(ctx, indices, count, axis % (rank + 1), off, on, is_within))


@imports("Hardmax")
def hardmax(ctx: ImportContext, x: str, *, axis: int | None = None) -> None:
    """1 at the first maximum, else 0. The axis is that of Softmax."""
    y, at, _ = softmax_form(ctx, x, axis)
    shape = ctx.shape(y)
    place = maximum_place(ctx, y, at)
    place = reshaped(ctx, place, (*shape[:at], *shape[at + 1 :]), "places")
    y = hot(ctx, place, shape[at], at, 0.0, 1.0, True)
    reshaped(ctx, y, ctx.shape(ctx.out))


def hot(
    ctx: ImportContext, indices: str, count: int, axis: int, off: float, on: float, is_within: bool
) -> str:
    """Add ``on`` at each index of a new axis, and ``off`` elsewhere.

    Indices that are within the axis are rows of an Embed. Others, which ONNX takes from -count on (they
    count from the end), are compared with each number: |index - number| is 0 for one of them only.
    """
    import numpy as np

    shape = ctx.shape(indices)
    if is_within and axis == len(shape):
        table = np.full((count, count), off, np.float32)
        np.fill_diagonal(table, on)
        params = {"num_output": count, "input_dim": count, "bias_term": False}
        return ctx.add("Embed", [indices], {"embed_param": params}, [table], role="hot")
    x = indices
    if not is_within:  # add the length where the index is negative
        below = powered(ctx, x, scale=-1.0, role="negated")
        below = ctx.add("Threshold", [below], role="below")
        total = {"eltwise_param": {"coeff": [1.0, float(count)]}}
        x = ctx.add("Eltwise", [x, below], total, role="counted")
    x = reshaped(ctx, x, (*shape[:axis], 1, *shape[axis:]), "axis")
    x = tiled(ctx, x, (*shape[:axis], count, *shape[axis:]), "wide")
    numbers = np.arange(count, dtype=np.float32).reshape(-1, *(1,) * (len(shape) - axis))
    x = with_constant(ctx, x, -numbers, "Bias", "difference")
    x = ctx.add("AbsVal", [x], role="distance")
    x = ctx.add("Threshold", [x], {"threshold_param": {"threshold": 0.5}}, role="differs")
    return powered(ctx, x, scale=off - on, shift=on, role="hot")


def _range_of(ctx: ImportContext, indices: str) -> int | None:
    """Return the length of the axis whose indices these are; None if they may be any numbers."""
    operator = ctx.producers.get(indices)
    while operator is not None and operator.type in _VIEWS:
        indices = operator.inputs[0]
        operator = ctx.producers.get(indices)
    if operator is not None and operator.type == "TopK" and indices == operator.outputs[0]:
        return None  # the values
    if operator is None or operator.type not in _INDICES:
        return None
    shape = ctx.shapes.get(operator.inputs[0])
    default = -1 if operator.type == "TopK" else 0
    return None if shape is None else shape[operator.attributes.get("axis", default)]
