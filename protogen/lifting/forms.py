"""Small forms that several operators need: another shape, a part of an axis, copies along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protogen.graph import Shape
    from protogen.lifting.core import Lifter


def reshaped(to: Lifter, x: str, shape: Shape, role: str = "") -> str:
    """The value in another shape: Flatten where that is it, else Reshape, which leaves the batch
    as it comes where it stays. Without a role it is the operator's output."""
    before, after = to.shape(x), tuple(shape)
    if before == after:
        if not role:
            to.same(x)
        return x
    if len(after) == 2 and len(before) > 2 and before[0] == after[0]:
        return to.add("Flatten", [x], role=role, shape=after)
    dims = list(after)
    if before and after and before[0] == after[0]:
        dims[0] = 0
    params = {"reshape_param": {"shape": {"dim": dims}}}
    return to.add("Reshape", [x], params, role=role, shape=after)


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
        x = to.add("Tile", [x], params, role=(role or "") if last else "tiled", shape=padded)
    return x


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
