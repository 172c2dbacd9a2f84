"""Detection layers of Cambricon's fork."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.forks.detection.decoding import decoded, number_of_priors, prior_boxes
from protogen.layers.forks.detection.suppression import Suppression, cut_along, selected_rows
from protogen.layers.forks.detection.yolo import Grid
from protogen.layers.forks.detection.yolo import decoded as decoded_grid
from protogen.layers.graph import Layer
from protogen.layers.values import boxes as drawn_boxes
from protogen.layers.values import positive, random_regions
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

INT32 = 6  # ONNX's number for int32, used by Cast
_SMALLEST = 1e-5  # area of a box that DetectionPoseOutput leaves out
_WAY_OUT = "End the net at its bottoms with --to-blob, and select the boxes outside of the model."


class _Detection(LayerType, abstract=True):
    """Base class of Cambricon's detection layers."""

    stock = False
    source = "Cambricon/caffe"

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class SsdDetection(_Detection):
    """Cambricon: PriorBox, Softmax and DetectionOutput of several maps in one layer of its processor;
    bottoms locations, then confidences, then the image."""

    required = ("detection_output_param.num_classes",)
    reads = fields(
        detection_output_param=(
            "num_classes share_location background_label_id code_type keep_top_k "
            "variance_encoded_in_target confidence_threshold nms_param"
        ),
    )
    refusal = (
        "the source of its numbers is not public",
        "Use the net with separate PriorBox and DetectionOutput layers.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3)
        values = layer.params.detection_output_param.keep_top_k * 7 + 64
        return [(bottoms[0][0], values, 1, 1)]


class DetectionPoseOutput(_Detection):
    """Boxes of priors with poses; bottoms location, confidence, poses (num_poses scores for each prior,
    or for each class with ``share_pose: false``), priors, and the image, which is only shown.

    The selection is that of SSD without eta; confidence_threshold has no effect, and boxes with an
    area below 0.00001 are left out. Rows of 9: image, label, score, corners clipped to 0 to 1, and the
    pose with the largest score with this score. There may be no row.
    """

    data_axis = 2
    required = ("detection_pose_output_param.num_classes", "detection_pose_output_param.num_poses")
    reads = fields(
        detection_pose_output_param=(
            "num_classes num_poses share_location share_pose background_label_id code_type keep_top_k "
            "variance_encoded_in_target nms_param.nms_threshold nms_param.top_k"
        ),
    )
    harmless = MappingProxyType(
        {
            "detection_pose_output_param.confidence_threshold": "the source does not use it",
            "detection_pose_output_param.nms_param.eta": "the source does not use it",
        }
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 5, 5)
        p = layer.params.detection_pose_output_param
        count = number_of_priors(layer, bottoms, 3)
        sizes = (
            count * 4 * (1 if p.share_location else p.num_classes),
            count * p.num_classes,
            count * p.num_poses * (1 if p.share_pose else p.num_classes),
        )
        for index, size in enumerate(sizes):
            if bottoms[index][0] != bottoms[0][0] or math.prod(bottoms[index][1:]) != size:
                raise layer.error(
                    f'bottom "{layer.bottoms[index]}" must have {size} values for each of '
                    f"{bottoms[0][0]} images, got {shape_text(bottoms[index])}"
                )
        return [(1, 1, 1, 9)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        p = layer.params.detection_pose_output_param
        if not p.nms_param.nms_threshold >= 0:
            raise layer.error(
                f"nms_threshold must be at least 0, got {p.nms_param.nms_threshold:g}"
            )
        if p.share_location and p.background_label_id == -1:
            raise layer.error(
                "background_label_id: -1 with share_location: true decodes no boxes, so that Caffe stops",
                "Set a label that no class has: -2.",
            )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return drawn_boxes(rng, shapes[3]) if index == 3 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.detection_pose_output_param
        rule = Suppression.of(p, p.background_label_id, fills=False)
        rule = replace(rule, eta=1.0, threshold=float("-inf"), smallest=_SMALLEST)
        images, count = e.shape(layer.reads[0])[0], e.shape(layer.reads[3])[2] // 4
        sets = 1 if p.share_location and p.share_pose else rule.classes
        prior, variance = prior_boxes(e, layer.reads[3], count, sets)
        corners, poses = (
            self._by_class(e, read, [images, count], 1 if shared else rule.classes, width, sets)
            for read, shared, width in (
                (layer.reads[0], p.share_location, 4),
                (layer.reads[2], p.share_pose, int(p.num_poses)),
            )
        )
        corners = decoded(e, p, corners, prior, variance)
        best = e.value("ArgMax", poses, axis=-1, keepdims=1)
        largest = e.reduce("ReduceMax", poses, [-1])
        clipped = e.value("Clip", corners, e.array(0.0), e.array(1.0))
        content = e.value("Concat", clipped, e.value("Cast", best, to=FLOAT), largest, axis=-1)
        if sets > 1:
            corners, content = (
                e.value("Transpose", part, perm=[0, 2, 1, 3]) for part in (corners, content)
            )
        scores = e.value("Reshape", layer.reads[1], e.array([images, count, rule.classes]))
        scores = e.value("Transpose", scores, perm=[0, 2, 1])
        rows = []
        for i in range(images):
            parts = [cut_along(e, part, 0, i, i + 1) for part in (corners, content, scores)]
            if sets > 1:
                parts[:2] = [e.value("Squeeze", part, e.array([0])) for part in parts[:2]]
            rows.append(selected_rows(e, rule, parts[0], parts[1], parts[2], (sets, count, 4), i))
        every = e.value("Concat", *rows, axis=0) if images > 1 else rows[0]
        e.op("Unsqueeze", [every, e.array([0, 1])], [layer.writes[0]])

    def _by_class(
        self, e: Emitter, read: str, shape: list[int], own: int, width: int, sets: int
    ) -> str:
        """Emit values of each prior: (N, P, width), or (N, P, sets, width), the same for all classes if
        ``own`` is 1."""
        if sets == 1:
            return e.value("Reshape", read, e.array([*shape, width]))
        values = e.value("Reshape", read, e.array([*shape, own, width]))
        return values if own > 1 else e.value("Expand", values, e.array([*shape, sets, width]))


class DetectionOut(_Detection):
    """YOLO v2: boxes of a map (1, num_box (5 + num_classes), side, side). Rows (1, D, 1, 7) of image,
    class, score, and centre x, centre y, width and height in units of the image; in order of class and
    of descending score. There may be no row.

    A box is a candidate for each class whose softmax, and whose softmax times sigmoid(object), is above
    confidence_threshold. It is left out if it overlaps a better box of its class by at least
    nms_threshold; both are cut at the image. Of two such boxes with equal scores, the source leaves out
    the first, ONNX the second.
    """

    data_axis = 1
    required = ("detection_out_param.num_classes",)
    reads = fields(
        detection_out_param="side num_classes num_box confidence_threshold nms_threshold biases"
    )
    harmless = MappingProxyType(
        {
            "detection_out_param.coords": "the source does not use it",
            "detection_out_param.label_map_file": "it only names the classes",
        }
    )
    limits = "not a batch above 1, nor an nms_threshold of 0 or less"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.detection_out_param
        if p.num_box < 1 or p.num_classes < 1 or len(p.biases) < 2 * p.num_box:
            raise layer.error(
                "num_box and num_classes must be at least 1, with two biases for each box, got "
                f"{p.num_box}, {p.num_classes} and {len(p.biases)} biases"
            )
        expected = (p.num_box * (5 + p.num_classes), p.side, p.side)
        if bottoms[0][1:] != expected:
            raise layer.error(
                f'bottom "{layer.bottoms[0]}" must have shape Nx{shape_text(expected)} for num_box '
                f"{p.num_box}, num_classes {p.num_classes} and side {p.side}, got "
                f"{shape_text(bottoms[0])}"
            )
        return [(1, 1, 1, 7)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p = layer.params.detection_out_param
        shape = e.shape(layer.reads[0])
        if shape[0] > 1:
            raise layer.unsupported(
                "the source lists the boxes of each image again with those of the next",
                "Set batch 1.",
            )
        if not p.nms_threshold > 0:
            raise layer.unsupported(
                f"nms_threshold {p.nms_threshold:g} leaves one box of each class", _WAY_OUT
            )
        biases = [float(bias) for bias in p.biases]
        anchors = list(zip(biases[::2], biases[1::2], strict=False))[: p.num_box]
        grid = Grid(p.side, p.side, 5 + p.num_classes, anchors, p.side, p.side)
        centred, objects, classes = decoded_grid(e, layer.reads[0], grid, shape)
        threshold = float(p.confidence_threshold)
        chance = e.value("Softmax", classes, axis=1)
        is_likely = e.value("Greater", chance, e.array(threshold))
        chance = e.value("Where", is_likely, chance, e.array(0.0))
        scores = e.value("Mul", e.value("Sigmoid", objects), chance)
        scores = e.value("Unsqueeze", e.value("Transpose", scores, perm=[1, 0]), e.array([0]))
        half = e.value("Mul", cut_along(e, centred, 1, 2, 4), e.array(0.5))
        centre = cut_along(e, centred, 1, 0, 2)
        corners = [e.value("Sub", centre, half), e.value("Add", centre, half)]
        cut = e.value("Clip", e.value("Concat", *corners, axis=1), e.array(0.0), e.array(1.0))
        cut, content = (e.value("Unsqueeze", part, e.array([0])) for part in (cut, centred))
        # ONNX leaves out boxes above the threshold, this layer also those at the threshold.
        overlap = float(np.nextafter(np.float32(p.nms_threshold), np.float32(0)))
        rule = Suppression(p.num_classes, -1, threshold, overlap)
        count = p.side * p.side * p.num_box
        rows = selected_rows(e, rule, cut, content, scores, (1, count, 4), 0)
        e.op("Unsqueeze", [rows, e.array([0, 2])], [layer.writes[0]])


class ImageDetect(_Detection):
    """Faster R-CNN: boxes of regions, suppressed in order of the regions; bottoms deltas (N, 4
    num_class), scores (N, num_class) and regions (N, 5). Rows (1, N num_class, 1, 6) of corners, class
    and score, in order of class and region, then zeros.

    Each region that is left removes the later ones that overlap it by at least nms_thresh and are not
    better, up to the first one that is better, which removes the region itself; also one that has been
    removed. Lengths of overlaps are whole numbers.
    """

    reads = fields(image_detect_param="num_class im_h im_w scale nms_thresh score_thresh")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        p = layer.params.image_detect_param
        count = bottoms[0][0]
        for index, size in enumerate((4 * p.num_class, p.num_class, 5)):
            if bottoms[index][0] != count or math.prod(bottoms[index][1:]) != size:
                raise layer.error(
                    f'bottom "{layer.bottoms[index]}" must have {size} values for each of {count} '
                    f"regions, got {shape_text(bottoms[index])}"
                )
        return [(1, count * p.num_class, 1, 6)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        import numpy as np

        p = layer.params.image_detect_param
        if index == 2:
            regions = random_regions(rng, shapes[2], (1, 1, p.im_h, p.im_w), 1.0)
            return regions * np.float32(p.scale)
        return positive(rng, shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.image_detect_param
        count, classes = e.shape(layer.reads[0])[0], int(p.num_class)
        corners = self._corners(layer, e, count, classes)
        scores = e.value("Reshape", layer.reads[1], e.array([count, classes]))
        scores = e.value("Transpose", scores, perm=[1, 0])
        kills, is_dead = _turns(e, float(p.nms_thresh), corners, scores, count)
        alive = e.value("Expand", e.array([[1.0]]), e.array([classes, count]))

        def step(index: str, states: Sequence[str]) -> Sequence[str]:
            alive, kills = states
            own = e.value("Unsqueeze", e.value("Gather", alive, index, axis=1), e.array([1]))
            killed = e.value("Mul", own, e.value("Gather", kills, index, axis=1))
            return [e.value("Mul", alive, e.value("Sub", e.array(1.0), killed)), kills]

        alive, _ = e.loop(e.array(count), [alive, kills], step)
        is_left = e.value("And", e.value("Greater", alive, e.array(0.5)), e.value("Not", is_dead))
        is_high = e.value("Greater", scores, e.array(float(p.score_thresh)))
        is_left = e.value("Reshape", e.value("And", is_left, is_high), e.array([-1]))
        places = e.value("Squeeze", e.value("NonZero", is_left), e.array([0]))
        label = e.array([[[float(c)]] * count for c in range(classes)])
        columns = [*corners, label, e.value("Unsqueeze", scores, e.array([2]))]
        table = e.value("Reshape", e.value("Concat", *columns, axis=2), e.array([-1, 6]))
        zeros = e.array([[0.0] * 6] * (count * classes))
        both = e.value("Concat", e.value("Gather", table, places, axis=0), zeros, axis=0)
        rows = cut_along(e, both, 0, 0, count * classes)
        e.op("Unsqueeze", [rows, e.array([0, 2])], [layer.writes[0]])

    def _corners(self, layer: Layer, e: Emitter, count: int, classes: int) -> list[str]:
        """Emit x0, y0, x1 and y1 of the boxes: each (classes, N, 1)."""
        p = layer.params.image_detect_param
        deltas = e.value("Reshape", layer.reads[0], e.array([count, classes, 4]))
        deltas = e.value("Transpose", deltas, perm=[1, 0, 2])
        regions = e.value("Reshape", layer.reads[2], e.array([1, count, 5]))
        regions = e.value("Div", regions, e.array(float(p.scale)))
        low, high = [], []
        for axis, length in ((0, float(p.im_w)), (1, float(p.im_h))):
            start = cut_along(e, regions, 2, 1 + axis, 2 + axis)
            end = cut_along(e, regions, 2, 3 + axis, 4 + axis)
            size = e.value("Add", e.value("Sub", end, start), e.array(1.0))
            centre = e.value("Add", start, e.value("Mul", size, e.array(0.5)))
            shift = e.value("Mul", size, cut_along(e, deltas, 2, axis, axis + 1))
            centre = e.value("Add", centre, shift)
            size = e.value("Mul", e.value("Exp", cut_along(e, deltas, 2, 2 + axis, 3 + axis)), size)
            half = e.value("Mul", size, e.array(0.5))
            low.append(e.value("Max", e.value("Sub", centre, half), e.array(0.0)))
            end = e.value("Add", centre, half)
            is_inside = e.value("Less", end, e.array(length))
            high.append(e.value("Where", is_inside, end, e.array(length - 1)))
        return [*low, *high]


def _turns(
    e: Emitter, threshold: float, corners: list[str], scores: str, count: int
) -> tuple[str, str]:
    """Emit which regions (C, N, N) each region removes in its turn, as float32, and which regions
    (C, N) a better one removes."""
    import numpy as np

    turned = [e.value("Transpose", part, perm=[0, 2, 1]) for part in corners]
    lengths = []
    for axis in (0, 1):
        end = e.value("Min", corners[2 + axis], turned[2 + axis])
        length = e.value("Sub", end, e.value("Max", corners[axis], turned[axis]))
        whole = e.value("Cast", e.value("Cast", length, to=INT32), to=FLOAT)
        lengths.append(e.value("Max", whole, e.array(0.0)))
    common = e.value("Mul", *lengths)
    width, height = (e.value("Sub", corners[2 + i], corners[i]) for i in (0, 1))
    size = e.value("Mul", height, width)
    both = e.value("Add", size, e.value("Transpose", size, perm=[0, 2, 1]))
    ratio = e.value("Div", common, e.value("Sub", both, common))
    is_near = e.value("Not", e.value("Less", ratio, e.array(threshold)))
    later = e.array(np.triu(np.ones((1, count, count), np.float32), 1))
    is_near = e.value("And", is_near, e.value("Cast", later, to=BOOL))
    own = e.value("Unsqueeze", scores, e.array([2]))
    is_better = e.value("Greater", e.value("Unsqueeze", scores, e.array([1])), own)
    better = e.value("Cast", e.value("And", is_near, is_better), to=FLOAT)
    before = e.value("Equal", e.value("CumSum", better, e.array(2)), e.array(0.0))
    kills = e.value("Cast", e.value("And", is_near, before), to=FLOAT)
    dead = e.value("Greater", e.reduce("ReduceMax", better, [2], False), e.array(0.5))
    return kills, dead
