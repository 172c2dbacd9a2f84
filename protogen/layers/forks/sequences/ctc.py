"""Losses of forks for label sequences without alignment: CtcLoss, WarpCTCLoss, CTCLoss."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, fields, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.sequences.ctc_paths import (
    Targets,
    before_end,
    costs,
    front_labels,
    without_impossible,
)
from protogen.layers.forks.sequences.recognition import compacted, three_axes
from protogen.layers.graph import Layer
from protogen.layers.labels import scalar_shape
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Ctc(LayerType, abstract=True):
    """Base class of the losses. Scores (T, N, C) before the softmax; the top is a scalar."""

    stock = False
    is_loss = True
    least, most = 2, 2

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return range(1, len(layer.bottoms))

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, self.least, self.most)
        check_tops(layer, 0, 1)
        classes = three_axes(layer, bottoms[0])[2]
        self.check(layer, bottoms)
        blank = self.blank(layer, classes)
        if not 0 <= blank < classes:
            raise layer.error(f"the blank label must be 0 to {classes - 1}, got {blank}")
        return [()]

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Check the bottoms after the first.

        Raises:
            InputError: they do not match the scores.
        """
        raise NotImplementedError

    def blank(self, layer: Layer, classes: int) -> int:
        return int(layer.params.ctc_loss_param.blank_label)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        if not layer.writes:
            return
        before = e.shape(layer.reads[0])
        shape = three_axes(layer, before)
        loss = self.loss(layer, e, e.reshape(layer.reads[0], before, shape), shape)
        e.op("Reshape", [loss, e.array(scalar_shape())], [layer.writes[0]])

    def loss(self, layer: Layer, e: Emitter, scores: str, shape: Shape) -> str:
        """Emit the loss. ``shape`` is T, N, C."""
        raise NotImplementedError


def rows_of(layer: Layer, shape: Shape, samples: int) -> int:
    """Return L of labels (N, L).

    Raises:
        InputError: they have another shape.
    """
    if len(shape) < 2 or shape[0] != samples or math.prod(shape[2:]) != 1:
        raise layer.error(f"its labels must have the shape {samples}xL, got {shape_text(shape)}")
    return shape[1]


def check_columns(
    layer: Layer, bottoms: Sequence[Shape], indices: Sequence[int], size: tuple[int | None, int]
) -> None:
    """Check that bottoms have the shape (L, N) of ``size``; None for any L.

    Raises:
        InputError: they have not.
    """
    for index in indices:
        rows, columns, *rest = four_axes(layer, bottoms[index])
        if columns != size[1] or rest != [1, 1] or size[0] not in (None, rows):
            expected = shape_text(["L" if size[0] is None else size[0], size[1]])
            raise layer.error(
                f'"{layer.bottoms[index]}" must have the shape {expected}, got '
                f"{shape_text(bottoms[index])}"
            )


def transposed(e: Emitter, read: str, size: Shape) -> str:
    """Emit values (L, N, 1, 1) as (N, L)."""
    samples, length = size
    return e.value("Transpose", e.value("Reshape", read, e.array([length, samples])), perm=[1, 0])


def indicated(e: Emitter, reads: Sequence[str], size: Shape, shift: int) -> Targets:
    """Emit the targets of sequence indicators and labels, both (T, N).

    Args:
        size: N, T.
        shift: is added to each label.
    """
    import numpy as np

    samples, length = size
    flags, values = (transposed(e, read, size) for read in reads)

    def rounded(read: str) -> str:
        return e.value("Cast", e.value("Add", read, e.array(0.5)), to=INT64)

    later = np.ones((1, length))
    later[0, 0] = 0  # the first step is a part of every sequence
    ends = e.value("Cast", e.value("Equal", rounded(flags), e.array(0)), to=FLOAT)
    steps = before_end(e, e.value("Mul", ends, e.array(later)))
    below = e.value("Cast", e.value("Less", values, e.array(0.0)), to=FLOAT)
    selected = before_end(e, below)
    labels = e.value("Add", rounded(values), e.array(shift)) if shift else rounded(values)
    labels = e.value("Where", e.value("Greater", selected, e.array(0.5)), labels, e.array(-1))
    counts, steps = (e.reduce("ReduceSum", one, [1]) for one in (selected, steps))
    return Targets(labels, counts, steps, (samples, length))


def drawn_labels(rng: Rng, shape: Shape, classes: int, blank: int, filled: float = 0.7) -> Drawn:
    """Draw labels that are not blank; about 3 in 10 are blank instead, but never the first of a
    row."""
    import numpy as np

    others = [label for label in range(classes) if label != blank] or [blank]
    labels = rng.choice(others, shape).astype(np.float32)
    is_blank = rng.random(shape) > filled
    is_blank[:, 0] = False
    return np.where(is_blank, np.float32(blank), labels)


def drawn_sequences(
    rng: Rng, index: int, shapes: Sequence[Shape], classes: int, blank: int, delay: int = 0
) -> Drawn:
    """Draw sequence indicators (index 1: every sequence has all steps) or labels (index 2: 1 to about
    half of the steps)."""
    import numpy as np

    steps, samples = shapes[0][:2]
    if index == 1:
        flags = np.ones((steps, samples), np.float32)
        flags[0] = 0
        return flags.reshape(shapes[1])
    others = [label for label in range(classes) if label != blank] or [0]
    labels = rng.choice(others, (steps, samples)).astype(np.float32)
    counts = rng.integers(1, max(2, (steps - delay) // 2 + 1), samples)
    labels[np.arange(steps)[:, None] >= counts] = -1
    return labels.reshape(shapes[2])


class CtcLoss(_Ctc):
    """Forks: mean of -log p of the labels. Bottoms: scores (T, N, C), labels (N, L). Labels that are
    ``blank_label`` are left out. time_step is the number of steps that count. The cost of a sample is 0
    if it has fewer steps than labels and repetitions."""

    source = "dlunion/CC4.0"
    reads = fields(ctc_loss_param="alphabet_size time_step blank_label")

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        steps, samples, classes = three_axes(layer, bottoms[0])
        rows_of(layer, bottoms[1], samples)
        p = layer.params.ctc_loss_param
        if not layer.params.has("ctc_loss_param"):
            return
        if p.alphabet_size != classes:
            raise layer.error(
                f"alphabet_size must be {classes}, the length of the last axis of the scores, got "
                f"{p.alphabet_size}"
            )
        if not 1 <= p.time_step <= steps:
            raise layer.error(
                f"time_step must be 1 to {steps}, the number of steps, got {p.time_step}"
            )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index != 1:
            return None
        blank = layer.params.ctc_loss_param.blank_label
        return drawn_labels(rng, shapes[1], shapes[0][2], blank)

    def loss(self, layer: Layer, e: Emitter, scores: str, shape: Shape) -> str:
        steps, samples, classes = shape
        used = layer.params.ctc_loss_param.time_step or steps
        if used < steps:
            scores = e.value("Slice", scores, e.array([0]), e.array([used]), e.array([0]))
        blank = self.blank(layer, classes)
        size = (samples, e.shape(layer.reads[1])[1])
        targets = front_labels(e, layer.reads[1], size, blank)
        cost = costs(e, scores, (used, samples, classes), targets, blank)
        cost = without_impossible(e, cost, targets, used)
        return e.reduce("ReduceMean", cost, [0, 1], keepdims=False)


class WarpCTCLoss(_Ctc):
    """Forks: mean of -log p of the labels, as CtcLoss, with three forms of the bottoms.

    The first is scores (T, N, C). The others are

    - labels (N, L), without those that are ``blank_label``; or
    - sequence indicators (T, N) and labels (T, N): the first indicator that is 0 after the first step
      ends the steps, and the first label below 0 the labels; labels count from the label after blank
      if this is 0; samples without a label are left out; or
    - the number of steps (N), the number of labels (N) and labels (L, N).
    """

    source = "dlunion/CC4.0"
    most = 4
    reads = fields(ctc_loss_param="blank_label")

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        steps, samples, _ = three_axes(layer, bottoms[0])
        if len(bottoms) == 2:
            rows_of(layer, bottoms[1], samples)
        elif len(bottoms) == 3:
            check_columns(layer, bottoms, (1, 2), (steps, samples))
        else:
            for name, shape in zip(layer.bottoms[1:3], bottoms[1:3], strict=True):
                if math.prod(shape) != samples:
                    raise layer.error(
                        f'"{name}" must have {samples} values, got shape {shape_text(shape)}'
                    )
            check_columns(layer, bottoms, (3,), (None, samples))

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        steps, _, classes = shapes[0][:3]
        blank = layer.params.ctc_loss_param.blank_label
        if index == 0:
            return None
        if len(shapes) == 2:
            return drawn_labels(rng, shapes[1], classes, blank)
        if len(shapes) == 3:
            return drawn_sequences(rng, index, shapes, classes - 1, blank if blank else classes)
        if index == 3:
            return drawn_labels(rng, shapes[3], classes, blank, 1.0)
        most = steps if index == 1 else max(1, min(shapes[3][0], steps // 2))
        least = most if index == 1 else 1
        return rng.integers(least, most + 1, shapes[index]).astype("float32")

    def loss(self, layer: Layer, e: Emitter, scores: str, shape: Shape) -> str:
        steps, samples, classes = shape
        blank = self.blank(layer, classes)
        if len(layer.reads) == 2:
            size = (samples, e.shape(layer.reads[1])[1])
            targets = front_labels(e, layer.reads[1], size, blank)
        elif len(layer.reads) == 3:
            targets = indicated(e, layer.reads[1:], (samples, steps), int(blank == 0))
        else:
            targets = self._counted(layer, e, samples)
        cost = without_impossible(e, costs(e, scores, shape, targets, blank), targets, steps)
        if len(layer.reads) != 3:
            return e.reduce("ReduceMean", cost, [0, 1], keepdims=False)
        counts = e.value("Cast", e.value("Greater", targets.counts, e.array(0.0)), to=FLOAT)
        cost = e.reduce("ReduceSum", e.value("Mul", cost, counts), [0, 1], keepdims=False)
        return e.value("Div", cost, e.reduce("ReduceSum", counts, [0, 1], keepdims=False))

    def _counted(self, layer: Layer, e: Emitter, samples: int) -> Targets:
        import numpy as np

        length = four_axes(layer, e.shape(layer.reads[3]))[0]
        steps, counts = (
            e.value("Floor", e.value("Reshape", read, e.array([samples, 1])))
            for read in layer.reads[1:3]
        )
        labels = transposed(e, layer.reads[3], (samples, length))
        inside = e.value("Less", e.array(np.arange(length)[None] + 0.0), counts)
        labels = e.value("Where", inside, e.value("Cast", labels, to=INT64), e.array(-1))
        return Targets(labels, counts, steps, (samples, length))


class CTCLoss(_Ctc):
    """Forks (TextBoxes++): sum of -log p of the labels, divided by N. Bottoms: scores (T, N, C), sequence
    indicators (T, N), labels (T, N), with the rules of WarpCTCLoss. blank_index below 0 is the last
    label. Samples without a label count as 0. Steps before output_delay are left out."""

    source = "MhLiao/TextBoxes_plusplus"
    least, most = 3, 3
    reads = fields(
        ctc_loss_param="output_delay blank_index preprocess_collapse_repeated ctc_merge_repeated"
    )
    harmless = MappingProxyType(
        {"ctc_loss_param.loss_calculation_t": "the sum over all paths is the same at each step"}
    )

    def blank(self, layer: Layer, classes: int) -> int:
        index: int = layer.params.ctc_loss_param.blank_index
        return classes - 1 if index < 0 else index

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        steps, samples, _ = three_axes(layer, bottoms[0])
        check_columns(layer, bottoms, (1, 2), (steps, samples))
        delay = layer.params.ctc_loss_param.output_delay
        if not 0 <= delay < steps:
            raise layer.error(f"output_delay must be 0 to {steps - 1}, got {delay}")

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        classes = shapes[0][2]
        p = layer.params.ctc_loss_param
        blank = self.blank(layer, classes)
        return (
            drawn_sequences(rng, index, shapes, classes, blank, p.output_delay) if index else None
        )

    def loss(self, layer: Layer, e: Emitter, scores: str, shape: Shape) -> str:
        p = layer.params.ctc_loss_param
        steps, samples, classes = shape
        blank = self.blank(layer, classes)
        targets = indicated(e, layer.reads[1:], (samples, steps), 0)
        has_labels = e.value("Greater", targets.counts, e.array(0.0))
        if p.preprocess_collapse_repeated:
            targets = self._collapsed(e, layer, targets)
        if p.output_delay:
            begin, end = e.array([p.output_delay]), e.array([steps])
            scores = e.value("Slice", scores, begin, end, e.array([0]))
            remaining = e.value("Sub", targets.steps, e.array(float(p.output_delay)))
            targets = Targets(targets.labels, targets.counts, remaining, targets.size)
        shape = (steps - p.output_delay, samples, classes)
        cost = costs(e, scores, shape, targets, blank, bool(p.ctc_merge_repeated))
        impossible = e.value("Greater", cost, e.array(1e29))
        cost = e.value("Where", impossible, e.array(float("inf")), cost)
        cost = e.value("Where", has_labels, cost, e.array(0.0))
        return e.reduce("ReduceMean", cost, [0, 1], keepdims=False)

    def _collapsed(self, e: Emitter, layer: Layer, targets: Targets) -> Targets:
        """Leave out labels that equal the label before."""
        import numpy as np

        samples, length = targets.size
        values = transposed(e, layer.reads[2], (samples, length))
        selected = e.value("GreaterOrEqual", targets.labels, e.array(0))
        if length > 1:
            first = e.array(np.full((samples, 1), -1.0))
            earlier = e.value("Slice", values, e.array([0]), e.array([length - 1]), e.array([1]))
            same = e.value("Equal", values, e.value("Concat", first, earlier, axis=1))
            selected = e.value("And", selected, e.value("Not", same))
        selected = e.value("Cast", selected, to=FLOAT)
        labels, counts = compacted(e, targets.labels, selected, targets.size)
        return Targets(labels, counts, targets.steps, targets.size)
