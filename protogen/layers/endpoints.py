"""Layers where data enters or leaves a net: inputs, data layers, output to files, Python."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from protogen.errors import quantity
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.filling import check_filler
from protogen.layers.graph import Layer
from protogen.layers.pictures import SIZES, TRANSFORM, Pictures, Source, segments
from protogen.layers.writing import Emitter

PYTHON_ADVICE = (
    "Define its ONNX operators with pg.layer, pass its bottom through unchanged with "
    "--layer-as-identity, or end the net before this layer with --to-blob."
)


class Input(Source):
    """Blobs that the caller provides. Caffe: one shape for all tops, or one per top."""

    reads = fields(input_param="shape")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        shapes = [tuple(shape.dim) for shape in layer.params.input_param.shape]
        return _one_per_top(layer, shapes, "input_param")

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 1)


class DummyData(LayerType):
    """Blobs with values from fillers; shapes as ``shape`` or as num, channels, height and width."""

    reads = fields(dummy_data_param="data_filler num channels height width shape")

    limits = "constant fillers"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.dummy_data_param
        shapes = [tuple(shape.dim) for shape in p.shape]
        if not shapes:
            columns = (p.num, p.channels, p.height, p.width)
            count = max(map(len, columns))
            rows = [column * count if len(column) == 1 else column for column in columns]
            shapes = list(zip(*rows, strict=False))
        return _one_per_top(layer, shapes, "dummy_data_param")

    def lower(self, layer: Layer, e: Emitter) -> None:
        fillers = list(layer.params.dummy_data_param.data_filler)
        fillers = fillers * len(layer.tops) if len(fillers) == 1 else fillers
        for write, filler in itertools.zip_longest(layer.writes, fillers[: len(layer.writes)]):
            kind = filler.type if filler else "constant"
            if kind != "constant":
                raise layer.unsupported(
                    f"its {kind} filler generates new values in every run",
                    "End the net before this layer with --to-blob, or replace it by an Input layer.",
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
            raise layer.error(f"shape and {', '.join(old)} are both set", "Keep shape.")
        names = ("num", "channels", "height", "width") if old else ("shape",)
        for name in names:
            if len(getattr(p, name)) not in (1, count):
                raise layer.error(
                    f"has {len(getattr(p, name))} {name} for {quantity(count, 'top')}",
                    "Set one for all tops, or one per top.",
                )
        fillers = list(p.data_filler)
        if len(fillers) not in (0, 1, count):
            raise layer.error(
                f"has {len(fillers)} data_filler for {quantity(count, 'top')}",
                "Set one for all tops, or one per top.",
            )
        for filler, shape in zip(fillers * (count if len(fillers) == 1 else 1), tops, strict=False):
            if shape is not None:
                check_filler(layer, filler, "data_filler", shape)


class MemoryData(Pictures):
    """Data and labels that a program copies into the layer."""

    reads = fields(memory_data_param="batch_size channels height width")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        p = layer.params.memory_data_param
        image = (p.batch_size, p.channels, p.height, p.width)
        shapes = [image if min(image) else None, *self.labels(layer, p.batch_size, ())]
        return shapes[: len(layer.tops)]

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        return ()

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params.memory_data_param
        if min(p.batch_size, p.channels, p.height, p.width) < 1:
            raise layer.error("batch_size, channels, height and width must be at least 1")


class Data(Pictures):
    """Images and labels from a database."""

    reads = fields(data_param="batch_size crop_size force_encoded_color", transform_param=TRANSFORM)

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 1)


class AnnotatedData(Pictures):
    """Forks (SSD): images from a database, and their boxes. The number of boxes depends on data. With
    Synopsys' ``caffe_yolo``, each further top has 7 values for each of side x side cells."""

    reads = Data.reads | fields(
        data_param="batch_size crop_size force_encoded_color side",
        transform_param=f"{TRANSFORM} caffe_yolo",
        annotated_data_param="yolo_data_type single_class seg_scales seg_resize_width "
        "seg_resize_height",
    )
    stock = False
    source = "weiliu89/caffe"

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        p = layer.params.annotated_data_param
        if layer.params.transform_param.caffe_yolo:
            sides = [int(side) for side in layer.params.data_param.side]
            if len(sides) != len(layer.tops) - 1:
                raise layer.error(
                    f"expected {len(layer.tops) - 1} side (one for each top after the first), got {len(sides)}"
                )
            return [(batch, 7 * side * side) if batch else None for side in sides]
        boxes = (batch, 1, 300, 5) if batch and p.yolo_data_type == 1 else None
        return [boxes, segments(layer, batch, size) if p.single_class else None]


class LaneData(Pictures):
    """Forks (MobileNet-YOLO): images from a database, and their lanes."""

    reads = Data.reads | fields(
        annotated_data_param="seg_scales seg_resize_width seg_resize_height"
    )
    stock = False
    source = "eric612/MobileNet-YOLO"

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, 1, 1) if batch else None, segments(layer, batch, size)]


class HDF5Data(Source):
    """Blobs from HDF5 files. Their shapes are in the files, not in the net."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 1)
        if layer.params.has("transform_param"):
            raise layer.error(
                "transform_param is not supported by this layer",
                "Remove it, and transform the data in the file.",
            )


class _Listed(Pictures, abstract=True):
    """Base class of layers with images from a list of files, resized to new_height x new_width and
    cropped."""

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
    """Images from a list of files, resized to new_height x new_width and cropped."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params.image_data_param
        if bool(p.new_height) != bool(p.new_width):
            raise layer.error(
                "only one of new_height and new_width is set", "Set both, or neither."
            )
        if p.batch_size < 1:
            raise layer.error("batch_size must be at least 1, got 0")


class ImageLabelmapData(_Listed):
    """Forks (HED): images from a list of files, and a label map for each."""

    stock = False
    source = "s9xie/hed"

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [(batch, 1, *size) if batch and size else None]


class DenseImageData(Pictures):
    """Forks (SegNet): images from a list of files, and a label map for each."""

    reads = fields(
        dense_image_data_param="batch_size crop_height crop_width new_height new_width is_color",
        transform_param=SIZES,
    )
    stock = False
    source = "alexgkendall/caffe-segnet"

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
    """Forks (DeepLab, PSPNet): images from a list of files, a label map for each, and the sizes of
    the images."""

    source = "hszhao/PSPNet"

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return [*super().labels(layer, batch, size), (batch, 1, 1, 2) if batch else None]


class WindowData(Pictures):
    """Windows of images, warped to crop_size, and their labels."""

    reads = fields(window_data_param="batch_size crop_size", transform_param="crop_size")

    def batch(self, layer: Layer) -> int:
        return int(layer.params.window_data_param.batch_size)

    def cropped(self, layer: Layer) -> tuple[int, int]:
        """Return crop_size twice: the layer warps to this size and ignores the other sizes."""
        p = layer.params
        crop = int(p.transform_param.crop_size or p.window_data_param.crop_size)
        return crop, crop

    def channels(self, layer: Layer) -> int:
        return 3  # the layer reads images in colour

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        self.check_stock(layer, 2)
        p = layer.params
        if not (p.transform_param.crop_size or p.window_data_param.crop_size):
            raise layer.error("missing crop_size", "Set it to the size of the windows.")


class HDF5Output(LayerType):
    """Writes its bottoms to a file; no tops."""

    reads = fields(hdf5_output_param="")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the layer has no tops."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 0, 0)
        check_rank(layer, bottoms, 0, 4)
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error(
                "its bottoms must have the same number of samples, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )


class Silence(LayerType):
    """Consumes blobs that no other layer reads, so that Caffe does not print them; no tops."""

    computes = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the layer has no tops."""

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        check_bottoms(layer, 1)
        check_tops(layer, 0, 0)


class Python(LayerType):
    """Runs a user's Python class. Only that class defines the shapes of its tops."""

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


def _one_per_top(layer: Layer, shapes: list[Shape], block: str) -> Sequence[Shape | None]:
    """Return one shape per top from one shape for all tops or one per top; None if there is no
    shape, because the caller may set it later."""
    if not shapes:
        return [None] * len(layer.tops)
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise layer.error(
            f"has {quantity(len(shapes), 'shape')} for {quantity(len(layer.tops), 'top')}",
            f"Set one shape in {block}, or one per top.",
        )
    return shapes
