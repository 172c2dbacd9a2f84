"""Where each blob's pixels lie in the input: Caffe's coordinate map, and the right offsets of Crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from protogen.layers import POINT, kind_of
from protogen.layers.graph import Graph, Layer
from protogen.layers.shaping import crop_offsets


@dataclass(frozen=True, slots=True)
class Map:
    """Along one axis: a blob's coordinate is ``scale`` times the input's plus ``shift``. Coordinates
    are those of pixels' centres, the first at 0."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class BlobCoordinates:
    """How the coordinates of a blob follow from those of the input ``source``."""

    source: str
    height: Map = Map()
    width: Map = Map()


def places(graph: Graph) -> dict[str, BlobCoordinates | None]:
    """The place of every value of a net; None where it has none (behind a dense layer).

    A convolution or pooling of extent e = d (K - 1) + 1, stride s and pad p maps x to
    x / s + (p - (e - 1) / 2) / s, a transposed one to s x + (e - 1) / 2 - p, a Crop to x - offset:
    Caffe's own rule (python/caffe/coord_map.py), in exact fractions. Of several bottoms the first one
    that has a place counts.
    """
    found: dict[str, BlobCoordinates | None] = {
        name: BlobCoordinates(name) for name in graph.inputs if len(graph.shapes[name] or ()) == 4
    }
    for layer in graph.layers:
        for write in layer.writes:
            shape = graph.shapes.get(write)
            flat = shape is None or len(shape) != 4
            found[write] = None if flat else _place(graph, layer, write, found)
    return found


def _place(
    graph: Graph, layer: Layer, write: str, found: dict[str, BlobCoordinates | None]
) -> BlobCoordinates | None:
    if not layer.reads:
        return BlobCoordinates(write)
    shapes = [graph.shapes.get(read) for read in layer.reads]
    known = [shape for shape in shapes if shape is not None]
    before = next((place for read in layer.reads if (place := found.get(read))), None)
    kind = kind_of(layer)
    if before is None or kind is None or len(known) < len(shapes):
        return None
    if layer.type == "Crop":
        down, right = crop_offsets(layer, known[0])[2:]
        height, width = before.height, before.width
        return BlobCoordinates(
            before.source,
            Map(height.scale, height.shift - down),
            Map(width.scale, width.shift - right),
        )
    window = kind.window(layer, known)
    if window is None:
        return None
    if window == POINT or len(window.kernel) != 2:
        return before
    made = []
    for i, old in enumerate((before.height, before.width)):
        s, p = window.stride[i], window.pad[i]
        half = Fraction(window.dilation[i] * (window.kernel[i] - 1), 2)
        if window.transposed:
            made.append(Map(old.scale * s, old.shift * s + half - p))
        else:
            made.append(Map(old.scale / s, (old.shift + p - half) / s))
    return BlobCoordinates(before.source, *made)


@dataclass(frozen=True, slots=True)
class CropCheck:
    """A Crop of pictures: the offsets along height and width that it has, and where its bottoms lie."""

    layer: Layer
    given: tuple[int, int]
    first: BlobCoordinates
    second: BlobCoordinates

    @property
    def right(self) -> tuple[Fraction, Fraction]:
        """The offsets that lay the first bottom over the second."""
        one, two = self.first, self.second
        return one.height.shift - two.height.shift, one.width.shift - two.width.shift


def crop_checks(
    graph: Graph, found: Mapping[str, BlobCoordinates | None] | None = None
) -> list[CropCheck]:
    """Every Crop whose bottoms lie in the same input at the same scale; ``found`` are the graph's
    ``places``, where they are known already."""
    found = places(graph) if found is None else found
    made = []
    for layer in graph.layers:
        if layer.type != "Crop" or len(layer.reads) != 2:
            continue
        one, two = (found.get(read) for read in layer.reads)
        if one is None or two is None or one.source != two.source:
            continue
        if (one.height.scale, one.width.scale) == (two.height.scale, two.width.scale):
            # A place says that there is a shape, of 4 axes.
            down, right = crop_offsets(layer, graph.shapes[layer.reads[0]] or ())[2:]
            made.append(CropCheck(layer, (down, right), one, two))
    return made
