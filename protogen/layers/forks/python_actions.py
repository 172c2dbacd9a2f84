"""Python layers of OpenVINO's training toolbox, for nets that detect persons and their actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, check_bottoms, check_rank
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.python_layers import KnownPython, number, settings
from protogen.layers.graph import Layer
from protogen.layers.labels import clipped_labels, labels, total
from protogen.layers.values import random_labels
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

OPENVINO = "openvinotoolkit/training_toolbox_caffe"
_MODULE = "caffe.custom_layers."
_END = "End the net at its bottoms with --to-blob"


class ActionsDetectionOutputLayer(KnownPython):
    """OpenVINO: rows of 8 (image, action, score of the box, score of the action, corners) from rows of 10
    of DetectionOutputExtended, and a blob (N, H, W, C) of scores of actions for each of
    ``num_anchors`` anchors."""

    python_class = (f"{_MODULE}actions_detection_output_layer", "ActionsDetectionOutputLayer")
    source = OPENVINO
    data_axis = 2
    limits = "not use_nms"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        count = number(layer, settings(layer), "num_anchors")
        check_bottoms(layer, count + 1, count + 1)
        check_tops(layer, 1, 1)
        if bottoms[0][-1:] != (10,):
            raise layer.error(
                f'"{layer.bottoms[0]}" must hold rows of 10 values, got {shape_text(bottoms[0])}'
            )
        check_rank(layer, bottoms[1:], 4, 4)
        for name, shape in zip(layer.bottoms[1:], bottoms[1:], strict=True):
            if shape != bottoms[1]:
                raise layer.error(
                    f'"{name}" must have the shape of "{layer.bottoms[1]}", {shape_text(bottoms[1])}, got '
                    f"{shape_text(shape)}"
                )
        return [(1, 1, 1, 8)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        if index:
            return None
        rows = rng.random((math.prod(shapes[0]) // 10, 10))
        images, height, width = shapes[1][:3]
        for column, end in ((0, images), (7, len(shapes) - 1), (8, width), (9, height)):
            rows[:, column] = rng.integers(0, end, len(rows))
        return rows.reshape(shapes[0]).astype("float32")

    def lower(self, layer: Layer, e: Emitter) -> None:
        if settings(layer).get("use_nms", False):
            raise layer.unsupported(
                "'use_nms' is true: boxes vote for the actions of others one after another",
                "Set 'use_nms': False, and merge the boxes outside of the model.",
            )
        rows = e.value("Reshape", layer.reads[0], e.array([-1, 10]))

        def column(start: int, end: int = 0) -> str:
            return cut_along(e, rows, 1, start, end or start + 1)

        # Rows without a box hold -1, which counts from the end here as in Python.
        place = e.value("Concat", *(column(i) for i in (7, 0, 9, 8)), axis=1)
        place = e.value("Cast", place, to=INT64)
        anchors = [e.value("Unsqueeze", read, e.array([0])) for read in layer.reads[1:]]
        stack = e.value("Concat", *anchors, axis=0)
        scores = e.value("GatherND", stack, place)
        action = e.value("Cast", e.value("ArgMax", scores, axis=1, keepdims=1), to=FLOAT)
        best = e.reduce("ReduceMax", scores, [1])
        image = e.value("Cast", e.value("Cast", column(0), to=INT64), to=FLOAT)
        whole = e.value("Concat", image, action, column(2), best, column(3, 7), axis=1)
        e.op("Reshape", [whole, e.array([1, 1, -1, 8])], [layer.writes[0]])


class ScheduledScaleLayer(KnownPython):
    """OpenVINO: its bottom times a scale that changes from ``init_scale`` to ``target_scale`` while the net
    is trained, or that is always the latter (``use_last``); a second top is the scale."""

    python_class = (f"{_MODULE}schedule_scale_layer", "ScheduledScaleLayer")
    source = OPENVINO
    limits = "only with use_last"
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 2)
        tops: list[Shape] = [bottoms[0], (1,)]
        return tops[: len(layer.tops)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        values = settings(layer)
        if not values.get("use_last", False):
            raise layer.unsupported(
                "its scale depends on the iteration of training",
                "Set 'use_last': True in param_str for the scale after training.",
            )
        scale = values.get("target_scale", 1.5)
        if not isinstance(scale, int | float):
            raise layer.error(f"'target_scale' in param_str must be a number, got {scale!r}")
        e.op("Mul", [layer.reads[0], e.array(float(scale))], [layer.writes[0]])
        if len(layer.writes) > 1:
            e.op("Identity", [e.array([float(scale)])], [layer.writes[1]])


class PlainCenterLossLayer(KnownPython):
    """OpenVINO: the mean of 1 minus the product of each vector with the centre of its label; labels below 0,
    or not in ``valid_class_ids``, do not count. Bottoms: centres, vectors, labels."""

    python_class = (f"{_MODULE}plain_center_loss_layer", "PlainCenterLossLayer")
    source = OPENVINO

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms[:2], 2, 2)
        centres, vectors, label = bottoms
        if centres[1] != vectors[1] or label != vectors[:1]:
            raise layer.error(
                "its bottoms must be centres KxC, vectors NxC and labels N, got "
                f"{', '.join(map(shape_text, bottoms))}"
            )
        return [(1,)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return random_labels(rng, shapes[0][0], shapes[2], -1) if index == 2 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        classes = e.shape(layer.reads[0])[0]
        known = settings(layer).get("valid_class_ids")
        counts = np.array([float(known is None or i in known) for i in range(classes)], np.float32)
        index = clipped_labels(e, layer.reads[2], classes)
        chosen = e.value("Gather", layer.reads[0], index, axis=0)
        product = e.value("Mul", chosen, layer.reads[1])
        distance = e.value("Sub", e.array(1.0), e.reduce("ReduceSum", product, [1], keepdims=False))
        is_label = e.value("GreaterOrEqual", labels(e, layer.reads[2]), e.array(0))
        valid = e.value("Cast", is_label, to=FLOAT)
        valid = e.value("Mul", valid, e.value("Gather", e.array(counts), index, axis=0))
        loss = total(e, e.value("Mul", distance, valid), 1.0)
        loss = e.value("Div", loss, e.value("Max", total(e, valid, 1.0), e.array(1.0)))
        e.op("Reshape", [loss, e.array([1])], [layer.writes[0]])


class AdaptiveWeightingLossLayer(KnownPython):
    """OpenVINO: the sum over its losses above 0 of w (p + scale exp(-p) loss) with trained p, one for each
    bottom; further tops are copies of the bottoms."""

    python_class = (f"{_MODULE}adaptive_weighting_loss_layer", "AdaptiveWeightingLossLayer")
    source = OPENVINO

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        count = len(bottoms)
        if len(layer.tops) not in (1, 1 + count):
            raise layer.error(f"expected 1 or {1 + count} tops, got {len(layer.tops)}")
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if math.prod(shape) != 1:
                raise layer.error(f'"{name}" must hold 1 value, got shape {shape_text(shape)}')
        self._weights(layer, count)
        return [(1,)] * len(layer.tops)

    def _weights(self, layer: Layer, count: int) -> list[float]:
        values = settings(layer).get("weights")
        weights = [1.0] * count if values is None else [float(weight) for weight in values]
        if len(weights) != count or min(weights) <= 0:
            raise layer.error(f"'weights' must be {count} numbers above 0, got {values!r}")
        return weights

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(len(bottoms),)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling(value=float(settings(layer).get("init", 0.0)))]

    def lower(self, layer: Layer, e: Emitter) -> None:
        scale = float(settings(layer).get("scale", 1.0))
        flat = [e.value("Reshape", read, e.array([1])) for read in layer.reads]
        losses = e.value("Concat", *flat, axis=0)
        p = e.blob(layer, 0)
        factor = e.value("Mul", e.value("Exp", e.value("Neg", p)), e.array(scale))
        terms = e.value("Add", p, e.value("Mul", factor, losses))
        terms = e.value("Mul", terms, e.array(self._weights(layer, len(flat))))
        is_above = e.value("Greater", losses, e.array(0.0))
        loss = total(e, e.value("Where", is_above, terms, e.array(0.0)), 1.0)
        e.op("Reshape", [loss, e.array([1])], [layer.writes[0]])
        for value, write in zip(flat, layer.writes[1:], strict=False):
            e.op("Identity", [value], [write])


class _Training(KnownPython, abstract=True):
    """Base class of losses for training: a blob for each of ``num_anchors`` anchors after ``first`` other
    bottoms, and tops of 1 value each."""

    source = OPENVINO
    first = 2
    counts: tuple[int, ...] = (1,)  # valid numbers of tops
    refusal = ("it is a loss of pairs of boxes, for training only", f"{_END}.")

    def check(self, layer: Layer) -> None:
        """Raises InputError for a wrong number of bottoms or tops."""
        count = number(layer, settings(layer), "num_anchors") + self.first
        check_bottoms(layer, count, count)
        if len(layer.tops) not in self.counts:
            text = " or ".join(map(str, self.counts))
            raise layer.error(f"expected {text} tops, got {len(layer.tops)}")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        self.check(layer)
        return [(1,)] * len(layer.tops)


class CenterLossLayer(_Training):
    """OpenVINO, for training: a loss on the distance of vectors to the centre of their class, and two
    statistics."""

    python_class = (f"{_MODULE}center_loss_layer", "CenterLossLayer")
    counts = (1, 2, 3)
    refusal = ("its scale and weights depend on the iteration of training", f"{_END}.")


class GlobPushLossLayer(_Training):
    """OpenVINO, for training: a loss on vectors near the centres of other classes, and two statistics."""

    python_class = (f"{_MODULE}glob_push_loss_layer", "GlobPushLossLayer")
    counts = (1, 3)


class LocalPushLossLayer(_Training):
    """OpenVINO, for training: a loss on vectors of a box that fit another class, and three statistics."""

    python_class = (f"{_MODULE}local_push_loss_layer", "LocalPushLossLayer")
    counts = (1, 4)


class SplitLossLayer(_Training):
    """OpenVINO, for training: a loss on boxes that overlap and have different actions, and three
    statistics."""

    python_class = (f"{_MODULE}split_loss_layer", "SplitLossLayer")
    counts = (1, 4)


class PushLossLayer(_Training):
    """OpenVINO, for training: a loss on close vectors of different classes, and two statistics."""

    python_class = (f"{_MODULE}push_loss_layer", "PushLossLayer")
    first = 1
    counts = (1, 3)
    refusal = ("it chooses boxes at random", f"{_END}.")


class SamplingExtractorLayer(_Training):
    """OpenVINO, for training: vectors between two random vectors of one class, and their labels."""

    python_class = (f"{_MODULE}sampling_extractor_layer", "SamplingExtractorLayer")
    first = 1
    counts = (2,)
    data_axis = 0
    refusal = ("it mixes vectors at random", f"{_END}.")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        self.check(layer)
        return [(1, bottoms[1][1]), (1,)]


class DetMatcherLayer(KnownPython):
    """OpenVINO, for training: rows of 11 for the boxes that match labels, and the part of boxes that do."""

    python_class = (f"{_MODULE}detections_matcher_layer", "DetMatcherLayer")
    source = OPENVINO
    data_axis = 2
    refusal = ("it matches boxes to labels one after another", f"{_END}.")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 1, 2)
        tops: list[Shape] = [(1, 1, 1, 11), (1,)]
        return tops[: len(layer.tops)]


class ActionsDataLayer(KnownPython):
    """OpenVINO: images and the boxes of persons, of the files that a configuration outside of the net
    lists; its tops are inputs of the net."""

    python_class = (f"{_MODULE}data_layer", "DataLayer")
    source = OPENVINO
    is_source = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 2, 2)
        return [None, None]

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the tops are inputs of the model."""
