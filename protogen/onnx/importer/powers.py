"""Pow with constant exponents or a constant base, and p-norms: of rows, windows and whole channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen.geometry import kernel_extent
from protogen.onnx.importer.arithmetic import eltwise, floats, powered, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import paired
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import reshaped, tiled
from protogen.onnx.importer.pooling import summed_windows
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.registry import imports
from protogen.onnx.importer.selection import narrowed

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

MOST_POWERS = 32  # layers for different exponents of one operator
SMALLEST = 1.1754943508222875e-38  # smallest normal float32


@imports("Pow")
def power(ctx: ImportContext, x: str, exponent: str) -> None:
    """A Power for each different exponent; an Exp for a constant base above 0."""
    base, exponents = ctx.constant(x), ctx.constant(exponent)
    if base is not None:
        _exponential(ctx, floats(ctx, base), exponent)
        return
    if exponents is None:
        raise ctx.unsupported(
            f'the exponent "{exponent}" is computed as well as the base',
            "If the base is positive, write Exp(exponent * Log(base)) in the model.",
        )
    x = tiled(ctx, x, ctx.shape(ctx.out), "wide")
    values = narrowed(floats(ctx, exponents))
    if values.size == 1:
        number = float(values.reshape(()))
        if number == 1:
            ctx.pass_through(x)
        else:
            powered(ctx, x, power=number)
        return
    _powers(ctx, x, values.reshape((1,) * (len(ctx.shape(x)) - values.ndim) + values.shape))


def _exponential(ctx: ImportContext, base: NDArray[Any], exponent: str) -> None:
    """base^x: an Exp with this base, or e^(x log(base))."""
    import numpy as np

    if (base <= 0).any():
        raise ctx.unsupported("the constant base must be above 0, because Caffe's Exp has no other")
    base = narrowed(base)
    if base.size > 1:
        y = with_constant(
            ctx, exponent, np.log(base.astype(np.float64)).astype(np.float32), "Scale", "logs"
        )
        ctx.add("Exp", [y])
        return
    x = tiled(ctx, exponent, ctx.shape(ctx.out), "wide")
    number = float(base.reshape(()))
    if number == 1:
        powered(ctx, x, power=0.0)
    else:
        natural = math.isclose(number, math.e, rel_tol=1e-7)
        ctx.add("Exp", [x], {} if natural else {"exp_param": {"base": number}})


def _powers(ctx: ImportContext, x: str, exponents: NDArray[Any]) -> None:
    """Raise the values of a blob to different powers: Slices if the exponents change along one axis,
    else a product of blobs in which all values but those of one exponent are 1."""
    import numpy as np

    distinct = np.unique(exponents)
    axes = [axis for axis, n in enumerate(exponents.shape) if n > 1]
    line = exponents.reshape(-1)
    points = [i for i in range(1, line.size) if line[i] != line[i - 1]] if len(axes) == 1 else []
    by_slices, by_masks = len(points) + 3, 2 * len(distinct) + 1
    if points and by_slices <= max(by_masks, MOST_POWERS // 2):
        parts = ctx.split(x, axes[0], points, "part")
        numbers = [float(line[i]) for i in (0, *points)]
        parts = [
            part if number == 1 else powered(ctx, part, power=number, role="power")
            for part, number in zip(parts, numbers, strict=True)
        ]
        ctx.add("Concat", parts, {"concat_param": {"axis": axes[0]}} if axes[0] != 1 else {})
        return
    if by_masks > MOST_POWERS:
        raise ctx.unsupported(
            f"{len(distinct)} different exponents take too many layers ({by_masks})"
        )
    note_spread(ctx)
    factors = []
    for number in distinct.tolist():
        mask = (exponents == number).astype(np.float32)
        y = with_constant(ctx, x, mask, "Scale", "only", bias=1 - mask)
        factors.append(y if number == 1 else powered(ctx, y, power=number, role="power"))
    eltwise(ctx, "PROD", factors)


# Norms


def _magnitude(ctx: ImportContext, x: str, p: int) -> str:
    """Add |x|^p."""
    if p % 2 or p < 1:
        x = ctx.add("AbsVal", [x], role="size")
    return x if p == 1 else powered(ctx, x, power=float(p), role="power")


def _root(ctx: ImportContext, x: str, p: int, role: str, scale: float = 1.0) -> str:
    """Add (scale x)^(1/p)."""
    if p == 1 and scale == 1:
        return x if role else ctx.pass_through(x)
    return powered(ctx, x, power=1 / p, scale=scale, role=role)


@imports("LpNormalization")
def lp_normalization(ctx: ImportContext, x: str, *, axis: int = -1, p: int = 2) -> None:
    """x / ||x||. A vector of zeros stays: its inverse norm is finite, because of the shift."""
    shape = ctx.shape(x)
    norm = reduced(ctx, _magnitude(ctx, x, p), [axis % len(shape)], "SUM", "sum")
    norm = _root(ctx, norm, p, "norm")
    inverse = powered(ctx, norm, shift=SMALLEST, power=-1.0, role="inverse")
    paired(ctx, x, inverse, "PROD")


@imports("GlobalLpPool")
def global_lp_pool(ctx: ImportContext, x: str, *, p: int = 2) -> None:
    """The p-norm of each channel: the mean, times the number of values."""
    shape = ctx.shape(x)
    mean = reduced(ctx, _magnitude(ctx, x, p), range(2, len(shape)), "MEAN", "mean")
    reshaped(ctx, _root(ctx, mean, p, "norm", scale=float(prod(shape[2:]))), ctx.shape(ctx.out))


@imports("LpPool")
def lp_pool(
    ctx: ImportContext,
    x: str,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    p: int = 2,
) -> None:
    """The p-norm of each window: a Convolution of ones for each channel."""
    if auto_pad.startswith("SAME"):
        _check_windows(ctx, x, kernel_shape, strides, dilations)
    y = _magnitude(ctx, x, p)
    y = summed_windows(ctx, y, kernel_shape, strides, pads, dilations, auto_pad, "sums")
    ctx.pass_through(_root(ctx, y, p, "norm"))


def _check_windows(
    ctx: ImportContext,
    x: str,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
) -> None:
    """Raise an UnsupportedError if the automatic pads would be negative: onnxruntime shifts the windows
    then, and other readers of ONNX do not."""
    ones = [1] * len(kernel)
    axes = zip(ctx.shape(x)[2:], kernel, strides or ones, dilations or ones, strict=True)
    for n, k, s, d in axes:
        if (-(-n // s) - 1) * s + kernel_extent(k, d) < n:
            raise ctx.unsupported(
                f"auto_pad of windows of {k} pixels with stride {s} leaves pixels of {n} out, so that "
                "the place of the windows is undefined",
                "Give the pads.",
            )
