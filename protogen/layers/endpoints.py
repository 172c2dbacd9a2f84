"""Where data enters and leaves a net."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import Emitter, LayerType


class Input(LayerType):
    """A blob that the user feeds. Caffe: one shape for all tops, or one per top."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        given = [tuple(shape.dim) for shape in layer.params.input_param.shape]
        return _spread(layer, given, "input_param")

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: the tops are inputs of the model."""


class DummyData(LayerType):
    """Blobs that fillers make; shapes as ``shape`` or as num, channels, height and width."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.dummy_data_param
        given = [tuple(shape.dim) for shape in p.shape]
        if not given:
            columns = (p.num, p.channels, p.height, p.width)
            count = max(map(len, columns))
            rows = [column * count if len(column) == 1 else column for column in columns]
            given = list(zip(*rows, strict=False))
        return _spread(layer, given, "dummy_data_param")


class MemoryData(LayerType):
    """Blobs that a program hands over: data and label."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.memory_data_param
        return [(p.batch_size, p.channels, p.height, p.width), (p.batch_size,)][: len(layer.tops)]


class _Files(LayerType, abstract=True):
    """Data that files hold: their shapes stand in the files, not in the net."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)


class Data(_Files):
    """Pictures and labels of a database."""


class HDF5Data(_Files):
    """Blobs of HDF5 files."""


class ImageData(LayerType):
    """Pictures that a list names, resized to new_height x new_width and cropped."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.image_data_param
        crop = layer.params.transform_param.crop_size or p.crop_size
        size = (crop, crop) if crop else (p.new_height, p.new_width)
        image = (p.batch_size, 3 if p.is_color else 1, *size) if min(size) else None
        return [image, (p.batch_size,)][: len(layer.tops)]


class WindowData(LayerType):
    """Windows of pictures, warped to crop_size, and their labels."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.window_data_param
        crop = layer.params.transform_param.crop_size or p.crop_size
        image = (p.batch_size, 3, crop, crop) if crop else None
        return [image, (p.batch_size,)][: len(layer.tops)]


class HDF5Output(LayerType):
    """Writes its bottoms to a file; no tops."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""


class Silence(LayerType):
    """Takes blobs that nobody reads, so that they are not printed; no tops."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""


class Python(LayerType):
    """Runs a user's Python class: only that class knows the shapes of its tops."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)


def _spread(layer: Layer, given: list[Shape], name: str) -> Sequence[Shape | None]:
    """One shape for all tops, or one for each; none at all is known later."""
    if not given:
        return [None] * len(layer.tops)
    if len(given) == 1:
        given *= len(layer.tops)
    if len(given) != len(layer.tops):
        raise layer.error(
            f"has {len(layer.tops)} tops, but {len(given)} shapes",
            f"Give {name} one shape, or one for each top.",
        )
    return given
