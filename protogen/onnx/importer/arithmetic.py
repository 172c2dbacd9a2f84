"""Sums, products, powers and limits as layers: what operators of several families are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.onnx.importer.context import Lifter
from protogen.onnx.importer.forms import tiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 3.4028234663852886e38  # of float32


def powered(
    to: Lifter,
    x: str,
    *,
    power: float = 1.0,
    scale: float = 1.0,
    shift: float = 0.0,
    role: str = "",
) -> str:
    """Power: (shift + scale x) ^ power."""
    given = (("power", power, 1.0), ("scale", scale, 1.0), ("shift", shift, 0.0))
    params = {key: float(value) for key, value, default in given if value != default}
    return to.add("Power", [x], {"power_param": params} if params else {}, role=role)


def eltwise(to: Lifter, operation: str, bottoms: list[str], role: str = "") -> str:
    """Eltwise; SUM is what Caffe does unless told otherwise."""
    params = {} if operation == "SUM" else {"eltwise_param": {"operation": Name(operation)}}
    return to.add("Eltwise", bottoms, params, role=role)


def clipped(to: Lifter, x: str, low: float, high: float) -> None:
    """ReLU where only 0 limits, else Clip; limits beyond float32 are its own."""
    low, high = (min(max(value, -LARGEST), LARGEST) for value in (low, high))
    if low > high:  # ONNX: then all is the upper limit
        low = high
    if low == 0 and high == LARGEST:
        to.add("ReLU", [x])
    elif (low, high) == (-LARGEST, LARGEST):
        to.same(x)
    else:
        to.add("Clip", [x], {"clip_param": {"min": low, "max": high}})


def span(shape: Shape, small: Shape) -> tuple[int, Shape] | None:
    """(first axis, lengths) of the axes that ``small`` has, if they stand side by side in
    ``shape`` and all others are 1; None otherwise."""
    if len(small) > len(shape):
        return None
    padded = (1,) * (len(shape) - len(small)) + small
    used = [i for i, n in enumerate(padded) if n != 1]
    if not used:
        return None
    first, last = used[0], used[-1]
    if padded[first : last + 1] != shape[first : last + 1]:
        return None
    return first, padded[first : last + 1]


def with_constant(
    to: Lifter,
    x: str,
    values: NDArray[Any],
    kind: str,
    role: str = "",
    bias: NDArray[Any] | None = None,
) -> str:
    """Times (Scale) or plus (Bias) a constant, with broadcasting: Power for one number; else a
    Scale or Bias with a number along some axes, or along all axes behind the batch. ``bias`` goes
    into the same Scale, and has the shape of the factors."""
    import numpy as np

    if values.dtype.kind != "f":
        raise to.refuse(f"its constant is {values.dtype}, but Caffe computes in float32")
    shape = to.shape(x)
    wanted = np.broadcast_shapes(shape, values.shape)
    if values.size == 1 and wanted == shape and bias is None:
        number = float(values.reshape(()))
        if number == (1 if kind == "Scale" else 0):
            return x if role else to.same(x)
        if kind == "Scale":
            return powered(to, x, scale=number, role=role)
        return powered(to, x, shift=number, role=role)
    x = tiled(to, x, wanted, "wide") if shape != wanted else x
    found = span(wanted, values.shape)
    if found is None:
        full = np.broadcast_to(values, wanted)
        alike = len(wanted) > 1 and (wanted[0] == 1 or not any(full.strides[:1]))
        found = (1, wanted[1:]) if alike else (0, wanted)
        values = np.ascontiguousarray(full[0] if alike else full)
        if bias is not None:
            whole = np.broadcast_to(bias, wanted)
            bias = np.ascontiguousarray(whole[0] if alike else whole)
    axis, inner = found
    params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
    if len(inner) != 1:
        params["num_axes"] = len(inner)
    blobs = [values.reshape(inner).astype(np.float32, copy=False)]
    if bias is not None:
        params["bias_term"] = True
        blobs.append(bias.reshape(inner).astype(np.float32, copy=False))
    key = f"{kind.lower()}_param"
    return to.add(kind, [x], {key: params} if params else {}, blobs, role=role)
