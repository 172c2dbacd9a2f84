"""Layers of DeepLab and PSPNet: accuracy of pixels, labels of an image, filters, and Matlab files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.dense import INT64
from protogen.layers.elementwise import FLOAT, PRODUCT, reshape
from protogen.layers.graph import Layer
from protogen.layers.pictures import Source
from protogen.layers.values import random_labels, whole
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

PSPNET, DEEPLAB = "hszhao/PSPNet", "TheLegendAli/DeepLab-Context"


def is_one_of(e: Emitter, labels: str, values: Sequence[int]) -> str:
    """Emit whether each label, a whole number as int64, is one of the values."""
    equal_to = [e.value("Equal", labels, e.array(int(value))) for value in values]
    result = equal_to[0]
    for one in equal_to[1:]:
        result = e.value("Or", result, one)
    return result


def whole_part(e: Emitter, read: str) -> str:
    """Emit the whole parts of numbers, as C's cast to int."""
    return e.value("Cast", read, to=INT64)


class Labelled(LayerType, abstract=True):
    """Base class of layers of scores (N, C, H, W) and labels."""

    stock = False
    source = PSPNET

    def without_gradient(self, layer: Layer) -> Sequence[int]:
        return (1,)

    def check_maps(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        """Raises InputError unless the second bottom has one value for each pixel of the first."""
        n, _, h, w = bottoms[0]
        if bottoms[1] != (n, 1, h, w):
            raise layer.error(
                f"its second bottom must have the shape {n}x1x{h}x{w}, got {shape_text(bottoms[1])}"
            )


class SegAccuracy(Labelled):
    """Forks (DeepLab, PSPNet): for scores and labels of pixels, the share of pixels whose label has
    the largest score, the mean of this share over the classes that occur, and the mean over all
    classes of intersection over union. Of equal scores, the last counts."""

    reads = fields(seg_accuracy_param="ignore_label reset")

    harmless = MappingProxyType({"seg_accuracy_param.metric": "the top has all three measures"})

    top_may_be_unused = True
    limits = "with reset"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        self.check_maps(layer, bottoms)
        return [(1, 1, 1, 3)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        ignored = list(layer.params.seg_accuracy_param.ignore_label)
        if index == 0:
            return None
        return random_labels(rng, shapes[0][1], shapes[1], ignored[0] if ignored else None)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, (_, channels, _, _) = layer.params.seg_accuracy_param, e.shape(layer.reads[0])
        if not p.reset:
            raise layer.unsupported(
                "without reset its values depend on earlier batches",
                "Set seg_accuracy_param { reset: true }.",
            )
        best = e.value("ArgMax", layer.reads[0], axis=1, keepdims=0, select_last_index=1)
        predicted = e.value("Reshape", best, e.array([-1, 1]))
        labels = e.value("Reshape", whole_part(e, layer.reads[1]), e.array([-1, 1]))
        classes = e.array(list(range(channels)))
        is_label = e.value("Equal", labels, classes)
        if p.ignore_label:
            counts = e.value("Not", is_one_of(e, labels, list(p.ignore_label)))
            is_label = e.value("And", is_label, counts)
        of_label = e.value("Cast", is_label, to=FLOAT)
        of_score = e.value("Cast", e.value("Equal", predicted, classes), to=FLOAT)
        matrix = e.value("Gemm", of_label, of_score, transA=1)  # labels x predictions
        counted = e.reduce("ReduceSum", matrix, [1], keepdims=False)
        # A pixel whose label does not count has no row, so it must not be in a column either.
        guessed = e.reduce("ReduceSum", matrix, [0], keepdims=False)
        diagonal = e.value("Mul", matrix, e.array(_identity(channels)))
        right = e.reduce("ReduceSum", diagonal, [1], keepdims=False)
        total = [e.reduce("ReduceSum", one, [0]) for one in (right, counted)]
        accuracy = _ratio(e, total[0], total[1])
        occurs = e.value("Cast", e.value("Greater", counted, e.array(0.0)), to=FLOAT)
        recalls = e.reduce("ReduceSum", _ratio(e, right, counted), [0])
        recall = _ratio(e, recalls, e.reduce("ReduceSum", occurs, [0]))
        union = e.value("Sub", e.value("Add", counted, guessed), right)
        equal = e.value("Equal", union, right)
        overlap = e.value("Where", equal, e.array(1.0), _ratio(e, right, union))
        jaccard = e.reduce("ReduceMean", overlap, [0])
        joined = e.value("Concat", accuracy, recall, jaccard, axis=0)
        e.op("Reshape", [joined, e.array([1, 1, 1, 3])], [layer.writes[0]])


def _identity(size: int) -> list[list[float]]:
    return [[float(i == j) for j in range(size)] for i in range(size)]


def _ratio(e: Emitter, a: str, b: str) -> str:
    """Emit a / b, and 0 where b is 0."""
    return e.value("Div", a, e.value("Max", b, e.array(1.0)))


class UniqueLabel(LayerType):
    """Forks (DeepLab, PSPNet): the different labels of each map without ``ignore_label``, and those in
    ``force_label``, in rising order; -1 fills the rest of the ``max_labels`` values."""

    reads = fields(unique_label_param="max_labels ignore_label force_label")

    required = ("unique_label_param.max_labels",)

    stock = False
    source = PSPNET

    def without_gradient(self, layer: Layer) -> Sequence[int]:
        return (0,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.unique_label_param
        if bottoms[0][1] != 1:
            raise layer.error(f"its bottom must have 1 channel, got {bottoms[0][1]}")
        if p.max_labels <= len(set(p.force_label)):
            raise layer.error(
                f"max_labels {p.max_labels} must be larger than the number of force_label"
            )
        return [(bottoms[0][0], p.max_labels, 1, 1)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, max(1, layer.params.unique_label_param.max_labels - 1), shapes[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, shape = layer.params.unique_label_param, e.shape(layer.reads[0])
        n, most = shape[0], p.max_labels
        count = math.prod(shape[1:])
        x = e.value("Reshape", layer.reads[0], e.array([n, count]))
        beyond = e.array(np.float32(np.inf))
        if p.ignore_label:
            ignored = e.value("Equal", x, e.array(float(p.ignore_label[0])))
            for label in p.ignore_label[1:]:
                ignored = e.value("Or", ignored, e.value("Equal", x, e.array(float(label))))
            x = e.value("Where", ignored, beyond, x)
        forced = sorted(set(p.force_label))
        if forced:
            x = e.value("Concat", x, e.array(np.array([forced] * n, np.float32)), axis=1)
        names = [f"{layer.writes[0]}@rising", f"{layer.writes[0]}@order"]
        e.op("TopK", [x, e.array([count + len(forced)])], names, axis=1, largest=0)
        rising = names[0]
        # A label counts at its first place. Its rank is the number of such places before it.
        before = e.value("Slice", rising, e.array([0]), e.array([-1]), e.array([1]))
        first = e.array(np.full((n, 1), -np.inf, np.float32))
        before = e.value("Concat", first, before, axis=1)
        is_first = e.value("Greater", rising, before)
        is_first = e.value("And", is_first, e.value("Less", rising, beyond))
        rank = e.value("CumSum", e.value("Cast", is_first, to=INT64), e.array(1))
        rank = e.value("Min", e.value("Sub", rank, e.array(1)), e.array(most))
        rank = e.value("Where", is_first, rank, e.array(most))
        empty = e.array(np.full((n, most + 1), -1, np.float32))
        filled = e.value("ScatterElements", empty, rank, rising, axis=1)
        filled = e.value("Slice", filled, e.array([0]), e.array([most]), e.array([1]))
        e.op("Reshape", [filled, e.array([n, most, 1, 1])], [layer.writes[0]])


class SpatialProduct(LayerType):
    """Forks (PSPNet): each channel of the first bottom times the second, which has one channel."""

    stock = False
    source = PSPNET

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 2, 4)
        first, second = ((*shape, 1, 1)[:4] for shape in bottoms)
        if second != (first[0], 1, *first[2:]):
            raise layer.error(
                f"its second bottom must have one channel and the size of {shape_text(bottoms[0])}, "
                f"got {shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def in_place(self, layer: Layer) -> bool:
        return layer.bottoms[0] == layer.tops[0]

    def lower(self, layer: Layer, e: Emitter) -> None:
        first, second = (e.shape(read) for read in layer.reads)
        other = layer.reads[1]
        wanted = (first[0], 1, *first[2:])
        if second != wanted:
            other = e.reshape(other, second, wanted)
        e.op("Mul", [layer.reads[0], other], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shape, other = r.shape(layer.bottoms[0]), layer.bottoms[1]
        wanted = (shape[0], 1, *shape[2:])
        if r.shape(other) != wanted:
            other = r.add("Reshape", [other], role="one", params=reshape([0, *wanted[1:]]))
        tiles = {"tile_param": {"axis": 1, "tiles": shape[1]}}
        other = r.add("Tile", [other], role="channels", params=tiles)
        r.add("Eltwise", [layer.bottoms[0], other], params=PRODUCT)


class MatRead(Source):
    """Forks (DeepLab): blobs from Matlab files; their sizes are known only from the files."""

    reads = fields(mat_read_param="")

    harmless = MappingProxyType(
        {
            f"mat_read_param.{name}": "the file's values are inputs of the model"
            for name in ("prefix", "source", "strip", "batch_size")
        }
    )

    stock = False
    source = PSPNET

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 0, 0)
        return [None] * len(layer.tops)


class MatWrite(LayerType):
    """Forks (DeepLab): writes its bottoms to Matlab files; no tops."""

    reads = fields(mat_write_param="period")

    harmless = MappingProxyType(
        {f"mat_write_param.{name}": "it names files" for name in ("prefix", "source", "strip")}
    )

    stock = False
    source = PSPNET

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 1, None)
        check_tops(layer, 0, 0)
        if layer.params.mat_write_param.period < 1:
            raise layer.error("period must be at least 1")
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit nothing: the layer has no tops."""


class DenseCRF(LayerType):
    """Forks (DeepLab, PSPNet): a fully connected conditional random field over scores, the sizes of the
    images, and the images."""

    reads = fields(
        dense_crf_param=("max_iter pos_xy_std pos_w bi_xy_std bi_rgb_std bi_w output_probability")
    )

    stock = False
    source = PSPNET

    refusal = (
        "it filters in a permutohedral lattice, which ONNX does not have",
        "End the net at this layer's bottoms with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 3)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 1, 4)
        p = layer.params.dense_crf_param
        if len(p.pos_w) != len(p.pos_xy_std):
            raise layer.error("pos_w and pos_xy_std must have equally many values")
        if not len(p.bi_w) == len(p.bi_xy_std) == len(p.bi_rgb_std):
            raise layer.error("bi_w, bi_xy_std and bi_rgb_std must have equally many values")
        if len(bottoms) == 3 and not p.bi_w:
            raise layer.error("bi_w must be set for a net with images as third bottom")
        return [bottoms[0]]


class DomainTransform(LayerType):
    """Forks (PSPNet): scores smoothed along rows and columns except at edges, which the second bottom
    gives; the third has the sizes of the images."""

    reads = fields(domain_transform_param="num_iter spatial_sigma range_sigma min_weight")

    stock = False
    source = PSPNET

    refusal = (
        "each pixel depends on the filtered pixel before it, up to a size that is data",
        "End the net at this layer's bottoms with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms[:2], 4, 4)
        p = layer.params.domain_transform_param
        if min(p.spatial_sigma, p.range_sigma) <= 0 or p.min_weight < 0 or p.num_iter < 1:
            raise layer.error(
                "spatial_sigma and range_sigma must be above 0, min_weight not negative, and num_iter "
                "at least 1"
            )
        n, _, h, w = bottoms[0]
        if bottoms[1] != (n, 1, h, w):
            raise layer.error(
                f"its second bottom must have the shape {n}x1x{h}x{w}, got {shape_text(bottoms[1])}"
            )
        return [bottoms[0]]


class DomainTransformForwardOnly(DomainTransform):
    """Forks (PSPNet): DomainTransform with less memory, because it has no gradient."""
