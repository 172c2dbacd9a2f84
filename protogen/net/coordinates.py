"""Position of a blob's pixels in the input: Caffe's coordinate map, and offsets of Crop layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from protogen.layers import POINT, kind_of
from protogen.layers.graph import Graph, Layer
from protogen.layers.shaping import crop_offsets


@dataclass(frozen=True, slots=True)
class Map:
    """Map along one axis: blob coordinate = ``scale`` * input coordinate + ``shift``. A coordinate
    is that of a pixel's centre; the first pixel has coordinate 0."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class BlobCoordinates:
    """The maps from coordinates in the input ``source`` to coordinates in a blob."""

    source: str
    height: Map = Map()
    width: Map = Map()


def places(graph: Graph) -> dict[str, BlobCoordinates | None]:
    """Return the coordinates of every value of a net; None if a value has none (such as after a
    dense layer).

    A convolution or pooling of extent e = d (K - 1) + 1, stride s and pad p maps x to
    x / s + (p - (e - 1) / 2) / s, a transposed one to s x + (e - 1) / 2 - p, a Crop to x - offset:
    Caffe's rule (python/caffe/coord_map.py), in exact fractions. Of several bottoms the first one
    with coordinates counts.
    """
    coordinates: dict[str, BlobCoordinates | None] = {
        name: BlobCoordinates(name) for name in graph.inputs if len(graph.shapes[name] or ()) == 4
    }
    for layer in graph.layers:
        for write in layer.writes:
            shape = graph.shapes.get(write)
            flat = shape is None or len(shape) != 4
            coordinates[write] = None if flat else _place(graph, layer, write, coordinates)
    return coordinates


def _place(
    graph: Graph, layer: Layer, write: str, coordinates: dict[str, BlobCoordinates | None]
) -> BlobCoordinates | None:
    if not layer.reads:
        return BlobCoordinates(write)
    shapes = [graph.shapes.get(read) for read in layer.reads]
    known = [shape for shape in shapes if shape is not None]
    before = next((place for read in layer.reads if (place := coordinates.get(read))), None)
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
    maps = []
    for i, old in enumerate((before.height, before.width)):
        s, p = window.stride[i], window.pad[i]
        half = Fraction(window.dilation[i] * (window.kernel[i] - 1), 2)
        if window.transposed:
            maps.append(Map(old.scale * s, old.shift * s + half - p))
        else:
            maps.append(Map(old.scale / s, (old.shift + p - half) / s))
    return BlobCoordinates(before.source, *maps)


@dataclass(frozen=True, slots=True)
class CropCheck:
    """A Crop of pictures: its offsets along height and width, and coordinates of its bottoms."""

    layer: Layer
    offsets: tuple[int, int]
    first: BlobCoordinates
    second: BlobCoordinates

    @property
    def expected(self) -> tuple[Fraction, Fraction]:
        """The offsets that align the first bottom with the second."""
        one, two = self.first, self.second
        return one.height.shift - two.height.shift, one.width.shift - two.width.shift


def crop_checks(
    graph: Graph, coordinates: Mapping[str, BlobCoordinates | None] | None = None
) -> list[CropCheck]:
    """Return a check for every Crop whose bottoms have the same input and scale. ``coordinates`` is
    the result of ``places``, if the caller has it already."""
    coordinates = places(graph) if coordinates is None else coordinates
    checks = []
    for layer in graph.layers:
        if layer.type != "Crop" or len(layer.reads) != 2:
            continue
        one, two = (coordinates.get(read) for read in layer.reads)
        if one is None or two is None or one.source != two.source:
            continue
        if (one.height.scale, one.width.scale) == (two.height.scale, two.width.scale):
            # A blob with coordinates has a known shape of 4 axes.
            down, right = crop_offsets(layer, graph.shapes[layer.reads[0]] or ())[2:]
            checks.append(CropCheck(layer, (down, right), one, two))
    return checks
