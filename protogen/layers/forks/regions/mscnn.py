"""Regions that MS-CNN (zhaoweicai/mscnn) and Cascade R-CNN (zhaoweicai/cascade-rcnn) select."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_room, fields
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.regions import selecting
from protogen.layers.forks.regions.selecting import Choice
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MSCNN, CASCADE = "zhaoweicai/mscnn", "zhaoweicai/cascade-rcnn"
BOX_REGRESSION = "bbox_mean bbox_std"


def four_deltas(layer: Layer) -> tuple[list[float], list[float]] | None:
    """Return the means and the standard deviations of the deltas; None without them.

    Raises:
        InputError: there are not four of each.
    """
    p = layer.params.bbox_reg_param
    means, stds = list(p.bbox_mean), list(p.bbox_std)
    if not means or not stds:
        return None
    if len(means) != 4 or len(stds) != 4:
        raise layer.error(
            f"bbox_mean and bbox_std must have 4 values, got {len(means)} and {len(stds)}"
        )
    return means, stds


def denormalized(layer: Layer, e: Emitter, deltas: str) -> str:
    """Emit deltas (n, 4) times their standard deviations plus their means."""
    known = four_deltas(layer)
    if known is None:
        return deltas
    means, stds = known
    return e.value("Add", e.value("Mul", deltas, e.array(stds)), e.array(means))


class _Boxes(LayerType, abstract=True):
    """Base class of layers that select boxes of maps, for all images of a batch.

    The first top holds rows of image and corners (R, 5, 1, 1); a second top has the score too (R, 6,
    1, 1). Before it runs, Caffe reports 1 row. Without any box, the first top is the row 0, 1, 1, 10,
    10 and the second top a row of zeros.
    """

    stock = False
    data_axis = 0
    extent = 0.0  # size of a box whose corners are equal
    limits = "nms_type IOU only"

    def options(self, layer: Layer) -> Message:
        """Return the layer's parameters."""
        raise NotImplementedError

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def tops(self, layer: Layer, images: int) -> list[Shape]:
        """Return the shapes of the tops: the most regions, if the net sets their number."""
        p = self.options(layer)
        check_tops(layer, 1, 2)
        count = images * (p.max_post_nms_num or p.max_nms_num) or 1
        tops: list[Shape] = [(count, 5, 1, 1), (count, 6, 1, 1)]
        return tops[: len(layer.tops)]

    def check_suppression(self, layer: Layer) -> None:
        """Check that ONNX's NonMaxSuppression measures the overlap of boxes as the code does.

        Raises:
            UnsupportedError: it does not.
        """
        p = self.options(layer)
        if p.nms_type != "IOU":
            raise layer.unsupported(
                f'nms_type "{p.nms_type}" is unsupported: ONNX\'s NonMaxSuppression only divides by '
                "the union",
                'Use nms_type: "IOU".',
            )

    def bounded(self, e: Emitter, layer: Layer, deltas: str) -> str:
        """Emit deltas (n, 4) within field_xyr and field_whr."""
        import numpy as np

        p = self.options(layer)
        xy, wh = np.float32(p.field_xyr), np.float32(p.field_whr)
        low = [-1 / xy] * 2 + [np.log(1 / wh)] * 2
        high = [1 / xy] * 2 + [np.log(wh)] * 2
        deltas = e.value("Max", deltas, e.array(np.array(low, np.float32)))
        return e.value("Min", deltas, e.array(np.array(high, np.float32)))

    def low_corners(
        self, e: Emitter, deltas: str, size: NDArray[np.float32], centre: NDArray[np.float32]
    ) -> tuple[str, str]:
        """Emit the low corners (n, 2) and the sizes (n, 2) of boxes from deltas of fields."""
        check = e.array(size)
        middle = e.value(
            "Add", e.value("Mul", cut_along(e, deltas, 1, 0, 2), check), e.array(centre)
        )
        grown = e.value("Mul", check, e.value("Exp", cut_along(e, deltas, 1, 2, 4)))
        return e.value("Sub", middle, e.value("Mul", grown, e.array(0.5))), grown

    def finish(self, layer: Layer, e: Emitter, images: Sequence[tuple[str, str]]) -> None:
        """Emit the tops from the boxes (R, 4) and scores (R,) of each image."""
        import numpy as np

        for top, write in enumerate(layer.writes):
            rows = [
                selecting.regions(e, boxes, image, scores if top else "")
                for image, (boxes, scores) in enumerate(images)
            ]
            joined = e.value("Concat", *rows, axis=0)
            empty = np.zeros(6) if top else np.array([0, 1, 1, 10, 10])
            joined = selecting.or_row(e, joined, empty.tolist())
            e.op("Unsqueeze", [joined, e.array([2, 3])], [write])

    def selected(
        self, layer: Layer, e: Emitter, boxes: str, scores: str, count: int
    ) -> tuple[str, str]:
        """Emit the selected boxes and their scores."""
        p = self.options(layer)
        choice = Choice(p.max_nms_num, p.max_post_nms_num, p.iou_thr)
        return selecting.select(e, boxes, scores, count, choice, self.extent)


class BoxOutput(_Boxes):
    """MS-CNN: regions selected from maps with scores of classes and four deltas of a field; one field
    per map. The score is that of the best class minus that of class 0."""

    source = MSCNN
    reads = fields(
        box_output_param=(
            "fg_thr iou_thr nms_type field_h field_w downsample_rate field_whr field_xyr max_nms_num "
            "max_post_nms_num min_size"
        ),
        bbox_reg_param=BOX_REGRESSION,
    )

    def options(self, layer: Layer) -> Message:
        p: Message = layer.params.box_output_param
        return p

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        p = self.options(layer)
        four_deltas(layer)
        for name in ("field_h", "field_w", "downsample_rate"):
            if len(getattr(p, name)) != len(bottoms):
                raise layer.error(
                    f"expected one {name} for each of {len(bottoms)} bottoms, got {len(getattr(p, name))}"
                )
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if len(shape) != 4 or shape[0] != bottoms[0][0] or not 6 <= shape[1] == bottoms[0][1]:
                raise layer.error(
                    f'"{name}" must have 4 axes, the images and channels of "{layer.bottoms[0]}", and '
                    f"at least 6 channels, got shape {shape_text(shape)}"
                )
        return self.tops(layer, bottoms[0][0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        self.check_suppression(layer)
        p = self.options(layer)
        if p.min_size <= 0:
            raise layer.unsupported(
                f"min_size {p.min_size:g} is unsupported: boxes of negative size would remain",
                "Set min_size above 0.",
            )
        images = e.shape(layer.reads[0])[0]
        maps = [self._map(layer, e, index) for index in range(len(layer.reads))]
        total = sum(math.prod(e.shape(read)[2:]) for read in layer.reads)
        results = []
        for image in range(images):
            joined = []
            for column in range(2):
                rows = [
                    e.value(
                        "Squeeze", cut_along(e, values[column], 0, image, image + 1), e.array([0])
                    )
                    for values in maps
                ]
                joined.append(e.value("Concat", *rows, axis=0))
            boxes, scores = joined
            results.append(self.selected(layer, e, boxes, scores, total))
        self.finish(layer, e, results)

    def _map(self, layer: Layer, e: Emitter, index: int) -> tuple[str, str]:
        """Emit the boxes (N, H * W, 4) of one map, and their scores (N, H * W), minus infinity for
        boxes that are left out."""
        import numpy as np

        p = self.options(layer)
        n, channels, height, width = e.shape(layer.reads[index])
        check_room(layer, 4 * height * width)
        flat = e.value("Reshape", layer.reads[index], e.array([n, channels, height * width]))
        best = e.reduce("ReduceMax", cut_along(e, flat, 1, 1, channels - 4), [1], keepdims=False)
        none = e.value("Squeeze", cut_along(e, flat, 1, 0, 1), e.array([1]))
        scores = e.value("Sub", best, none)
        deltas = e.value("Transpose", cut_along(e, flat, 1, channels - 4, channels), perm=[0, 2, 1])
        deltas = e.value("Reshape", deltas, e.array([n * height * width, 4]))
        deltas = self.bounded(e, layer, denormalized(layer, e, deltas))
        rate = np.float32(p.downsample_rate[index])
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        centre = (np.stack([x, y], -1).reshape(-1, 2).astype(np.float32) + np.float32(0.5)) * rate
        field = np.array([p.field_w[index], p.field_h[index]], np.float32)
        low, size = self.low_corners(e, deltas, field, np.tile(centre, (n, 1)))
        low = e.value("Max", low, e.array(0.0))
        image = e.array([float(width * rate), float(height * rate)])
        size = e.value("Min", size, e.value("Sub", image, low))
        large = e.value("Sub", size, e.array(float(p.min_size)))
        smallest = e.reduce("ReduceMin", large, [1], keepdims=False)
        is_valid = e.value("GreaterOrEqual", smallest, e.array(0.0))
        is_valid = e.value("Reshape", is_valid, e.array([n, height * width]))
        good = e.value("GreaterOrEqual", scores, e.array(float(p.fg_thr)))
        scores = selecting.keep_scores(e, e.value("And", is_valid, good), scores)
        boxes = e.value("Concat", low, e.value("Add", low, size), axis=1)
        return e.value("Reshape", boxes, e.array([n, height * width, 4])), scores


class BoxGroupOutput(_Boxes):
    """Cascade R-CNN: regions selected from pairs of maps, of probabilities and of four deltas. Each
    group of fields is an entry of the batch: image * groups + group. The score is 1 minus the
    probability of class 0."""

    source = CASCADE
    extent = 1.0
    limits = "nms_type IOU only, and not a small iou_thr together with a small min_size"
    reads = fields(
        box_group_output_param=(
            "fg_thr iou_thr nms_type box_group_param field_whr field_xyr max_nms_num max_post_nms_num "
            "min_size"
        ),
        bbox_reg_param=BOX_REGRESSION,
    )

    def options(self, layer: Layer) -> Message:
        p: Message = layer.params.box_group_output_param
        return p

    def check_suppression(self, layer: Layer) -> None:
        super().check_suppression(layer)
        p = self.options(layer)
        # The code counts no overlap of less than a pixel; ONNX's operator does. Of two boxes of at
        # least min_size, it is less than this share of the union.
        least = 1 / (2 * p.min_size - 1) if p.min_size >= 1 else 2
        if p.iou_thr < least:
            raise layer.unsupported(
                f"iou_thr {p.iou_thr:g} with min_size {p.min_size:g} is unsupported: overlaps of less "
                "than a pixel would count",
                "Use a larger min_size or iou_thr.",
            )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = self.options(layer)
        four_deltas(layer)
        groups = [(len(g.field_w), len(g.field_h)) for g in p.box_group_param]
        if not groups or len(bottoms) != 2 * len(groups):
            raise layer.error(
                f"expected two bottoms for each of {len(groups)} box_group_param, got {len(bottoms)}"
            )
        images = bottoms[0][0] // max(1, groups[0][0])
        for index, (wide, tall) in enumerate(groups):
            if wide != tall or not wide:
                raise layer.error(
                    f"box_group_param {index} must have as many field_w as field_h, got {wide} and {tall}"
                )
            scores, deltas = bottoms[2 * index : 2 * index + 2]
            fits = len(scores) == len(deltas) == 4 and deltas[1] == 4 and scores[0] == images * wide
            if not fits or scores[:1] + scores[2:] != deltas[:1] + deltas[2:]:
                raise layer.error(
                    f"its bottoms {2 * index} and {2 * index + 1} must have {images * wide} entries of "
                    f"equal size, and 4 channels of deltas, got shapes {shape_text(scores)} and "
                    f"{shape_text(deltas)}"
                )
        return self.tops(layer, images)

    def lower(self, layer: Layer, e: Emitter) -> None:
        self.check_suppression(layer)
        p = self.options(layer)
        images = e.shape(layer.reads[0])[0] // len(p.box_group_param[0].field_w)
        total = sum(e.shape(read)[0] * math.prod(e.shape(read)[2:]) for read in layer.reads[::2])
        results = []
        for image in range(images):
            pairs = [self._group(layer, e, i, image, images) for i in range(len(p.box_group_param))]
            boxes, scores = (
                e.value("Concat", *parts, axis=0) for parts in zip(*pairs, strict=True)
            )
            results.append(self.selected(layer, e, boxes, scores, total // images))
        self.finish(layer, e, results)

    def _group(
        self, layer: Layer, e: Emitter, index: int, image: int, images: int
    ) -> tuple[str, str]:
        """Emit the boxes (n, 4) of one image and one pair of maps, and their scores (n,)."""
        import numpy as np

        p = self.options(layer)
        group = p.box_group_param[index]
        entries, _, height, width = e.shape(layer.reads[2 * index])
        count = entries // images
        check_room(layer, 4 * count * height * width)
        both = [
            cut_along(e, read, 0, image * count, (image + 1) * count)
            for read in layer.reads[2 * index : 2 * index + 2]
        ]
        none = e.value("Reshape", cut_along(e, both[0], 1, 0, 1), e.array([-1]))
        scores = e.value("Sub", e.array(1.0), none)
        deltas = e.value("Transpose", both[1], perm=[0, 2, 3, 1])
        deltas = e.value("Reshape", deltas, e.array([count * height * width, 4]))
        deltas = self.bounded(e, layer, denormalized(layer, e, deltas))
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        centre = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32) + np.float32(0.5)
        centre = np.tile(centre * np.float32(group.stride), (count, 1))
        field = np.stack([list(group.field_w), list(group.field_h)], 1).astype(np.float32)
        low, size = self.low_corners(e, deltas, np.repeat(field, height * width, 0), centre)
        high = e.value("Sub", e.value("Add", low, size), e.array(1.0))
        low = e.value("Max", low, e.array(0.0))
        ends = [float(width * group.stride), float(height * group.stride)]
        boxes = e.value("Concat", low, e.value("Min", high, e.array(ends)), axis=1)
        is_valid = selecting.is_least(e, boxes, e.array(float(p.min_size)))
        good = e.value("GreaterOrEqual", scores, e.array(float(p.fg_thr)))
        return boxes, selecting.keep_scores(e, e.value("And", is_valid, good), scores)
