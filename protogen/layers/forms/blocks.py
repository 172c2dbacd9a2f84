"""Layers that many forms consist of: x c + d, sums, products, views, and spreading."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.base import kind_of
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating]

PRODUCT = {"eltwise_param": {"operation": Name("PROD")}}
MAXIMUM = {"eltwise_param": {"operation": Name("MAX")}}


def only(layer: Layer, holds: bool, problem: str) -> None:
    """Raises UnsupportedError unless the condition of a form holds."""
    if not holds:
        raise layer.unsupported(problem)


def weights_of(layer: Layer, r: Rewriter) -> list[Array]:
    """Return the parameter blobs of a layer.

    Raises:
        UnsupportedError: the net has no weights.
    """
    weights = r.weights()
    if weights is None:
        raise layer.unsupported("this form is computed from the weights, which are missing")
    return weights


def affine(
    r: Rewriter, x: str, c: float, d: float, channels: int, *, role: str = "", top: str = ""
) -> str:
    """Add c x + d as a Scale along the channels."""
    import numpy as np

    factors, addends = np.full(channels, c, np.float32), np.full(channels, d, np.float32)
    return scale(r, x, factors, addends, role=role, top=top)


def scale(
    r: Rewriter, x: str, factors: Array, addends: Array | None, *, role: str = "", top: str = ""
) -> str:
    """Add a Scale along the channels with one factor and one addend (or none) for each."""
    blobs = [factors] if addends is None else [factors, addends]
    params = {"scale_param": {"bias_term": True}} if addends is not None else {}
    return r.add("Scale", [x], role=role, top=top, params=params, weights=blobs)


def powered(r: Rewriter, x: str, *, role: str = "", top: str = "", **values: float) -> str:
    """Add a Power: (shift + scale x) ^ power."""
    return r.add("Power", [x], role=role, top=top, params={"power_param": values})


def product(r: Rewriter, a: str, b: str, *, role: str = "", top: str = "") -> str:
    return r.add("Eltwise", [a, b], role=role, top=top, params=PRODUCT)


def total(r: Rewriter, a: str, b: str, *, role: str = "", top: str = "") -> str:
    return r.add("Eltwise", [a, b], role=role, top=top)


def maximum(r: Rewriter, a: str, b: str, *, role: str = "", top: str = "") -> str:
    return r.add("Eltwise", [a, b], role=role, top=top, params=MAXIMUM)


def reshape(r: Rewriter, x: str, shape: Sequence[int], *, role: str = "", top: str = "") -> str:
    """Add a Reshape to these lengths."""
    params = {"reshape_param": {"shape": {"dim": [int(n) for n in shape]}}}
    return r.add("Reshape", [x], role=role, top=top, params=params)


def permute(r: Rewriter, x: str, order: Sequence[int], *, role: str = "", top: str = "") -> str:
    params = {"permute_param": {"order": list(order)}}
    return r.add("Permute", [x], role=role, top=top, params=params)


def convolve(
    r: Rewriter,
    x: str,
    weight: Array,
    bias: Array | None = None,
    *,
    group: int = 1,
    stride: Sequence[int] = (1, 1),
    pad: Sequence[int] = (0, 0),
    type_: str = "Convolution",
    role: str = "",
    top: str = "",
) -> str:
    """Add a Convolution (or Deconvolution) with this weight (out, in / group, H, W) and a bias; a
    bias of 0 where it is None, because some toolchains read no layer without one."""
    import numpy as np

    out = weight.shape[0] if type_ == "Convolution" else weight.shape[1] * group
    params: dict[str, Any] = {"num_output": out, **window(weight.shape[2:], stride, pad)}
    if type_ == "Deconvolution" and set(stride) == {1}:
        params["stride"] = 1  # some toolchains take another default
    if group > 1:
        params["group"] = group
    blobs = [weight, np.zeros(out, np.float32) if bias is None else bias]
    return r.add(
        type_, [x], role=role, top=top, params={"convolution_param": params}, weights=blobs
    )


def window(kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int]) -> dict[str, Any]:
    """Return kernel, stride and pad: one value where height and width agree, else both."""
    params: dict[str, Any] = {}
    for field, key, (h, w), default in (
        ("kernel_size", "kernel", tuple(kernel), None),
        ("stride", "stride", tuple(stride), 1),
        ("pad", "pad", tuple(pad), 0),
    ):
        if h == w:
            if h != default:
                params[field] = int(h)
        else:
            params |= {f"{key}_h": int(h), f"{key}_w": int(w)}
    return params


def depthwise(
    r: Rewriter,
    x: str,
    kernel: Array,
    *,
    bias: Array | None = None,
    stride: Sequence[int] = (1, 1),
    pad: Sequence[int] = (0, 0),
    channels: int,
    type_: str = "Convolution",
    role: str = "",
    top: str = "",
) -> str:
    """Add a convolution of each channel with the same kernel (H, W), or with its own (C, H, W)."""
    import numpy as np

    weight = np.broadcast_to(
        np.asarray(kernel, np.float32).reshape(-1, 1, *kernel.shape[-2:]),
        (channels, 1, *kernel.shape[-2:]),
    )
    return convolve(
        r, x, weight, bias, group=channels, stride=stride, pad=pad, type_=type_, role=role, top=top
    )


def image(layer: Layer, r: Rewriter, index: int = 0) -> Shape:
    """Return the shape N, C, H, W of a bottom.

    Raises:
        UnsupportedError: it does not have 4 axes.
    """
    shape = r.shape(layer.bottoms[index])
    only(layer, len(shape) == 4, "this form needs a bottom with 4 axes")
    return shape


def channels_of(layer: Layer, r: Rewriter) -> int:
    """Return the channels of the first bottom.

    Raises:
        UnsupportedError: it has only one axis.
    """
    shape = r.shape(layer.bottoms[0])
    only(layer, len(shape) > 1, "this form needs a bottom with channels")
    return shape[1]


def flat(shape: Shape, axis: int, axes: int = 1) -> Shape:
    """Return the lengths before, of and after ``axes`` axes from ``axis`` on, as an image."""
    inner = prod(shape[axis : axis + axes])
    return (prod(shape[:axis]), inner, prod(shape[axis + axes :]), 1)


def top_shape(layer: Layer, r: Rewriter) -> Shape:
    """Return the shape of the first top."""
    kind = kind_of(layer)
    assert kind is not None
    top = kind.shapes(layer, [r.shape(bottom) for bottom in layer.bottoms])[0]
    assert top is not None
    return top
