"""Sizes along one axis, and the upsampling formulas: whole numbers in, whole numbers out.

Letters are Caffe's own: f factor, K kernel_size, s stride, p pad, d dilation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]


def shape_text(shape: Iterable[object], empty: str = "a scalar") -> str:
    """A shape as messages write it: 1x3x8x8; ``empty`` where it has no axes."""
    return "x".join(map(str, shape)) or empty


def kernel_extent(kernel: int, dilation: int = 1) -> int:
    """Pixels that a dilated kernel spans: d (K - 1) + 1."""
    return dilation * (kernel - 1) + 1


def conv_out(size: int, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> int:
    """Length of a Convolution's output: (n + 2p - (d (K - 1) + 1)) / s + 1.

    The division is C's, towards 0: a kernel that reaches past the padded end by less than a stride
    still makes one pixel, and what it reads there is 0.
    """
    span = size + 2 * pad - kernel_extent(kernel, dilation)
    return (span // stride if span >= 0 else -(-span // stride)) + 1


def end_pad(out: int, size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Pad behind an axis so that ``out`` windows fit: (out - 1) s + d (K - 1) + 1 - n - p, and at
    least p."""
    return max(pad, (out - 1) * stride + kernel_extent(kernel, dilation) - size - pad)


def deconv_out(size: int, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> int:
    """Length of a Deconvolution's output: s (n - 1) + d (K - 1) + 1 - 2p."""
    return stride * (size - 1) + kernel_extent(kernel, dilation) - 2 * pad


def upsample_kernel(factor: int) -> int:
    """kernel_size of bilinear upsampling by a whole factor: 2f - f mod 2."""
    return 2 * factor - factor % 2


def upsample_stride(factor: int) -> int:
    """stride of upsampling by a whole factor: f."""
    return factor


def upsample_pad(factor: int) -> int:
    """pad of bilinear upsampling by a whole factor: ceil((f - 1) / 2), which is floor(f / 2)."""
    return factor // 2


def border_ring(factor: int) -> int:
    """Pixels at each border where classic upsampling differs from interpolation: floor(f / 2)."""
    return factor // 2


def pool_out(
    size: int, kernel: int, stride: int, pad: int, ceil: bool = True, padded: bool = False
) -> int:
    """Length of a Pooling's output, by Caffe's rule.

    ceil((n + 2p - K) / s) + 1, and with padding one less where the last window would begin beyond
    the input and its left pad. ``padded``: the other axis has a pad, which counts for both.
    """
    span = size + 2 * pad - kernel
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
) -> tuple[int, ...]:
    """How many windows a Pooling has along each of its axes: ``pool_out`` of all together."""
    padded = any(pads)
    return tuple(
        pool_out(n, k, s, p, ceil, padded)
        for n, k, s, p in zip(sizes, kernels, strides, pads, strict=True)
    )


def clipped(
    windows: Sequence[int], sizes: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> tuple[int, ...]:
    """Windows without a last one that begins behind the input and the pad before it. Intel's fork
    drops it beside a kernel of 1 too."""
    return tuple(
        count - 1 if (count - 1) * stride >= n + pad else count
        for count, n, stride, pad in zip(windows, sizes, strides, pads, strict=True)
    )


def interp_out(size: int, zoom: int, shrink: int) -> int:
    """Length of DeepLab's Interp: shrink first, (n - 1) / shrink + 1, then zoom,
    n + (n - 1) (zoom - 1)."""
    shrunk = (size - 1) // shrink + 1
    return shrunk + (shrunk - 1) * (zoom - 1)
