"""Base classes of data layers: layers whose tops are inputs of the net, and layers of images."""

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
    """Base of layers whose tops are inputs of an exported model."""

    is_source = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the tops are inputs of the model."""


class Pictures(Source, abstract=True):
    """Base of layers whose first top holds images; further tops hold labels. Sizes that depend on
    the data are unknown. If only the number of channels is unknown, it may be assumed."""

    def batch(self, layer: Layer) -> int:
        """Return the number of images in a batch; 0 if the net does not set it."""
        return int(layer.params.data_param.batch_size)

    def size(self, layer: Layer) -> tuple[int, int]:
        """Return height and width before the crop; 0 if the net does not set them."""
        return 0, 0

    def crop(self, layer: Layer) -> int:
        """Return the crop_size of the older format, which has no transform_param."""
        return int(layer.params.data_param.crop_size)

    def cropped(self, layer: Layer) -> tuple[int, int]:
        """Return height and width of the first top; 0 if the net does not set them.

        A fork's resize_param is applied first, then the crop: crop_size, or a fork's crop height
        and width.
        """
        p, size = layer.params.transform_param, self.size(layer)
        resizes = [*p.resize_param, *([p.old_resize_param] if p.has("old_resize_param") else [])]
        if resizes:  # with several resize_param, Caffe uses the first
            # FIT_SMALL_SIZE keeps the aspect ratio, so one side depends on the image.
            depends = resizes[0].resize_mode == "FIT_SMALL_SIZE"
            size = (0, 0) if depends else (resizes[0].height, resizes[0].width)
        crop = p.crop_size or self.crop(layer)
        height = crop or p.crop_h or p.crop_height or size[0]
        width = crop or p.crop_w or p.crop_width or size[1]
        return int(height), int(width)

    def channels(self, layer: Layer) -> int:
        """Return the number of channels of the images; 0 if it depends on the data. A single
        mean_value fits any number of channels."""
        p = layer.params.transform_param
        if len(p.mean_value) > 1:
            return len(p.mean_value)
        colour = p.force_color or layer.params.data_param.force_encoded_color
        return (3 if colour else 1) if colour != p.force_gray else 0

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        """Return the shapes of the tops after the first. A ``batch`` of 0 or an empty ``size`` is
        unknown."""
        return [(batch,) if batch else None]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return self._tops(layer, self.channels(layer))

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        if self.channels(layer):
            return ()
        tops = self._tops(layer, channels)
        return tops if tops[:1] != [None] else ()

    def complete(
        self, layer: Layer, tops: list[Shape | None], user_shapes: Sequence[Shape | None]
    ) -> list[Shape | None]:
        batch = next((shape[0] for shape in user_shapes if shape), 0)
        if not batch:
            return tops
        first = user_shapes[0] or (tops[0] and (batch, *tops[0][1:]))
        size = first[2:] if first and len(first) == 4 else ()
        derived = [first, *self.labels(layer, batch, size), *[None] * len(tops)]
        return [shape or known for shape, known in zip(user_shapes, derived, strict=False)]

    def check_stock(self, layer: Layer, least_tops: int) -> None:
        """Check what BVLC Caffe requires of each of its data layers.

        Raises:
            InputError: Caffe refuses the layer.
        """
        check_bottoms(layer, 0, 0)
        check_tops(layer, least_tops, 2)
        p = layer.params.transform_param
        if p.has("mean_file") and p.mean_value:
            raise layer.error("mean_file and mean_value are both set", "Keep one.")
        if p.force_color and p.force_gray:
            raise layer.error("force_color and force_gray are both true", "Keep one.")

    def _tops(self, layer: Layer, channels: int) -> list[Shape | None]:
        batch, size = self.batch(layer), self.cropped(layer)
        image = (batch, channels, *size)
        known = size if min(size) else ()
        tops = [image if min(image) else None, *self.labels(layer, batch, known)]
        return [*tops, *[None] * len(layer.tops)][: len(layer.tops)]


def segments(layer: Layer, batch: int, size: Shape) -> Shape | None:
    """Return the shape of a label map per image, smaller than the image (MobileNet-YOLO).

    Raises:
        InputError: seg_scales is below 1.
    """
    p = layer.params.annotated_data_param
    if not batch:
        return None
    if p.seg_resize_width and p.seg_resize_height:
        return (batch, 1, p.seg_resize_width, p.seg_resize_height)  # the fork puts width first
    if p.seg_scales < 1:
        raise layer.error(f"seg_scales must be at least 1, got {p.seg_scales}")
    return (batch, 1, *(length // p.seg_scales for length in size)) if size else None
