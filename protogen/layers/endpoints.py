"""Where data enters and leaves a net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    fields,
)
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

SIZES = (
    "crop_size crop_h crop_w crop_height crop_width resize_param.height resize_param.width "
    "resize_param.resize_mode old_resize_param.height old_resize_param.width "
    "old_resize_param.resize_mode"
)
TRANSFORM = f"{SIZES} mean_value force_color force_gray"
PYTHON_ADVICE = (
    "Write it with pg.layer, hand its bottom on with --layer-as-identity, or end the net before it "
    "with --output."
)


class _Source(LayerType, abstract=True):
    """Tops that come from outside: a model has them as inputs."""

    feeds = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: the tops are inputs of the model."""


class _Pictures(_Source, abstract=True):
    """Pictures, and labels of them as further tops. What only the data says stays unknown; where
    that is the number of channels alone, it may be assumed."""

    def batch(self, layer: Layer) -> int:
        """Pictures in a batch; 0 where the net does not say it."""
        return int(layer.params.data_param.batch_size)

    def size(self, layer: Layer) -> tuple[int, int]:
        """Height and width before a crop; 0 where the net does not say it."""
        return 0, 0

    def crop(self, layer: Layer) -> int:
        """The crop_size of before transform_param was."""
        return int(layer.params.data_param.crop_size)

    def cropped(self, layer: Layer) -> tuple[int, int]:
        """Height and width that the layer gives out; 0 where the net does not say it.

        A fork's resize_param comes first, then the crop: crop_size, or height and width of forks.
        """
        p, size = layer.params.transform_param, self.size(layer)
        resizes = [*p.resize_param, *([p.old_resize_param] if p.has("old_resize_param") else [])]
        if resizes:  # Caffe starts with the first of several
            follows = resizes[0].resize_mode == "FIT_SMALL_SIZE"  # one side does, from the picture
            size = (0, 0) if follows else (resizes[0].height, resizes[0].width)
        crop = p.crop_size or self.crop(layer)
        height = crop or p.crop_h or p.crop_height or size[0]
        width = crop or p.crop_w or p.crop_width or size[1]
        return int(height), int(width)

    def channels(self, layer: Layer) -> int:
        """Channels of the pictures; 0 where only the data says it. One mean_value goes with any
        number of them."""
        p = layer.params.transform_param
        if len(p.mean_value) > 1:
            return len(p.mean_value)
        colour = p.force_color or layer.params.data_param.force_encoded_color
        return (3 if colour else 1) if colour != p.force_gray else 0

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        """Shapes of the tops behind the first, where a batch and the pictures' size are known (0
        and empty where not)."""
        return [(batch,) if batch else None]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return self._tops(layer, self.channels(layer))

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        if self.channels(layer):
            return ()
        made = self._tops(layer, channels)
        return made if made[:1] != [None] else ()

    def complete(
        self, layer: Layer, tops: list[Shape | None], given: Sequence[Shape | None]
    ) -> list[Shape | None]:
        batch = next((shape[0] for shape in given if shape), 0)
        if not batch:
            return tops
        first = given[0] or (tops[0] and (batch, *tops[0][1:]))
        size = first[2:] if first and len(first) == 4 else ()
        made = [first, *self.labels(layer, batch, size), *[None] * len(tops)]
        return [mine or other for mine, other in zip(given, made, strict=False)]

    def _tops(self, layer: Layer, channels: int) -> list[Shape | None]:
        batch, size = self.batch(layer), self.cropped(layer)
        image = (batch, channels, *size)
        known = size if min(size) else ()
        made = [image if min(image) else None, *self.labels(layer, batch, known)]
        return [*made, *[None] * len(layer.tops)][: len(layer.tops)]


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


class MemoryData(_Pictures):
    """Blobs that a program hands over: data and label."""

    reads = fields(memory_data_param="batch_size channels height width")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.memory_data_param
        image = (p.batch_size, p.channels, p.height, p.width)
        made = [image if min(image) else None, *self.labels(layer, p.batch_size, ())]
        return made[: len(layer.tops)]

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        return ()


class Data(_Pictures):
    """Pictures and labels of a database."""

    reads = fields(data_param="batch_size crop_size force_encoded_color", transform_param=TRANSFORM)


class AnnotatedData(_Pictures):
    """Forks (SSD): pictures of a database, and boxes in them. Only the data says how many."""

    reads = Data.reads | fields(
        annotated_data_param="yolo_data_type single_class seg_scales seg_resize_width "
        "seg_resize_height"
    )
    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        p = layer.params.annotated_data_param
        boxes = (batch, 1, 300, 5) if batch and p.yolo_data_type == 1 else None
        return [boxes, _segments(layer, batch, size) if p.single_class else None]


class LaneData(_Pictures):
    """Forks (MobileNet-YOLO): pictures of a database, and lanes in them."""

    reads = Data.reads | fields(
        annotated_data_param="seg_scales seg_resize_width seg_resize_height"
    )
    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, 1, 1) if batch else None, _segments(layer, batch, size)]


def _segments(layer: Layer, batch: int, size: Shape) -> Shape | None:
    """A map of labels for each picture, smaller than it (MobileNet-YOLO)."""
    p = layer.params.annotated_data_param
    if not batch:
        return None
    if p.seg_resize_width and p.seg_resize_height:
        return (batch, 1, p.seg_resize_width, p.seg_resize_height)  # in this order there
    if p.seg_scales < 1:
        raise layer.error(f"seg_scales is {p.seg_scales}, but must be at least 1")
    return (batch, 1, *(length // p.seg_scales for length in size)) if size else None


class HDF5Data(_Source):
    """Blobs of HDF5 files: their shapes stand in the files, not in the net."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)


class ImageData(_Pictures):
    """Pictures that a list names, resized to new_height x new_width and cropped."""

    reads = fields(
        image_data_param="batch_size crop_size new_height new_width is_color",
        transform_param=SIZES,
    )

    def batch(self, layer: Layer) -> int:
        return int(layer.params.image_data_param.batch_size)

    def size(self, layer: Layer) -> tuple[int, int]:
        p = layer.params.image_data_param
        return int(p.new_height), int(p.new_width)

    def crop(self, layer: Layer) -> int:
        return int(layer.params.image_data_param.crop_size)

    def channels(self, layer: Layer) -> int:
        return 3 if layer.params.image_data_param.is_color else 1


class ImageLabelmapData(ImageData):
    """Forks (HED): pictures that a list names, and a map of labels for each."""

    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, *size) if batch and size else None]


class DenseImageData(_Pictures):
    """Forks (SegNet): pictures that a list names, and a map of labels for each."""

    reads = fields(
        dense_image_data_param="batch_size crop_height crop_width new_height new_width is_color",
        transform_param=SIZES,
    )
    stock = False

    def batch(self, layer: Layer) -> int:
        return int(layer.params.dense_image_data_param.batch_size)

    def size(self, layer: Layer) -> tuple[int, int]:
        p = layer.params.dense_image_data_param
        return int(p.crop_height or p.new_height), int(p.crop_width or p.new_width)

    def channels(self, layer: Layer) -> int:
        return 3 if layer.params.dense_image_data_param.is_color else 1

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, *size) if batch and size else None]


class ImageSegData(ImageLabelmapData):
    """Forks (DeepLab, PSPNet): pictures that a list names, a map of labels for each, and their
    sizes."""

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [*super().labels(layer, batch, size), (batch, 1, 1, 2) if batch else None]


class WindowData(_Pictures):
    """Windows of pictures, warped to crop_size, and their labels."""

    reads = fields(window_data_param="batch_size crop_size", transform_param="crop_size")

    def batch(self, layer: Layer) -> int:
        return int(layer.params.window_data_param.batch_size)

    def cropped(self, layer: Layer) -> tuple[int, int]:
        """It warps to crop_size, and looks at nothing else."""
        p = layer.params
        crop = int(p.transform_param.crop_size or p.window_data_param.crop_size)
        return crop, crop

    def channels(self, layer: Layer) -> int:
        return 3  # it reads them in colour


class HDF5Output(LayerType):
    """Writes its bottoms to a file; no tops."""

    reads = fields(hdf5_output_param="")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""


class Silence(LayerType):
    """Takes blobs that nobody reads, so that they are not printed; no tops."""

    computes = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""


class Python(LayerType):
    """Runs a user's Python class: only that class knows the shapes of its tops."""

    may_end = True

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
