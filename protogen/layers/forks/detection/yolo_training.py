"""Layers of YOLO's forks for training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields, four_axes
from protogen.layers.checking import check_set
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

_YOLOV3 = (
    "side num_class num object_scale class_scale noobject_scale coord_scale thresh anchors_scale "
    "biases mask use_logic_gradient use_focal_loss iou_loss iou_normalizer iou_thresh max_delta "
    "accumulate label_smooth_eps"
)


class _YoloLoss(LayerType, abstract=True):
    """Base class of the losses of YOLO. The top is a scalar."""

    is_loss = True
    stock = False
    source = "eric612/MobileNet-YOLO"
    refusal: ClassVar[tuple[str, str]] = (
        "the loss depends on which boxes fit which labels, and on earlier iterations",
        "End the net at its first bottom with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        self.check(layer, bottoms)
        return [()]

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Check the bottoms.

        Raises:
            InputError: they do not fit the parameters.
        """

    def same_samples(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Raises InputError unless the first two bottoms have the same number of samples."""
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error(
                "its first two bottoms must have the same number of samples, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(1, len(layer.bottoms))

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class RegionLoss(_YoloLoss):
    """YOLO v2: loss of boxes and classes; bottoms predictions (N, num (coords + 1 + num_class), H, W)
    and labels."""

    reads = fields(
        region_loss_param=(
            "side num_class bias_match coords num softmax jitter rescore object_scale class_scale "
            "noobject_scale coord_scale absolute thresh random biases softmax_tree class_map"
        ),
    )


class Yolov3(_YoloLoss):
    """YOLO v3: loss of boxes and classes; bottoms predictions (N, num (5 + num_class), H, W) and
    labels."""

    reads = fields(yolov3_param=_YOLOV3)
    _values = 5  # of a box, besides the classes

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        self.same_samples(layer, bottoms)
        p = layer.params.yolov3_param
        _, _, h, w = four_axes(layer, bottoms[0])
        count, expected = math.prod(bottoms[0][1:]), h * w * p.num * (self._values + p.num_class)
        if count != expected:
            raise layer.error(
                f'bottom "{layer.bottoms[0]}" must have {expected} values per sample for num {p.num} '
                f"and num_class {p.num_class}, got {count}"
            )


class GaussianYolov3(Yolov3):
    """YOLO v3 with an uncertainty for each coordinate; bottoms predictions (N, num (9 + num_class),
    H, W) and labels."""

    _values = 9


class YoloV2Loss(_YoloLoss):
    """Synopsys: loss of YOLO v2; bottoms predictions, with side x side num_object (5 + num_classes)
    values per sample, and labels, with 7 values for each of side x side cells."""

    reads = fields(
        yolo_v2_loss_param=(
            "anchors side num_classes num_object box_scale class_scale noobject_scale object_scale "
            "rescore constraint thresh"
        )
    )
    source = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"
    _block = "yolo_v2_loss_param"

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        self.same_samples(layer, bottoms)
        p = getattr(layer.params, self._block)
        cells = p.side * p.side
        for name, shape, expected in (
            (layer.bottoms[0], bottoms[0], cells * p.num_object * (5 + p.num_classes)),
            (layer.bottoms[1], bottoms[1], 7 * cells),
        ):
            if math.prod(shape[1:]) != expected:
                raise layer.error(
                    f'bottom "{name}" must have {expected} values per sample for side {p.side}, '
                    f"num_object {p.num_object} and num_classes {p.num_classes}, got "
                    f"{math.prod(shape[1:])}"
                )
        self.check_anchors(layer)

    def check_anchors(self, layer: Layer) -> None:
        """Raises InputError unless there are two anchors for each object."""
        p = layer.params.yolo_v2_loss_param
        if len(p.anchors) != 2 * p.num_object:
            raise layer.error(
                f"num_object {p.num_object} requires {2 * p.num_object} anchors, got {len(p.anchors)}"
            )


class YoloV3Loss(YoloV2Loss):
    """Synopsys: loss of YOLO v3; bottoms as those of YoloV2Loss."""

    reads = fields(
        yolo_v3_loss_param=(
            "anchors mask side num_classes num_object total_object ignore_thresh truth_thresh net_w "
            "net_h"
        )
    )
    _block = "yolo_v3_loss_param"

    def check_anchors(self, layer: Layer) -> None:
        return


class YoloSeg(_YoloLoss):
    """Loss of the sigmoid of a segmentation; bottoms predictions, labels of the same number of values,
    and the number of pixels of each class."""

    reads = fields(
        yolo_seg_param="num_class object_scale class_scale use_logic_gradient use_hardsigmoid"
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        self.same_samples(layer, bottoms)
        if math.prod(bottoms[0]) != math.prod(bottoms[1]):
            raise layer.error(
                "its first two bottoms must hold the same number of values, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        return [()]


class EvalDetection(LayerType):
    """YOLO v2: numbers of labels and of true and false boxes for each class; bottoms predictions and
    labels."""

    reads = fields(
        eval_detection_param=(
            "side num_class num_object threshold sqrt constriant score_type nms biases"
        )
    )
    stock = False
    source = "intel/caffe"
    refusal = (
        "it matches boxes to labels one after another",
        "End the net at its first bottom with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2)
        p = layer.params.eval_detection_param
        count = math.prod(bottoms[0][1:])
        expected = p.side**2 * (p.num_class + 5) * p.num_object
        if count != expected:
            raise layer.error(
                f'bottom "{layer.bottoms[0]}" must have {expected} values per sample for side '
                f"{p.side}, num_class {p.num_class} and num_object {p.num_object}, got {count}"
            )
        return [(bottoms[0][0], p.num_class + p.side**2 * p.num_object * 4)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class AssistedExcitation(LayerType):
    """MobileNet-YOLO: the first bottom (N, C, H, W), plus a share of the third (N, 1, H, W) at each
    pixel inside a box of the labels, the second (N, 1, 300, 5). The share is cos(iteration / (0.75
    max_iter) pi / 2), from 1 at the start of training to 0 at three quarters of it."""

    stock = False
    source = "eric612/MobileNet-YOLO"
    refusal = (
        "what it adds depends on the iteration of training, which nothing sets outside of training",
        "Remove it, and let the next layers read its first bottom: that is its result from three "
        "quarters of the training on.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        n, _, h, w = four_axes(layer, bottoms[0])
        if math.prod(bottoms[1]) < n * 1500:
            raise layer.error(
                f'bottom "{layer.bottoms[1]}" must have 300 labels of 5 values per sample, got shape '
                f"{shape_text(bottoms[1])}"
            )
        if math.prod(bottoms[2]) != n * h * w:
            raise layer.error(
                f'bottom "{layer.bottoms[2]}" must have shape {n}x1x{h}x{w}, got '
                f"{shape_text(bottoms[2])}"
            )
        return [bottoms[0]]

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1, 2)


class SegmentationEvaluate(LayerType):
    """MobileNet-YOLO: for each class, the intersection over union of the pixels above threshold in
    predictions and labels (N, C, H, W), of the first image only; 0 if none is in both. The top has
    shape 1x1x1xC. If the sizes of the bottoms differ, OpenCV resizes the predictions."""

    reads = fields(segmentation_evaluate_param="threshold")
    harmless = MappingProxyType(
        {"segmentation_evaluate_param.num_classes": "the code uses the channels of its bottoms"}
    )
    required = ("segmentation_evaluate_param.num_classes",)
    stock = False
    source = "eric612/MobileNet-YOLO"
    limits = "not bottoms of different sizes"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_set(layer, self.required)
        check_rank(layer, bottoms, 4, 4)
        if bottoms[0][1] != bottoms[1][1]:
            raise layer.error(
                "its bottoms must have the same number of channels, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        return [(1, 1, 1, bottoms[1][1])]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return rng.random(shapes[index], "float32")

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        shapes = [e.shape(read) for read in layer.reads]
        if shapes[0][2:] != shapes[1][2:]:
            raise layer.unsupported(
                f"bottoms of different sizes are unsupported, got {shape_text(shapes[0])} and "
                f"{shape_text(shapes[1])}: OpenCV resizes the predictions",
                "End the net at its first bottom with --to-blob.",
            )
        limit = e.array(float(layer.params.segmentation_evaluate_param.threshold))
        predicted, labelled = (
            e.value("Greater", cut_along(e, read, 0, 0, 1), limit) for read in layer.reads
        )

        def pixels(mask: str) -> str:
            return e.reduce("ReduceSum", e.value("Cast", mask, to=FLOAT), [2, 3])

        common = pixels(e.value("And", predicted, labelled))
        union = pixels(e.value("Or", predicted, labelled))
        ratio = e.value("Div", common, e.value("Max", union, e.array(1.0)))
        shape = e.array(list(e.shape(layer.writes[0])))
        e.op("Reshape", [ratio, shape], [layer.writes[0]])
