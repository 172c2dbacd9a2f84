"""Layers of FlowNet2 that read and write files of pictures, flows and disparities."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from protogen.errors import quantity
from protogen.geometry import Shape
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_set, check_tops, counted
from protogen.layers.forks.flow.correlation import SOURCE
from protogen.layers.graph import Layer
from protogen.layers.pictures import Source
from protogen.layers.writing import Emitter


class _FileReader(Source, abstract=True):
    """Base of the layers whose tops have the sizes of a file."""

    stock = False
    source = SOURCE
    least_tops, most_tops = 1, 1

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 0, 0)
        check_set(layer, self.required)
        check_tops(layer, self.least_tops, self.most_tops)
        return [None] * len(layer.tops)


class CustomData(_FileReader):
    """Forks (FlowNet2): samples of a database; slice_point cuts their channels into tops.
    Without it, a second top holds labels."""

    reads = fields(data_param="slice_point")
    most_tops = 1000

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        tops = super().shapes(layer, bottoms)
        points = list(layer.params.data_param.slice_point)
        # Caffe accepts labels only as the second of two tops, without slices.
        least, most = (len(points) + 1, len(points) + 1) if points else (1, 2)
        if not least <= len(layer.tops) <= most:
            raise layer.error(
                f"has {quantity(len(points), 'slice_point')}, so it must have "
                f"{counted(least, most, 'top')}, got {len(layer.tops)}"
            )
        if any(b <= a for a, b in zip([0, *points], points, strict=False)):
            raise layer.error(f"slice_point must increase from 1 on, got {points}")
        return tops


class ImgReader(_FileReader):
    """Forks (FlowNet2): the picture of a file, ``num`` times."""

    reads = fields(reader_param="")
    required = ("reader_param.file",)


class FloatReader(_FileReader):
    """Forks (FlowNet2): the array of a .float3 file, ``num`` times."""

    reads = fields(reader_param="")
    required = ("reader_param.file",)


class DisparityData(_FileReader):
    """Forks (FlowNet2): disparity maps (.pfm) from a list of files, and labels."""

    reads = fields(image_data_param="")
    least_tops, most_tops = 2, 2


class _FileWriter(LayerType, abstract=True):
    """Base of the layers that write their bottom to files, and have no tops."""

    reads = fields(writer_param="")
    harmless = MappingProxyType(
        {
            f"writer_param.{name}": "the name or the content of the file that it writes"
            for name in ("file", "folder", "prefix", "suffix", "normalize", "scale")
        }
    )
    stock = False
    source = SOURCE
    channels: tuple[int, ...] = ()  # numbers of channels that the format takes; empty for any

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 0, 0)
        check_rank(layer, bottoms, 4, 4)
        if self.channels and bottoms[0][1] not in self.channels:
            raise layer.error(
                f"its bottom must have {' or '.join(map(str, self.channels))} channels, got "
                f"{bottoms[0][1]}"
            )
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the layer has no tops."""


class FLOWriter(_FileWriter):
    """Forks (FlowNet2): writes flows to .flo files."""

    channels = (2,)


class ImgWriter(_FileWriter):
    """Forks (FlowNet2): writes pictures to .ppm and .pgm files."""

    channels = (1, 3)


class FloatWriter(_FileWriter):
    """Forks (FlowNet2): writes arrays to .float3 files."""


class PFMWriter(_FileWriter):
    """Forks (FlowNet2): writes maps to .pfm files."""
