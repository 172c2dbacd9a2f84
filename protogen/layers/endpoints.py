"""Where data enters and leaves a net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.filling import check_filler
from protogen.layers.graph import Layer
from protogen.layers.pictures import SIZES, TRANSFORM, Pictures, Source, segments
from protogen.layers.writing import Emitter

PYTHON_ADVICE = (
    "Write it with pg.layer, hand its bottom on with --layer-as-identity, or end the net before it "
    "with --output."
)


class Input(Source):
    """A blob that the user feeds. Caffe: one shape for all tops, or one per top."""

    reads = fields(input_param="shape")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        given = [tuple(shape.dim) for shape in layer.params.input_param.shape]
        return _spread(layer, given, "input_param")

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 1)


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

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 1)
        p, count = layer.params.dummy_data_param, len(layer.tops)
        old = [name for name in ("num", "channels", "height", "width") if getattr(p, name)]
        if old and p.shape:
            raise layer.error(f"shape and {', '.join(old)} are both given", "Keep shape.")
        names = ("num", "channels", "height", "width") if old else ("shape",)
        for name in names:
            if len(getattr(p, name)) not in (1, count):
                raise layer.error(
                    f"has {count} tops, but {len(getattr(p, name))} {name}",
                    "Give it once, or once for each top.",
                )
        fillers = list(p.data_filler)
        if len(fillers) not in (0, 1, count):
            raise layer.error(
                f"has {count} tops, but {len(fillers)} data_filler",
                "Give it once, or once for each top.",
            )
        for filler, shape in zip(fillers * (count if len(fillers) == 1 else 1), tops, strict=False):
            if shape is not None:
                check_filler(layer, filler, "data_filler", shape)


class MemoryData(Pictures):
    """Blobs that a program hands over: data and label."""

    reads = fields(memory_data_param="batch_size channels height width")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.memory_data_param
        image = (p.batch_size, p.channels, p.height, p.width)
        made = [image if min(image) else None, *self.labels(layer, p.batch_size, ())]
        return made[: len(layer.tops)]

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        return ()

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params.memory_data_param
        if min(p.batch_size, p.channels, p.height, p.width) < 1:
            raise layer.error("batch_size, channels, height and width must be at least 1")


class Data(Pictures):
    """Pictures and labels of a database."""

    reads = fields(data_param="batch_size crop_size force_encoded_color", transform_param=TRANSFORM)

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 1)


class AnnotatedData(Pictures):
    """Forks (SSD): pictures of a database, and boxes in them. Only the data says how many."""

    reads = Data.reads | fields(
        annotated_data_param="yolo_data_type single_class seg_scales seg_resize_width "
        "seg_resize_height"
    )
    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        p = layer.params.annotated_data_param
        boxes = (batch, 1, 300, 5) if batch and p.yolo_data_type == 1 else None
        return [boxes, segments(layer, batch, size) if p.single_class else None]


class LaneData(Pictures):
    """Forks (MobileNet-YOLO): pictures of a database, and lanes in them."""

    reads = Data.reads | fields(
        annotated_data_param="seg_scales seg_resize_width seg_resize_height"
    )
    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, 1, 1) if batch else None, segments(layer, batch, size)]


class HDF5Data(Source):
    """Blobs of HDF5 files: their shapes stand in the files, not in the net."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 1)
        if layer.params.has("transform_param"):
            raise layer.error("has transform_param, which it does not take", "Transform the file.")


class _Listed(Pictures, abstract=True):
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


class ImageData(_Listed):
    """Pictures that a list names, resized to new_height x new_width and cropped."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params.image_data_param
        if bool(p.new_height) != bool(p.new_width):
            raise layer.error("has one of new_height and new_width", "Give both, or neither.")
        if p.batch_size < 1:
            raise layer.error("batch_size is 0, but must be at least 1")


class ImageLabelmapData(_Listed):
    """Forks (HED): pictures that a list names, and a map of labels for each."""

    stock = False

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, *size) if batch and size else None]


class DenseImageData(Pictures):
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


class WindowData(Pictures):
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

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params
        if not (p.transform_param.crop_size or p.window_data_param.crop_size):
            raise layer.error("has no crop_size", "Give the size of the windows.")


class HDF5Output(LayerType):
    """Writes its bottoms to a file; no tops."""

    reads = fields(hdf5_output_param="")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 0, 0)
        check_rank(layer, bottoms, 0, 4)
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error(
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])} must have as many samples"
            )


class Silence(LayerType):
    """Takes blobs that nobody reads, so that they are not printed; no tops."""

    computes = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: it has no tops."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 1)
        check_tops(layer, 0, 0)


class Python(LayerType):
    """Runs a user's Python class: only that class knows the shapes of its tops."""

    top_may_be_unused = True

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
