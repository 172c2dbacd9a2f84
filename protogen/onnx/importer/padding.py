"""Pad in its four modes: constant, edge, reflect and wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import extended, gathered, window
from protogen.onnx.importer.registry import ANY, imports


@imports("Pad", takes=ANY)
def pad(
    ctx: ImportContext,
    x: str,
    pads_: str | None = None,
    value_: str | None = None,
    axes_: str | None = None,
    *,
    pads: Sequence[int] | None = None,
    value: float = 0.0,
    mode: str = "constant",
) -> None:
    """Zeros around height and width: the pad of a Convolution that copies its input. Other
    constants: a Concat. Copies of the border: slices. Negative pads crop."""
    shape = ctx.shape(x)
    sizes = ctx.integers(pads, pads_, "pads") or []
    axes = [a % len(shape) for a in ctx.integers(None, axes_, "axes") or range(len(shape))]
    number = ctx.require_constant(value_, "value") if value_ else None
    fill = value if number is None else float(number.reshape(()))
    pads_by_axis = {
        axis: (sizes[i], sizes[len(axes) + i])
        for i, axis in enumerate(axes)
        if sizes[i] or sizes[len(axes) + i]
    }
    if not pads_by_axis:
        ctx.pass_through(x)
        return
    if mode == "constant":
        _constant(ctx, x, pads_by_axis, fill)
        return
    for count, (axis, (low, high)) in enumerate(pads_by_axis.items()):
        indices = _indices(shape[axis], low, high, mode)
        x = gathered(ctx, x, axis, indices, "" if count == len(pads_by_axis) - 1 else f"axis{axis}")


def _indices(n: int, low: int, high: int, mode: str) -> list[int]:
    """Return, for each position of the padded axis, the index that it copies."""
    places = range(-low, n + high)
    if mode == "edge":
        return [min(max(i, 0), n - 1) for i in places]
    if mode == "wrap":
        return [i % n for i in places]
    period = max(2 * (n - 1), 1)
    return [min(i % period, period - i % period) if n > 1 else 0 for i in places]


def _constant(
    ctx: ImportContext, x: str, pads_by_axis: dict[int, tuple[int, int]], fill: float
) -> None:
    cuts = {axis: pads for axis, pads in pads_by_axis.items() if min(pads) < 0}
    grown = {a: (max(p[0], 0), max(p[1], 0)) for a, p in pads_by_axis.items() if max(p) > 0}
    for count, (axis, (low, high)) in enumerate(cuts.items()):
        length = ctx.shape(x)[axis]
        inside = range(max(-low, 0), length - max(-high, 0))
        if not inside:
            raise ctx.unsupported("the output is empty, but Caffe blobs cannot be empty")
        last = not grown and count == len(cuts) - 1
        x = gathered(ctx, x, axis, inside, "" if last else f"cut{axis}")
    if len(ctx.shape(x)) == 4 and grown and set(grown) <= {2, 3} and fill == 0:
        _zeros_around(ctx, x, grown)
        return
    for count, (axis, (low, high)) in enumerate(grown.items()):
        role = "" if count == len(grown) - 1 else f"padded{axis}"
        x = extended(ctx, x, axis, low, high, fill, role)


def _zeros_around(ctx: ImportContext, x: str, grown: dict[int, tuple[int, int]]) -> None:
    """Pad both ends by the larger pad; zeros beside the kernel's 1 remove the excess."""
    import numpy as np

    channels = ctx.shape(x)[1]
    low = [grown.get(axis, (0, 0))[0] for axis in (2, 3)]
    high = [grown.get(axis, (0, 0))[1] for axis in (2, 3)]
    larger = [max(a, b) for a, b in zip(low, high, strict=True)]
    before = [w - a for w, a in zip(larger, low, strict=True)]
    after = [w - b for w, b in zip(larger, high, strict=True)]
    size = [1 + a + b for a, b in zip(before, after, strict=True)]
    kernel = np.zeros((channels, 1, *size), np.float32)
    kernel[:, :, before[0], before[1]] = 1
    params: dict[str, Any] = {"num_output": channels, "bias_term": False}
    if channels > 1:
        params["group"] = channels
    params |= window(size, [1, 1], larger, [1, 1])
    ctx.add("Convolution", [x], {"convolution_param": params}, [kernel])
