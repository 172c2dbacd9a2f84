"""Building blocks of several operators: reshape, crop, permute, gather, tile and extend a value."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Message, Name
from protogen.geometry import shape_text
from protogen.layers.graph import free_name
from protogen.layers.permuting import MOST_SLICES

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx.importer.context import ImportContext
    from protogen.onnx.importer.source import OnnxGraph


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
    """Gather these indices of an axis, in this order.

    Consecutive indices are one top of a Slice. Indices with a constant step s are a Pooling with
    kernel 1 and stride s. Otherwise a Concat joins several tops of a Slice.
    """
    length, count = ctx.shape(x)[axis], len(indices)
    begin = indices[0]
    step = indices[1] - begin if count > 1 else 1
    if step > 0 and list(indices) == list(range(begin, begin + step * count, step)):
        if step == 1:
            return cropped(ctx, x, axis, begin, begin + count, role)
        return _strided(
            ctx,
            cropped(ctx, x, axis, begin, indices[-1] + 1, f"{role or 'span'}_cut"),
            axis,
            step,
            role,
        )
    runs: list[list[int]] = []  # [first, last + 1]
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    points = sorted({edge for run in runs for edge in run} - {0, length})
    if len(points) >= MOST_SLICES:
        raise ctx.unsupported(f"needs {len(points) + 1} slices, but the limit is {MOST_SLICES}")
    begins = [0, *points]
    tops = ctx.split(x, axis, points, f"{role or 'piece'}") if points else [x]
    pieces = [
        tops[i] for first, last in runs for i, start in enumerate(begins) if first <= start < last
    ]
    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return ctx.add("Concat", pieces, params, role=role)


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
    layers = []
    for output in dict.fromkeys(source.outputs):
        array = source.constants.get(output)
        if array is None:
            continue
        values = np.asarray(array, np.float32)
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
