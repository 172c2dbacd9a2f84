"""Pad in its four modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import bordered, gathered, window
from protogen.onnx.importer.registry import lifts


@lifts("Pad")
def pad(
    to: Lifter,
    x: str,
    pads_: str | None = None,
    value_: str | None = None,
    axes_: str | None = None,
    *,
    pads: Sequence[int] | None = None,
    value: float = 0.0,
    mode: str = "constant",
) -> None:
    """Zeros around height and width are the pad of a Convolution that copies; other constants are
    concatenated; copies of the border are slices. Negative pads cut."""
    shape = to.shape(x)
    given = to.numbers(pads, pads_, "pads") or []
    axes = [a % len(shape) for a in to.numbers(None, axes_, "axes") or range(len(shape))]
    number = to.wanted(value_, "value") if value_ else None
    filled = value if number is None else float(number.reshape(()))
    work = {
        axis: (given[i], given[len(axes) + i])
        for i, axis in enumerate(axes)
        if given[i] or given[len(axes) + i]
    }
    if not work:
        to.same(x)
        return
    if mode == "constant":
        _constant(to, x, work, filled)
        return
    for number_, (axis, (low, high)) in enumerate(work.items()):
        indices = _indices(shape[axis], low, high, mode)
        x = gathered(to, x, axis, indices, "" if number_ == len(work) - 1 else f"axis{axis}")


def _indices(n: int, low: int, high: int, mode: str) -> list[int]:
    """Which place of the axis each place of the padded one shows."""
    places = range(-low, n + high)
    if mode == "edge":
        return [min(max(i, 0), n - 1) for i in places]
    if mode == "wrap":
        return [i % n for i in places]
    period = max(2 * (n - 1), 1)
    return [min(i % period, period - i % period) if n > 1 else 0 for i in places]


def _constant(to: Lifter, x: str, work: dict[int, tuple[int, int]], filled: float) -> None:
    cuts = {axis: pads for axis, pads in work.items() if min(pads) < 0}
    grows = {a: (max(p[0], 0), max(p[1], 0)) for a, p in work.items() if max(p) > 0}
    for number, (axis, (low, high)) in enumerate(cuts.items()):
        length = to.shape(x)[axis]
        kept = range(max(-low, 0), length - max(-high, 0))
        if not kept:
            raise to.refuse("it makes nothing, and Caffe's blobs are not empty")
        last = not grows and number == len(cuts) - 1
        x = gathered(to, x, axis, kept, "" if last else f"cut{axis}")
    if len(to.shape(x)) == 4 and grows and set(grows) <= {2, 3} and filled == 0:
        _zeros_around(to, x, grows)
        return
    for number, (axis, (low, high)) in enumerate(grows.items()):
        role = "" if number == len(grows) - 1 else f"padded{axis}"
        x = bordered(to, x, axis, low, high, filled, role)


def _zeros_around(to: Lifter, x: str, grows: dict[int, tuple[int, int]]) -> None:
    """The wider end decides the pad; zeros before or behind the kernel's 1 take the rest back."""
    import numpy as np

    channels = to.shape(x)[1]
    low = [grows.get(axis, (0, 0))[0] for axis in (2, 3)]
    high = [grows.get(axis, (0, 0))[1] for axis in (2, 3)]
    wide = [max(a, b) for a, b in zip(low, high, strict=True)]
    before = [w - a for w, a in zip(wide, low, strict=True)]
    behind = [w - b for w, b in zip(wide, high, strict=True)]
    size = [1 + a + b for a, b in zip(before, behind, strict=True)]
    kernel = np.zeros((channels, 1, *size), np.float32)
    kernel[:, :, before[0], before[1]] = 1
    params: dict[str, Any] = {"num_output": channels, "bias_term": False}
    if channels > 1:
        params["group"] = channels
    params |= window(size, [1, 1], wide, [1, 1])
    to.add("Convolution", [x], {"convolution_param": params}, [kernel])
