"""Output sizes of windowed layers along one axis, and the upsampling formulas, all in integers.

Symbols: n input size, f factor, K kernel_size, s stride, p pad, d dilation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]


def shape_text(shape: Iterable[object], empty: str = "a scalar") -> str:
    """Return a shape as text for messages: 1x3x8x8; ``empty`` if it has no axes."""
    return "x".join(map(str, shape)) or empty


def kernel_extent(kernel: int, dilation: int = 1) -> int:
    """Return the extent of a dilated kernel in pixels: d (K - 1) + 1."""
    return dilation * (kernel - 1) + 1


def conv_out(
    size: int, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1, end: int | None = None
) -> int:
    """Return the output length of a Convolution: (n + 2p - (d (K - 1) + 1)) / s + 1. ``end`` is the
    pad at the end of the axis if it differs from ``pad``.

    The division truncates towards 0, as in C. A kernel that is longer than the padded input by
    less than one stride still gives one output pixel, and reads 0 beyond the end.
    """
    span = size + pad + (pad if end is None else end) - kernel_extent(kernel, dilation)
    return (span // stride if span >= 0 else -(-span // stride)) + 1


def end_pad(
    out: int,
    size: int,
    kernel: int,
    stride: int,
    pad: int,
    dilation: int = 1,
    end: int | None = None,
) -> int:
    """Return the pad at the end of an axis so that ``out`` windows fit:
    (out - 1) s + d (K - 1) + 1 - n - p, and at least ``end`` (by default p)."""
    least = pad if end is None else end
    return max(least, (out - 1) * stride + kernel_extent(kernel, dilation) - size - pad)


def deconv_out(
    size: int, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1, end: int | None = None
) -> int:
    """Return the output length of a Deconvolution: s (n - 1) + d (K - 1) + 1 - 2p. ``end`` is the
    pad at the end of the axis if it differs from ``pad``."""
    return (
        stride * (size - 1) + kernel_extent(kernel, dilation) - pad - (pad if end is None else end)
    )


def upsample_kernel(factor: int) -> int:
    """Return the kernel_size of bilinear upsampling by an integer factor: 2f - f mod 2."""
    return 2 * factor - factor % 2


def upsample_stride(factor: int) -> int:
    """Return the stride of upsampling by an integer factor: f."""
    return factor


def upsample_pad(factor: int) -> int:
    """Return the pad of bilinear upsampling by an integer factor:
    ceil((f - 1) / 2) = floor(f / 2)."""
    return factor // 2


def border_ring(factor: int) -> int:
    """Return the width in pixels of the border where classic upsampling differs from
    interpolation: floor(f / 2)."""
    return factor // 2


def pool_out(
    size: int,
    kernel: int,
    stride: int,
    pad: int,
    ceil: bool = True,
    padded: bool = False,
    end: int | None = None,
) -> int:
    """Return the output length of a Pooling, by Caffe's rule.

    The length is ceil((n + 2p - K) / s) + 1. With padding it is one less if the last window would
    begin beyond the input and its left pad. ``padded``: another axis has a pad; Caffe then applies
    this rule to every axis. ``end`` is the pad at the end of the axis if it differs from ``pad``.
    """
    span = size + pad + (pad if end is None else end) - kernel
    out = (-(-span // stride) if ceil else span // stride) + 1
    if (pad or padded) and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def pool_windows(
    sizes: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    ceil: bool = True,
    ends: Sequence[int] = (),
) -> tuple[int, ...]:
    """Return the number of windows of a Pooling along each axis; see ``pool_out``. ``ends`` are the
    pads at the ends of the axes if they differ from ``pads``."""
    ends = ends or pads
    padded = any(pads) or any(ends)
    return tuple(
        pool_out(n, k, s, p, ceil, padded, end)
        for n, k, s, p, end in zip(sizes, kernels, strides, pads, ends, strict=True)
    )


def clipped(
    windows: Sequence[int], sizes: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> tuple[int, ...]:
    """Return the numbers of windows without a last one that begins beyond the input and its left
    pad. Intel's fork drops this window even for a kernel of 1."""
    return tuple(
        count - 1 if (count - 1) * stride >= n + pad else count
        for count, n, stride, pad in zip(windows, sizes, strides, pads, strict=True)
    )


def interp_out(size: int, zoom: int, shrink: int) -> int:
    """Return the output length of DeepLab's Interp: first shrink, (n - 1) / shrink + 1, then zoom,
    n + (n - 1) (zoom - 1)."""
    shrunk = (size - 1) // shrink + 1
    return shrunk + (shrunk - 1) * (zoom - 1)
