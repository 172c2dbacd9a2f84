"""Forms of Sigmoid and TanH by Softmax."""

from __future__ import annotations

from math import prod

from protogen.layers.base import check_room
from protogen.layers.forms.blocks import affine, convolve, image, reshape
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter


@form("Sigmoid", text="Softmax of x and 0")
def sigmoid_by_softmax(layer: Layer, r: Rewriter) -> None:
    """e^x / (e^x + e^0): a Convolution writes x and zeros, a Softmax is along these two."""
    _by_softmax(layer, r, layer.bottoms[0], "")


@form("TanH", text="Softmax of 2 x and 0, and Scale")
def tanh_by_softmax(layer: Layer, r: Rewriter) -> None:
    """2 sigmoid(2 x) - 1."""
    channels = image(layer, r)[1]
    x = affine(r, layer.bottoms[0], 2, 0, channels, role="double")
    affine(r, _by_softmax(layer, r, x, "sigmoid"), 2, -1, channels)


def _by_softmax(layer: Layer, r: Rewriter, x: str, role: str) -> str:
    import numpy as np

    n, channels, height, width = image(layer, r)
    check_room(layer, 2 * channels * channels)
    eye = np.eye(channels, dtype=np.float32)
    both = np.concatenate([eye, 0 * eye]).reshape(2 * channels, channels, 1, 1)
    x = convolve(r, x, both, role="with_zeros")
    x = reshape(r, x, (n, 2, channels, prod((height, width))), role="pairs")
    x = r.add("Softmax", [x], role="softmax")
    x = reshape(r, x, (n, 2 * channels, height, width), role="halves")
    first = np.concatenate([eye, 0 * eye], axis=1).reshape(channels, 2 * channels, 1, 1)
    return convolve(r, x, first, role=role)
