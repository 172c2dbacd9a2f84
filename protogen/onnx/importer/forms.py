"""Building blocks of several operators: reshape, crop, permute, gather, tile and extend a value."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Message, Name
from protogen.geometry import shape_text
from protogen.layers.graph import free_name
from protogen.layers.permuting import MOST_SLICES
from protogen.onnx.importer.finite import note_spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx.importer.context import ImportContext
    from protogen.onnx.importer.source import OnnxGraph

MOST_PARTS = 64  # parts of an axis that Slice and Concat move; more are a product with a matrix
MOST_FACTORS = 2**22  # the values of a matrix of 0 and 1: 16 MiB
SMALL = 2**16  # the values of a matrix that is not split into blocks


def reshaped(ctx: ImportContext, x: str, shape: Shape, role: str = "") -> str:
    """Reshape a value by a Flatten, or by a Reshape, which copies an unchanged batch (``dim: 0``).

    Without a role the result is the operator's output.
    """
    before, after = ctx.shape(x), tuple(shape)
    if before == after:
        if not role:
            ctx.pass_through(x)
        return x
    type_, params = view_of(before, after)
    return ctx.add(type_, [x], params, role=role)


def view_of(before: Shape, after: Shape) -> tuple[str, dict[str, Any]]:
    """Return type and parameters of the layer that reshapes ``before`` to ``after``."""
    if len(after) == 2 and len(before) > 2 and before[0] == after[0]:
        return "Flatten", {}
    dims = list(after)
    if before and after and before[0] == after[0]:
        dims[0] = 0
    return "Reshape", {"reshape_param": {"shape": {"dim": dims}}}


def cropped(ctx: ImportContext, x: str, axis: int, begin: int, end: int, role: str = "") -> str:
    """Crop an axis to [begin, end) by a Slice. Unused tops later get a Silence layer."""
    length = ctx.shape(x)[axis]
    if (begin, end) == (0, length):
        if not role:
            ctx.pass_through(x)
        return x
    points = sorted({begin, end} - {0, length})
    at = 1 if begin else 0
    return ctx.split(x, axis, points, role or "part", main=None if role else at)[at]


def permuted(ctx: ImportContext, x: str, order: Sequence[int], role: str = "") -> str:
    """Permute axes: a Reshape if only axes of length 1 move, else Permute or equivalent slices."""
    shape = ctx.shape(x)
    long_axes = [axis for axis in order if shape[axis] != 1]
    if long_axes == sorted(long_axes):
        return reshaped(ctx, x, tuple(shape[axis] for axis in order), role)
    return ctx.add_fork_layer("Permute", [x], {"permute_param": {"order": list(order)}}, role)


def gathered(ctx: ImportContext, x: str, axis: int, indices: Sequence[int], role: str = "") -> str:
    """Gather these indices of an axis, in this order, with as few layers as the indices allow.

    Consecutive indices are one top of a Slice. Indices with a constant step s are a Pooling with
    kernel 1 and stride s. Indices that repeat are a Tile. Otherwise a Concat joins several tops of a
    Slice. Where it would join more than MOST_PARTS, the layer multiplies by a matrix of 0 and 1, if
    the matrix has at most MOST_FACTORS values: this is exact for finite values.
    """
    length, count = ctx.shape(x)[axis], len(indices)
    begin = indices[0]
    step = indices[1] - begin if count > 1 else 1
    if step > 0 and list(indices) == list(range(begin, begin + step * count, step)):
        if step == 1:
            return cropped(ctx, x, axis, begin, begin + count, role)
        end = indices[-1] + 1
        x = cropped(ctx, x, axis, begin, end, f"{role or 'span'}_cut")
        return _strided(ctx, x, axis, step, role)
    runs: list[list[int]] = []  # [first, last + 1]
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    if list(indices) == list(range(begin, begin - count, -1)) and count > 2:
        x = cropped(ctx, x, axis, indices[-1], begin + 1, f"{role or 'part'}_cut")
        return turned(ctx, x, axis, role)
    if (repeats := _repeats(indices)) is not None:
        first, last, each, whole = repeats
        x = cropped(ctx, x, axis, first, last, f"{role or 'part'}_cut")
        return _repeated(ctx, x, axis, each, whole, role)
    points = sorted({edge for run in runs for edge in run} - {0, length})
    if max(len(points) + 1, len(runs)) > MOST_PARTS:
        matrix = selection(indices, length)
        if matrix is not None:
            note_spread(ctx)
            return along_axis(ctx, x, axis, matrix, role)
        if max(len(points) + 1, len(runs)) > MOST_SLICES:
            raise ctx.unsupported(
                f"takes {len(runs)} separate parts of {length} positions, but the limit is {MOST_SLICES}"
            )
    starts = [0, *points]
    place = {start: i for i, start in enumerate(starts)}
    tops = ctx.split(x, axis, points, f"{role or 'piece'}") if points else [x]
    pieces = []
    for first, last in runs:
        i = place[first]
        while i < len(starts) and starts[i] < last:
            pieces.append(tops[i])
            i += 1
    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return ctx.add("Concat", pieces, params, role=role)


def turned(ctx: ImportContext, x: str, axis: int, role: str = "") -> str:
    """Reverse an axis by a Slice and a Concat. A long axis is reversed as rows and columns of its length's
    factors: first the order of the rows, then the order within each row."""
    shape = ctx.shape(x)
    rows = _rows(shape[axis])
    if rows is None:  # no factors: the last position goes to the front
        last = cropped(ctx, x, axis, shape[axis] - 1, shape[axis], f"{role or 'part'}_last")
        first = cropped(ctx, x, axis, 0, shape[axis] - 1, f"{role or 'part'}_first")
        params = {"concat_param": {"axis": axis}} if axis != 1 else {}
        rest = turned(ctx, first, axis, f"{role or 'part'}_rest")
        return ctx.add("Concat", [last, rest], params, role=role)
    dims = (*shape[:axis], *rows, *shape[axis + 1 :])
    y = reshaped(ctx, x, dims, f"{role or 'part'}_rows") if len(rows) > 1 else x
    for i, length in enumerate(rows):
        final = i == len(rows) - 1
        parts = ctx.split(y, axis + i, range(1, length), f"{role or 'part'}_of_{i}")
        params = {"concat_param": {"axis": axis + i}} if axis + i != 1 else {}
        own = role if final and len(rows) == 1 else f"{role or 'part'}_turned_{i}"
        y = ctx.add("Concat", parts[::-1], params, role=own)
    return reshaped(ctx, y, shape, role) if len(rows) > 1 else y


def _rows(length: int) -> list[int] | None:
    """Return factors of a length, each at most MOST_PARTS; None if there are none."""
    if length <= MOST_PARTS:
        return [length]
    for factor in range(MOST_PARTS, 1, -1):
        if length % factor == 0 and (rest := _rows(length // factor)) is not None:
            return [factor, *rest]
    return None


def _repeats(indices: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Return (first, last + 1, each, whole) if the indices are those from first to last, each of them
    so often, and all that so often; else None."""
    first = indices[0]
    each = next((i for i, index in enumerate(indices) if index != first), len(indices))
    last = max(indices)
    once = [index for index in range(first, last + 1) for _ in range(each)]
    whole = len(indices) // len(once) if once else 0
    if max(each, whole) > 1 and once * whole == list(indices):
        return first, last + 1, each, whole
    return None


def _repeated(ctx: ImportContext, x: str, axis: int, each: int, whole: int, role: str) -> str:
    """Repeat each index of an axis ``each`` times, and then all of them ``whole`` times, by Tiles."""
    shape = ctx.shape(x)
    if each > 1 and shape[axis] > 1:
        y = reshaped(ctx, x, (prod(shape[: axis + 1]), 1, prod(shape[axis + 1 :])), "each_rows")
        y = ctx.add("Tile", [y], {"tile_param": {"axis": 1, "tiles": each}}, role="each")
        shape = (*shape[:axis], shape[axis] * each, *shape[axis + 1 :])
        x = reshaped(ctx, y, shape, (role or "each_back") if whole > 1 else role)
        each = 1
    if each * whole == 1:
        return x
    return ctx.add("Tile", [x], {"tile_param": {"axis": axis, "tiles": each * whole}}, role=role)


def selection(indices: Sequence[int], length: int) -> NDArray[np.float32] | None:
    """Return the matrix of 0 and 1 that gathers these indices of an axis; None if it is too large.

    A matrix with more than SMALL values becomes blocks on its diagonal (blocks, rows, columns) where the
    indices allow it.
    """
    import numpy as np

    count, places = len(indices), np.asarray(indices)
    blocks = 1
    if count * length > SMALL:
        most = gcd(count, length)
        for blocks in (n for n in range(most, 0, -1) if most % n == 0):
            block = places.reshape(blocks, -1) // (length // blocks)
            if (block == np.arange(blocks)[:, None]).all():
                break
    if count * length // blocks > MOST_FACTORS:
        return None
    rows, columns = count // blocks, length // blocks
    matrix = np.zeros((count, columns), np.float32)
    matrix[np.arange(count), places % columns] = 1
    return matrix.reshape(blocks, rows, columns) if blocks > 1 else matrix


def along_axis(
    ctx: ImportContext,
    x: str,
    axis: int,
    matrix: NDArray[Any],
    role: str = "",
    bias: NDArray[Any] | None = None,
) -> str:
    """Multiply an axis by a matrix: y[.., i, ..] = sum over k of matrix[i, k] x[.., k, ..], plus bias[i].

    The last axis is an InnerProduct; another one is the channels of a 1x1 Convolution. A matrix of shape
    (blocks, rows, columns) has these blocks on its diagonal, and is a grouped Convolution.
    """
    import numpy as np

    shape = ctx.shape(x)
    rows, columns = matrix.shape[-2:]
    blocks = matrix.shape[0] if matrix.ndim == 3 else 1
    count = blocks * rows
    after = (*shape[:axis], count, *shape[axis + 1 :])
    params: dict[str, Any] = {"num_output": count}
    if bias is None:
        params["bias_term"] = False
    blobs = [np.ascontiguousarray(matrix, np.float32)]
    if bias is not None:
        blobs.append(np.ascontiguousarray(bias, np.float32))
    if blocks == 1 and axis == len(shape) - 1:
        blobs[0] = blobs[0].reshape(count, columns)
        if axis != 1:
            params["axis"] = axis
        return ctx.add("InnerProduct", [x], {"inner_product_param": params}, blobs, role=role)
    params["kernel_size"] = 1
    if blocks > 1:
        params["group"] = blocks
    blobs[0] = blobs[0].reshape(count, columns, 1, 1)
    name = role or "product"
    if axis == 1 and len(shape) == 4:
        return ctx.add("Convolution", [x], {"convolution_param": params}, blobs, role=role)
    flat = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]), 1)
    y = reshaped(ctx, x, flat, f"{name}_columns")
    y = ctx.add("Convolution", [y], {"convolution_param": params}, blobs, role=f"{name}_flat")
    return reshaped(ctx, y, after, role)


def _strided(ctx: ImportContext, x: str, axis: int, step: int, role: str) -> str:
    """Take every ``step``-th index of an axis, including the first and the last."""
    shape = ctx.shape(x)
    after = (*shape[:axis], -(-shape[axis] // step), *shape[axis + 1 :])
    flat = (prod(shape[:axis]), 1, shape[axis], prod(shape[axis + 1 :]))
    strides = {"stride_h": step, "stride_w": 1}
    if len(shape) == 4 and axis > 1:
        flat = shape
        strides = {"stride_h": step if axis == 2 else 1, "stride_w": step if axis == 3 else 1}
    y = reshaped(ctx, x, flat, f"{role or 'span'}_rows")
    params = {"pool": Name("MAX"), "kernel_size": 1, **strides}
    y = ctx.add(
        "Pooling",
        [y],
        {"pooling_param": params},
        role=f"{role or 'span'}_picked" if flat != shape else role,
    )
    return y if flat == shape else reshaped(ctx, y, after, role)


def tiled(ctx: ImportContext, x: str, shape: Shape, role: str = "") -> str:
    """Broadcast a value to a larger shape: a Reshape to as many axes, and a Tile for each axis that
    grows."""
    old, new = ctx.shape(x), tuple(shape)
    padded = (1,) * (len(new) - len(old)) + old
    grows = [axis for axis, (a, b) in enumerate(zip(padded, new, strict=True)) if a != b]
    x = reshaped(ctx, x, padded, "axes" if grows or role else "")
    for number, axis in enumerate(grows):
        padded = (*padded[:axis], new[axis], *padded[axis + 1 :])
        last = number == len(grows) - 1
        params = {"tile_param": {"axis": axis, "tiles": new[axis]}}
        x = ctx.add("Tile", [x], params, role=(role or "") if last else "tiled")
    return x


def extended(
    ctx: ImportContext, x: str, axis: int, low: int, high: int, number: float, role: str = ""
) -> str:
    """Extend an axis at its low and high end by a constant, with a Concat."""
    import numpy as np

    if not (low or high):
        return x if role else ctx.pass_through(x)
    shape = ctx.shape(x)

    def block(length: int) -> list[str]:
        values = np.broadcast_to(
            np.float32(number), (*shape[:axis], length, *shape[axis + 1 :])
        )  # a view: the number is stored once
        return [ctx.parameter(ctx.new_value("pad"), values)] if length else []

    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return ctx.add("Concat", [*block(low), x, *block(high)], params, role=role)


def window(
    kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """Return kernel_size, stride, pad and dilation, with one value if all axes agree."""
    params: dict[str, Any] = {}
    for key, prefix, values, default in (
        ("kernel_size", "kernel", kernel, None),
        ("stride", "stride", strides, 1),
        ("pad", "pad", pads, 0),
    ):
        if len(set(values)) == 1:
            if values[0] != default:
                params[key] = int(values[0])
        elif len(values) == 2:
            params |= {f"{prefix}_h": int(values[0]), f"{prefix}_w": int(values[1])}
        else:
            params[key] = [int(v) for v in values]
    if len(set(dilations)) > 1:
        params["dilation"] = [int(d) for d in dilations]
    elif dilations[0] != 1:
        params["dilation"] = int(dilations[0])
    return params


def constant_outputs(source: OnnxGraph, ctx: ImportContext) -> list[Message]:
    """Return a Parameter layer for each output of the model that is a constant."""
    import numpy as np

    names = {layer.name for layer in ctx.layers}
    tops = {top for layer in ctx.layers for top in layer.top}
    aliases = ctx.output_aliases(source.outputs)
    layers = []
    for output in dict.fromkeys(source.outputs):
        value = aliases.get(output, output)
        array = source.constants.get(value)
        if array is None or value in tops:
            continue
        values = np.asarray(array, np.float32)
        if np.isnan(values).any():
            raise UnsupportedError(
                "the constant contains NaN, which protogen refuses in parameters",
                where=source.path,
                subject=f'output "{output}"',
                advice="End the model before this output.",
            )
        if not array.size or not np.array_equal(values, array, equal_nan=array.dtype.kind == "f"):
            raise UnsupportedError(
                f"the constant of type {array.dtype} and shape {shape_text(array.shape)} cannot be "
                "stored as a non-empty float32 blob",
                where=source.path,
                subject=f'output "{output}"',
                advice="End the model before this output.",
            )
        name = free_name(output, names, "_")
        ctx.weights[name] = [values]
        layers.append(
            Message.make(
                "LayerParameter",
                name=name,
                type="Parameter",
                top=[output],
                parameter_param={"shape": {"dim": list(array.shape)}},
            )
        )
    return layers
