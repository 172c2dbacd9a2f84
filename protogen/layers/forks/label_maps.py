"""Layers of DeepLab on label maps: biased scores, censored labels, counts and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import BOOL, FLOAT, _Same
from protogen.layers.forks.segmentation import DEEPLAB, Labelled, is_one_of, whole_part
from protogen.layers.graph import Layer
from protogen.layers.values import random_labels, whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class BiasChannel(Labelled):
    """Forks (DeepLab, PSPNet): scores plus ``fg_bias`` in the channels of the labels, and ``bg_bias``
    in that of the background: for the labels of an image, or (``label_type: PIXEL``) of each pixel,
    where every pixel also gets ``bg_bias`` for the background, if this is set."""

    reads = fields(bias_channel_param="bg_bias fg_bias ignore_label label_type background_label")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.bias_channel_param
        if min(p.bg_bias, p.fg_bias) < 0:
            raise layer.error(
                f"bg_bias and fg_bias must not be negative, got {p.bg_bias:g} and {p.fg_bias:g}"
            )
        if p.label_type == "PIXEL":
            self.check_maps(layer, bottoms)
            if not 0 <= p.background_label < bottoms[0][1]:
                raise layer.error(
                    f"background_label must be from 0 to {bottoms[0][1] - 1}, got "
                    f"{p.background_label}"
                )
        elif bottoms[1][0] != bottoms[0][0] or bottoms[1][2:] != (1, 1):
            raise layer.error(
                f"its labels must have the shape {bottoms[0][0]}xLx1x1, got {shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return random_labels(rng, shapes[0][1], shapes[1], -1) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, shape = layer.params.bias_channel_param, e.shape(layer.reads[0])
        labels = whole_part(e, layer.reads[1])
        ignored = is_one_of(e, labels, [-1, *p.ignore_label])
        labels = e.value("Where", ignored, e.array(-1), labels)
        pixels = p.label_type == "PIXEL"
        if not pixels:  # (N, 1, 1, L): compared with the channels, then counted
            labels = e.value("Transpose", labels, perm=[0, 2, 3, 1])
        channels = np.arange(shape[1]).reshape(1, -1, 1, 1)
        matches = e.value("Cast", e.value("Equal", labels, e.array(channels)), to=FLOAT)
        bias = np.full(channels.shape, p.fg_bias, np.float32)
        background = p.has("background_label") or p.has("bg_bias")
        if not pixels:
            bias[0, 0] = p.bg_bias
            matches = e.reduce("ReduceSum", matches, [3])
        elif background:
            bias[0, p.background_label] = 0
        x = e.value("Mul", matches, e.array(bias))
        if pixels and background:
            every = np.zeros(channels.shape, np.float32)
            every[0, p.background_label] = p.bg_bias
            counts = e.value("Cast", e.value("GreaterOrEqual", labels, e.array(0)), to=FLOAT)
            x = e.value("Add", x, e.value("Mul", counts, e.array(every)))
        e.op("Add", [layer.reads[0], x], [layer.writes[0]])


class AdaptiveBiasChannel(Labelled):
    """Forks (DeepLab, PSPNet): scores plus biases such that each label of the image has a part of the
    pixels; the labels take turns in random order."""

    reads = fields(
        adaptive_bias_channel_param=("num_iter bg_portion fg_portion suppress_others margin_others")
    )

    refusal = (
        "it visits the labels in random order",
        "End the net at this layer's bottoms with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.adaptive_bias_channel_param
        if p.num_iter < 1 or p.margin_others < 0:
            raise layer.error("num_iter must be at least 1, and margin_others not negative")
        if not (0 <= p.bg_portion <= 1 and 0 <= p.fg_portion <= 1):
            raise layer.error("bg_portion and fg_portion must be from 0 to 1")
        if bottoms[1][0] != bottoms[0][0] or bottoms[1][2:] != (1, 1):
            raise layer.error(
                f"its labels must have the shape {bottoms[0][0]}xLx1x1, got {shape_text(bottoms[1])}"
            )
        return [bottoms[0]]


class CensorLabel(Labelled):
    """Forks (DeepLab): labels of pixels that are not among the labels of their image, the second
    bottom, become ``ignore_label``."""

    reads = fields(censor_label_param="ignore_label")

    required = ("censor_label_param.ignore_label",)

    source = DEEPLAB

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 4, 4)
        if bottoms[0][1] != 1 or bottoms[1][0] != bottoms[0][0] or bottoms[1][2:] != (1, 1):
            raise layer.error(
                f"its bottoms must have the shapes Nx1xHxW and NxLx1x1, got {shape_text(bottoms[0])} "
                f"and {shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return random_labels(rng, 5, shapes[index], -1 if index else None)

    def lower(self, layer: Layer, e: Emitter) -> None:
        counted = e.value("Equal", layer.reads[0], layer.reads[1])  # (N, L, H, W)
        known = e.value("Not", e.value("Equal", layer.reads[1], e.array(-1.0)))
        counted = e.value("Cast", e.value("And", counted, known), to=FLOAT)
        matches = e.value("Cast", e.reduce("ReduceMax", counted, [1]), to=BOOL)
        other = e.array(float(layer.params.censor_label_param.ignore_label))
        e.op("Where", [matches, layer.reads[0], other], [layer.writes[0]])


class IgnoreOverlay(Labelled):
    """Forks (DeepLab): the second bottom, but ``ignore_label`` where the first has it."""

    reads = fields(ignore_overlay_param="ignore_label")

    source = DEEPLAB

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        if bottoms[0] != bottoms[1]:
            raise layer.error(
                f"its bottoms must have the same shape, got {shape_text(bottoms[0])} and "
                f"{shape_text(bottoms[1])}"
            )
        return [bottoms[0]]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        label = layer.params.ignore_overlay_param.ignore_label
        return random_labels(rng, 5, shapes[index], label)

    def lower(self, layer: Layer, e: Emitter) -> None:
        label = layer.params.ignore_overlay_param.ignore_label
        is_it = e.value("Equal", whole_part(e, layer.reads[0]), e.array(int(label)))
        e.op("Where", [is_it, e.array(float(label)), layer.reads[1]], [layer.writes[0]])


class Histogram(Labelled):
    """Forks (DeepLab): how often each label occurs. The fork adds the counts of all samples in the
    first row of the top; its other rows are 0."""

    reads = fields(histogram_param="num_labels ignore_label")

    required = ("histogram_param.num_labels",)

    source = DEEPLAB

    def without_gradient(self, layer: Layer) -> Sequence[int]:
        return (0,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        count = layer.params.histogram_param.num_labels
        if count < 1 or bottoms[0][1] != 1:
            raise layer.error(
                f"num_labels must be at least 1 and its bottom have 1 channel, got {count} and "
                f"{bottoms[0][1]}"
            )
        return [(bottoms[0][0], count, 1, 1)]

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, layer.params.histogram_param.num_labels, shapes[0])

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, n = layer.params.histogram_param, e.shape(layer.reads[0])[0]
        labels = e.value("Reshape", whole_part(e, layer.reads[0]), e.array([-1, 1]))
        matches = e.value("Equal", labels, e.array(list(range(p.num_labels))))
        if p.ignore_label:
            counted = e.value("Not", is_one_of(e, labels, list(p.ignore_label)))
            matches = e.value("And", matches, counted)
        counts = e.reduce("ReduceSum", e.value("Cast", matches, to=FLOAT), [0])
        rest = [e.array(np.zeros((n - 1, p.num_labels), np.float32))] if n > 1 else []
        rows = e.value("Concat", counts, *rest, axis=0)
        e.op("Reshape", [rows, e.array([n, p.num_labels, 1, 1])], [layer.writes[0]])


class RelativeError(LayerType):
    """Forks (DeepLab): the length of the difference of two bottoms over that of the second."""

    stock = False
    source = DEEPLAB

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 1, 4)
        if bottoms[0] != bottoms[1]:
            raise layer.error(
                f"its bottoms must have the same shape, got {shape_text(bottoms[0])} and "
                f"{shape_text(bottoms[1])}"
            )
        return [(1, 1, 1, 1)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        count = math.prod(e.shape(layer.reads[0]))
        difference = e.value("Sub", *layer.reads)
        means = []
        for x in (difference, layer.reads[1]):
            flat = e.value("Reshape", e.value("Mul", x, x), e.array([1, 1, 1, count]))
            means.append(e.reduce("ReduceMean", flat, [3]))
        least = e.value("Max", means[1], e.array(1e-6))
        e.op("Sqrt", [e.value("Div", means[0], least)], [layer.writes[0]])


class GainChannel(_Same):
    """Forks (DeepLab): each channel times its gain, which is at least ``thresh``; with ``norm_mean``
    the gains are scaled so that their mean is 1."""

    reads = fields(gain_channel_param="num_output_nz drift stdev norm_mean thresh")

    required = ("gain_channel_param.num_output_nz",)

    stock = False
    source = DEEPLAB
    blob_names = ("gain",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 2, 4)
        p = layer.params.gain_channel_param
        tops = super().shapes(layer, bottoms)
        if not 1 <= p.num_output_nz <= bottoms[0][1]:
            raise layer.error(f"num_output_nz must be from 1 to {bottoms[0][1]}")
        if min(p.drift, p.stdev) < 0 or p.thresh <= 0:
            raise layer.error("drift and stdev must not be negative, and thresh must be above 0")
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, bottoms[0][1], 1, 1)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("gain_channel_param.gain_filler", value=1.0, neutral=1.0)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, rank = layer.params.gain_channel_param, len(e.shape(layer.reads[0]))
        gain = np.maximum(e.weight(layer, 0).reshape(-1), np.float32(p.thresh))
        if p.norm_mean:
            gain = gain * np.float32(len(gain) / gain.sum())
        gain = gain.reshape(-1, *[1] * (rank - 2)).astype(np.float32)
        e.op("Mul", [layer.reads[0], e.array(gain)], [layer.writes[0]])


class DominantChannel(LayerType):
    """Forks (DeepLab): the ``top_k`` channels that are most often among the largest of their pixel, by
    the counts of first places, then of second places, and so on."""

    reads = fields(dominant_channel_param="top_k")

    stock = False
    source = DEEPLAB

    refusal = (
        "it orders channels by several counts at once",
        "End the net at this layer's bottom with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        top_k = layer.params.dominant_channel_param.top_k
        if not 1 <= top_k < bottoms[0][1]:
            raise layer.error(f"top_k must be from 1 to {bottoms[0][1] - 1}, got {top_k}")
        return [(bottoms[0][0], top_k, 1, 1)]


class ChannelAggregator(LayerType):
    """Forks (DeepLab): the logarithm of the sum of exponentials over groups of channels, which a file
    lists."""

    reads = fields(channel_aggregator_param="label_map_file")

    required = ("channel_aggregator_param.label_map_file",)

    stock = False
    source = DEEPLAB

    refusal = (
        "a file that is not part of the net lists its groups of channels",
        "End the net at this layer's bottom with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 1, 1)
        return [None]
