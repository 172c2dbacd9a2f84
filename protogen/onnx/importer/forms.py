"""Small forms that several operators need: another shape, a part of an axis, copies along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Message, Name
from protogen.geometry import shape_text
from protogen.layers.graph import free_name
from protogen.layers.ordering import MOST_SLICES

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx.importer.context import Lifter
    from protogen.onnx.importer.source import OnnxGraph


def reshaped(to: Lifter, x: str, shape: Shape, role: str = "") -> str:
    """The value in another shape: Flatten where that is it, else Reshape, which leaves the batch
    as it comes where it stays. Without a role it is the operator's output."""
    before, after = to.shape(x), tuple(shape)
    if before == after:
        if not role:
            to.same(x)
        return x
    type_, params = view_of(before, after)
    return to.add(type_, [x], params, role=role)


def view_of(before: Shape, after: Shape) -> tuple[str, dict[str, Any]]:
    """Type and parameters of the layer that brings one shape to another."""
    if len(after) == 2 and len(before) > 2 and before[0] == after[0]:
        return "Flatten", {}
    dims = list(after)
    if before and after and before[0] == after[0]:
        dims[0] = 0
    return "Reshape", {"reshape_param": {"shape": {"dim": dims}}}


def cropped(to: Lifter, x: str, axis: int, begin: int, end: int, role: str = "") -> str:
    """A part of an axis by a Slice; what is left over is silenced when the net is finished."""
    length = to.shape(x)[axis]
    if (begin, end) == (0, length):
        if not role:
            to.same(x)
        return x
    points = sorted({begin, end} - {0, length})
    at = 1 if begin else 0
    return to.split(x, axis, points, role or "part", kept=None if role else at)[at]


def permuted(to: Lifter, x: str, order: Sequence[int], role: str = "") -> str:
    """The value with its axes in another order: a Reshape where only axes of length 1 move, else
    Permute, or the slices that stand for it."""
    shape = to.shape(x)
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return reshaped(to, x, tuple(shape[axis] for axis in order), role)
    return to.fork("Permute", [x], {"permute_param": {"order": list(order)}}, role)


def gathered(to: Lifter, x: str, axis: int, indices: Sequence[int], role: str = "") -> str:
    """These places of an axis, in this order.

    A run of neighbours is one top of a Slice, every s-th place from somewhere on a Pooling of
    kernel 1 and stride s, and a Concat joins what is in pieces.
    """
    length, count = to.shape(x)[axis], len(indices)
    begin = indices[0]
    step = indices[1] - begin if count > 1 else 1
    if step > 0 and list(indices) == list(range(begin, begin + step * count, step)):
        if step == 1:
            return cropped(to, x, axis, begin, begin + count, role)
        return _every(
            to,
            cropped(to, x, axis, begin, indices[-1] + 1, f"{role or 'span'}_cut"),
            axis,
            step,
            role,
        )
    runs: list[list[int]] = []  # first and behind the last
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    points = sorted({edge for run in runs for edge in run} - {0, length})
    if len(points) >= MOST_SLICES:
        raise to.refuse(f"it takes {len(points) + 1} slices, too many for a net")
    begins = [0, *points]
    tops = to.split(x, axis, points, f"{role or 'piece'}") if points else [x]
    read = [tops[i] for first, last in runs for i, at in enumerate(begins) if first <= at < last]
    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return to.add("Concat", read, params, role=role)


def _every(to: Lifter, x: str, axis: int, step: int, role: str) -> str:
    """Every ``step``-th place of an axis, the first and the last included."""
    shape = to.shape(x)
    after = (*shape[:axis], -(-shape[axis] // step), *shape[axis + 1 :])
    flat = (prod(shape[:axis]), 1, shape[axis], prod(shape[axis + 1 :]))
    strides = {"stride_h": step, "stride_w": 1}
    if len(shape) == 4 and axis > 1:
        flat = shape
        strides = {"stride_h": step if axis == 2 else 1, "stride_w": step if axis == 3 else 1}
    y = reshaped(to, x, flat, f"{role or 'span'}_rows")
    params = {"pool": Name("MAX"), "kernel_size": 1, **strides}
    y = to.add(
        "Pooling",
        [y],
        {"pooling_param": params},
        role=f"{role or 'span'}_picked" if flat != shape else role,
    )
    return y if flat == shape else reshaped(to, y, after, role)


def tiled(to: Lifter, x: str, shape: Shape, role: str = "") -> str:
    """The value broadcast to a larger shape: Reshape to as many axes, and a Tile for each that
    grows."""
    now, wanted = to.shape(x), tuple(shape)
    padded = (1,) * (len(wanted) - len(now)) + now
    grows = [axis for axis, (a, b) in enumerate(zip(padded, wanted, strict=True)) if a != b]
    x = reshaped(to, x, padded, "axes" if grows or role else "")
    for number, axis in enumerate(grows):
        padded = (*padded[:axis], wanted[axis], *padded[axis + 1 :])
        last = number == len(grows) - 1
        params = {"tile_param": {"axis": axis, "tiles": wanted[axis]}}
        x = to.add("Tile", [x], params, role=(role or "") if last else "tiled")
    return x


def bordered(
    to: Lifter, x: str, axis: int, low: int, high: int, filled: float, role: str = ""
) -> str:
    """Constant blobs before and behind the value, by a Concat."""
    import numpy as np

    if not (low or high):
        return x if role else to.same(x)
    shape = to.shape(x)

    def block(length: int) -> list[str]:
        values = np.broadcast_to(
            np.float32(filled), (*shape[:axis], length, *shape[axis + 1 :])
        )  # one number, many times
        return [to.parameter(to.value("pad"), values)] if length else []

    params = {"concat_param": {"axis": axis}} if axis != 1 else {}
    return to.add("Concat", [*block(low), x, *block(high)], params, role=role)


def window(
    kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """kernel_size, stride, pad and dilation: once where all axes agree, as Caffe has them."""
    made: dict[str, Any] = {}
    for key, short, values, default in (
        ("kernel_size", "kernel", kernel, None),
        ("stride", "stride", strides, 1),
        ("pad", "pad", pads, 0),
    ):
        if len(set(values)) == 1:
            if values[0] != default:
                made[key] = int(values[0])
        elif len(values) == 2:
            made |= {f"{short}_h": int(values[0]), f"{short}_w": int(values[1])}
        else:
            made[key] = [int(v) for v in values]
    if len(set(dilations)) > 1:
        made["dilation"] = [int(d) for d in dilations]
    elif dilations[0] != 1:
        made["dilation"] = int(dilations[0])
    return made


def constant_outputs(source: OnnxGraph, to: Lifter) -> list[Message]:
    """A Parameter layer for each output that is a constant."""
    import numpy as np

    taken = {layer.name for layer in to.layers}
    made = []
    for output in dict.fromkeys(source.outputs):
        array = source.constants.get(output)
        if array is None:
            continue
        values = np.asarray(array, np.float32)
        if not array.size or not np.array_equal(values, array, equal_nan=array.dtype.kind == "f"):
            raise UnsupportedError(
                f"it is constant, {array.dtype} of {shape_text(array.shape)}, which Caffe's float32 "
                "cannot hold",
                where=source.path,
                subject=f'output "{output}"',
                advice="End the model before it.",
            )
        name = free_name(output, taken, "_")
        to.weights[name] = [values]
        made.append(
            Message.make(
                "LayerParameter",
                name=name,
                type="Parameter",
                top=[output],
                parameter_param={"shape": {"dim": list(array.shape)}},
            )
        )
    return made
