"""Data layers of forks that read video."""

from __future__ import annotations

from protogen.geometry import Shape
from protogen.layers.base import fields
from protogen.layers.endpoints import Data
from protogen.layers.graph import Layer
from protogen.layers.pictures import Pictures


class VideoData(Pictures):
    """Forks: frames of a video, and a label. SSD reads a camera or a file; the batch is that of
    data_param. Temporal segment networks (yjxiong/caffe, with video_data_param.batch_size) read
    new_length frames of each of num_segments parts, as channels: 3 of a colour image, 2 of a flow.
    """

    source = "weiliu89/caffe"
    reads = Data.reads | fields(
        video_data_param=(
            "batch_size new_height new_width new_length num_segments modality grayscale"
        ),
    )
    stock = False

    def batch(self, layer: Layer) -> int:
        p = layer.params.video_data_param
        return int(p.batch_size) if _is_listed(layer) else super().batch(layer)

    def cropped(self, layer: Layer) -> tuple[int, int]:
        if not _is_listed(layer):
            return super().cropped(layer)
        p, crop = layer.params.video_data_param, int(layer.params.transform_param.crop_size)
        return crop or int(p.new_height), crop or int(p.new_width)

    def channels(self, layer: Layer) -> int:
        if not _is_listed(layer):
            return super().channels(layer)
        p = layer.params.video_data_param
        frame = 2 if p.modality == "FLOW" else 1 if p.grayscale else 3
        return frame * int(p.new_length) * int(p.num_segments)

    def labels(self, layer: Layer, batch: int, size: Shape) -> list[Shape | None]:
        return (
            [(batch, 1, 1, 1)]
            if batch and _is_listed(layer)
            else super().labels(layer, batch, size)
        )


def _is_listed(layer: Layer) -> bool:
    """Return whether the videos are those of a list of files (yjxiong/caffe)."""
    return bool(layer.params.video_data_param.has("batch_size"))
