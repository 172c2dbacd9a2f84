"""Detection outputs of SSD and its forks: decoded boxes after non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.errors import quantity
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection import openvino_boxes, separate_maps
from protogen.layers.forks.detection.decoding import (
    Parts,
    decoded,
    decoded_polygons,
    decoded_rectangles,
    filtered,
    number_of_priors,
    prior_boxes,
)
from protogen.layers.forks.detection.suppression import (
    MOST_STEPS,
    Suppression,
    cut_along,
    first_length,
    selected_rows,
)
from protogen.layers.graph import Layer
from protogen.layers.values import boxes, positive
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

# The dialects in which the first box stands for each box below confidence_threshold.
FILLING = ("intel", "tpumlir")
_WAY_OUT = "End the net at its bottoms with --to-blob, and select the boxes outside of the model."


class _Rows(LayerType, abstract=True):
    """Base class of layers with boxes as rows of 7: image, label, score, corners. The number of rows
    depends on data; before it runs, Caffe reports 1."""

    data_axis = 2

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, 1, 7)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class Selected(_Rows, abstract=True):
    """Base class of the layers that decode boxes of priors and select them by one rule."""

    required = ("detection_output_param.num_classes",)
    reads = fields(
        detection_output_param=(
            "num_classes share_location code_type keep_top_k variance_encoded_in_target "
            "confidence_threshold nms_param.nms_threshold nms_param.top_k nms_param.eta"
        ),
    )
    stock = False

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index == 2:
            return boxes(rng, shapes[2])
        return positive(rng, shapes[index]) if index in (1, 3) else None

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        nms = layer.params.detection_output_param.nms_param
        if not nms.nms_threshold >= 0:
            raise layer.error(f"nms_threshold must be at least 0, got {nms.nms_threshold:g}")
        if not 0 < nms.eta <= 1:
            raise layer.error(f"eta must be above 0 and at most 1, got {nms.eta:g}")

    def count(self, layer: Layer, bottoms: Sequence[Shape]) -> int:
        """Return the number of priors, and check their shape.

        Raises:
            InputError: the images of locations and confidences differ, or the shape is wrong.
        """
        if bottoms[0][0] != bottoms[1][0]:
            raise layer.error(
                f"its first two bottoms must have the same number of images, got {bottoms[0][0]} and "
                f"{bottoms[1][0]}"
            )
        return number_of_priors(layer, bottoms, 2)

    def rule(self, layer: Layer, background: int, fills: bool = False) -> Suppression:
        """Return how the layer selects boxes; ``fills`` as in Suppression.

        Raises:
            UnsupportedError: eta has too many steps.
        """
        rule = Suppression.of(layer.params.detection_output_param, background, fills)
        if layer.dialect == "cambricon":
            rule = replace(rule, eta=1.0)
        steps = sum(1 for _ in rule.overlaps()) - 1
        if steps > MOST_STEPS:
            raise layer.unsupported(
                f"eta {rule.eta:g} lowers the threshold {rule.overlap:g} in {steps} steps, but its "
                f"export has at most {MOST_STEPS}",
                "Set a lower eta, or eta: 1.",
            )
        return rule

    def emit(
        self,
        layer: Layer,
        e: Emitter,
        rule: Suppression,
        corners: str,
        content: str,
        scores: str,
        count: int,
    ) -> None:
        """Emit the selection of all images, and the rows of images without boxes.

        ``corners`` is (N, P, 4), or (N, C, P, 4) for boxes of each class; ``content`` has the same
        shape with what a row holds on its last axis; ``scores`` is (N, C, P), where P is at most
        ``count``.
        """
        p = layer.params.detection_output_param
        images = e.shape(layer.reads[0])[0]
        sets = 1 if p.share_location else rule.classes
        solid = corners
        if p.code_type != "CENTER_SIZE":  # boxes of negative size overlap no other
            size = e.value("Sub", cut_along(e, corners, -1, 2, 4), cut_along(e, corners, -1, 0, 2))
            shortest = e.reduce("ReduceMin", size, [-1])
            is_invalid = e.value("Less", shortest, e.array(0.0))
            solid = e.value("Where", is_invalid, e.array(0.0), corners)
        rows = []
        for i in range(images):
            parts = [solid, content, scores]
            if images > 1:
                parts = [cut_along(e, part, 0, i, i + 1) for part in parts]
            if sets > 1:
                parts[:2] = [e.value("Squeeze", part, e.array([0])) for part in parts[:2]]
            chosen = selected_rows(e, rule, parts[0], parts[1], parts[2], (sets, count, 4), i)
            rows.append(chosen)
        detections = e.value("Concat", *rows, axis=0) if images > 1 else rows[0]
        # If there are no rows, SSD writes a row of -1 for each image, Cambricon one row.
        width = e.shape(layer.writes[0])[3]
        numbers = [-1.0] if layer.dialect == "cambricon" else list(map(float, range(images)))
        placeholder = e.array([[number, *[-1.0] * (width - 1)] for number in numbers])
        length = first_length(e, detections)
        if len(numbers) == 1:
            end = e.value("Max", length, e.array([1]))
        else:
            is_empty = e.value("Equal", length, e.array([0]))
            end = e.value("Where", is_empty, e.array([len(numbers)]), length)
        both = e.value("Concat", detections, placeholder, axis=0)
        output = e.value("Slice", both, e.array([0]), end, e.array([0]))
        e.op("Unsqueeze", [output, e.array([0, 1])], [layer.writes[0]])


class DetectionOutput(Selected):
    """SSD: decoded boxes after non-maximum suppression; bottoms location, confidence, priors.

    For each class, Caffe selects the boxes above confidence_threshold, then the best nms top_k,
    then those that overlap no better box by more than nms_threshold. Each selected box multiplies
    nms_threshold by eta, while it is above 0.5. Of all classes together Caffe selects the best
    keep_top_k. Of boxes with equal scores the first is better (with keep_top_k, Caffe's order is
    undefined if more than 16 boxes are left). Rows are in order of image, class and descending score.
    If there is no box at all, the output is one row of -1 per image. ONNX: NonMaxSuppression has the
    same rule and order for one image.

    Forks: RefineDet has two more bottoms, confidence and location of its anchor refinement module.
    They refine the priors, and boxes whose confidence is below objectness_score have score 0.
    TextBoxes++ has 12 locations per prior, and rows of 15 with a polygon; with
    ``use_polygon: false`` 9 and 12, with a rotated rectangle. In Intel's Caffe and in TPU-MLIR's, the
    first box stands for each box that is not above confidence_threshold, with rank 0. Cambricon's
    clips the boxes to 0 to 1, ignores eta, and writes one row of -1. Synopsys' takes the confidences and
    locations of ``nbottom`` feature maps, also before Permute (``no_permute``) or in order of ratio
    (``ratio_permute``). OpenVINO has ``normalized`` (module openvino_boxes); it fills the rows to
    keep_top_k per image, after a row that starts with -1, and the net here has Caffe's rows.
    """

    reads = fields(
        detection_output_param=(
            "num_classes share_location background_label_id code_type keep_top_k "
            "variance_encoded_in_target confidence_threshold objectness_score use_polygon "
            "nms_param.nms_threshold nms_param.top_k nms_param.eta nbottom no_permute ratio_permute "
            "ratio0 ratio1 ratio2 ratio3 ratio4 ratio5 arm_conf_no_concat arm_loc_no_concat "
            "tflite_detection normalized input_width input_height"
        ),
    )

    source = "weiliu89/caffe"
    has_round_trip_metadata = True
    limits = (
        f"not an eta with more than {MOST_STEPS} steps, the second top of CC4.0, Synopsys' "
        "tflite_detection, nor its bottoms of each feature map with batch above 1"
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_tops(layer, 1, 2)
        p = layer.params.detection_output_param
        maps = separate_maps.maps_of(layer)
        is_openvino = openvino_boxes.is_set(p)
        if maps is None:
            check_bottoms(layer, 3, 5)
        if maps is not None or is_openvino:
            check_tops(layer, 1, 1)
            if maps is not None:
                separate_maps.check_maps(layer, maps, bottoms)
            else:
                openvino_boxes.check(layer, bottoms)
            return [(1, 1, 1, 7)]
        count = self.count(layer, bottoms)
        sets = 1 if p.share_location else p.num_classes
        values = math.prod(bottoms[0][1:])
        width = {12: 12, 9: 9}.get(values // max(1, count * sets), 4)
        expected = [count * width * sets, count * p.num_classes]
        self._check_size(layer, bottoms, (0, 1), expected, count)
        if (width > 4 or p.has("use_polygon")) and width != (12 if p.use_polygon else 9):
            raise layer.error(
                f"has {width} locations per prior, but use_polygon is {str(p.use_polygon).lower()}",
                "TextBoxes++ has 12 with use_polygon: true, and 9 with use_polygon: false.",
            )
        if self._is_refined(layer, bottoms):
            refining = tuple(range(3, len(bottoms)))
            self._check_size(layer, bottoms, refining, [count * 2, count * 4], count)
            if any(shape[0] != bottoms[0][0] for shape in bottoms[3:]):
                images = quantity(bottoms[0][0], "image")
                raise layer.error(f"its bottoms 3 and 4 must have {images}, as the first")
        tops: list[Shape] = [(1, 1, 1, 3 + {4: 4, 9: 9, 12: 12}[width]), (bottoms[0][0], 1, 1, 8)]
        return tops[: len(layer.tops)]

    def _check_size(
        self,
        layer: Layer,
        bottoms: Sequence[Shape],
        indices: Sequence[int],
        expected: Sequence[int],
        count: int,
    ) -> None:
        classes = layer.params.detection_output_param.num_classes
        for index, size in zip(indices, expected, strict=False):
            shape = bottoms[index]
            if shape[1] != size or math.prod(shape[1:]) != size:
                raise layer.error(
                    f'bottom "{layer.bottoms[index]}" must have {size} channels for {count} priors and '
                    f"num_classes {classes}, got {shape_text(shape)}"
                )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        maps, p = separate_maps.maps_of(layer), layer.params.detection_output_param
        if maps is not None:
            return separate_maps.drawn(layer, maps, index, shapes, rng)
        if index == 2 and openvino_boxes.is_set(p):
            return openvino_boxes.drawn(p, shapes[2], rng)
        return super().draw(layer, index, shapes, rng)

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        super().demands(layer, bottoms, tops)
        p = layer.params.detection_output_param
        if p.share_location and p.background_label_id == -1 and not openvino_boxes.is_set(p):
            raise layer.error(
                "background_label_id: -1 with share_location: true decodes no boxes, so that Caffe stops",
                "Set a label that no class has: -2.",
            )

    def _is_refined(self, layer: Layer, bottoms: Sequence[Shape]) -> bool:
        """Return whether the fourth bottom is RefineDet's confidence. SSD's is the image, which it
        shows with ``visualize``."""
        if len(bottoms) != 4 or layer.dialect == "refinedet":
            return len(bottoms) > 3
        p = layer.params.detection_output_param
        size = bottoms[2][2] // 4 * 2
        return bool(p.has("objectness_score") or bottoms[3][1:] == (size,))

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.detection_output_param
        if p.tflite_detection:
            raise layer.unsupported("tflite_detection (of Synopsys) is unsupported", _WAY_OUT)
        rule = self.rule(layer, p.background_label_id, layer.dialect in FILLING)
        shapes = [e.shape(read) for read in layer.reads]
        maps = separate_maps.maps_of(layer)
        width = e.shape(layer.writes[0])[3] - 3
        if maps is not None:
            count = separate_maps.check_maps(layer, maps, shapes)
            parts = separate_maps.joined(layer, e, maps)
        elif openvino_boxes.is_set(p):
            count = openvino_boxes.check(layer, shapes)
            parts = openvino_boxes.parts(layer, e)
            rule = openvino_boxes.rule(p, rule)
        else:
            count = self.count(layer, shapes)
            parts = self._parts(layer, e, width, count)
        self._check(layer, p, width, maps is None and self._is_refined(layer, shapes))
        first = _first_four(e, parts.location, width)
        corners = decoded(e, p, first, parts.prior, parts.variance)
        content = corners
        if layer.dialect == "cambricon":
            content = e.value("Clip", corners, e.array(0.0), e.array(1.0))
        if width > 4:
            decode = decoded_polygons if width == 12 else decoded_rectangles
            rest = cut_along(e, parts.location, -1, 4, width)
            points = decode(e, rest, parts.prior, parts.variance)
            content = e.value("Concat", corners, points, axis=-1)
        if not p.share_location and p.num_classes > 1:
            turned = e.value("Transpose", corners, perm=[0, 2, 1, 3])
            is_same = content is corners
            content = turned if is_same else e.value("Transpose", content, perm=[0, 2, 1, 3])
            corners = turned
        scores = e.value("Transpose", parts.scores, perm=[0, 2, 1])
        self.emit(layer, e, rule, corners, content, scores, count)

    def _parts(self, layer: Layer, e: Emitter, width: int, count: int) -> Parts:
        """Emit locations, scores and priors of joined bottoms."""
        p = layer.params.detection_output_param
        images, classes = e.shape(layer.reads[0])[0], int(p.num_classes)
        sets = 1 if p.share_location else classes
        prior, variance = prior_boxes(e, layer.reads[2], count, sets)
        per_set = (images, count) if sets == 1 else (images, count, sets)
        location = e.value("Reshape", layer.reads[0], e.array([*per_set, width]))
        scores = e.value("Reshape", layer.reads[1], e.array([images, count, classes]))
        if self._is_refined(layer, [e.shape(read) for read in layer.reads]):
            prior, scores = self._refined(layer, e, prior, variance, scores, count)
        return Parts(location, scores, prior, variance)

    def _check(self, layer: Layer, p: Message, width: int, is_refined: bool) -> None:
        """Raises UnsupportedError for what forks leave undefined."""
        if len(layer.writes) > 1:
            raise layer.unsupported("its second top (of CC4.0) is unsupported", "Remove it.")
        if is_refined and not p.share_location:
            raise layer.unsupported(
                "RefineDet's bottoms with share_location: false are undefined", _WAY_OUT
            )
        if width > 4 and (p.code_type != "CENTER_SIZE" or p.variance_encoded_in_target):
            raise layer.unsupported(
                "TextBoxes++ decodes its polygons only with code_type: CENTER_SIZE and without "
                "variance_encoded_in_target",
                _WAY_OUT,
            )

    def _refined(
        self, layer: Layer, e: Emitter, prior: str, variance: str, scores: str, count: int
    ) -> tuple[str, str]:
        """Emit RefineDet's priors and scores: (N, P, 4) and (N, P, C)."""
        p = layer.params.detection_output_param
        images = e.shape(layer.reads[0])[0]
        confidence = e.value("Reshape", layer.reads[3], e.array([images, count, 2]))
        scores = filtered(e, p, cut_along(e, confidence, -1, 1, 2), scores)
        if len(layer.reads) > 4:
            location = e.value("Reshape", layer.reads[4], e.array([images, count, 4]))
            prior = decoded(e, p, location, prior, variance)
        return prior, scores


def _first_four(e: Emitter, read: str, width: int) -> str:
    """Emit the first four values of the last axis."""
    return read if width == 4 else cut_along(e, read, -1, 0, 4)
