"""Non-maximum suppression of SSD and its forks, as ONNX operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.writing import Emitter

FLT_MAX = 3.4028234663852886e38  # Caffe's value for no threshold
MOST_STEPS = 100  # steps of eta in the exported model


@dataclass(frozen=True, slots=True)
class Suppression:
    """How a layer selects boxes.

    Attributes:
        classes: number of classes.
        background: class without boxes; any other number for none.
        threshold: scores at or below it select no box.
        overlap: a box whose overlap with a selected box is above it is left out.
        eta: factor of ``overlap`` after each selected box, while ``overlap`` is above 0.5.
        top_k: number of candidates of each class; None for all.
        keep: number of boxes of an image; -1 for all.
        fills: whether the first box stands for each box whose score is at most ``threshold``, with
            rank 0 (Intel's Caffe).
        varies: whether the number of boxes depends on data.
        smallest: boxes with a smaller area are left out, after ``top_k``.
    """

    classes: int
    background: int
    threshold: float
    overlap: float
    eta: float = 1.0
    top_k: int | None = None
    keep: int = -1
    fills: bool = False
    varies: bool = False
    smallest: float = 0.0

    @classmethod
    def of(cls, p: Message, background: int, fills: bool) -> Suppression:
        """Return the rule of a DetectionOutputParameter."""
        nms = p.nms_param
        return cls(
            classes=int(p.num_classes),
            background=background,
            threshold=float(p.confidence_threshold) if p.has("confidence_threshold") else -FLT_MAX,
            overlap=float(nms.nms_threshold),
            eta=float(nms.eta),
            top_k=int(nms.top_k) if nms.has("top_k") and nms.top_k > -1 else None,
            keep=int(p.keep_top_k),
            fills=fills,
        )

    def overlaps(self) -> Iterator[float]:
        """Yield the overlap thresholds, in float32: one for each selected box until it is constant,
        then the constant one."""
        import numpy as np

        overlap, eta = np.float32(self.overlap), np.float32(self.eta)
        while eta < 1 and overlap > 0.5:
            yield float(overlap)
            overlap = overlap * eta
        yield float(overlap)


def first_length(e: Emitter, read: str) -> str:
    """Emit the length of the first axis, as an array of one number."""
    if e.opset >= 15:  # the opset that added the axes to Shape
        return e.value("Shape", read, start=0, end=1)
    return e.value("Slice", e.value("Shape", read), e.array([0]), e.array([1]))


def cut_along(e: Emitter, read: str, axis: int, start: int, end: int) -> str:
    """Emit the elements from ``start`` to ``end`` - 1 along an axis."""
    return e.value("Slice", read, e.array([start]), e.array([end]), e.array([axis]))


def beside(e: Emitter, op: str, column: str) -> str:
    """Emit a comparison of each number of a column (N, 1) with each other: (N, N), where the other is the
    first operand."""
    return e.value(op, e.value("Transpose", column, perm=[1, 0]), column)


def selected_rows(
    e: Emitter, rule: Suppression, boxes: str, content: str, scores: str, shape: Shape, image: int
) -> str:
    """Emit the rows of one image: image, label, score and the content of each selected box, in order
    of class and of descending score.

    Args:
        e: the emitter.
        rule: how boxes are selected.
        boxes: corners (S, P, 4) that decide the overlaps; S is 1 if all classes have the same boxes,
            else the number of classes.
        content: what a row holds of its box: (S, P, D).
        scores: scores of the image: (1, C, P).
        shape: the shape of ``boxes``; P is the most if it varies.
        image: number of the image.

    Returns:
        The name of the rows (R, 3 + D).
    """
    sets, count, _ = shape
    by_class = sets > 1 or rule.fills or len(list(rule.overlaps())) > 1
    places = None
    if by_class:  # the classes are the batch of NonMaxSuppression
        scores = e.value("Transpose", scores, perm=[1, 0, 2])
        if sets == 1:
            length = 1 if rule.varies else count
            boxes = e.value("Expand", boxes, e.array([rule.classes, length, 4]))
    ranks = scores
    if rule.fills:
        boxes, ranks, places = _filled(e, rule.threshold, boxes, scores, count)
        rule = replace(rule, threshold=-FLT_MAX)  # the ranks replace it
    ranks = _candidates(e, rule, ranks, by_class, count)
    if rule.smallest:
        ranks = _large(e, rule.smallest, boxes, ranks)
    *steps, overlap = rule.overlaps()
    if steps:
        boxes, ranks = _adapted(e, steps, overlap, rule.threshold, boxes, ranks, count)
    limits = [e.array([count]), e.array([min(overlap, 1.0)]), e.array([rule.threshold])]
    selected = e.value("NonMaxSuppression", boxes, ranks, *limits)
    if places is not None:
        place = e.value("GatherND", places, selected)
        place = e.value("Unsqueeze", place, e.array([1]))
        selected = e.value("Concat", cut_along(e, selected, 1, 0, 2), place, axis=1)
    values = e.value("GatherND", scores, selected)
    start = 0 if by_class else 1
    selected, values = _best_of_image(e, rule, selected, values, start)
    if sets == 1:
        whole = e.value("Squeeze", content, e.array([0]))
        held = e.value("Gather", whole, e.value("Gather", selected, e.array(2), axis=1), axis=0)
    else:
        place = e.value("Gather", selected, e.array([start, 2]), axis=1)
        held = e.value("GatherND", content, place)
    # The batch is number 0, also for the images after the first.
    numbers = (
        e.value("Gather", selected, e.array([1, 0]), axis=1)
        if by_class
        else cut_along(e, selected, 1, 0, 2)
    )
    numbers = e.value("Cast", numbers, to=FLOAT)
    if image:
        numbers = e.value("Add", numbers, e.array([[float(image), 0.0]]))
    score = e.value("Unsqueeze", values, e.array([1]))
    return e.value("Concat", numbers, score, held, axis=1)


def _filled(
    e: Emitter, threshold: float, boxes: str, scores: str, count: int
) -> tuple[str, str, str]:
    """Emit boxes, ranks and places of candidates in which the first box, with rank 0, stands for each
    box whose score is at most the threshold."""
    is_above = e.value("Greater", scores, e.array(threshold))
    ranks = e.value("Where", is_above, scores, e.array(0.0))
    places = e.value("Where", is_above, e.array([[list(range(count))]]), e.array([[[0]]]))
    column = e.value("Transpose", is_above, perm=[0, 2, 1])
    return e.value("Where", column, boxes, cut_along(e, boxes, 1, 0, 1)), ranks, places


def _large(e: Emitter, smallest: float, boxes: str, ranks: str) -> str:
    """Emit the ranks with minus infinity for boxes with a smaller area."""
    columns = e.value("Transpose", boxes, perm=[0, 2, 1])
    low, high = cut_along(e, columns, 1, 0, 2), cut_along(e, columns, 1, 2, 4)
    size = e.value("Max", e.value("Sub", high, low), e.array(0.0))
    area = e.value("Mul", cut_along(e, size, 1, 0, 1), cut_along(e, size, 1, 1, 2))
    is_small = e.value("Less", area, e.array(smallest))
    return e.value("Where", is_small, e.array(float("-inf")), ranks)


def _candidates(e: Emitter, rule: Suppression, ranks: str, by_class: bool, count: int) -> str:
    """Emit the ranks with minus infinity for boxes of the background, and for boxes
    that are not among the first top_k of their class."""
    lowest = e.array(float("-inf"))
    if 0 <= rule.background < rule.classes:
        classes = [float(i == rule.background) for i in range(rule.classes)]
        lists = [[[c]] for c in classes] if by_class else [[[c] for c in classes]]
        ranks = e.value("Where", e.value("Cast", e.array(lists), to=BOOL), lowest, ranks)
    if rule.top_k is None or rule.top_k >= count:
        return ranks
    shape = (rule.classes, 1, count) if by_class else (1, rule.classes, count)
    lengths, most = e.array(list(shape)), e.array([rule.top_k])
    if rule.varies:
        lengths = e.value("Shape", ranks)
        length = e.value("Slice", lengths, e.array([2]), e.array([3]))
        most = e.value("Min", most, length)
    none = e.value("Expand", lowest, lengths)
    if rule.top_k == 0:
        return none
    best = [f"{ranks}@best", f"{ranks}@places"]
    e.op("TopK", [ranks, most], best, axis=2)
    return e.value("ScatterElements", none, best[1], best[0], axis=2)


def _adapted(
    e: Emitter,
    steps: list[float],
    overlap: float,
    threshold: float,
    boxes: str,
    ranks: str,
    count: int,
) -> tuple[str, str]:
    """Emit the first selections, each with its own overlap threshold.

    Returns boxes and ranks for NonMaxSuppression with the last threshold: the selected boxes have no
    area, so that they are selected again and leave out no other, and boxes that overlap them too much
    are left out.
    """
    columns = e.value("Transpose", boxes, perm=[0, 2, 1])
    x0, y0, x1, y1 = (cut_along(e, columns, 1, i, i + 1) for i in range(4))
    area = e.value("Mul", e.value("Sub", x1, x0), e.value("Sub", y1, y0))
    every, lowest = e.array([[list(range(count))]]), e.array(float("-inf"))
    is_selected = e.value("Less", every, e.array(0))  # none
    highest = e.array([[[0.0]]])  # overlap with a selected box

    def open_ranks(limit: float) -> str:
        is_covered = e.value("Greater", highest, e.array(limit))
        return e.value("Where", is_covered, lowest, ranks)

    for limit in steps:
        open_ = e.value("Where", is_selected, lowest, open_ranks(limit))
        place = e.value("ArgMax", open_, axis=2, keepdims=1)
        best = e.value("GatherElements", open_, place, axis=2)
        is_there = e.value("Greater", best, e.array(threshold))
        is_new = e.value("And", e.value("Equal", every, place), is_there)
        is_selected = e.value("Or", is_selected, is_new)
        corners = (
            e.value("GatherElements", part, place, axis=2) for part in (x0, y0, x1, y1, area)
        )
        ratio = overlap_of(e, (x0, y0, x1, y1, area), tuple(corners))
        highest = e.value("Max", highest, ratio)
    ranks = e.value("Where", is_selected, ranks, open_ranks(overlap))
    column = e.value("Transpose", is_selected, perm=[0, 2, 1])
    return e.value("Where", column, e.array(0.0), boxes), ranks


def overlap_of(e: Emitter, a: tuple[str, ...], b: tuple[str, ...]) -> str:
    """Emit the intersection over union of boxes (x0, y0, x1, y1, area); 0 for a box with x1 < x0."""
    width, height = (
        e.value("Sub", e.value("Min", a[i + 2], b[i + 2]), e.value("Max", a[i], b[i]))
        for i in (0, 1)
    )
    zero = e.array(0.0)
    is_common = e.value("And", e.value("Greater", width, zero), e.value("Greater", height, zero))
    common = e.value("Mul", width, height)
    union = e.value("Sub", e.value("Add", a[4], b[4]), common)
    return e.value("Where", is_common, e.value("Div", common, union), zero)


def _best_of_image(
    e: Emitter, rule: Suppression, selected: str, values: str, label: int
) -> tuple[str, str]:
    """Emit the ``keep`` boxes of highest score, in order of class. ``label`` is the column of the
    class in ``selected``.

    Caffe sorts the boxes of each class by score if it leaves out any. This changes their order only
    with ``fills``."""
    if rule.keep < 0:
        return selected, values
    length = first_length(e, values)
    keep = e.value("Min", length, e.array([rule.keep]))
    order = [f"{values}@best", f"{values}@order"]
    e.op("TopK", [values, keep], order, axis=0)
    places = [f"{values}@places", f"{values}@sorted"]
    e.op("TopK", [order[1], keep], places, axis=0, largest=0)
    first = places[0]
    if rule.fills:
        labels = e.value("Gather", cut_along(e, selected, 1, label, label + 1), order[1], axis=0)
        grouped = [f"{values}@labels", f"{values}@grouped"]
        e.op("TopK", [e.value("Squeeze", labels, e.array([1])), keep], grouped, axis=0, largest=0)
        by_score = e.value("Gather", order[1], grouped[1], axis=0)
        is_cut = e.value("Less", keep, length)
        first = e.value("Where", is_cut, by_score, first)
    return (
        e.value("Gather", selected, first, axis=0),
        e.value("Gather", values, first, axis=0),
    )
