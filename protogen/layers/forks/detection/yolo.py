"""Layers of YOLO's forks that decode boxes and select them by non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.checking import check_set
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.ssd import _Rows
from protogen.layers.forks.detection.suppression import cut_along, first_length
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BOXES = 1 << 31  # no limit on the number of selected boxes


@dataclass(frozen=True, slots=True)
class Grid:
    """The boxes of a bottom (N, C, H, W): in each of ``rows`` x ``columns`` pixels one of each anchor,
    with ``values`` channels.

    Attributes:
        anchors: widths and heights, in units of ``width`` and ``height``: those of the image.
    """

    rows: int
    columns: int
    values: int
    anchors: Sequence[tuple[float, float]]
    width: int
    height: int

    def cells(self) -> NDArray[np.float32]:
        """Return column and row of each pixel: (rows * columns, 1, 2)."""
        import numpy as np

        rows, columns = np.indices((self.rows, self.columns), np.float32).reshape(2, -1)
        return np.stack([columns, rows], 1)[:, None]


def decoded(e: Emitter, read: str, grid: Grid, shape: Shape) -> tuple[str, str, str]:
    """Emit the boxes of a bottom of this shape, in order of image, pixel and anchor.

    Returns:
        Boxes (B, 4), as centre x, centre y, width and height in units of the image; the logits of the
        objects (B, 1); the logits of the classes (B, classes).
    """
    count, pixels = len(grid.anchors), grid.rows * grid.columns
    x = read
    for axis, length in ((1, count * grid.values), (2, grid.rows)):
        if length < shape[axis]:
            x = cut_along(e, x, axis, 0, length)
    x = e.value("Reshape", x, e.array([0, count, grid.values, pixels]))
    x = e.value("Transpose", x, perm=[0, 3, 1, 2])  # image, pixel, anchor, value
    centre = e.value("Add", e.value("Sigmoid", cut_along(e, x, 3, 0, 2)), e.array(grid.cells()))
    centre = e.value("Div", centre, e.array([float(grid.columns), float(grid.rows)]))
    size = e.value("Mul", e.value("Exp", cut_along(e, x, 3, 2, 4)), e.array(list(grid.anchors)))
    size = e.value("Div", size, e.array([float(grid.width), float(grid.height)]))
    boxes = e.value("Concat", centre, size, axis=3)
    parts = (boxes, cut_along(e, x, 3, 4, 5), cut_along(e, x, 3, 5, grid.values))
    widths = (4, 1, grid.values - 5)
    boxes, objects, classes = (
        e.value("Reshape", part, e.array([-1, width]))
        for part, width in zip(parts, widths, strict=True)
    )
    return boxes, objects, classes


def suppressed(e: Emitter, overlap: float, boxes: str, scores: str) -> str:
    """Emit the positions of the selected boxes (S), in order of descending score. A box is left out if
    its intersection over union with a better box of any class is at least ``overlap``.

    Args:
        e: the emitter.
        overlap: the threshold.
        boxes: (K, 4), as centre x, centre y, width and height.
        scores: (K).
    """
    import numpy as np

    if not 0 < overlap < 1:  # only the best box is left, or all boxes
        count = first_length(e, scores)
        count = count if overlap > 1 else e.value("Min", count, e.array([1]))
        best = [f"{scores}@sorted", f"{scores}@places"]
        e.op("TopK", [scores, count], best, axis=0)
        return best[1]
    # ONNX leaves out boxes above the threshold, these layers also those at the threshold.
    limit = np.nextafter(np.float32(overlap), np.float32(0))
    selected = e.value(
        "NonMaxSuppression",
        e.value("Unsqueeze", boxes, e.array([0])),
        e.value("Unsqueeze", scores, e.array([0, 1])),
        e.array([MOST_BOXES]),
        e.array([float(limit)]),
        center_point_box=1,
    )
    return e.value("Squeeze", cut_along(e, selected, 1, 2, 3), e.array([1]))


class _Yolo(_Rows, abstract=True):
    """Base class of MobileNet-YOLO's output layers. Boxes of all images, bottoms and classes suppress
    each other. Rows are in order of descending score; the image is always 0, and the label of the
    first class is 1. Corners are relative to the image and may be outside of it. If there is no box,
    the output is one row of -1 per image, which begins with its number."""

    stock = False
    source = "eric612/MobileNet-YOLO"
    has_round_trip_metadata = True

    def emit(self, layer: Layer, e: Emitter, boxes: str, scores: str, labels: str) -> None:
        """Emit the output for candidates: boxes (K, 4), scores and labels (K)."""
        overlap = self.overlap(layer)
        if overlap == 1:
            raise layer.unsupported(
                "nms_threshold 1 is unsupported: whether equal boxes suppress each other depends on "
                "rounding",
                "Set it to 0.999, or to more than 1 for no suppression.",
            )
        places = suppressed(e, overlap, boxes, scores)
        boxes, scores, labels = (
            e.value("Gather", part, places, axis=0) for part in (boxes, scores, labels)
        )
        centre = cut_along(e, boxes, 1, 0, 2)
        half = e.value("Mul", cut_along(e, boxes, 1, 2, 4), e.array(0.5))
        score = e.value("Unsqueeze", scores, e.array([1]))
        label = e.value("Cast", e.value("Unsqueeze", labels, e.array([1])), to=FLOAT)
        label = e.value("Add", label, e.array(1.0))
        image = e.value("Mul", label, e.array(0.0))
        low, high = e.value("Sub", centre, half), e.value("Add", centre, half)
        rows = e.value("Concat", image, label, score, low, high, axis=1)
        images = first_length(e, layer.reads[0])  # computed, so the batch may be dynamic
        numbers = e.value("Range", e.array(0), e.value("Squeeze", images), e.array(1))
        numbers = e.value("Unsqueeze", e.value("Cast", numbers, to=FLOAT), e.array([1]))
        rest = e.value("Expand", e.array(-1.0), e.value("Concat", images, e.array([6]), axis=0))
        placeholder = e.value("Concat", numbers, rest, axis=1)
        length = first_length(e, rows)
        is_empty = e.value("Equal", length, e.array([0]))
        end = e.value("Where", is_empty, images, length)
        both = e.value("Concat", rows, placeholder, axis=0)
        output = e.value("Slice", both, e.array([0]), end, e.array([0]))
        e.op("Unsqueeze", [output, e.array([0, 1])], [layer.writes[0]])

    def overlap(self, layer: Layer) -> float:
        """Return nms_threshold."""
        raise NotImplementedError


def check_channels(layer: Layer, name: str, shape: Shape, anchors: int, values: int) -> None:
    """Raises InputError unless a bottom has channels for these anchors and values of an anchor."""
    if shape[1] < anchors * values:
        raise layer.error(
            f'bottom "{name}" must have {anchors * values} channels for {anchors} anchors with '
            f"{values} values, got {shape[1]}"
        )


def _joined(e: Emitter, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else e.value("Concat", *parts, axis=0)


class YoloDetectionOutput(_Yolo):
    """YOLO v2: boxes of one or two bottoms (N, num_box (5 + num_classes), H, W) with the same anchors.

    A box has the score sigmoid(object) max softmax(classes), and is a candidate if this is at least
    confidence_threshold. Its centre is (i + sigmoid(x)) / W, (j + sigmoid(y)) / W, its size
    exp(w) biases / W: the code uses the width for both axes, so it reads only the first W rows.
    """

    reads = fields(
        yolo_detection_output_param=(
            "num_classes num_box confidence_threshold nms_threshold biases"
        ),
    )
    required = ("yolo_detection_output_param.num_classes",)
    harmless = MappingProxyType(
        {
            "yolo_detection_output_param.side": "the code uses the width of the bottom",
            "yolo_detection_output_param.coords": "the code does not use it",
            "yolo_detection_output_param.label_map_file": "it only names the classes",
        }
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_set(layer, self.required)
        check_rank(layer, bottoms[:2], 4, 4)
        p = layer.params.yolo_detection_output_param
        if p.num_box < 1 or p.num_classes < 1:
            raise layer.error(
                f"num_box and num_classes must be at least 1, got {p.num_box} and {p.num_classes}"
            )
        if len(p.biases) < 2 * p.num_box:
            raise layer.error(
                f"num_box {p.num_box} requires {2 * p.num_box} biases, got {len(p.biases)}"
            )
        for name, shape in zip(layer.bottoms[:2], bottoms, strict=False):
            if shape[1] % p.num_box:
                raise layer.error(
                    f'the channels of bottom "{name}" must be divisible by num_box {p.num_box}, got '
                    f"{shape[1]}"
                )
            check_channels(layer, name, shape, p.num_box, 5 + p.num_classes)
            if shape[2] < shape[3]:
                raise layer.error(
                    f'bottom "{name}" must be at least as high as wide, got {shape[2]}x{shape[3]}'
                )
        return super().shapes(layer, bottoms)

    def overlap(self, layer: Layer) -> float:
        return float(layer.params.yolo_detection_output_param.nms_threshold)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.yolo_detection_output_param
        anchors = _pairs(p.biases)[: p.num_box]
        parts = []
        for read in layer.reads[:2]:
            _, channels, _, side = e.shape(read)
            grid = Grid(side, side, channels // p.num_box, anchors, side, side)
            parts.append(decoded(e, read, grid, e.shape(read)))
        boxes, objects, classes = (_joined(e, part) for part in zip(*parts, strict=True))
        classes = cut_along(e, classes, 1, 0, p.num_classes)
        best = e.reduce("ReduceMax", e.value("Softmax", classes, axis=1), [1])
        scores = e.value("Mul", e.value("Sigmoid", objects), best)
        scores = e.value("Squeeze", scores, e.array([1]))
        labels = e.value("ArgMax", classes, axis=1, keepdims=0)
        is_kept = e.value("GreaterOrEqual", scores, e.array(float(p.confidence_threshold)))
        places = e.value("Squeeze", e.value("NonZero", is_kept), e.array([0]))
        candidates = (e.value("Gather", part, places, axis=0) for part in (boxes, scores, labels))
        self.emit(layer, e, *candidates)


class Yolov3DetectionOutput(_Yolo):
    """YOLO v3: boxes of mask_group_num bottoms (N, num_box (5 + num_classes), H, W), each with its own
    anchors: ``mask`` holds their positions in ``biases``, bottom after bottom.

    A box is a candidate for each class with sigmoid(class) sigmoid(object) above
    confidence_threshold. Its centre is (i + sigmoid(x)) / W, (j + sigmoid(y)) / H, its size exp(w)
    biases / (W anchors_scale), exp(h) biases / (H anchors_scale). This is the code for CPUs; that for
    GPUs reads wrong values of later bottoms in all images but the first.
    """

    reads = fields(
        yolov3_detection_output_param=(
            "num_classes num_box confidence_threshold nms_threshold biases anchors_scale "
            "mask_group_num mask gaussian_box"
        ),
    )
    required = ("yolov3_detection_output_param.num_classes",)
    limits = "not gaussian_box: true"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.yolov3_detection_output_param
        check_bottoms(layer, 1)
        check_set(layer, self.required)
        check_rank(layer, bottoms, 4, 4)
        if len(bottoms) != p.mask_group_num:
            raise layer.error(
                f"mask_group_num {p.mask_group_num} requires as many bottoms, got {len(bottoms)}"
            )
        if p.num_box < 1 or p.num_classes < 1:
            raise layer.error(
                f"num_box and num_classes must be at least 1, got {p.num_box} and {p.num_classes}"
            )
        if len(p.anchors_scale) < len(bottoms) or min(p.anchors_scale) < 1:
            raise layer.error(
                f"must have {len(bottoms)} anchors_scale of at least 1, got {list(p.anchors_scale)}"
            )
        step = len(p.mask) // p.mask_group_num
        if len(p.mask) < (len(bottoms) - 1) * step + p.num_box:
            raise layer.error(
                f"{len(bottoms)} bottoms with num_box {p.num_box} require {len(bottoms) * p.num_box} "
                f"mask, got {len(p.mask)}"
            )
        if max(p.mask) >= len(p.biases) // 2:
            raise layer.error(
                f"mask {max(p.mask)} requires {2 * max(p.mask) + 2} biases, got {len(p.biases)}"
            )
        values = (9 if p.gaussian_box else 5) + p.num_classes
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            check_channels(layer, name, shape, p.num_box, values)
        return super().shapes(layer, bottoms)

    def overlap(self, layer: Layer) -> float:
        return float(layer.params.yolov3_detection_output_param.nms_threshold)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.yolov3_detection_output_param
        if p.gaussian_box:
            raise layer.unsupported(
                "gaussian_box: true is unsupported: the source's code for CPUs reads scores that it "
                "does not write, and its code for GPUs computes other numbers",
                "End the net at its bottoms with --to-blob, and decode the boxes outside of the model.",
            )
        shapes = [e.shape(read) for read in layer.reads]
        parts = [
            decoded(e, read, _grid(p, i, shape), shape)
            for i, (read, shape) in enumerate(zip(layer.reads, shapes, strict=True))
        ]
        boxes, objects, classes = (_joined(e, part) for part in zip(*parts, strict=True))
        scores = e.value("Mul", e.value("Sigmoid", classes), e.value("Sigmoid", objects))
        scores = e.value("Reshape", scores, e.array([-1]))
        is_kept = e.value("Greater", scores, e.array(float(p.confidence_threshold)))
        places = e.value("Squeeze", e.value("NonZero", is_kept), e.array([0]))
        scores = e.value("Gather", scores, places, axis=0)
        number = e.array([p.num_classes])
        boxes = e.value("Gather", boxes, e.value("Div", places, number), axis=0)
        self.emit(layer, e, boxes, scores, e.value("Mod", places, number))


class Yolov3Detection(LayerType):
    """Cambricon: boxes of three bottoms (N, anchor_num (5 + num_classes), H, W). The top is a list: the
    number of boxes, 63 other values, and num_box rows of image, class, score and corners, with -1 in
    the rest."""

    reads = fields(
        yolov3_param=(
            "num_classes num_box confidence_threshold nms_threshold anchor_num biases im_w im_h"
        ),
    )
    stock = False
    source = "Cambricon/caffe"
    refusal = (
        "the order of its boxes depends on how std::sort orders equal scores",
        "End the net at its bottoms with --to-blob, and decode the boxes outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.yolov3_param
        if len(p.biases) != 6 * p.anchor_num:
            raise layer.error(
                f"anchor_num {p.anchor_num} requires {6 * p.anchor_num} biases, got {len(p.biases)}"
            )
        expected = p.anchor_num * (5 + p.num_classes)
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[1] != expected:
                raise layer.error(
                    f'bottom "{name}" must have {expected} channels for anchor_num {p.anchor_num} and '
                    f"num_classes {p.num_classes}, got {shape[1]}"
                )
        return [(1, bottoms[0][0] * (7 * p.num_box + 64), 1, 1)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


def _grid(p: Message, index: int, shape: Shape) -> Grid:
    """Return the boxes of the bottom of this index and shape, for a Yolov3DetectionOutputParameter."""
    _, _, h, w = shape
    start = index * (len(p.mask) // p.mask_group_num)
    pairs = _pairs(p.biases)
    anchors = [pairs[i] for i in p.mask[start : start + p.num_box]]
    scale = p.anchors_scale[index]
    return Grid(h, w, 5 + p.num_classes, anchors, w * scale, h * scale)


def _pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return pairs of width and height."""
    return list(zip(values[::2], values[1::2], strict=False))
