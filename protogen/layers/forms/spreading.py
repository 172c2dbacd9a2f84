"""Forms of Scale and Bias with two bottoms: the smaller one is spread over the larger one."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from protogen.layers.base import check_room
from protogen.layers.forms.blocks import convolve, depthwise, only, product, reshape, total
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.geometry import Shape


def _smaller(layer: Layer, r: Rewriter) -> tuple[str, Shape, Shape]:
    """Return the second bottom, reshaped to the rank of the first; its shape; and the first's."""
    only(layer, len(layer.bottoms) == 2, "it has one bottom")
    p = layer.params.scale_param if layer.type == "Scale" else layer.params.bias_param
    only(layer, layer.type == "Bias" or not p.bias_term, "it has a bias")
    large, small = (r.shape(bottom) for bottom in layer.bottoms)
    axis = p.axis + len(large) if p.axis < 0 else p.axis
    shape = (*(1,) * axis, *small, *(1,) * (len(large) - axis - len(small)))
    y = layer.bottoms[1]
    return (y if shape == small else reshape(r, y, shape, role="axes")), shape, large


def _join(layer: Layer, r: Rewriter, y: str) -> None:
    (product if layer.type == "Scale" else total)(r, layer.bottoms[0], y)


@form("Scale", "Bias", text="Eltwise of equal shapes")
def elementwise(layer: Layer, r: Rewriter) -> None:
    y, shape, large = _smaller(layer, r)
    only(layer, shape == large, "its bottoms differ in shape")
    _join(layer, r, y)


@form("Scale", text="Scale along axis 0 with a bottom of N x C")
def along_the_batch(layer: Layer, r: Rewriter) -> None:
    """A gate of N x C x 1 x 1 as N x C: some toolchains take two bottoms along axis 0 only."""
    only(layer, len(layer.bottoms) == 2, "it has one bottom")
    p = layer.params.scale_param
    large, small = (r.shape(bottom) for bottom in layer.bottoms)
    axis = p.axis + len(large) if p.axis < 0 else p.axis
    full = (*(1,) * axis, *small, *(1,) * (len(large) - axis - len(small)))
    only(layer, not p.bias_term and full[:2] == large[:2], "its second bottom is not N x C")
    only(layer, prod(full[2:]) == 1 and (axis, small) != (0, large[:2]), "it has this form already")
    y = reshape(r, layer.bottoms[1], large[:2], role="gate")
    r.add("Scale", [layer.bottoms[0], y], params={"scale_param": {"axis": 0}})


@form("Scale", "Bias", text="Tile and Eltwise")
def spread_by_tiles(layer: Layer, r: Rewriter) -> None:
    y, shape, large = _smaller(layer, r)
    only(layer, shape != large, "its bottoms have one shape")
    for axis, (n, m) in enumerate(zip(shape, large, strict=True)):
        if n != m:
            params = {"tile_param": {"axis": axis, "tiles": m}}
            y = r.add("Tile", [y], role=f"wide{axis}", params=params)
    _join(layer, r, y)


def _gate(layer: Layer, r: Rewriter) -> tuple[str, Shape]:
    """Return a gate of (N, C, 1, 1) and the shape of the first bottom.

    Raises:
        UnsupportedError: the second bottom has another shape.
    """
    y, shape, large = _smaller(layer, r)
    is_gate = len(large) == 4 and shape[:2] == large[:2] and prod(shape[2:]) == 1
    only(layer, is_gate and prod(large[2:]) > 1, "its second bottom is not N x C x 1 x 1")
    return y, large


@form("Scale", "Bias", text="Deconvolution of ones and Eltwise")
def spread_by_deconvolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    y, large = _gate(layer, r)
    ones, size = np.ones(large[2:], np.float32), large[2:]
    y = depthwise(r, y, ones, stride=size, channels=large[1], type_="Deconvolution", role="spread")
    _join(layer, r, y)


@form("Scale", "Bias", text="Convolution to C H W channels, Reshape and Eltwise")
def spread_by_channels(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    y, large = _gate(layer, r)
    check_room(layer, prod(large[1:]))
    weight = np.ones((prod(large[1:]), 1, 1, 1), np.float32)
    y = convolve(r, y, weight, group=large[1], role="copies")
    _join(layer, r, reshape(r, y, (0, *large[1:]), role="spread"))


@form("Scale", "Bias", text="depthwise convolution of ones and Eltwise")
def spread_by_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    y, large = _gate(layer, r)
    ones, pad = np.ones(large[2:], np.float32), [n - 1 for n in large[2:]]
    _join(layer, r, depthwise(r, y, ones, pad=pad, channels=large[1], role="spread"))
