"""Data layers of forks that read lists of files."""

from __future__ import annotations

from protogen.geometry import Shape
from protogen.layers.base import fields
from protogen.layers.graph import Layer
from protogen.layers.pictures import Pictures


class OneImage(Pictures, abstract=True):
    """Base class of layers with one colour image, and a label map as large as the image."""

    def batch(self, layer: Layer) -> int:
        return 1

    def cropped(self, layer: Layer) -> tuple[int, int]:
        return 0, 0

    def channels(self, layer: Layer) -> int:
        return 3

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, *size) if batch and size else None]


class SegData(OneImage):
    """Forks (yjxiong): one colour image of a list of files, and its label map. Their sizes are multiples
    of ``stride``, and depend on the image."""

    reads = fields(seg_data_param="")
    stock = False
    source = "yjxiong/caffe"
