"""Detection layers of forks: SSD, YOLO, Faster R-CNN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.graph import Layer
from protogen.layers.values import boxes, positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


FLT_MAX = 3.4028234663852886e38  # Caffe's value for no threshold


def aspect_ratios(p: Message) -> list[float]:
    """Return 1, each aspect ratio and, with ``flip``, its inverse; repeated ratios count once."""
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios.append(ratio)
            if p.flip:
                ratios.append(1.0 / ratio)
    return ratios


def prior_count(p: Message) -> int:
    """Return the boxes per pixel of PriorBox: one per ratio and min_size, one per max_size."""
    return len(aspect_ratios(p)) * len(p.min_size) + len(p.max_size)


def box_sizes(p: Message) -> Iterator[tuple[float, float]]:
    """Yield width and height of the boxes of a pixel, in Caffe's order. Caffe stores sizes as int,
    so it truncates fractions."""
    ratios = aspect_ratios(p)
    for i, size in enumerate(map(int, p.min_size)):
        yield size, size
        if p.max_size:
            mean = math.sqrt(size * int(p.max_size[i]))  # geometric mean
            yield mean, mean
        for ratio in ratios:
            if abs(ratio - 1) >= 1e-6:
                yield size * math.sqrt(ratio), size / math.sqrt(ratio)


class PriorBox(LayerType):
    """SSD: default boxes of a feature map (corners, then variances); bottoms map and image."""

    reads_values = False

    reads = fields(
        prior_box_param=(
            "min_size max_size aspect_ratio flip clip variance img_size img_h img_w step "
            "step_h step_w offset"
        ),
    )

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        p = layer.params.prior_box_param
        if not p.min_size:
            raise layer.error("missing min_size", "Set one or more.")
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise layer.error(
                f"has {len(p.min_size)} min_size, but {len(p.max_size)} max_size",
                "Set one max_size per min_size, or none.",
            )
        h, w = bottoms[0][2:4]
        return [(1, 2, h * w * prior_count(p) * 4)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [e.array(self.boxes(layer, e))], [layer.writes[0]])

    def boxes(self, layer: Layer, e: Emitter) -> NDArray[np.float32]:
        """Return the boxes, which depend only on sizes: float32 (1, 2, H * W * boxes * 4), with corners
        and variances."""
        import numpy as np

        p = layer.params.prior_box_param
        h, w = e.shape(layer.reads[0])[2:4]
        image_h, image_w = e.shape(layer.reads[1])[2:4]
        if p.img_size:
            image_h = image_w = p.img_size
        elif p.img_h and p.img_w:
            image_h, image_w = p.img_h, p.img_w
        step_h = p.step_h or p.step or image_h / h
        step_w = p.step_w or p.step or image_w / w
        sizes = np.array(list(box_sizes(p)), np.float64)
        check_room(layer, h * w * len(sizes) * 32)  # the code below copies the boxes four times
        y = (np.arange(h) + p.offset) * step_h
        x = (np.arange(w) + p.offset) * step_w
        boxes = np.empty((h, w, len(sizes), 4))
        boxes[..., 0::2] = x[None, :, None, None]
        boxes[..., 1::2] = y[:, None, None, None]
        half = np.stack([sizes[:, 0], sizes[:, 1]], 1) / 2
        boxes += np.concatenate([-half, half], 1)
        boxes /= np.array([image_w, image_h, image_w, image_h])
        if p.clip:
            boxes = boxes.clip(0, 1)
        variance = list(p.variance) or [0.1]
        variances = np.broadcast_to(variance * (4 // len(variance)), boxes.shape)
        priors = np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]
        return priors.astype(np.float32)


class _Rows(LayerType, abstract=True):
    """Base class of layers with boxes as rows of 7: image, label, score, corners. The number of rows
    depends on data; before it runs, Caffe reports 1."""

    data_axis = 2

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, 1, 7)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class DetectionOutput(_Rows):
    """SSD: decoded boxes after non-maximum suppression; bottoms location, confidence, priors.

    For each class, Caffe selects the boxes above confidence_threshold, then the best nms top_k,
    then those that overlap no better box by more than nms_threshold. Of all classes together it
    selects the best keep_top_k. Rows are in order of image, class and descending score. If there is
    no box at all, the output is one row of -1 per image. ONNX: NonMaxSuppression has the same rule
    and order for one image.
    """

    reads = fields(
        detection_output_param=(
            "num_classes share_location background_label_id code_type keep_top_k "
            "variance_encoded_in_target confidence_threshold objectness_score "
            "nms_param.nms_threshold nms_param.top_k nms_param.eta"
        ),
    )

    stock = False
    forks = ("ssd", "refinedet", "intel", "yolo", "pytorch2caffe")
    has_round_trip_metadata = True
    limits = "not share_location: false, nor eta below 1"

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index == 2:
            return boxes(rng, shapes[2])
        return positive(rng, shapes[1]) if index == 1 else None

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 5)
        p = layer.params.detection_output_param
        location, scores, priors = (math.prod(shape[1:]) for shape in bottoms[:3])
        count = priors // 2 // 4
        sets = 1 if p.share_location else p.num_classes
        for name, actual, expected in (
            (layer.bottoms[0], location, count * 4 * sets),
            (layer.bottoms[1], scores, count * p.num_classes),
        ):
            if actual != expected:
                raise layer.error(
                    f'bottom "{name}" must have {expected} values per sample for {count} priors and '
                    f"num_classes {p.num_classes}, got {actual}"
                )
        return super().shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.detection_output_param
        self._check(layer, p)
        images = e.shape(layer.reads[0])[0]
        count = e.shape(layer.reads[2])[2] // 4
        boxes = decoded(layer, e, images, count)
        scores = e.value("Reshape", layer.reads[1], e.array([images, count, p.num_classes]))
        scores = e.value("Transpose", scores, perm=[0, 2, 1])
        rows = [self._image(e, p, boxes, scores, i, count) for i in range(images)]
        detections = e.value("Concat", *rows, axis=0) if images > 1 else rows[0]
        # If there are no rows, Caffe writes one row of -1 per image.
        placeholder = e.array([[float(i), *[-1.0] * 6] for i in range(images)])
        length = first_length(e, detections)
        is_empty = e.value("Equal", length, e.array([0]))
        end = e.value("Where", is_empty, e.array([images]), length)
        both = e.value("Concat", detections, placeholder, axis=0)
        output = e.value("Slice", both, e.array([0]), end, e.array([0]))
        e.op("Unsqueeze", [output, e.array([0, 1])], [layer.writes[0]])

    def _image(
        self, e: Emitter, p: Message, boxes: str, scores: str, image: int, count: int
    ) -> str:
        """Return the rows of one image: (boxes, 7)."""
        bounds = [e.array([image]), e.array([image + 1]), e.array([0])]
        boxes, scores = e.value("Slice", boxes, *bounds), e.value("Slice", scores, *bounds)
        lowest = e.array(float("-inf"))
        if 0 <= p.background_label_id < p.num_classes:
            classes = [[[float(i == p.background_label_id)] for i in range(p.num_classes)]]
            is_background = e.value("Cast", e.array(classes), to=BOOL)
            scores = e.value("Where", is_background, lowest, scores)
        limit = p.nms_param.top_k if p.nms_param.has("top_k") else -1
        if 0 < limit < count:
            best = [f"{scores}@best", f"{scores}@places"]
            e.op("TopK", [scores, e.array([limit])], best, axis=2)
            last = e.value("Slice", best[0], e.array([limit - 1]), e.array([limit]), e.array([2]))
            scores = e.value("Where", e.value("Less", scores, last), lowest, scores)
        threshold = p.confidence_threshold if p.has("confidence_threshold") else -FLT_MAX
        limits = [e.array([count]), e.array([p.nms_param.nms_threshold]), e.array([threshold])]
        selected = e.value("NonMaxSuppression", boxes, scores, *limits)
        values = e.value("GatherND", scores, selected)
        if p.keep_top_k > -1:
            keep = e.value("Min", first_length(e, values), e.array([p.keep_top_k]))
            order = [f"{values}@best", f"{values}@places"]
            e.op("TopK", [values, keep], order, axis=0)
            places = [f"{values}@first", f"{values}@sorted"]
            e.op("TopK", [order[1], keep], places, axis=0, largest=0)
            selected = e.value("Gather", selected, places[0], axis=0)
            values = e.value("Gather", values, places[0], axis=0)
        label = e.value("Slice", selected, e.array([1]), e.array([2]), e.array([1]))
        place = e.value(
            "Squeeze",
            e.value("Slice", selected, e.array([2]), e.array([3]), e.array([1])),
            e.array([1]),
        )
        corners = e.value("Gather", e.value("Squeeze", boxes, e.array([0])), place, axis=0)
        label = e.value("Cast", label, to=FLOAT)
        number = e.value("Add", e.value("Mul", label, e.array(0.0)), e.array(float(image)))
        score = e.value("Unsqueeze", values, e.array([1]))
        return e.value("Concat", number, label, score, corners, axis=1)

    def _check(self, layer: Layer, p: Message) -> None:
        if len(layer.reads) > 3 or p.has("objectness_score"):
            raise layer.unsupported(
                "RefineDet's objectness inputs are unsupported",
                "Use only location, confidence and priors as bottoms.",
            )
        if not p.share_location:
            raise layer.unsupported(
                "share_location: false is unsupported: ONNX's NonMaxSuppression has no separate boxes "
                "per class",
                "End the net at its bottoms with --to-blob, and select the boxes outside of the model.",
            )
        if p.nms_param.eta != 1:
            raise layer.unsupported(
                f"eta {p.nms_param.eta:g} is unsupported: it lowers the threshold after each box, which "
                "ONNX's NonMaxSuppression cannot do",
                "Set eta: 1.",
            )


def first_length(e: Emitter, read: str) -> str:
    """Emit the length of the first axis, as an array of one number."""
    return e.value("Slice", e.value("Shape", read), e.array([0]), e.array([1]))


def decoded(layer: Layer, e: Emitter, images: int, count: int) -> str:
    """Emit the boxes decoded from locations and priors: (N, P, 4), corners x0 y0 x1 y1."""
    p = layer.params.detection_output_param
    location = e.value("Reshape", layer.reads[0], e.array([images, count, 4]))
    priors = e.value("Reshape", layer.reads[2], e.array([2, count, 4]))
    prior, variance = (
        e.value("Slice", priors, e.array([i]), e.array([i + 1]), e.array([0])) for i in range(2)
    )
    if not p.variance_encoded_in_target:
        location = e.value("Mul", location, variance)
    if p.code_type == "CORNER":
        return e.value("Add", prior, location)

    def half(read: str, second: bool) -> str:
        start = 2 * second
        return e.value("Slice", read, e.array([start]), e.array([start + 2]), e.array([2]))

    low, high = half(prior, False), half(prior, True)
    size = e.value("Sub", high, low)
    if p.code_type == "CORNER_SIZE":
        both = e.value("Concat", size, size, axis=2)
        return e.value("Add", prior, e.value("Mul", location, both))
    centre = e.value("Mul", e.value("Add", low, high), e.array(0.5))
    centre = e.value("Add", e.value("Mul", half(location, False), size), centre)
    scale = e.value("Exp", half(location, True))
    half_size = e.value("Mul", e.value("Mul", scale, size), e.array(0.5))
    corners = [e.value("Sub", centre, half_size), e.value("Add", centre, half_size)]
    return e.value("Concat", *corners, axis=2)


class _Yolo(_Rows, abstract=True):
    """Base class of the YOLO output layers."""

    refusal = (
        "forks decode its boxes by different rules, without published numbers to check against",
        "End the net at its bottoms with --to-blob, and decode the boxes outside of the model.",
    )


class YoloDetectionOutput(_Yolo):
    """YOLO v2: decoded boxes after non-maximum suppression."""

    reads = fields(
        yolo_detection_output_param=(
            "side num_classes num_box coords confidence_threshold nms_threshold biases"
        ),
    )

    stock = False


class Yolov3DetectionOutput(_Yolo):
    """YOLO v3: decoded boxes after non-maximum suppression."""

    reads = fields(
        yolov3_detection_output_param=(
            "num_classes num_box confidence_threshold nms_threshold biases anchors_scale "
            "mask_group_num mask gaussian_box"
        ),
    )

    stock = False


class Proposal(LayerType):
    """Faster R-CNN: regions (R, 5) from scores, deltas and im_info; a second top holds scores."""

    reads = fields(
        proposal_param=(
            "feat_stride base_size min_size ratio scale pre_nms_topn post_nms_topn nms_thresh"
        ),
    )

    stock = False

    refusal = (
        "forks select its regions by different rules, without published numbers to check against",
        "End the net at its bottoms with --to-blob, and select the regions outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        count = layer.params.proposal_param.post_nms_topn
        shapes: list[Shape] = [(count, 5), (count, 1)]
        return shapes[: len(layer.tops)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None
