"""Pooling of volumes as two Poolings of stock Caffe: along the first spatial axis, then in planes."""

from __future__ import annotations

from typing import Any

from protogen import geometry
from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.base import Window
from protogen.layers.elementwise import reshape
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter


def pooled_in_stages(
    layer: Layer, r: Rewriter, pool: str, shape: Shape, w: Window, out: Shape
) -> None:
    """Replace a pooling of volumes, or of planes. The maximum over a box is that over its planes, and
    an average whose divisor is the product of three lengths is an average of averages.

    Args:
        pool: MAX or AVE, with Caffe's divisor.
        shape: shape of the bottom, of four or five axes.
        w: the window; its pads are equal at both ends.
        out: lengths of the spatial axes of the top.

    Raises:
        UnsupportedError: no Pooling of stock Caffe has these windows.
    """
    if pool not in ("MAX", "AVE") or len(layer.tops) > 1:
        raise layer.unsupported(f"no stock layers pool volumes by {pool}, or give its indices")
    if len(w.kernel) == 2:
        params = _stock(layer, pool, shape[2:], w.kernel, w.stride, w.pad, out)
        r.add("Pooling", layer.bottoms, params=params)
        return
    channels, (length, height, width) = shape[1], shape[2:]
    stages = [
        (slice(0, 1), (0, channels, length, height * width), "length"),
        (slice(1, 3), (0, channels * out[0], height, width), "planes"),
    ]
    x = layer.bottoms[0]
    for axes, dims, role in stages:
        kernel, stride, pad = w.kernel[axes], w.stride[axes], w.pad[axes]
        if all((k, s, p) == (1, 1, 0) for k, s, p in zip(kernel, stride, pad, strict=True)):
            continue
        if len(kernel) == 1:
            kernel, stride, pad = (*kernel, 1), (*stride, 1), (*pad, 0)
        wanted = (out[0], dims[3]) if role == "length" else out[1:]
        params = _stock(layer, pool, dims[2:], kernel, stride, pad, wanted)
        x = r.add("Reshape", [x], role=f"as_{role}", params=reshape(dims))
        x = r.add("Pooling", [x], role=role, params=params)
    final = (0, channels, *out)
    r.add("Reshape", [x], params=reshape(final))


def _stock(
    layer: Layer, pool: str, sizes: Shape, kernel: Shape, stride: Shape, pad: Shape, out: Shape
) -> dict[str, Any]:
    """Return the parameters of the stock Pooling with these windows.

    Raises:
        UnsupportedError: there is none.
    """
    windows = (sizes, kernel, stride, pad)
    floors = [f for f in (False, True) if geometry.pool_windows(*windows, not f) == out]
    if not floors or any(p >= k for k, p in zip(kernel, pad, strict=True)):
        raise layer.unsupported(
            "no stock Pooling has these windows: it drops a last window that begins in the padding"
        )
    params: dict[str, Any] = {"pool": Name(pool)}
    for name, values in (("kernel", kernel), ("stride", stride), ("pad", pad)):
        params |= {f"{name}_h": values[0], f"{name}_w": values[1]}
    if floors[0]:
        params["round_mode"] = Name("FLOOR")
    return {"pooling_param": params}
