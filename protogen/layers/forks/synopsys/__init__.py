"""Layers of Synopsys' fork, most of them with the meaning of TensorFlow."""

from protogen.layers.forks.synopsys import (
    arranging,
    cropping,
    gathering,
    indices,
    kept_boxes,
    pairs,
    points,
    pointwise,
    products,
    pruned,
    reducing,
    slicing,
    tensorflow_resizing,
    unexported,
)

__all__ = [
    "arranging",
    "cropping",
    "gathering",
    "indices",
    "kept_boxes",
    "pairs",
    "points",
    "pointwise",
    "products",
    "pruned",
    "reducing",
    "slicing",
    "tensorflow_resizing",
    "unexported",
]
