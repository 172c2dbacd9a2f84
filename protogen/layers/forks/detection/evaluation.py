"""Evaluation of the detections of SSD and its forks."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along, first_length, overlap_of
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

_WAY_OUT = (
    "End the net at the detections with --to-blob, and compare them with the labels outside of the "
    "model."
)


class DetectionEvaluate(LayerType):
    """SSD: which detections are right; bottoms rows of DetectionOutput (1, 1, D, 7) and labels
    (1, 1, G, 8): image, class, instance, corners, difficult. Labels end at the first image -1. Rows of
    5: for each class, -1, the class, its number of labels, -1, -1; for each detection image, class,
    score, true positive, false positive, in order of image and class.

    A detection belongs to the label of its image and class with the largest overlap. It is a false
    positive if this overlap is below overlap_threshold, or if a better detection has the same label.
    With ``evaluate_difficult_gt: false`` a detection of a difficult label is neither. Where an image has
    labels of a class, its detections are in order of descending score (Caffe's order of more than 16
    equal scores is undefined); else in that of the bottom.

    RefineDet, Synopsys and OpenVINO: other classes count as the class of a net of two classes.
    """

    stock = False
    source = "weiliu89/caffe"
    data_axis = 2
    has_round_trip_metadata = True
    required = ("detection_evaluate_param.num_classes",)
    reads = fields(
        detection_evaluate_param=(
            "num_classes background_label_id overlap_threshold evaluate_difficult_gt name_size_file "
            "use_polygon"
        ),
    )
    harmless = MappingProxyType(
        {"detection_evaluate_param.resize_param": "only with name_size_file, which is refused"}
    )
    limits = "not name_size_file, nor the polygons of TextBoxes++"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        p = layer.params.detection_evaluate_param
        detections, labels = (four_axes(layer, shape) for shape in bottoms)
        widths = ((7, 8), (15, 16), (12, 13))  # SSD, and TextBoxes++'s polygons and rectangles
        pair = detections[3], labels[3]
        if detections[:2] != (1, 1) or labels[:2] != (1, 1) or pair not in widths:
            raise layer.error(
                "its bottoms must have shapes 1x1xDx7 and 1x1xGx8, got "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        classes = p.num_classes - 1  # background_label_id is unsigned: there is always a background
        return [(1, 1, classes + detections[2], 5)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        p = layer.params.detection_evaluate_param
        if not p.overlap_threshold > 0:
            raise layer.error(f"overlap_threshold must be above 0, got {p.overlap_threshold:g}")
        if p.background_label_id >= p.num_classes:
            raise layer.error(
                f"background_label_id {p.background_label_id} must be below num_classes "
                f"{p.num_classes}, because Caffe has no row for one of the classes"
            )

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        import numpy as np

        p = layer.params.detection_evaluate_param
        count, width = shapes[index][2:]
        if width not in (7, 8):
            return None
        corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
        foreground = [c for c in range(p.num_classes) if c != p.background_label_id]
        columns = [
            np.sort(rng.integers(0, 2, (count, 1)), axis=0),
            rng.choice(foreground or [-1], (count, 1)),
            rng.random((count, 1)),
            corners,
            rng.integers(0, 2, (count, width - 7)),
        ]
        return np.concatenate(columns, axis=1).reshape(shapes[index]).astype("float32")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.detection_evaluate_param
        if p.name_size_file:
            raise layer.unsupported(
                "name_size_file is the size of each image of a data set, in a file", _WAY_OUT
            )
        if e.shape(layer.reads[0])[3] != 7 or p.has("use_polygon"):
            raise layer.unsupported(
                "overlaps of polygons (of TextBoxes++) are unsupported", _WAY_OUT
            )
        rows = e.value("Reshape", layer.reads[0], e.array([-1, 7]))
        labels = e.value("Reshape", layer.reads[1], e.array([-1, 8]))
        image, class_ = _whole(e, rows, 0), _whole(e, rows, 1)
        is_label = _before_end(e, _whole(e, labels, 0))
        label_class = self._class(layer, e, _whole(e, labels, 1))
        counts = self._counts(layer, e, labels, label_class, is_label)
        same = e.value("Equal", image, _turned(e, _whole(e, labels, 0)))
        same = e.value("And", same, e.value("Equal", class_, _turned(e, label_class)))
        same = e.value("And", same, _turned(e, is_label))
        best, place = _best(e, rows, labels, same)
        is_hit = e.value("GreaterOrEqual", best, e.array(float(p.overlap_threshold)))
        has_labels = e.value("GreaterOrEqual", best, e.array(0.0))
        table = [image, class_, cut_along(e, rows, 1, 2, 3), is_hit, place, has_labels]
        order, end = _order(e, image, class_, table[2], has_labels)
        image, class_, score, is_hit, place = (
            e.value("Gather", column, order, axis=0) for column in table[:5]
        )
        can_be_right, is_wrong = is_hit, e.value("Not", is_hit)
        if not p.evaluate_difficult_gt:
            difficult = e.value("Gather", cut_along(e, labels, 1, 7, 8), _flat(e, place), axis=0)
            is_easy = e.value("Equal", difficult, e.array(0.0))
            can_be_right = e.value("And", is_hit, is_easy)
        is_first = _is_first(e, can_be_right, place, labels)
        is_right = e.value("And", can_be_right, is_first)
        is_again = e.value("And", can_be_right, e.value("Not", is_first))
        is_wrong = e.value("Or", is_wrong, is_again)
        columns = [_float(e, image), _float(e, class_), score, _float(e, is_right)]
        table_ = e.value("Concat", *columns, _float(e, is_wrong), axis=1)
        detected = e.value("Slice", table_, e.array([0]), end, e.array([0]))
        both = e.value("Concat", counts, _filled(e, detected, rows), axis=0)
        e.op("Unsqueeze", [both, e.array([0, 1])], [layer.writes[0]])

    def _class(self, layer: Layer, e: Emitter, label: str) -> str:
        """Emit the classes of the labels as the fork reads them."""
        p = layer.params.detection_evaluate_param
        if layer.dialect == "openvino" and p.num_classes == 2:
            only = e.array([[int(p.background_label_id) + 1]])
            return e.value("Add", e.value("Mul", label, e.array([[0]])), only)
        if layer.dialect == "openvino":
            return e.value("Min", label, e.array([[int(p.num_classes) - 1]]))
        if layer.dialect in ("refinedet", "synopsys") and p.num_classes == 2:
            return e.value("Min", label, e.array([[1]]))
        return label

    def _counts(
        self, layer: Layer, e: Emitter, labels: str, label_class: str, is_label: str
    ) -> str:
        """Emit the rows of the classes."""
        import numpy as np

        p = layer.params.detection_evaluate_param
        classes = np.array(
            [c for c in range(p.num_classes) if c != p.background_label_id], np.int64
        )
        counted = is_label
        if not p.evaluate_difficult_gt:
            easy = e.value("Equal", cut_along(e, labels, 1, 7, 8), e.array(0.0))
            counted = e.value("And", counted, easy)
        of_class = e.value("Equal", _turned(e, label_class), e.array(classes[:, None]))
        of_class = e.value("And", of_class, _turned(e, counted))
        count = e.reduce("ReduceSum", _float(e, of_class), [1])
        minus = np.full((len(classes), 2), -1, np.float32)
        before = e.array(np.stack([minus[:, 0], classes], axis=1))
        after = e.array(minus)
        return e.value("Concat", before, count, after, axis=1)


def _int(e: Emitter, read: str) -> str:
    return e.value("Cast", read, to=INT64)


def _float(e: Emitter, read: str) -> str:
    return e.value("Cast", read, to=FLOAT)


def _whole(e: Emitter, rows: str, column: int) -> str:
    """Emit a column as integers: (rows, 1)."""
    return _int(e, cut_along(e, rows, 1, column, column + 1))


def _turned(e: Emitter, column: str) -> str:
    """Emit a column as a row."""
    return e.value("Transpose", column, perm=[1, 0])


def _flat(e: Emitter, column: str) -> str:
    return e.value("Reshape", column, e.array([-1]))


def _before_end(e: Emitter, image: str) -> str:
    """Emit which labels are before the first one whose image is -1."""
    ends = _float(e, e.value("Equal", image, e.array([[-1]])))
    return e.value("Equal", e.value("CumSum", ends, e.array(0)), e.array(0.0))


def _best(e: Emitter, rows: str, labels: str, same: str) -> tuple[str, str]:
    """Emit the largest overlap of each detection with a label for which ``same`` (D, G) holds, and the
    place of this label; -1 and 0 if there is none."""

    def corners(read: str) -> list[str]:
        parts = [cut_along(e, read, 1, i, i + 1) for i in range(3, 7)]
        size = [e.value("Sub", parts[i + 2], parts[i]) for i in (0, 1)]
        return [*parts, e.value("Mul", *size)]

    detected, labelled = corners(rows), [_turned(e, part) for part in corners(labels)]
    overlaps = overlap_of(e, tuple(detected), tuple(labelled))
    overlaps = e.value("Where", same, overlaps, e.array(-1.0))
    place = e.value("ArgMax", overlaps, axis=1, keepdims=1)
    return e.reduce("ReduceMax", overlaps, [1]), place


def _order(e: Emitter, image: str, class_: str, score: str, has_labels: str) -> tuple[str, str]:
    """Emit the order of the rows, and the number of those that are detections. Others are last. TopK
    keeps the order of equal values."""
    is_row = [e.value("Equal", column, e.array([[-1]])) for column in (image, class_)]
    is_none = e.value("Or", *is_row)
    last = e.value("Where", is_none, e.array(float("inf")), _float(e, image))
    length = first_length(e, image)
    key = _flat(e, e.value("Where", has_labels, score, e.array(0.0)))
    order = f"{key}@order"
    e.op("TopK", [key, length], [f"{key}@best", order], axis=0)
    for column in (_float(e, class_), last):
        key = e.value("Gather", _flat(e, column), order, axis=0)
        e.op("TopK", [key, length], [f"{key}@least", f"{key}@places"], axis=0, largest=0)
        order = e.value("Gather", order, f"{key}@places", axis=0)
    count = e.reduce("ReduceSum", _int(e, e.value("Not", is_none)), [0, 1], False)
    return order, e.value("Unsqueeze", count, e.array([0]))


def _is_first(e: Emitter, can_be_right: str, place: str, labels: str) -> str:
    """Emit whether a detection is the first that can be right with its label."""
    depth = e.value("Squeeze", first_length(e, labels), e.array([0]))
    hot = e.value("OneHot", _flat(e, place), depth, e.array([0.0, 1.0]), axis=1)
    hot = e.value("Mul", hot, _float(e, can_be_right))
    before = e.value("CumSum", hot, e.array(0), exclusive=1)
    own = e.value("GatherElements", before, place, axis=1)
    return e.value("Equal", own, e.array(0.0))


def _filled(e: Emitter, detected: str, rows: str) -> str:
    """Emit the detections, and a row of zeros for each row of a class whose image is -1, which Caffe
    counts but leaves out."""
    is_none = e.value("Equal", _whole(e, rows, 0), e.array([[-1]]))
    has_class = e.value("Not", e.value("Equal", _whole(e, rows, 1), e.array([[-1]])))
    skipped = e.reduce("ReduceSum", _int(e, e.value("And", is_none, has_class)), [0, 1], False)
    length = e.value("Unsqueeze", skipped, e.array([0]))
    shape = e.value("Concat", length, e.array([5]), axis=0)
    return e.value("Concat", detected, e.value("Expand", e.array([[0.0]]), shape), axis=0)
