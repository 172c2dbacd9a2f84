"""JAX functions of ONNX operators with windows: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen import geometry
from protogen.training.signals.gradients import implements

_LETTERS = "DHW"


def _pairs(pads: Sequence[int] | None, axes: int) -> list[tuple[int, int]]:
    """Convert ONNX pads, all low ends before all high ends, to (low, high) of each axis."""
    ends = list(pads or [0] * 2 * axes)
    return list(zip(ends[:axes], ends[axes:], strict=True))


def _or_ones(numbers: Sequence[int] | None, axes: int) -> tuple[int, ...]:
    """Return strides or dilations, of which ONNX's default is 1."""
    return tuple(numbers or [1] * axes)


def _layout(axes: int) -> tuple[str, str, str]:
    """Return JAX's dimension numbers of data, weights and output."""
    letters = _LETTERS[-axes:]
    return f"NC{letters}", f"OI{letters}", f"NC{letters}"


@implements("Conv")
def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Any:
    from jax import lax

    axes = w.ndim - 2
    y = lax.conv_general_dilated(
        x,
        w,
        _or_ones(strides, axes),
        _pairs(pads, axes),
        rhs_dilation=_or_ones(dilations, axes),
        dimension_numbers=_layout(axes),
        feature_group_count=group,
    )
    return y if b is None else y + b.reshape(1, -1, *[1] * axes)


@implements("ConvTranspose")
def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    output_padding: Sequence[int] | None = None,
) -> Any:
    """Convolve the dilated input with the flipped kernel."""
    import jax.numpy as jnp
    from jax import lax

    axes = w.ndim - 2
    into, out = w.shape[0] // group, w.shape[1]
    flipped = jnp.flip(w, tuple(range(2, w.ndim))).reshape(group, into, out, *w.shape[2:])
    flipped = flipped.swapaxes(1, 2).reshape(group * out, into, *w.shape[2:])
    extra_pads = list(output_padding or [0] * axes)
    steps = _or_ones(dilations, axes)
    ends = []
    for (low, high), k, d, extra in zip(
        _pairs(pads, axes), w.shape[2:], steps, extra_pads, strict=True
    ):
        full_pad = geometry.kernel_extent(k, d) - 1
        ends.append((full_pad - low, full_pad - high + extra))
    y = lax.conv_general_dilated(
        x,
        flipped,
        (1,) * axes,
        ends,
        lhs_dilation=_or_ones(strides, axes),
        rhs_dilation=steps,
        dimension_numbers=_layout(axes),
        feature_group_count=group,
    )
    return y if b is None else y + b.reshape(1, -1, *[1] * axes)


@implements("MaxPool")
def max_pool(
    x: Any,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    ceil_mode: int = 0,
) -> Any:
    import numpy as np
    from jax import lax

    strides = _or_ones(strides, len(kernel_shape))
    ends = _ends(x.shape[2:], kernel_shape, strides, pads, ceil_mode)
    return lax.reduce_window(
        x, -np.inf, lax.max, (1, 1, *kernel_shape), (1, 1, *strides), [(0, 0), (0, 0), *ends]
    )


@implements("AveragePool")
def average_pool(
    x: Any,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Any:
    """Divide the sum of each window by its count: of pixels, or of positions inside the padding."""
    import numpy as np
    from jax import lax

    strides = _or_ones(strides, len(kernel_shape))
    ends = _ends(x.shape[2:], kernel_shape, strides, pads, ceil_mode)
    window, steps = (1, 1, *kernel_shape), (1, 1, *strides)
    sums = lax.reduce_window(x, 0.0, lax.add, window, steps, [(0, 0), (0, 0), *ends])
    padding = _pairs(pads, len(kernel_shape))
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    if count_include_pad:
        ones = np.pad(ones, [(0, 0), (0, 0), *padding], constant_values=1)
        ends = [(a - c, b - d) for (a, b), (c, d) in zip(ends, padding, strict=True)]
    counts = lax.reduce_window(ones, 0.0, lax.add, window, steps, [(0, 0), (0, 0), *ends])
    return sums / counts


def _ends(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None,
    ceil: int,
) -> list[tuple[int, int]]:
    """Return the pads at both ends of each axis.

    With ceil_mode the high end is as long as the last window needs.
    """
    ends = []
    for n, k, s, (low, high) in zip(size, kernel, strides, _pairs(pads, len(kernel)), strict=True):
        span = n + low + high - k
        windows = (-(-span // s) if ceil else span // s) + 1
        if ceil and (windows - 1) * s >= n + low:  # the last window would start after the data
            windows -= 1
        ends.append((low, (windows - 1) * s + k - n - low))
    return ends


def _global_pool(onnx: str, function: str) -> None:
    """Register a pooling over all spatial axes."""

    def call(x: Any) -> Any:
        import jax.numpy as jnp

        return getattr(jnp, function)(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    implements(onnx)(call)


_global_pool("GlobalAveragePool", "mean")
_global_pool("GlobalMaxPool", "max")
