"""Operators that write updates to constant positions of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protogen.onnx.importer.arithmetic import LARGEST, eltwise, floats, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import MOST_FACTORS, MOST_PARTS, along_axis, reshaped, selection
from protogen.onnx.importer.indexing import element_places, places_of_tuples
from protogen.onnx.importer.registry import ANY, FLOATS, imports
from protogen.onnx.importer.selection import Axis, axes_of, narrowed, selected

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from protogen.geometry import Shape

    Value = str | NDArray[Any]  # the name of a blob, or a constant

MOST_COMBINED = 4  # parts that are combined with updates one by one; more are combined in one layer
MOST_CONSTANTS = 4  # parts of a constant that are layers of their own
MOST_ROUNDS = 8  # updates of one position by a product or a maximum
# The number that leaves another one as it is, and the operation of Eltwise.
NEUTRAL = {"add": 0.0, "mul": 1.0, "max": -LARGEST, "min": LARGEST}
OPERATION = {"add": "SUM", "mul": "PROD", "max": "MAX"}


@imports("ScatterND", takes=ANY)
def scatter_nd(
    ctx: ImportContext, data: str, indices: str, updates: str, *, reduction: str = "none"
) -> None:
    """x[indices[i, 0], indices[i, 1], ...] = updates[i], or combined with it by the reduction."""
    constant = ctx.require_constant(indices, "indices")
    places = places_of_tuples(ctx, constant, ctx.shape(data))
    scattered(ctx, data, updates, places, reduction)


@imports("ScatterElements", "Scatter", takes=ANY)
def scatter_elements(
    ctx: ImportContext,
    data: str,
    indices: str,
    updates: str,
    *,
    axis: int = 0,
    reduction: str = "none",
) -> None:
    """x[i, indices[i, j, k], k] = updates[i, j, k] (along axis 1), or combined with it."""
    constant = ctx.require_constant(indices, "indices")
    places = element_places(ctx, constant, ctx.shape(data), axis)
    scattered(ctx, data, updates, places, reduction)


def scattered(
    ctx: ImportContext, data: str, updates: str, places: NDArray[Any], reduction: str
) -> None:
    """Write updates to places of the flat data, or combine them with the values there.

    Raises:
        UnsupportedError: ONNX does not define the result, or it takes too many layers or factors.
    """
    import numpy as np

    if reduction in ("add", "mul") and ctx.kind(data) not in FLOATS:
        raise ctx.unsupported(f'reduction "{reduction}" of {ctx.kind(data)} is not supported')
    constants = [ctx.constant(name) for name in (data, updates)]
    x, y = (
        name if array is None else floats(ctx, array)
        for name, array in zip((data, updates), constants, strict=True)
    )
    shape = ctx.shape(data)
    if reduction == "none":
        if np.unique(places).size < places.size:
            raise ctx.unsupported("two updates have the same position, which ONNX leaves undefined")
        result = _Scatter(ctx, shape, places, "").of(x, y)
    elif not isinstance(y, str):
        result = _with_constant(ctx, _blob(ctx, x), y, places, reduction)
    elif reduction == "min":  # -max(-x, -y)
        x, y = (powered(ctx, _blob(ctx, one), scale=-1.0, role="negated") for one in (x, y))
        result = powered(ctx, _combined(ctx, x, y, places, "max"), scale=-1.0, role="back")
    else:
        result = _combined(ctx, _blob(ctx, x), y, places, reduction)
    reshaped(ctx, result, shape)


def _blob(ctx: ImportContext, value: Value) -> str:
    return value if isinstance(value, str) else ctx.parameter(ctx.new_value("constant"), value)


def _with_constant(
    ctx: ImportContext, x: str, updates: NDArray[Any], places: NDArray[Any], reduction: str
) -> str:
    """Combine a value with constant updates: with a constant that is neutral at the other places."""
    import numpy as np

    shape = ctx.shape(x)
    ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
    full = np.full(shape, NEUTRAL[reduction], np.float32)
    ufunc.at(full.reshape(-1), places.reshape(-1), updates.reshape(-1))
    if reduction in ("add", "mul"):
        kind = "Bias" if reduction == "add" else "Scale"
        return with_constant(ctx, x, narrowed(full), kind, "combined")
    if reduction == "max":
        return eltwise(ctx, "MAX", [x, _blob(ctx, full)], "combined")
    negated = [powered(ctx, x, scale=-1.0, role="negated"), _blob(ctx, -full)]
    return powered(ctx, eltwise(ctx, "MAX", negated, "combined"), scale=-1.0, role="back")


def _combined(
    ctx: ImportContext, x: str, updates: str, places: NDArray[Any], reduction: str
) -> str:
    """Combine a value with computed updates. Updates of one position are added by one matrix, or
    combined one after the other, each round in its own layers."""
    import numpy as np

    shape, flat = ctx.shape(x), places.reshape(-1)
    order = np.argsort(flat, kind="stable")
    turn = np.empty_like(order)
    turn[order] = np.arange(flat.size) - np.searchsorted(flat[order], flat[order])
    rounds = int(turn.max()) + 1
    if rounds == 1 or reduction == "add":
        return _Scatter(ctx, shape, places, reduction).of(x, updates)
    if rounds > MOST_ROUNDS:
        raise ctx.unsupported(
            f"{rounds} updates have the same position, but the limit is {MOST_ROUNDS}"
        )
    for number in range(rounds):
        chosen = np.flatnonzero(turn == number)
        some = selected(ctx, updates, chosen, f"round{number}")
        y = _Scatter(ctx, shape, flat[chosen], reduction).of(x, some)
        x = reshaped(ctx, y, shape, f"after{number}")
    return x


class _Run(NamedTuple):
    """Neighbouring indices of an axis that stay, or that neighbouring updates are written to.

    Attributes:
        begin, end: the indices.
        update: the index of the first update; -1 if the indices stay.
    """

    begin: int
    end: int
    update: int


def _runs(axis: Axis) -> list[_Run]:
    sources = dict(zip(axis.indices, range(len(axis.indices)), strict=True))
    runs: list[_Run] = []
    for index in range(axis.length):
        update = sources.get(index, -1)
        if runs:
            begin, _, first = runs[-1]
            if update == (-1 if first < 0 else first + index - begin):
                runs[-1] = _Run(begin, index + 1, first)
                continue
        runs.append(_Run(index, index + 1, update))
    return runs


class _Scatter:
    """Adds the layers of a scatter.

    The axes of the data are split or joined (see ``axes_of``), so that each is whole or has updates at
    some of its indices. Few parts are moved by Slice and Concat, which is exact for all values. Many
    parts are masks and matrices of 0 and 1, which is exact for finite values.

    ``reduction`` is empty, add, mul or max. Only a sum may have several updates of one position.
    """

    def __init__(
        self, ctx: ImportContext, shape: Shape, places: NDArray[Any], reduction: str
    ) -> None:
        self._ctx, self._reduction = ctx, reduction
        self._axes = axes_of(places, shape)
        partial = [i for i, axis in enumerate(self._axes) if not axis.is_whole]
        self._runs = {i: _runs(self._axes[i]) for i in partial}
        # The axis with the most runs is the innermost.
        self._order = sorted(partial, key=lambda i: len(self._runs[i]))

    def of(self, x: Value, updates: Value) -> str:
        """Return the result, in the shape of the split axes."""
        x = self._shaped(x, tuple(axis.length for axis in self._axes), "data")
        updates = self._shaped(updates, tuple(len(axis.indices) for axis in self._axes), "updates")
        if self._is_few(x, updates):
            return self._written(x, updates, self._order)
        if not isinstance(updates, str):
            return self._masked_constants(x, updates)
        return self._masked(x, updates)

    def _shaped(self, value: Value, shape: Shape, role: str) -> Value:
        if isinstance(value, str):
            return reshaped(self._ctx, value, shape, f"{role}_axes")
        return value.reshape(shape)

    # Slice and Concat

    def _is_few(self, x: Value, updates: Value) -> bool:
        """Whether Slice and Concat take few layers: one axis has some runs, the others one each."""
        if any(len(set(axis.indices)) < len(axis.indices) for axis in self._axes):
            return False
        written = [sum(run.update >= 0 for run in self._runs[i]) for i in self._order]
        most = [
            MOST_CONSTANTS if not isinstance(updates, str) else MOST_PARTS,
            MOST_COMBINED if self._reduction else MOST_PARTS,
        ]
        if any(n > 1 for n in written[:-1]) or max(written, default=0) > min(most):
            return False
        parts = sum(len(self._runs[i]) - 1 for i in self._order) + 1
        left = parts - max(written, default=0)
        return parts <= MOST_PARTS and (isinstance(x, str) or left <= MOST_CONSTANTS)

    def _written(self, x: Value, updates: Value, order: Sequence[int]) -> str:
        """Write updates to the runs of the first of these axes; inside, to those of the next."""
        ctx = self._ctx
        if not order:
            if not self._reduction:
                return _blob(ctx, updates)
            bottoms = [_blob(ctx, x), _blob(ctx, updates)]
            return eltwise(ctx, OPERATION[self._reduction], bottoms, "combined")
        axis, runs = order[0], self._runs[order[0]]
        is_read = len(order) > 1 or self._reduction or any(run.update < 0 for run in runs)
        stays = self._parts(x, axis, [run.begin for run in runs], "part") if is_read else []
        written = sorted(run.update for run in runs if run.update >= 0)
        new = self._parts(updates, axis, written, "update")
        parts = []
        for i, run in enumerate(runs):
            old = stays[i] if stays else x
            if run.update >= 0:
                old = self._written(old, new[written.index(run.update)], order[1:])
            parts.append(_blob(ctx, old))
        params = {"concat_param": {"axis": axis}} if axis != 1 else {}
        return ctx.add("Concat", parts, params, role="joined") if len(parts) > 1 else parts[0]

    def _parts(self, value: Value, axis: int, begins: list[int], role: str) -> list[Value]:
        """Split a value at these indices, of which the first is 0."""
        import numpy as np

        if len(begins) == 1:
            return [value]
        if isinstance(value, str):
            return list(self._ctx.split(value, axis, begins[1:], role))
        return list(np.split(value, begins[1:], axis=axis))

    # Masks and matrices

    def _mask(self) -> NDArray[Any]:
        """Return 1 at the positions of updates, else 0, with length 1 along whole axes."""
        import numpy as np

        mask = np.ones((1,) * len(self._axes), np.float32)
        for i in self._order:
            line = np.zeros(self._axes[i].length, np.float32)
            line[list(self._axes[i].indices)] = 1
            mask = mask * line.reshape(-1, *(1,) * (len(self._axes) - 1 - i))
        return mask

    def _spread(self, updates: str) -> str:
        """Return a blob with the updates at their positions, and 0 elsewhere."""
        growth = {i: self._axes[i].length / len(self._axes[i].indices) for i in self._order}
        for i in sorted(self._order, key=lambda i: growth[i]):
            axis = self._axes[i]
            matrix = selection(axis.indices, axis.length)
            if matrix is None:
                raise self._ctx.unsupported(
                    f"takes more than {MOST_PARTS} parts, or a matrix of more than {MOST_FACTORS} values"
                )
            note_spread(self._ctx)
            updates = along_axis(self._ctx, updates, i, matrix.swapaxes(-1, -2), f"spread{i}")
        return updates

    def _masked_constants(self, x: Value, updates: NDArray[Any]) -> str:
        """Write constant updates to a blob: a Scale that multiplies by 0 and adds the updates there."""
        import numpy as np

        assert isinstance(x, str)
        note_spread(self._ctx)
        mask = self._mask()
        full = np.zeros(tuple(axis.length for axis in self._axes), np.float32)
        full[np.ix_(*(axis.indices for axis in self._axes))] = updates
        full = narrowed(full)
        small = np.broadcast_shapes(mask.shape, full.shape)
        terms = np.ascontiguousarray(np.broadcast_to(full, small))
        factors = np.ascontiguousarray(np.broadcast_to(1 - mask, small))
        return with_constant(self._ctx, x, factors, "Scale", "written", bias=terms)

    def _masked(self, x: Value, updates: str) -> str:
        """Combine a value with computed updates by masks."""
        ctx, mask = self._ctx, self._mask()
        spread = self._spread(updates)
        if self._reduction in ("mul", "max"):
            neutral = NEUTRAL[self._reduction]
            spread = with_constant(ctx, spread, (1 - mask) * neutral, "Bias", "neutral")
        elif not self._reduction and not isinstance(x, str):
            left = x * (1 - mask)
            return with_constant(ctx, spread, narrowed(left), "Bias", "written")
        elif not self._reduction:
            note_spread(ctx)
            x = with_constant(ctx, _blob(ctx, x), 1 - mask, "Scale", "left")
        operation = OPERATION[self._reduction or "add"]
        return eltwise(ctx, operation, [_blob(ctx, x), spread], "combined")
