"""Forms of layers that hold constants."""

from __future__ import annotations

from protogen.formats.message import Name
from protogen.layers.base import check_room
from protogen.layers.forms.blocks import convolve, only, reshape, weights_of
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter


@form("Parameter", text="Convolution of weight 0 of the net's input, whose bias is the constant")
def constant_by_bias(layer: Layer, r: Rewriter) -> None:
    """0 x + constant for each value. An infinite input makes NaN of it."""
    import numpy as np

    values = weights_of(layer, r)[0]
    check_room(layer, values.size)
    source, shape = r.input()
    only(layer, len(shape) == 4 and shape[0] == 1, "the net has no input of one image")
    params = {"pooling_param": {"pool": Name("MAX"), "global_pooling": True}}
    pooled = r.add("Pooling", [source], role="pixel", params=params)
    flat = values.reshape(-1).astype(np.float32)
    weight = np.zeros((flat.size, shape[1], 1, 1), np.float32)
    x = convolve(r, pooled, weight, flat, role="constant")
    reshape(r, x, values.shape if values.ndim else (1,))
