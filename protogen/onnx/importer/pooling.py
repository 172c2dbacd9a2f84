"""Pooling with windows, and global pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from protogen import geometry
from protogen.formats.message import Name
from protogen.onnx.importer.arithmetic import LARGEST, eltwise
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.convolution import convolved, pads_of
from protogen.onnx.importer.forms import cropped, extended, gathered, reshaped, window
from protogen.onnx.importer.registry import ANY, imports

if TYPE_CHECKING:
    from numpy.typing import NDArray


@imports("MaxPool", takes=ANY)
def max_pool(
    ctx: ImportContext,
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
    """Pooling MAX. Padding is never the maximum, so only the pixels inside each window matter."""
    if len(ctx.operator.outputs) > 1 and ctx.operator.outputs[1]:
        raise ctx.unsupported(
            "the second output (indices of the maxima) has no equivalent in Caffe"
        )
    if dilations and set(dilations) != {1}:
        _dilated_maximum(ctx, x, kernel_shape, strides, pads, auto_pad, dilations)
        return
    _pool(ctx, x, "MAX", kernel_shape, strides, pads, auto_pad, False)


@imports("AveragePool")
def average_pool(
    ctx: ImportContext,
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
    """Pooling AVE. Caffe divides by the number of a window's pixels inside the padded border. If
    ONNX divides by another number, a Scale over height and width follows."""
    _average(ctx, x, kernel_shape, strides, pads, dilations, auto_pad, bool(count_include_pad))


@imports("protogen:AveragePool")
def average_times(
    ctx: ImportContext,
    x: str,
    factors_name: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> None:
    """An AveragePool times one factor per window (see ``fusion``). It is one Pooling if the factors
    turn ONNX's divisor into Caffe's."""
    factors = ctx.require_constant(factors_name, "factors").reshape(ctx.shape(ctx.out)[2:])
    padded = bool(count_include_pad)
    _average(ctx, x, kernel_shape, strides, pads, dilations, auto_pad, padded, factors)


def _average(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    dilations: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    factors: NDArray[Any] | None = None,
) -> None:
    if dilations and set(dilations) != {1}:
        _dense_average(ctx, x, kernel, strides, pads, auto_pad, padded, dilations, factors)
    else:
        _pool(ctx, x, "AVE", kernel, strides, pads, auto_pad, padded, factors)


@imports("GlobalMaxPool")
def global_max_pool(ctx: ImportContext, x: str) -> None:
    pooled_whole(ctx, x, "MAX")


@imports("GlobalAveragePool")
def global_average_pool(ctx: ImportContext, x: str) -> None:
    pooled_whole(ctx, x, "AVE")


def pooled_whole(ctx: ImportContext, x: str, kind: str) -> None:
    """Add a global Pooling over all axes after the second."""
    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    params = {"pooling_param": {"pool": Name(kind), "global_pooling": True}}
    if len(shape) != 4:
        x = reshaped(ctx, x, (*shape[:2], prod(shape[2:]), 1), "plane")
    x = ctx.add("Pooling", [x], params, role="pooled" if len(out) != 4 else "")
    if len(out) != 4:
        reshaped(ctx, x, out)


class _Axis(NamedTuple):
    """One axis of ONNX's pooling: ``n`` pixels, ``out`` windows of size ``k`` with stride ``s``,
    and the pads ``low`` and ``high``."""

    n: int
    out: int
    k: int
    s: int
    low: int
    high: int

    def skipped_windows(self, pad: int, windows: int) -> int | None:
        """Return how many of Caffe's windows with this pad precede ONNX's first window; None if
        Caffe's windows do not include ONNX's."""
        if pad >= self.k or pad < self.low or (pad - self.low) % self.s:
            return None
        skipped = (pad - self.low) // self.s
        if (windows - 1) * self.s - pad >= self.n:  # the last window contains no pixel
            return None
        return skipped if windows - skipped >= self.out else None

    def caffe_counts(self, pad: int) -> list[int]:
        """Return the divisor of each window in Caffe."""
        begins = (i * self.s - self.low for i in range(self.out))
        return [min(begin + self.k, self.n + pad) - begin for begin in begins]

    def onnx_counts(self, padded: bool) -> list[int]:
        """Return the divisor of each window in ONNX: its pixels, or its positions with padding."""
        counts = []
        for i in range(self.out):
            begin = i * self.s - self.low
            if padded:
                counts.append(min(begin + self.k, self.n + self.high) - begin)
            else:
                counts.append(min(begin + self.k, self.n) - max(begin, 0))
        return counts


def _pool(
    ctx: ImportContext,
    x: str,
    kind: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    factors: NDArray[Any] | None = None,
) -> None:
    """Pool two axes by one Pooling; pool another number of axes one after the other, which is exact
    because maxima, sums and counts are separable."""
    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, [1] * rank)
    axes = [
        _Axis(shape[2 + i], out[2 + i], kernel[i], strides[i], low[i], high[i]) for i in range(rank)
    ]
    if rank == 2:
        _pool_plane(ctx, x, kind, axes, padded, "", factors)
        return
    single = _Axis(1, 1, 1, 1, 0, 0)
    lengths = list(shape)
    for i in reversed(range(rank)):
        split = (*shape[:2], prod(lengths[2 : 2 + i]), lengths[2 + i], prod(lengths[3 + i :]))
        plane = (split[0], split[1] * split[2], split[3], split[4])
        x = reshaped(ctx, x, plane, f"plane{i}")
        other = single._replace(n=plane[3], out=plane[3])
        x = _pool_plane(ctx, x, kind, [axes[i], other], padded, f"pool{i}")
        lengths[2 + i] = out[2 + i]
    reshaped(ctx, x, out)


def _pool_plane(
    ctx: ImportContext,
    x: str,
    kind: str,
    axes: Sequence[_Axis],
    padded: bool,
    role: str,
    factors: NDArray[Any] | None = None,
) -> str:
    """Add a Pooling with ONNX's windows, or with more windows and Slices that drop the others."""
    for ceil, pad_h, pad_w in _candidates(axes):
        pads = [pad_h, pad_w]
        windows = _windows(axes, pads, ceil)
        skipped = [a.skipped_windows(p, m) for a, p, m in zip(axes, pads, windows, strict=True)]
        if None in skipped:
            continue
        extra = any(m != a.out for m, a in zip(windows, axes, strict=True))
        scale = _factors(axes, pads, padded, factors) if kind == "AVE" else None
        params: dict[str, Any] = {"pool": Name(kind)}
        params |= window([a.k for a in axes], [a.s for a in axes], pads, [1, 1])
        if _windows(axes, pads, True) != windows:
            params["round_mode"] = Name("FLOOR")
        last = "" if extra or scale is not None else "-"
        x = ctx.add(
            "Pooling",
            [x],
            {"pooling_param": params},
            role=role if last else f"{role or 'windows'}_all",
        )
        for i, axis in enumerate(axes):
            begin = skipped[i] or 0
            if windows[i] == axis.out:
                continue
            final = scale is None and all(
                windows[j] == axes[j].out for j in range(i + 1, len(axes))
            )
            x = cropped(
                ctx,
                x,
                2 + i,
                begin,
                begin + axis.out,
                role if final else f"{role or 'windows'}_cut",
            )
        if scale is not None:
            x = ctx.add(
                "Scale", [x], {"scale_param": {"axis": 2, "num_axes": 2}}, [scale], role=role
            )
        return x
    if kind == "AVE" and len(ctx.shape(ctx.out)) == 4:
        kernel, strides = [a.k for a in axes], [a.s for a in axes]
        pads = [a.low for a in axes] + [a.high for a in axes]
        ones = [1] * len(kernel)
        return _dense_average(ctx, x, kernel, strides, pads, "NOTSET", padded, ones, factors)
    raise ctx.unsupported(
        f"Caffe's Pooling cannot produce the windows of kernel {[a.k for a in axes]}, stride "
        f"{[a.s for a in axes]}, pads {[a.low for a in axes]} and {[a.high for a in axes]}"
    )


def _windows(axes: Sequence[_Axis], pads: Sequence[int], ceil: bool) -> tuple[int, ...]:
    """Return the number of Caffe's windows along each axis."""
    sizes, kernels, strides = zip(*((a.n, a.k, a.s) for a in axes), strict=True)
    return geometry.pool_windows(sizes, kernels, strides, pads, ceil)


def _candidates(axes: Sequence[_Axis]) -> list[tuple[bool, int, int]]:
    """Return (ceil, pad_h, pad_w) for Caffe; those without windows to drop first, then ceil."""
    rows, columns = (range(a.low, max(a.k, a.low + 1), a.s) for a in axes)

    def cost(candidate: tuple[bool, int, int]) -> tuple[int, bool]:
        ceil, *pads = candidate
        extra = sum(m != a.out for m, a in zip(_windows(axes, pads, ceil), axes, strict=True))
        return extra, not ceil

    return sorted(product((True, False), rows, columns), key=cost)


def _factors(
    axes: Sequence[_Axis], pads: Sequence[int], padded: bool, factors: NDArray[Any] | None
) -> NDArray[Any] | None:
    """Return Caffe's divisor over ONNX's divisor for each window; None where all are equal."""
    import numpy as np

    caffe = [np.array(a.caffe_counts(p), np.float64) for a, p in zip(axes, pads, strict=True)]
    onnx = [np.array(a.onnx_counts(padded), np.float64) for a in axes]
    ratio = np.outer(caffe[0] / onnx[0], caffe[1] / onnx[1])
    if factors is not None:
        ratio *= factors
    if np.abs(ratio - 1).max() < 1e-7:  # below float32's precision
        return None
    return ratio.astype(np.float32)


def _dense_average(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    padded: bool,
    dilations: Sequence[int],
    factors: NDArray[Any] | None,
) -> str:
    """Average by a grouped Convolution of ones and a Scale that divides by the counts."""
    import numpy as np

    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    counts = np.ones((), np.float64)
    for i in range(rank):
        d = dilations[i]
        taps = [
            [j * strides[i] - low[i] + t * d for t in range(kernel[i])] for j in range(out[2 + i])
        ]
        limits = (-low[i], shape[2 + i] + high[i]) if padded else (0, shape[2 + i])
        taps_inside = [sum(limits[0] <= position < limits[1] for position in one) for one in taps]
        counts = np.multiply.outer(counts, np.array(taps_inside, np.float64))
    # With ceil_mode, the last windows can end beyond the high pad.
    for i in range(rank):
        extent = geometry.kernel_extent(kernel[i], dilations[i])
        high[i] = max(high[i], (out[2 + i] - 1) * strides[i] + extent - shape[2 + i] - low[i])
    ones = np.ones((shape[1], 1, *kernel), np.float32)
    y = convolved(ctx, x, ones, None, strides, low, high, dilations, shape[1], out, "sums")
    scale = (1 if factors is None else factors) / counts
    return ctx.add(
        "Scale", [y], {"scale_param": {"axis": 2, "num_axes": rank}}, [scale.astype(np.float32)]
    )


def _dilated_maximum(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    dilations: Sequence[int],
) -> None:
    """Maximum of shifted copies, one axis after the other. The padding is the lowest float32."""
    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, _ = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    for i in range(rank):
        axis, s, count = 2 + i, strides[i], out[2 + i]
        reach = (count - 1) * s + geometry.kernel_extent(kernel[i], dilations[i])
        beyond = max(0, reach - low[i] - shape[axis])
        x = extended(ctx, x, axis, low[i], beyond, -LARGEST, f"axis{i}")
        taps = [
            gathered(ctx, x, axis, range(t, t + (count - 1) * s + 1, s), f"tap{i}_{t}")
            for t in range(0, dilations[i] * kernel[i], dilations[i])
        ]
        x = eltwise(ctx, "MAX", taps, f"max{i}") if len(taps) > 1 else taps[0]
    ctx.pass_through(x)
