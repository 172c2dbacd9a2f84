"""Layers for sums, products, powers and limits, which several families of operators use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import tiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 3.4028234663852886e38  # largest float32


def floats(ctx: ImportContext, values: NDArray[Any]) -> NDArray[Any]:
    """Return a constant as floating point numbers; integers and truth values as float32.

    Raises:
        UnsupportedError: float32 cannot hold an integer of the constant.
    """
    import numpy as np

    if values.dtype.kind == "f":
        return values
    result = values.astype(np.float32)
    if not np.array_equal(result.astype(values.dtype), values):
        raise ctx.unsupported(f"float32 cannot hold the integers of a constant ({values.dtype})")
    return result


def constant_operand(ctx: ImportContext, a: str, b: str) -> tuple[str, NDArray[Any]] | None:
    """Return (the other operand, the constant) of a commutative operator; None if both are computed."""
    for x, other in ((a, b), (b, a)):
        values = ctx.constant(other)
        if values is not None:
            return x, values
    return None


def powered(
    ctx: ImportContext,
    x: str,
    *,
    power: float = 1.0,
    scale: float = 1.0,
    shift: float = 0.0,
    role: str = "",
) -> str:
    """Add a Power layer: (shift + scale x) ^ power."""
    arguments = (("power", power, 1.0), ("scale", scale, 1.0), ("shift", shift, 0.0))
    params = {key: float(value) for key, value, default in arguments if value != default}
    return ctx.add("Power", [x], {"power_param": params} if params else {}, role=role)


def eltwise(ctx: ImportContext, operation: str, bottoms: list[str], role: str = "") -> str:
    """Add an Eltwise layer; the operation SUM is Caffe's default."""
    params = {} if operation == "SUM" else {"eltwise_param": {"operation": Name(operation)}}
    return ctx.add("Eltwise", bottoms, params, role=role)


def clipped(ctx: ImportContext, x: str, low: float, high: float) -> None:
    """Limit a value: ReLU if the only limit is 0 from below, else Clip.

    Limits beyond float32's range are set to its ends.
    """
    low, high = (min(max(value, -LARGEST), LARGEST) for value in (low, high))
    if low > high:  # ONNX: then every value becomes the upper limit
        low = high
    if low == 0 and high == LARGEST:
        ctx.add("ReLU", [x])
    elif (low, high) == (-LARGEST, LARGEST):
        ctx.pass_through(x)
    else:
        ctx.add("Clip", [x], {"clip_param": {"min": low, "max": high}})


def span(shape: Shape, small: Shape) -> tuple[int, Shape] | None:
    """Return (first axis, lengths) of the axes of ``small``, aligned to the last axes of ``shape``.

    Return None unless the axes that are longer than 1 are consecutive and match ``shape``.
    """
    if len(small) > len(shape):
        return None
    padded = (1,) * (len(shape) - len(small)) + small
    long_axes = [i for i, n in enumerate(padded) if n != 1]
    if not long_axes:
        return None
    first, last = long_axes[0], long_axes[-1]
    if padded[first : last + 1] != shape[first : last + 1]:
        return None
    return first, padded[first : last + 1]


def with_constant(
    ctx: ImportContext,
    x: str,
    values: NDArray[Any],
    kind: str,
    role: str = "",
    bias: NDArray[Any] | None = None,
) -> str:
    """Multiply by (Scale) or add (Bias) a constant, with broadcasting.

    One number becomes a Power. Other constants become a Scale or Bias along some axes, or along all
    axes after the batch. ``bias`` goes into the same Scale and has the shape of the factors.
    """
    import numpy as np

    values = floats(ctx, values)
    shape = ctx.shape(x)
    out = np.broadcast_shapes(shape, values.shape)
    if values.size == 1 and out == shape and bias is None:
        number = float(values.reshape(()))
        if number == (1 if kind == "Scale" else 0):
            return x if role else ctx.pass_through(x)
        if kind == "Scale":
            return powered(ctx, x, scale=number, role=role)
        return powered(ctx, x, shift=number, role=role)
    x = tiled(ctx, x, out, "wide") if shape != out else x
    axes = span(out, values.shape)
    if axes is None:
        blobs = [np.broadcast_to(one, out) for one in (values, bias) if one is not None]
        same_for_batch = len(out) > 1 and (out[0] == 1 or not any(one.strides[0] for one in blobs))
        axes = (1, out[1:]) if same_for_batch else (0, out)
        values, *terms = (np.ascontiguousarray(one[0] if same_for_batch else one) for one in blobs)
        bias = terms[0] if terms else None
    axis, inner = axes
    params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
    if len(inner) != 1:
        params["num_axes"] = len(inner)
    blobs = [values.reshape(inner).astype(np.float32, copy=False)]
    if bias is not None:
        params["bias_term"] = True
        blobs.append(bias.reshape(inner).astype(np.float32, copy=False))
    key = f"{kind.lower()}_param"
    return ctx.add(kind, [x], {key: params} if params else {}, blobs, role=role)


def per_channel(ctx: ImportContext, x: str, values: str, kind: str, role: str = "") -> str:
    """Multiply (Scale) or add (Bias) one number per channel: a constant, or a computed value of shape
    (C,)."""
    array = ctx.constant(values)
    if array is None:
        return ctx.add(kind, [x, values], role=role)
    inner = (array.size, *[1] * (len(ctx.shape(x)) - 2))
    return with_constant(ctx, x, array.reshape(inner), kind, role)
