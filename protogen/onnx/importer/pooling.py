"""Pooling with windows, and global pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from protogen import geometry
from protogen.errors import UnsupportedError
from protogen.formats.message import Name
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.convolution import convolved, pads_of
from protogen.onnx.importer.forms import cropped, reshaped, window
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        pooled(ctx, x, "AVE", kernel, strides, pads, auto_pad, padded, factors)


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


class Axis(NamedTuple):
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


def pooled(
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
    axes = pooled_axes(ctx, x, kernel, strides, pads, auto_pad)
    if rank == 2:
        _pool_plane(ctx, x, kind, axes, padded, "", factors)
        return
    single = Axis(1, 1, 1, 1, 0, 0)
    lengths = list(shape)
    for i in reversed(range(rank)):
        split = (*shape[:2], prod(lengths[2 : 2 + i]), lengths[2 + i], prod(lengths[3 + i :]))
        plane = (split[0], split[1] * split[2], split[3], split[4])
        x = reshaped(ctx, x, plane, f"plane{i}")
        other = single._replace(n=plane[3], out=plane[3])
        x = _pool_plane(ctx, x, kind, [axes[i], other], padded, f"pool{i}")
        lengths[2 + i] = out[2 + i]
    reshaped(ctx, x, out)


def pooled_axes(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> list[Axis]:
    """Return the axes of a pooling of x without dilation."""
    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides = list(strides or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, [1] * rank)
    return [
        Axis(shape[2 + i], out[2 + i], kernel[i], strides[i], low[i], high[i]) for i in range(rank)
    ]


def _pool_plane(
    ctx: ImportContext,
    x: str,
    kind: str,
    axes: Sequence[Axis],
    padded: bool,
    role: str,
    factors: NDArray[Any] | None = None,
) -> str:
    """Add a Pooling with ONNX's windows, or with more windows and Slices that drop the others."""
    fit = fitted(kind, axes)
    if fit is not None:
        scale = _factors(axes, fit.pads, padded, factors) if kind == "AVE" else None
        last = "" if fit.extra or scale is not None else "-"
        all_role = role if last else f"{role or 'windows'}_all"
        x = ctx.add("Pooling", [x], {"pooling_param": fit.params}, role=all_role)
        x = without_extra(ctx, x, axes, fit, role, is_last=scale is None)
        if scale is not None:
            params = {"scale_param": {"axis": 2, "num_axes": 2}}
            x = ctx.add("Scale", [x], params, [scale], role=role)
        return x
    if kind == "AVE" and len(ctx.shape(ctx.out)) == 4:
        kernel, strides = [a.k for a in axes], [a.s for a in axes]
        pads = [a.low for a in axes] + [a.high for a in axes]
        ones = [1] * len(kernel)
        return _dense_average(ctx, x, kernel, strides, pads, "NOTSET", padded, ones, factors)
    raise no_windows(ctx, axes)


class Fit(NamedTuple):
    """Caffe's windows that include ONNX's.

    Attributes:
        params: of the Pooling.
        pads: Caffe's pad along each axis.
        skipped: how many windows precede ONNX's first one along each axis.
        windows: the number of windows along each axis.
        extra: whether there are more windows than ONNX's.
    """

    params: dict[str, Any]
    pads: list[int]
    skipped: list[int]
    windows: tuple[int, ...]
    extra: bool


def fitted(kind: str, axes: Sequence[Axis]) -> Fit | None:
    """Return the windows of a Pooling that include ONNX's, with as few others as possible; None if there
    are none."""
    for ceil, pad_h, pad_w in _candidates(axes):
        pads = [pad_h, pad_w]
        windows = _windows(axes, pads, ceil)
        places = [a.skipped_windows(p, m) for a, p, m in zip(axes, pads, windows, strict=True)]
        skipped = [one for one in places if one is not None]
        if len(skipped) < len(axes):
            continue
        params: dict[str, Any] = {"pool": Name(kind)}
        params |= window([a.k for a in axes], [a.s for a in axes], pads, [1, 1])
        if _windows(axes, pads, True) != windows:
            params["round_mode"] = Name("FLOOR")
        extra = any(m != a.out for m, a in zip(windows, axes, strict=True))
        return Fit(params, pads, skipped, windows, extra)
    return None


def without_extra(
    ctx: ImportContext, x: str, axes: Sequence[Axis], fit: Fit, role: str, is_last: bool = True
) -> str:
    """Crop the windows that ONNX does not have. The last Slice has the ``role`` if nothing follows."""
    for i, axis in enumerate(axes):
        if fit.windows[i] == axis.out:
            continue
        later = range(i + 1, len(axes))
        final = is_last and all(fit.windows[j] == axes[j].out for j in later)
        own = role if final else f"{role or 'windows'}_cut"
        x = cropped(ctx, x, 2 + i, fit.skipped[i], fit.skipped[i] + axis.out, own)
    return x


def no_windows(ctx: ImportContext, axes: Sequence[Axis]) -> UnsupportedError:
    """Return the error for windows that no Pooling has."""
    return ctx.unsupported(
        f"Caffe's Pooling cannot produce the windows of kernel {[a.k for a in axes]}, stride "
        f"{[a.s for a in axes]}, pads {[a.low for a in axes]} and {[a.high for a in axes]}"
    )


def _windows(axes: Sequence[Axis], pads: Sequence[int], ceil: bool) -> tuple[int, ...]:
    """Return the number of Caffe's windows along each axis."""
    sizes, kernels, strides = zip(*((a.n, a.k, a.s) for a in axes), strict=True)
    return geometry.pool_windows(sizes, kernels, strides, pads, ceil)


def _candidates(axes: Sequence[Axis]) -> list[tuple[bool, int, int]]:
    """Return (ceil, pad_h, pad_w) for Caffe; those without windows to drop first, then ceil."""
    rows, columns = (range(a.low, max(a.k, a.low + 1), a.s) for a in axes)

    def cost(candidate: tuple[bool, int, int]) -> tuple[int, bool]:
        ceil, *pads = candidate
        extra = sum(m != a.out for m, a in zip(_windows(axes, pads, ceil), axes, strict=True))
        return extra, not ceil

    return sorted(product((True, False), rows, columns), key=cost)


def _factors(
    axes: Sequence[Axis], pads: Sequence[int], padded: bool, factors: NDArray[Any] | None
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
    if not counts.all():
        raise ctx.unsupported("a window has no pixel of the input, so its average is 0 / 0")
    y = summed_windows(ctx, x, kernel, strides, pads, dilations, auto_pad, "sums")
    scale = (1 if factors is None else factors) / counts
    return ctx.add(
        "Scale", [y], {"scale_param": {"axis": 2, "num_axes": rank}}, [scale.astype(np.float32)]
    )


def summed_windows(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    dilations: Sequence[int] | None,
    auto_pad: str,
    role: str,
) -> str:
    """Add the sums of a pooling's windows: a grouped Convolution of ones."""
    import numpy as np

    shape, out = ctx.shape(x), ctx.shape(ctx.out)
    rank = len(kernel)
    strides, dilations = list(strides or [1] * rank), list(dilations or [1] * rank)
    low, high = pads_of(pads, auto_pad, shape[2:], kernel, strides, dilations)
    # With ceil_mode, the last windows can end beyond the high pad.
    for i in range(rank):
        extent = geometry.kernel_extent(kernel[i], dilations[i])
        high[i] = max(high[i], (out[2 + i] - 1) * strides[i] + extent - shape[2 + i] - low[i])
    ones = np.ones((shape[1], 1, *kernel), np.float32)
    return convolved(ctx, x, ones, None, strides, low, high, dilations, shape[1], out, role)
