"""What layers share whose tops come from outside, and those of pictures: sizes, channels, labels."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import LayerType, check_bottoms
from protogen.layers.checking import check_tops
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

SIZES = (
    "crop_size crop_h crop_w crop_height crop_width resize_param.height resize_param.width "
    "resize_param.resize_mode old_resize_param.height old_resize_param.width "
    "old_resize_param.resize_mode"
)
TRANSFORM = f"{SIZES} mean_value force_color force_gray"


class Source(LayerType, abstract=True):
    """Tops that come from outside: a model has them as inputs."""

    feeds = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: the tops are inputs of the model."""


class Pictures(Source, abstract=True):
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

    def check_stock(self, layer: Layer, least_tops: int) -> None:
        """What BVLC Caffe demands of each of its data layers. Raises InputError."""
        check_bottoms(layer, 0, 0)
        check_tops(layer, least_tops, 2)
        p = layer.params.transform_param
        if p.has("mean_file") and p.mean_value:
            raise layer.error("mean_file and mean_value are both given", "Keep one.")
        if p.force_color and p.force_gray:
            raise layer.error("force_color and force_gray are both true", "Keep one.")

    def _tops(self, layer: Layer, channels: int) -> list[Shape | None]:
        batch, size = self.batch(layer), self.cropped(layer)
        image = (batch, channels, *size)
        known = size if min(size) else ()
        made = [image if min(image) else None, *self.labels(layer, batch, known)]
        return [*made, *[None] * len(layer.tops)][: len(layer.tops)]


def segments(layer: Layer, batch: int, size: Shape) -> Shape | None:
    """A map of labels for each picture, smaller than it (MobileNet-YOLO)."""
    p = layer.params.annotated_data_param
    if not batch:
        return None
    if p.seg_resize_width and p.seg_resize_height:
        return (batch, 1, p.seg_resize_width, p.seg_resize_height)  # in this order there
    if p.seg_scales < 1:
        raise layer.error(f"seg_scales is {p.seg_scales}, but must be at least 1")
    return (batch, 1, *(length // p.seg_scales for length in size)) if size else None
