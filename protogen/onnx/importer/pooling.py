"""Pooling, windowed and global."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from protogen import geometry
from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import LARGEST, eltwise
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.convolution import convolved, pads_of
from protogen.onnx.importer.forms import bordered, cropped, gathered, reshaped, window
from protogen.onnx.importer.registry import lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@lifts("MaxPool")
def max_pool(
    to: Lifter,
    x: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> None:
    """Pooling MAX; what is outside never wins, so only the windows' pixels count."""
    if len(to.operator.outputs) > 1 and to.operator.outputs[1]:
        raise to.refuse("its second output, the places of the maxima, has no form in Caffe")
    if dilations and set(dilations) != {1}:
        _dilated_maximum(to, x, kernel_shape, strides, pads, auto_pad, dilations)
        return
    _pool(to, x, "MAX", kernel_shape, strides, pads, auto_pad, False)


@lifts("AveragePool")
def average_pool(
    to: Lifter,
    x: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> None:
    """Pooling AVE. Caffe divides by a window's pixels inside the padded border; where ONNX's count
    is another, a Scale over height and width follows."""
    _average(to, x, kernel_shape, strides, pads, dilations, auto_pad, bool(count_include_pad))


@lifts("protogen:AveragePool")
def average_times(
    to: Lifter,
    x: str,
    factors: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> None:
    """An average times a number for each window (see ``fusion``): one Pooling where the numbers
    are those of Caffe's divisor."""
    times = to.wanted(factors, "factors").reshape(to.shape(to.out)[2:])
    padded = bool(count_include_pad)
    _average(to, x, kernel_shape, strides, pads, dilations, auto_pad, padded, times)


def _average(
    to: Lifter,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    dilations: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    times: NDArray[Any] | None = None,
) -> None:
    if dilations and set(dilations) != {1}:
        _dense_average(to, x, kernel, strides, pads, auto_pad, padded, dilations, times)
    else:
        _pool(to, x, "AVE", kernel, strides, pads, auto_pad, padded, times)


@lifts("GlobalMaxPool")
def global_max_pool(to: Lifter, x: str) -> None:
    pooled_whole(to, x, "MAX")


@lifts("GlobalAveragePool")
def global_average_pool(to: Lifter, x: str) -> None:
    pooled_whole(to, x, "AVE")


def pooled_whole(to: Lifter, x: str, kind: str) -> None:
    """Pooling over all axes behind the second."""
    shape, out = to.shape(x), to.shape(to.out)
    params = {"pooling_param": {"pool": Name(kind), "global_pooling": True}}
    if len(shape) != 4:
        x = reshaped(to, x, (*shape[:2], prod(shape[2:]), 1), "plane")
    x = to.add("Pooling", [x], params, role="pooled" if len(out) != 4 else "")
    if len(out) != 4:
        reshaped(to, x, out)


class _Axis(NamedTuple):
    """One axis of ONNX's pooling: n pixels in, ``out`` windows of k every s, pads low and high."""

    n: int
    out: int
    k: int
    s: int
    low: int
    high: int

    def caffe(self, pad: int, windows: int) -> int | None:
        """How many of Caffe's windows with this pad come before ONNX's first; None where Caffe's
        do not hold ONNX's."""
        if pad >= self.k or pad < self.low or (pad - self.low) % self.s:
            return None
        skipped = (pad - self.low) // self.s
        if (windows - 1) * self.s - pad >= self.n:  # the last one is without a pixel
            return None
        return skipped if windows - skipped >= self.out else None

    def counts(self, pad: int) -> list[int]:
        """What Caffe divides each window's sum by."""
        begins = (i * self.s - self.low for i in range(self.out))
        return [min(begin + self.k, self.n + pad) - begin for begin in begins]

    def wanted(self, padded: bool) -> list[int]:
        """What ONNX divides by: pixels, or places inside the padded border."""
        made = []
        for i in range(self.out):
            begin = i * self.s - self.low
            if padded:
                made.append(min(begin + self.k, self.n + self.high) - begin)
            else:
                made.append(min(begin + self.k, self.n) - max(begin, 0))
        return made


def _pool(
    to: Lifter,
    x: str,
    kind: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    times: NDArray[Any] | None = None,
) -> None:
    """Two axes go at once, as Caffe's Pooling takes them; others one after the other, because
    maxima, sums and counts are separable."""
    shape, out = to.shape(x), to.shape(to.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, [1] * rank)
    axes = [
        _Axis(shape[2 + i], out[2 + i], kernel[i], strides[i], low[i], high[i]) for i in range(rank)
    ]
    if rank == 2:
        _pool_plane(to, x, kind, axes, padded, "", times)
        return
    still = _Axis(1, 1, 1, 1, 0, 0)
    now = list(shape)
    for i in reversed(range(rank)):
        before = (*shape[:2], prod(now[2 : 2 + i]), now[2 + i], prod(now[3 + i :]))
        plane = (before[0], before[1] * before[2], before[3], before[4])
        x = reshaped(to, x, plane, f"plane{i}")
        beside = still._replace(n=plane[3], out=plane[3])
        x = _pool_plane(to, x, kind, [axes[i], beside], padded, f"pool{i}")
        now[2 + i] = out[2 + i]
    reshaped(to, x, out)


def _pool_plane(
    to: Lifter,
    x: str,
    kind: str,
    axes: Sequence[_Axis],
    padded: bool,
    role: str,
    times: NDArray[Any] | None = None,
) -> str:
    """A Pooling whose windows are ONNX's, or hold them: then a Slice drops the others."""
    for ceil, pad_h, pad_w in _candidates(axes):
        pads = [pad_h, pad_w]
        made = _windows(axes, pads, ceil)
        skipped = [a.caffe(p, m) for a, p, m in zip(axes, pads, made, strict=True)]
        if None in skipped:
            continue
        extra = any(m != a.out for m, a in zip(made, axes, strict=True))
        factors = _factors(axes, pads, padded, times) if kind == "AVE" else None
        params: dict[str, Any] = {"pool": Name(kind)}
        params |= window([a.k for a in axes], [a.s for a in axes], pads, [1, 1])
        if _windows(axes, pads, True) != made:
            params["round_mode"] = Name("FLOOR")
        last = "" if extra or factors is not None else "-"
        x = to.add(
            "Pooling",
            [x],
            {"pooling_param": params},
            role=role if last else f"{role or 'windows'}_all",
        )
        for i, axis in enumerate(axes):
            begin = skipped[i] or 0
            if made[i] == axis.out:
                continue
            final = factors is None and all(made[j] == axes[j].out for j in range(i + 1, len(axes)))
            x = cropped(
                to, x, 2 + i, begin, begin + axis.out, role if final else f"{role or 'windows'}_cut"
            )
        if factors is not None:
            x = to.add(
                "Scale", [x], {"scale_param": {"axis": 2, "num_axes": 2}}, [factors], role=role
            )
        return x
    if kind == "AVE" and len(to.shape(to.out)) == 4:
        kernel, strides = [a.k for a in axes], [a.s for a in axes]
        pads = [a.low for a in axes] + [a.high for a in axes]
        ones = [1] * len(kernel)
        return _dense_average(to, x, kernel, strides, pads, "NOTSET", padded, ones, times)
    raise to.refuse(
        f"no windows of Caffe's Pooling are those of kernel {[a.k for a in axes]}, "
        f"stride {[a.s for a in axes]} and pads {[a.low for a in axes]}, {[a.high for a in axes]}"
    )


def _windows(axes: Sequence[_Axis], pads: Sequence[int], ceil: bool) -> tuple[int, ...]:
    """How many windows Caffe makes of each axis."""
    sizes, kernels, strides = zip(*((a.n, a.k, a.s) for a in axes), strict=True)
    return geometry.pool_windows(sizes, kernels, strides, pads, ceil)


def _candidates(axes: Sequence[_Axis]) -> list[tuple[bool, int, int]]:
    """Rounding and pads of Caffe, those without windows to drop and without a rounding first."""
    rows, columns = (range(a.low, max(a.k, a.low + 1), a.s) for a in axes)

    def rank(one: tuple[bool, int, int]) -> tuple[int, bool]:
        ceil, *pads = one
        extra = sum(m != a.out for m, a in zip(_windows(axes, pads, ceil), axes, strict=True))
        return extra, not ceil

    return sorted(product((True, False), rows, columns), key=rank)


def _factors(
    axes: Sequence[_Axis], pads: Sequence[int], padded: bool, times: NDArray[Any] | None
) -> NDArray[Any] | None:
    """Caffe's counts over ONNX's for each window; None where they are the same."""
    import numpy as np

    has = [np.array(a.counts(p), np.float64) for a, p in zip(axes, pads, strict=True)]
    wanted = [np.array(a.wanted(padded), np.float64) for a in axes]
    made = np.outer(has[0] / wanted[0], has[1] / wanted[1])
    if times is not None:
        made *= times
    if np.abs(made - 1).max() < 1e-7:  # float32's own step
        return None
    return made.astype(np.float32)


def _dense_average(
    to: Lifter,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    dilations: Sequence[int],
    times: NDArray[Any] | None,
) -> str:
    """Sums by a Convolution of ones in groups, divided by the counts in a Scale over the places."""
    import numpy as np

    shape, out = to.shape(x), to.shape(to.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    counts = np.ones((), np.float64)
    for i in range(rank):
        d = dilations[i]
        places = [
            [j * strides[i] - low[i] + t * d for t in range(kernel[i])] for j in range(out[2 + i])
        ]
        ends = (-low[i], shape[2 + i] + high[i]) if padded else (0, shape[2 + i])
        inside = [sum(ends[0] <= at < ends[1] for at in one) for one in places]
        counts = np.multiply.outer(counts, np.array(inside, np.float64))
    # The last windows may end beyond the high pad, where ceil_mode clips them.
    for i in range(rank):
        extent = geometry.kernel_extent(kernel[i], dilations[i])
        high[i] = max(high[i], (out[2 + i] - 1) * strides[i] + extent - shape[2 + i] - low[i])
    ones = np.ones((shape[1], 1, *kernel), np.float32)
    y = convolved(to, x, ones, None, strides, low, high, dilations, shape[1], out, "sums")
    factors = (1 if times is None else times) / counts
    return to.add(
        "Scale", [y], {"scale_param": {"axis": 2, "num_axes": rank}}, [factors.astype(np.float32)]
    )


def _dilated_maximum(
    to: Lifter,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    dilations: Sequence[int],
) -> None:
    """The maximum of shifted copies, one axis after the other; outside is float32's least number."""
    shape, out = to.shape(x), to.shape(to.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, _ = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    for i in range(rank):
        axis, s, count = 2 + i, strides[i], out[2 + i]
        reach = (count - 1) * s + geometry.kernel_extent(kernel[i], dilations[i])
        beyond = max(0, reach - low[i] - shape[axis])
        x = bordered(to, x, axis, low[i], beyond, -LARGEST, f"axis{i}")
        taps = [
            gathered(to, x, axis, range(t, t + (count - 1) * s + 1, s), f"tap{i}_{t}")
            for t in range(0, dilations[i] * kernel[i], dilations[i])
        ]
        x = eltwise(to, "MAX", taps, f"max{i}") if len(taps) > 1 else taps[0]
    to.same(x)
