"""Layers of forks that pass values on between devices or phases, scale them, or count pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from protogen.geometry import Shape, shape_text
from protogen.layers.base import Filling, LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import PRODUCT, Dropout, reshape
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


class Scatter(LayerType):
    """Forks (TSN): distributes the samples of each bottom to the devices; on one device, and without
    MPI, each top is its bottom."""

    computes = False
    passes_signal = True
    stock = False
    source = "yjxiong/caffe"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        check_tops(layer, len(bottoms), len(bottoms))
        return list(bottoms)

    def is_view(self, layer: Layer) -> bool:
        return len(layer.bottoms) == 1

    def lower(self, layer: Layer, e: Emitter) -> None:
        for read, write in zip(layer.reads, layer.writes, strict=True):
            e.op("Identity", [read], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if len(layer.bottoms) > 1:
            raise layer.unsupported("a Split of stock Caffe has one bottom", "Remove the layer.")
        r.add("Split", layer.bottoms)


class SpatialDropout(Dropout):
    """Forks (Intel): Dropout of whole channels. In phase TEST it is the identity."""

    reads = fields(dropout_param="dropout_ratio")

    harmless = MappingProxyType(
        {"spatial_dropout_param.dropout_ratio": "Intel's code reads dropout_param"}
    )

    stock = False
    source = "intel/caffe"

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if layer.phase == "TRAIN":
            raise layer.unsupported("no stock layer drops whole channels in phase TRAIN")
        super().rewrite(layer, r)


class GetDataDim(LayerType):
    """Forks (DeepLab, CC4.0): height and width of the bottom, for each sample: N x 1 x 1 x 2."""

    computes = False
    reads_values = False
    stock = False
    source = "dlunion/CC4.0"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, None)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms[:1], 1, 4)
        return [(bottoms[0][0], 1, 1, 2)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        height, width = (*e.shape(layer.reads[0]), 1, 1, 1)[2:4]
        samples = e.value("Slice", e.value("Shape", layer.reads[0]), e.array([0]), e.array([1]))
        shape = e.value("Concat", samples, e.array([1, 1, 2]), axis=0)
        e.op("Expand", [e.array([float(height), float(width)]), shape], [layer.writes[0]])


class ChannelScale(LayerType):
    """Forks (happynear): the first bottom times the second, which has one value for each pixel. With
    ``global_scale``, times the layer's blob, kept between ``min_global_scale`` and
    ``max_global_scale``, which a second top holds. With ``do_forward: false``, the first bottom."""

    reads = fields(channel_scale_param="do_forward global_scale max_global_scale min_global_scale")

    harmless = MappingProxyType(
        {
            f"channel_scale_param.{name}": "it is used only in training"
            for name in ("do_backward_feature", "do_backward_scale", "init_global_scale")
        }
    )

    stock = False
    source = "happynear/caffe-windows"
    blob_names = ("scale",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 1, 4)
        both = layer.params.channel_scale_param.global_scale
        check_tops(layer, 1, 2 if both else 1)
        first, second = bottoms
        channels = (*first, 1)[1]
        if first[0] != second[0] or math.prod(first) != channels * math.prod(second):
            raise layer.error(
                f"its second bottom must have one value for each pixel of {shape_text(first)}, got "
                f"{shape_text(second)}"
            )
        return [first, (1,)][: len(layer.tops)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1,)] if layer.params.channel_scale_param.global_scale else []

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling(value=-1.0) for _ in blobs]

    def in_place(self, layer: Layer) -> bool:
        return layer.bottoms[0] == layer.tops[0]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.channel_scale_param
        first = e.shape(layer.reads[0])
        if p.global_scale:
            scale = e.array([self._scale(layer, float(e.weight(layer, 0).flat[0]))])
            if len(layer.writes) > 1:
                e.op("Identity", [scale], [layer.writes[1]])
        else:
            per_pixel = (first[0], 1, *first[2:])
            scale = e.reshape(layer.reads[1], e.shape(layer.reads[1]), per_pixel[: len(first)])
        if p.do_forward:
            e.op("Mul", [layer.reads[0], scale], [layer.writes[0]])
        else:
            e.op("Identity", [layer.reads[0]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p, shape = layer.params.channel_scale_param, r.shape(layer.bottoms[0])
        if len(layer.tops) > 1 or len(shape) < 2:
            raise layer.unsupported("no stock layers compute it with a second top")
        if p.global_scale or not p.do_forward:
            blobs = r.weights()
            if p.do_forward and blobs is None:
                raise layer.unsupported("its factor is a blob", "Give the caffemodel.")
            scale = self._scale(layer, float(blobs[0].flat[0])) if p.do_forward and blobs else 1.0
            r.add("Power", layer.bottoms[:1], params={"power_param": {"scale": scale}})
            return
        dims = [0, 1, *shape[2:]]
        one = r.add("Reshape", layer.bottoms[1:], role="per_pixel", params=reshape(dims))
        tiles = {"tile_param": {"axis": 1, "tiles": shape[1]}}
        many = r.add("Tile", [one], role="channels", params=tiles)
        r.add("Eltwise", [layer.bottoms[0], many], params=PRODUCT)

    def _scale(self, layer: Layer, blob: float) -> float:
        """Return the factor within its limits."""
        p = layer.params.channel_scale_param
        return max(min(blob, float(p.max_global_scale)), float(p.min_global_scale))


class BatchReduction(LayerType):
    """Forks (TSN): SUM or MEAN along an axis: of all its positions, or, with several ``level`` l, of l^2
    positions for each level, as a new axis; TOPK: the mean of the k largest. With ``pos``, of the
    positions at which this axis and the next have the same index."""

    reads = fields(
        batch_reduction_param=(
            "level pos reduction_param.operation reduction_param.axis reduction_param.k"
        )
    )

    stock = False
    source = "yjxiong/caffe"

    def _read(self, layer: Layer, shape: Shape) -> tuple[str, int, list[int]]:
        """Return the operation, the axis, and the number of positions for each level.

        Raises:
            InputError: the parameters are invalid.
        """
        p = layer.params.batch_reduction_param
        operation = str(p.reduction_param.operation)
        if operation not in ("SUM", "MEAN", "TOPK"):
            raise layer.error(f"operation {operation} is not implemented", "Use SUM or MEAN.")
        axis = axis_of(layer, p.reduction_param.axis, len(shape))
        levels = list(p.level) or [1]
        if (p.pos or operation == "TOPK") and len(levels) > 1:
            raise layer.error("pos and TOPK need a single level")
        if p.pos and (axis + 2 > len(shape) or operation == "TOPK"):
            raise layer.error("pos needs an axis after the reduced one, and SUM or MEAN")
        ticks = [level * level for level in levels]
        if levels == [1]:
            return operation, axis, [shape[axis]]
        if sum(ticks) != shape[axis]:
            raise layer.error(
                f"the squares of level must sum to the {shape[axis]} positions of axis {axis}, got "
                f"{ticks}"
            )
        return operation, axis, ticks

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        p, shape = layer.params.batch_reduction_param, bottoms[0]
        operation, axis, ticks = self._read(layer, shape)
        k = p.reduction_param.k
        if operation == "TOPK" and not 1 <= k <= ticks[0]:
            raise layer.error(f"k must be from 1 to {ticks[0]}, got {k}")
        if p.pos and shape[axis + 1] != shape[axis]:
            raise layer.unsupported(
                "pos with axes of different lengths is unsupported: the fork then reads values of "
                "other samples"
            )
        levels = () if list(p.level) in ([], [1]) else (len(ticks),)
        return [(*shape[:axis], *levels, *shape[axis + 1 + bool(p.pos) :])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, shape = layer.params.batch_reduction_param, e.shape(layer.reads[0])
        operation, axis, ticks = self._read(layer, shape)
        x, after = layer.reads[0], e.shape(layer.writes[0])
        if p.pos:
            x = self._diagonal(e, x, shape, axis)
        starts = [sum(ticks[:i]) for i in range(len(ticks))]
        parts = []
        for start, tick in zip(starts, ticks, strict=True):
            part = x
            if len(ticks) > 1:
                ends = (e.array([start]), e.array([start + tick]), e.array([axis]))
                part = e.value("Slice", x, *ends)
            if operation == "TOPK":
                names = [f"{layer.writes[0]}@largest", f"{layer.writes[0]}@places"]
                e.op("TopK", [part, e.array([p.reduction_param.k])], names, axis=axis)
                part = names[0]
            reduction = "ReduceSum" if operation == "SUM" else "ReduceMean"
            parts.append(e.reduce(reduction, part, [axis]))
        joined = e.value("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]
        before = (*shape[:axis], len(ticks), *shape[axis + 1 + bool(p.pos) :])
        e.op("Identity", [e.reshape(joined, before, after)], [layer.writes[0]])

    def _diagonal(self, e: Emitter, x: str, shape: Shape, axis: int) -> str:
        """Emit the values at which an axis and the next have the same index."""
        merged = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        x = e.reshape(x, shape, merged)
        places = e.array([i * (shape[axis] + 1) for i in range(shape[axis])])
        return e.value("Gather", x, places, axis=axis)


class CPP(LayerType):
    """Forks (CC4.0): a layer that a program defines by callbacks."""

    stock = False
    source = "dlunion/CC4.0"

    refusal = (
        "it runs code of the user's program",
        "Define its ONNX operators with pg.layer, or end the net before it with --to-blob.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        return [None] * len(layer.tops)
