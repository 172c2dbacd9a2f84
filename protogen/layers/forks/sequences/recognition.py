"""Layers of forks that read label sequences from scores: CTCGreedyDecoder, LabelsequenceAccuracy."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, fields, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.graph import Layer
from protogen.layers.labels import scalar_shape
from protogen.layers.values import continuation_flags, whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


def compacted(e: Emitter, values: str, selected: str, shape: Shape) -> tuple[str, str]:
    """Emit the selected values of each row, moved to its front, and their number.

    Args:
        values: int64 (N, T).
        selected: float32 (N, T): 1 for each value to keep, and 0 for each other.
        shape: N, T.

    Returns:
        int64 (N, T), with -1 after the selected values, and float32 (N, 1).
    """
    import numpy as np

    rows, length = shape
    place = e.value("Cast", e.value("CumSum", selected, e.array(1), exclusive=1), to=INT64)
    # The other values get a place after the end, which the Slice removes.
    place = e.value("Where", e.value("Cast", selected, to=BOOL), place, e.array(length))
    empty = e.array(np.full((rows, length + 1), -1, np.int64))
    moved = e.value("ScatterElements", empty, place, values, axis=1)
    moved = e.value("Slice", moved, e.array([0]), e.array([length]), e.array([1]))
    return moved, e.reduce("ReduceSum", selected, [1])


def read_path(e: Emitter, best: str, blank: int, merge: bool, shape: Shape) -> str:
    """Emit which of the best labels a sequence keeps: those that are not blank and, with ``merge``,
    differ from the label before. ``best`` is int64 (N, T); returns float32 (N, T)."""
    import numpy as np

    rows, length = shape
    selected = e.value("Not", e.value("Equal", best, e.array(blank)))
    if merge and length > 1:
        first = e.array(np.full((rows, 1), -1, np.int64))
        earlier = e.value("Slice", best, e.array([0]), e.array([length - 1]), e.array([1]))
        earlier = e.value("Concat", first, earlier, axis=1)
        selected = e.value("And", selected, e.value("Not", e.value("Equal", best, earlier)))
    return e.value("Cast", selected, to=FLOAT)


def three_axes(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """Return the first three axes of a bottom with scores.

    Raises:
        InputError: the bottom has fewer axes, or more that are not 1.
    """
    check_rank(layer, [shape], 3, 4)
    a, b, c, d = four_axes(layer, shape)
    if d != 1:
        raise layer.error(f"its scores must have three axes, got {shape_text(shape)}")
    return a, b, c


class CTCGreedyDecoder(LayerType):
    """Forks: the label sequence of the best path: the best label of each step, without repetitions and
    blanks, and -1 after the end.

    CC4: scores (T, N, C); blank is ``ctc_loss_param.blank_label``. With labels as a second bottom, the
    top is the accuracy instead. TextBoxes++, OpenVINO: scores (T, N, C), sequence indicators (T, N),
    optionally target sequences (T, N); blank is ``ctc_decoder_param.blank_index``, below 0 the last
    label. A sequence ends before the first indicator after its first step that is 0. Tops: sequences
    (N, T, 1, 1), optionally -sum of the best scores (N, 1, 1, 1), and with targets the accuracy.
    """

    stock = False
    source = "MhLiao/TextBoxes_plusplus"
    computes = False
    reads = fields(ctc_decoder_param="blank_index ctc_merge_repeated", ctc_loss_param="blank_label")
    limits = "not the accuracy"

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(len(layer.bottoms))

    def decide(self, layer: Layer) -> None:
        self._is_cc4(layer)

    def meaning(self, layer: Layer) -> str:
        return str(self._is_cc4(layer))

    def _is_cc4(self, layer: Layer) -> bool:
        p = layer.params
        if layer.dialect in ("cc4", "textboxes", "openvino"):
            return layer.dialect == "cc4"
        if p.has("ctc_decoder_param") or len(layer.bottoms) > 2 or len(layer.tops) > 1:
            return False
        if p.has("ctc_loss_param") or len(layer.bottoms) == 1:
            return True
        raise layer.unsupported(
            "its second bottom is the labels of the accuracy in CC4, but the sequence indicators in "
            "TextBoxes++ and OpenVINO",
            "Name the fork with --dialect cc4, textboxes or openvino, or set ctc_decoder_param.",
        )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        cc4 = self._is_cc4(layer)
        check_bottoms(layer, *((1, 2) if cc4 else (2, 3)))
        steps, streams, classes = three_axes(layer, bottoms[0])
        self._blank(layer, classes)
        if cc4:
            check_tops(layer, 1, 1)
            return [(1, 2, 1, 1)] if len(bottoms) > 1 else [(streams, steps, 1, 1)]
        check_tops(layer, 1, len(bottoms))
        for name, shape in zip(layer.bottoms[1:], bottoms[1:], strict=True):
            if four_axes(layer, shape) != (steps, streams, 1, 1):
                raise layer.error(
                    f'"{name}" must have the shape T x N of the scores, {steps}x{streams}, got '
                    f"{shape_text(shape)}"
                )
        score, accuracy = (streams, 1, 1, 1), (1, 1, 1, 1)
        tops: list[Shape] = [(streams, steps, 1, 1)]
        tops += [score] if len(bottoms) == 2 or len(layer.tops) == 3 else []
        tops += [accuracy] if len(bottoms) == 3 else []
        return tops[: len(layer.tops)]

    def _blank(self, layer: Layer, classes: int) -> int:
        if self._is_cc4(layer):
            blank: int = layer.params.ctc_loss_param.blank_label
        else:
            blank = layer.params.ctc_decoder_param.blank_index
        return classes - 1 if blank < 0 else blank

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index == 1 and not self._is_cc4(layer):
            return continuation_flags(rng, shapes[1])
        return whole(rng, shapes[0][2], shapes[index]) if index else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        cc4 = self._is_cc4(layer)
        if len(layer.reads) > 1 and (cc4 or len(layer.writes) == len(layer.reads) > 2):
            raise layer.unsupported(
                "its accuracy needs the edit distance of two sequences, which ONNX has no operator for",
                "Leave the labels out, and compare the sequences outside of the model.",
            )
        shape = e.shape(layer.reads[0])
        steps, streams, classes = three_axes(layer, shape)
        x = e.reshape(layer.reads[0], shape, (steps, streams, classes))
        best = e.value("ArgMax", x, axis=2, keepdims=0)
        best = e.value("Transpose", best, perm=[1, 0])
        rows = (streams, steps)
        merge = cc4 or layer.params.ctc_decoder_param.ctc_merge_repeated
        selected = read_path(e, best, self._blank(layer, classes), merge, rows)
        inside = "" if cc4 else self._inside(e, layer.reads[1], rows)
        selected = e.value("Mul", selected, inside) if inside else selected
        sequences = e.value("Cast", compacted(e, best, selected, rows)[0], to=FLOAT)
        e.op("Unsqueeze", [sequences, e.array([2, 3])], [layer.writes[0]])
        if len(layer.writes) > 1:
            scores = e.reduce("ReduceMax", x, [2], keepdims=False)
            scores = e.value("Mul", e.value("Transpose", scores, perm=[1, 0]), inside)
            scores = e.value("Neg", e.reduce("ReduceSum", scores, [1]))
            e.op("Unsqueeze", [scores, e.array([2, 3])], [layer.writes[1]])

    def _inside(self, e: Emitter, indicators: str, rows: Shape) -> str:
        """Emit 1 for each step (N, T) before the end of its sequence, and 0 for each after it."""
        import numpy as np

        streams, steps = rows
        flags = e.value("Reshape", indicators, e.array([steps, streams]))
        ends = e.value("Cast", e.value("Equal", flags, e.array(0.0)), to=FLOAT)
        later = np.ones((steps, 1))
        later[0] = 0  # the first step is a part of its sequence
        ends = e.value("CumSum", e.value("Mul", ends, e.array(later)), e.array(0))
        inside = e.value("Cast", e.value("Equal", ends, e.array(0.0)), to=FLOAT)
        return e.value("Transpose", inside, perm=[1, 0])


class LabelsequenceAccuracy(LayerType):
    """Forks: the share of samples whose whole sequence is right. Bottoms: scores (N, T, C), labels
    (N, L). The best labels of the steps, without repetitions and blanks, must equal the labels
    without blanks."""

    stock = False
    source = "dlunion/CC4.0"
    computes = False
    top_may_be_unused = True
    reads = fields(labelsequence_accuracy_param="blank_label")

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(2)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        samples, _, _ = three_axes(layer, bottoms[0])
        labels = bottoms[1]
        if len(labels) < 2 or labels[0] != samples or math.prod(labels[2:]) != 1:
            raise layer.error(
                f"its labels must have the shape {samples}xL, got {shape_text(labels)}"
            )
        return [()]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, shapes[0][2], shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        blank = layer.params.labelsequence_accuracy_param.blank_label
        shape = e.shape(layer.reads[0])
        samples, steps, classes = three_axes(layer, shape)
        count = e.shape(layer.reads[1])[1]
        x = e.reshape(layer.reads[0], shape, (samples, steps, classes))
        best = e.value("ArgMax", x, axis=2, keepdims=0)
        selected = read_path(e, best, blank, True, (samples, steps))
        read, length = compacted(e, best, selected, (samples, steps))
        labels = e.value("Reshape", layer.reads[1], e.array([samples, count]))
        # The layer compares with the blank before it drops the fractions of the labels.
        selected = e.value("Not", e.value("Equal", labels, e.array(float(blank))))
        selected = e.value("Cast", selected, to=FLOAT)
        labels = e.value("Cast", labels, to=INT64)
        wanted, target_length = compacted(e, labels, selected, (samples, count))
        width = max(steps, count)
        rows = [
            e.value("Concat", row, e.array(np.full((samples, width - n), -1, np.int64)), axis=1)
            if n < width
            else row
            for row, n in ((read, steps), (wanted, count))
        ]
        same = e.value("Cast", e.value("Equal", *rows), to=FLOAT)
        same = e.reduce("ReduceMin", same, [1])
        as_long = e.value("Cast", e.value("Equal", length, target_length), to=FLOAT)
        right = e.value("Mul", same, as_long)
        share = e.reduce("ReduceMean", right, [0, 1], keepdims=False)
        e.op("Reshape", [share, e.array(scalar_shape())], [layer.writes[0]])
