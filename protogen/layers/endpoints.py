"""Where data enters and leaves a net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import Emitter, LayerType, fields
from protogen.layers.graph import Layer

PYTHON_ADVICE = (
    "Write it with pg.layer, hand its bottom on with --layer-as-identity, or end the net before it "
    "with --output."
)


class _Source(LayerType, abstract=True):
    """Tops that come from outside: a model has them as inputs."""

    feeds = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: the tops are inputs of the model."""


class _Labelled(_Source, abstract=True):
    """Data and, as a second top, one label a sample."""

    def complete(self, tops: list[Shape | None]) -> list[Shape | None]:
        if len(tops) == 2 and tops[1] is None and tops[0]:
            return [tops[0], tops[0][:1]]
        return tops


class Input(_Source):
    """A blob that the user feeds. Caffe: one shape for all tops, or one per top."""

    reads = fields(input_param="shape")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        given = [tuple(shape.dim) for shape in layer.params.input_param.shape]
        return _spread(layer, given, "input_param")


class DummyData(LayerType):
    """Blobs that fillers make; shapes as ``shape`` or as num, channels, height and width."""

    reads = fields(dummy_data_param="data_filler num channels height width shape")

    limits = "constant fillers"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.dummy_data_param
        given = [tuple(shape.dim) for shape in p.shape]
        if not given:
            columns = (p.num, p.channels, p.height, p.width)
            count = max(map(len, columns))
            rows = [column * count if len(column) == 1 else column for column in columns]
            given = list(zip(*rows, strict=False))
        return _spread(layer, given, "dummy_data_param")

    def lower(self, layer: Layer, e: Emitter) -> None:
        fillers = list(layer.params.dummy_data_param.data_filler)
        fillers = fillers * len(layer.tops) if len(fillers) == 1 else fillers
        for write, filler in itertools.zip_longest(layer.writes, fillers[: len(layer.writes)]):
            kind = filler.type if filler else "constant"
            if kind != "constant":
                raise layer.unsupported(
                    f"its filler {kind} draws new values in every run",
                    "Name the layers before it with --output, or make it an Input layer.",
                )
            value = float(filler.value) if filler else 0.0
            shape = e.array(list(e.shape(write)))
            e.op("Expand", [e.array(value), shape], [write])


class MemoryData(_Labelled):
    """Blobs that a program hands over: data and label."""

    reads = fields(memory_data_param="batch_size channels height width")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.memory_data_param
        return [(p.batch_size, p.channels, p.height, p.width), (p.batch_size,)][: len(layer.tops)]


class _Files(_Source, abstract=True):
    """Data that files hold: their shapes stand in the files, not in the net."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)


class Data(_Files, _Labelled):
    """Pictures and labels of a database."""


class HDF5Data(_Files):
    """Blobs of HDF5 files."""


class ImageData(_Labelled):
    """Pictures that a list names, resized to new_height x new_width and cropped."""

    reads = fields(
        image_data_param="batch_size crop_size new_height new_width is_color",
        transform_param="crop_size",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.image_data_param
        crop = layer.params.transform_param.crop_size or p.crop_size
        size = (crop, crop) if crop else (p.new_height, p.new_width)
        image = (p.batch_size, 3 if p.is_color else 1, *size) if min(size) else None
        return [image, (p.batch_size,)][: len(layer.tops)]


class WindowData(_Labelled):
    """Windows of pictures, warped to crop_size, and their labels."""

    reads = fields(window_data_param="batch_size crop_size", transform_param="crop_size")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.window_data_param
        crop = layer.params.transform_param.crop_size or p.crop_size
        image = (p.batch_size, 3, crop, crop) if crop else None
        return [image, (p.batch_size,)][: len(layer.tops)]


class HDF5Output(LayerType):
    """Writes its bottoms to a file; no tops."""

    reads = fields(hdf5_output_param="file_name")

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

    reads = fields(python_param="module layer param_str")

    def in_place(self, layer: Layer) -> bool:
        return True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)

    refusal = ("it runs a Python class", PYTHON_ADVICE)

    def lower(self, layer: Layer, e: Emitter) -> None:
        name = layer.params.python_param.layer
        raise layer.unsupported(f"it runs the Python class {name!r}", PYTHON_ADVICE)


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
