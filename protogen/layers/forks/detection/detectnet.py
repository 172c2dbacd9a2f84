"""Python layers of DetectNet (NVIDIA/caffe), by their ``python_param`` module and layer."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import check_bottoms
from protogen.layers.checking import check_tops
from protogen.layers.forks.detection.suppression import cut_along
from protogen.layers.forks.python_layers import KnownPython
from protogen.layers.forks.regions import selecting
from protogen.layers.graph import Layer
from protogen.layers.labels import total
from protogen.layers.writing import Emitter


class _DetectNet(KnownPython, abstract=True):
    """Base class of DetectNet's layers: lists of boxes (N, 50, 5) from a map of coverages and a map of
    corners, one for each class. ``param_str`` holds numbers, separated by commas."""

    source = "NVIDIA/caffe"
    classes = 3  # position of the number of classes in param_str
    refusal = (
        "it groups boxes with OpenCV",
        "End the net at its bottoms with --to-blob, and group the boxes outside of the model.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        parts = layer.params.python_param.param_str.split(",")
        parts = parts[self.classes : self.classes + 2]
        try:
            classes, boxes = (*map(int, parts), *(1, 50)[len(parts) :])
        except ValueError:
            raise layer.error(
                f"param_str {layer.params.python_param.param_str!r} must hold numbers, separated by "
                "commas"
            ) from None
        if bottoms[0][1] != classes or len(layer.tops) != classes:
            raise layer.error(
                f"param_str has {classes} classes, but it has {len(layer.tops)} tops, and "
                f'"{layer.bottoms[0]}" has shape {shape_text(bottoms[0])}'
            )
        return [(bottoms[0][0], boxes, 5)] * classes


class ClusterDetections(_DetectNet):
    """DetectNet in Python: the detected boxes of each class, grouped by OpenCV."""

    python_class = ("caffe.layers.detectnet.clustering", "ClusterDetections")
    classes = 7


class ClusterGroundtruth(_DetectNet):
    """DetectNet in Python, for testing: the labelled boxes of each class, without repetitions."""

    python_class = ("caffe.layers.detectnet.clustering", "ClusterGroundtruth")
    refusal = (
        "it removes repeated boxes in an undefined order",
        "End the net at its bottoms with --to-blob.",
    )


class ScoreDetections(KnownPython):
    """DetectNet in Python, for testing: boxes marked as matched, wrong or missed."""

    python_class = ("caffe.layers.detectnet.mean_ap", "ScoreDetections")
    source = "NVIDIA/caffe"
    refusal = (
        "it matches boxes with labels for testing",
        "End the net at its bottoms with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        if bottoms[0][0] != bottoms[1][0]:
            raise layer.error("its bottoms must have the same number of images")
        return [(bottoms[0][0], 50, 5)]


class MeanAveragePrecision(KnownPython):
    """DetectNet in Python, for testing: mean average precision, precision and recall in percent."""

    python_class = ("caffe.layers.detectnet.mean_ap", "mAP")
    source = "NVIDIA/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 3, 3)
        if len(bottoms[0]) != 3 or bottoms[0][2] < 5:
            raise layer.error(
                f"its bottom must have 3 axes, the last of 5, got shape {shape_text(bottoms[0])}"
            )
        return [(1,)] * 3

    def lower(self, layer: Layer, e: Emitter) -> None:
        kinds = cut_along(e, layer.reads[0], 2, 4, 5)
        matched, wrong, missed = (
            e.value(
                "Reshape",
                total(e, selecting.compared(e, "Equal", kinds, e.array(float(kind))), 1.0),
                e.array([1]),
            )
            for kind in (1, 2, 3)
        )
        shares = []
        for other in (wrong, missed):
            # Without boxes, matched is 0 too: 0 divided by 1 instead of by 0.
            every = e.value("Max", e.value("Add", matched, other), e.array(1.0))
            shares.append(e.value("Mul", e.value("Div", matched, every), e.array(100.0)))
        both = e.value("Mul", e.value("Mul", *shares), e.array(0.01))
        for value, write in zip((both, *shares), layer.writes, strict=True):
            e.op("Identity", [value], [write])
