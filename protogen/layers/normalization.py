"""Normalisation layers: BatchNorm, BN, LRN, MVN and Normalize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protogen.formats.message import Message, Name
from protogen.geometry import Shape
from protogen.layers.activation import rectify
from protogen.layers.base import (
    Filling,
    Mistake,
    check_rank,
    check_room,
    fields,
    four_axes,
)
from protogen.layers.elementwise import PRODUCT, _Same, affine
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter


def channels_of(shape: Shape) -> int:
    """Return the number of channels: axis 1, or 1 if the blob lacks that axis."""
    return shape[1] if len(shape) > 1 else 1


def uses_batch_statistics(layer: Layer) -> bool:
    """Return whether a BatchNorm uses mean and variance of the batch instead of its blobs."""
    p = layer.params.batch_norm_param
    return not p.use_global_stats if p.has("use_global_stats") else layer.phase == "TRAIN"


def _centred_and_deviation(e: Emitter, x: str, eps: float) -> list[str]:
    """Emit x minus the batch mean of its channel, and the batch deviation of each channel."""
    axes = [axis for axis in range(len(e.shape(x))) if axis != 1]
    centred = e.value("Sub", x, e.reduce("ReduceMean", x, axes))
    variance = e.reduce("ReduceMean", e.value("Mul", centred, centred), axes)
    return [centred, e.value("Sqrt", e.value("Add", variance, e.array(eps)))]


class BatchNorm(_Same):
    """(x - mean) / sqrt(variance + eps). Caffe's blobs are mean, variance and the factor by which
    both are multiplied; gamma and beta belong to a Scale layer. In phase TRAIN, and without
    ``use_global_stats``, mean and variance are those of the batch. Forks add scale and shift as
    blobs 3 and 4 (NVCaffe's scale_bias, Cambricon's use_alpha_beta, Intel's use_weight_bias), or
    a rectifier (Intel's relu)."""

    written_in_place = True

    passes_signal = True

    reads = fields(
        batch_norm_param=(
            "use_global_stats eps scale_bias scale_filler use_alpha_beta use_weight_bias "
            "bias_term relu"
        )
    )

    blob_names = ("mean", "variance", "factor", "scale", "shift")
    trained = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        check_rank(layer, bottoms, 2, 32)
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        channels = channels_of(bottoms[0])
        extra = [(channels,)] * self._extra_blobs(layer.params.batch_norm_param)
        return [(channels,), (channels,), (1,), *extra]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        first = [Filling(neutral=0.0), Filling(neutral=1.0), Filling(neutral=1.0)]
        return [*first, Filling(value=1.0, neutral=1.0), Filling()][: len(blobs)]

    def _extra_blobs(self, p: Message) -> int:
        """Return how many blobs a fork has after BVLC's three: 2 (scale, shift), 1 (scale) or 0."""
        if p.use_alpha_beta or p.scale_bias or p.has("scale_filler"):
            return 2
        # The default of Intel's use_weight_bias is true, so it counts only if the net sets it.
        if p.has("use_weight_bias") and p.use_weight_bias:
            return 1 + int(p.bias_term)
        return 0

    def uses_blobs(self, layer: Layer) -> bool:
        return (
            not uses_batch_statistics(layer) or self._extra_blobs(layer.params.batch_norm_param) > 0
        )

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.batch_norm_param
        extra, write = self._extra_blobs(p), layer.writes[0]
        if not extra and not p.relu:
            self._statistics(layer, e, write)
            return
        x = f"{write}@normal"
        self._statistics(layer, e, x)
        shaped = (-1, *[1] * (len(e.shape(layer.reads[0])) - 2))
        for index, op in ((3, "Mul"), (4, "Add"))[:extra]:
            x = e.value(op, x, e.array(e.weight(layer, index).reshape(shaped)))
        if p.relu:
            rectify(e, x, write, 0.0)
        else:
            e.op("Identity", [x], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace a fork's BatchNorm by BVLC's BatchNorm, a Scale and a ReLU."""
        import numpy as np

        p = layer.params.batch_norm_param
        nvidia, extra = p.scale_bias or p.has("scale_filler"), self._extra_blobs(p)
        blobs = r.weights()
        statistics = None
        if blobs is not None:
            statistics = [*blobs[:2], np.ones(1, np.float32) if nvidia else blobs[2]]
        params: dict[str, Any] = {"eps": max(p.eps, 1e-5) if nvidia else p.eps}
        if p.has("use_global_stats"):
            params["use_global_stats"] = p.use_global_stats
        top = layer.tops[0]
        block = {"batch_norm_param": params}
        x = r.add("BatchNorm", layer.bottoms, role="bn", top=top, params=block, weights=statistics)
        if extra:
            rest = None if blobs is None else blobs[3:]
            block = {"scale_param": {"bias_term": extra == 2}}
            x = r.add("Scale", [x], role="scale", top=top, params=block, weights=rest)
        if p.relu:
            r.add("ReLU", [x], role="relu", top=top)

    def _statistics(self, layer: Layer, e: Emitter, write: str) -> None:
        """Emit (x - mean) / deviation."""
        import numpy as np

        p = layer.params.batch_norm_param
        nvidia = p.scale_bias or p.has("scale_filler")
        eps = max(p.eps, 1e-5) if nvidia else p.eps
        shape = e.shape(layer.reads[0])
        if uses_batch_statistics(layer):
            e.op("Div", _centred_and_deviation(e, layer.reads[0], eps), [write])
            return
        mean, variance, factor = (e.weight(layer, i) for i in range(3))
        # Caffe stores sums and divides them by the factor; a factor of 0 means that they are empty.
        scale = np.float32(0 if factor.flat[0] == 0 else 1 / factor.flat[0])
        if nvidia:  # NVCaffe stores running means and ignores the factor
            scale = np.float32(1)
        ones = np.ones(channels_of(shape), np.float32)
        constants = [ones, 0 * ones, mean * scale, variance * scale]
        reads = [layer.reads[0], *map(e.array, constants)]
        e.op("BatchNormalization", reads, [write], epsilon=eps)

    def mistakes(self, layer: Layer) -> list[Mistake]:
        return [
            Mistake(
                "BatchNorm's third blob, the factor of mean and variance, is ignored",
                blobs=lambda blobs: [*blobs[:2], 0 * blobs[2] + 1],
            )
        ]


class BN(_Same):
    """Forks. SegNet: blobs scale and shift; with ``bn_mode: INFERENCE`` the statistics are merged
    into them, with LEARN (its default, in both phases) the statistics of the batch are used. PSPNet
    (its parameters are slope_filler, bias_filler, momentum, eps): blobs slope, bias, mean and
    variance; phase TRAIN uses the statistics of the batch unless ``frozen`` is set."""

    passes_signal = True

    reads = fields(bn_param="eps bn_mode slope_filler bias_filler momentum frozen")

    stock = False

    blob_names = ("scale", "shift", "mean", "variance")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, channels_of(bottoms[0]), 1, 1)] * (4 if self._is_pspnet(layer) else 2)

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        first, second = (
            ("slope_filler", "bias_filler")
            if self._is_pspnet(layer)
            else ("scale_filler", "shift_filler")
        )
        learned = [Filling(f"bn_param.{first}", neutral=1.0), Filling(f"bn_param.{second}")]
        return [*learned, Filling(), Filling(value=1.0)][: len(blobs)]

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        flat = None if (blobs := r.weights()) is None else [np.reshape(b, -1) for b in blobs]
        x = layer.bottoms[0]
        self.decide(layer)
        if self._is_pspnet(layer) or self._uses_batch(layer):
            statistics = None
            if flat is not None:
                # SegNet's BN stores no statistics, so BatchNorm gets zeros, which it does not use.
                statistics = [*(flat[2:] or [0 * flat[0], 0 * flat[0]]), np.ones(1, np.float32)]
            stored, eps = not self._uses_batch(layer), self._eps(layer)
            params = {"batch_norm_param": {"use_global_stats": stored, "eps": eps}}
            x = r.add(
                "BatchNorm", [x], role="bn", top=layer.tops[0], params=params, weights=statistics
            )
        params = {"scale_param": {"bias_term": True}}
        r.add("Scale", [x], params=params, weights=None if flat is None else flat[:2], keeps=[0, 1])

    def _is_pspnet(self, layer: Layer) -> bool:
        """Return whether this is PSPNet's BN, which has four blobs."""
        p = layer.params.bn_param
        pspnet_fields = ("slope_filler", "bias_filler", "momentum", "frozen", "eps")
        return any(p.has(name) for name in pspnet_fields) or layer.dialect == "pspnet"

    def decide(self, layer: Layer) -> None:
        p = layer.params.bn_param
        segnet = any(p.has(name) for name in ("scale_filler", "shift_filler", "bn_mode"))
        if not (segnet or self._is_pspnet(layer) or layer.dialect == "segnet"):
            raise layer.unsupported(
                "the type is ambiguous: SegNet's BN has the blobs scale and shift, PSPNet's has "
                "mean and variance as well",
                "Set --dialect segnet or --dialect pspnet.",
            )

    def _uses_batch(self, layer: Layer) -> bool:
        """Return whether the layer uses mean and variance of the batch."""
        p = layer.params.bn_param
        if self._is_pspnet(layer):
            return layer.phase == "TRAIN" and not p.frozen
        return bool(p.bn_mode != "INFERENCE")

    def _eps(self, layer: Layer) -> float:
        """Return the value added to the variance. SegNet's source has 1e-9."""
        return float(layer.params.bn_param.eps) if self._is_pspnet(layer) else 1e-9

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        rank = len(e.shape(layer.reads[0]))
        count = len(self.blobs(layer, [e.shape(layer.reads[0])]))
        blobs = [e.weight(layer, i).reshape(-1) for i in range(count)]
        x, eps = layer.reads[0], self._eps(layer)
        if self._uses_batch(layer):
            x = e.value("Div", *_centred_and_deviation(e, x, eps))
        elif count == 4:
            e.op("BatchNormalization", [x, *map(e.array, blobs)], [layer.writes[0]], epsilon=eps)
            return
        scale, shift = (e.array(np.reshape(b, (-1, *[1] * (rank - 2)))) for b in blobs[:2])
        e.op("Add", [e.value("Mul", x, scale), shift], [layer.writes[0]])


class LRN(_Same):
    """x / (k + alpha / n sum x^2)^beta over n channels, or an n x n window within a channel."""

    passes_signal = True

    reads = fields(lrn_param="local_size alpha beta norm_region k")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        size = layer.params.lrn_param.local_size
        if size % 2 == 0:
            raise layer.error(f"local_size must be odd, got {size}")
        check_rank(layer, bottoms, 4, 4)
        return super().shapes(layer, bottoms)

    def in_place(self, layer: Layer) -> bool:
        return bool(layer.params.lrn_param.norm_region == "WITHIN_CHANNEL")

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.lrn_param
        if p.norm_region == "ACROSS_CHANNELS":
            e.op(
                "LRN",
                [layer.reads[0]],
                [layer.writes[0]],
                alpha=p.alpha,
                beta=p.beta,
                bias=p.k,
                size=p.local_size,
            )
            return
        # Within a channel Caffe averages the squares over n x n values, including padding. k is 1.
        n = p.local_size
        square = e.value("Mul", layer.reads[0], layer.reads[0])
        mean = e.value(
            "AveragePool",
            square,
            kernel_shape=[n, n],
            strides=[1, 1],
            pads=[n // 2] * 4,
            count_include_pad=1,
        )
        base = affine(e, mean, p.alpha, 1.0)
        e.op("Mul", [layer.reads[0], e.value("Pow", base, e.array(-p.beta))], [layer.writes[0]])

    def mistakes(self, layer: Layer) -> list[Mistake]:
        p = layer.params.lrn_param
        across = p.norm_region == "ACROSS_CHANNELS"
        other, alpha = "WITHIN_CHANNEL" if across else "ACROSS_CHANNELS", p.alpha * p.local_size
        cause = f"LRN's norm_region is read as {other}"
        return [
            Mistake(cause, {"lrn_param.norm_region": other}),
            Mistake("LRN's alpha is not divided by local_size", {"lrn_param.alpha": alpha}),
        ]


class MVN(_Same):
    """Normalises each channel, or each sample (across_channels), to zero mean and unit variance.
    The top always has four axes."""

    reads = fields(mvn_param="normalize_variance across_channels eps")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [four_axes(layer, shape) for shape in super().shapes(layer, bottoms)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.mvn_param
        axes = list(range(1 if p.across_channels else 2, 4))
        x = e.reshape(layer.reads[0], e.shape(layer.reads[0]), e.shape(layer.writes[0]))
        mean = e.reduce("ReduceMean", x, axes)
        if not p.normalize_variance:
            e.op("Sub", [x, mean], [layer.writes[0]])
            return
        centred = e.value("Sub", x, mean)
        deviation = e.value("Sqrt", e.reduce("ReduceMean", e.value("Mul", centred, centred), axes))
        e.op("Div", [centred, e.value("Add", deviation, e.array(p.eps))], [layer.writes[0]])


class Normalize(_Same):
    """Forks (SSD): x divided by the norm over the channels of its pixel (or over the sample), times
    a learned scale."""

    reads = fields(norm_param="across_spatial channel_shared eps")

    stock = False

    blob_names = ("scale",)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        shared = layer.params.norm_param.channel_shared
        return [()] if shared else [(channels_of(bottoms[0]),)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("norm_param.scale_filler", value=1.0)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.norm_param
        x = layer.reads[0]
        rank = len(e.shape(x))
        axes = list(range(1, rank)) if p.across_spatial else [1]
        total = e.reduce("ReduceSum", e.value("Mul", x, x), axes)
        norm = e.value("Sqrt", e.value("Add", total, e.array(p.eps)))
        scale = e.array(e.weight(layer, 0).reshape(-1, *[1] * (rank - 2)))
        e.op("Mul", [e.value("Div", x, norm), scale], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        p = layer.params.norm_param
        x, shape = layer.bottoms[0], r.shape(layer.bottoms[0])
        inverse = {"power_param": {"power": -0.5, "shift": p.eps}}
        if p.across_spatial:
            sums = {"reduction_param": {"operation": Name("SUMSQ"), "axis": 1}}
            norm = r.add("Reduction", [x], role="norm", params=sums)
            norm = r.add("Power", [norm], role="inverse", top=norm, params=inverse)
            y = r.add("Scale", [x, norm], role="unit", params={"scale_param": {"axis": 0}})
        else:
            square = {"power_param": {"power": 2.0}}
            norm = r.add("Power", [x], role="square", params=square)
            if len(shape) != 4:
                raise layer.unsupported(f"its bottom must have 4 axes, got {len(shape)}")
            ones = {"type": "constant", "value": 1.0}
            sums = {
                "convolution_param": {
                    "num_output": 1,
                    "kernel_size": 1,
                    "bias_term": False,
                    "weight_filler": ones,
                }
            }
            check_room(layer, shape[1])
            weight = np.ones((1, shape[1], 1, 1), np.float32)
            norm = r.add("Convolution", [norm], role="norm", params=sums, weights=[weight])
            norm = r.add("Power", [norm], role="inverse", top=norm, params=inverse)
            tiles = {"tile_param": {"axis": 1, "tiles": shape[1]}}
            norm = r.add("Tile", [norm], role="norms", params=tiles)
            y = r.add("Eltwise", [x, norm], role="unit", params=PRODUCT)
        filler = (
            p.scale_filler.plain() if p.has("scale_filler") else {"type": "constant", "value": 1.0}
        )
        scale = {"filler": filler} | ({"num_axes": 0} if p.channel_shared else {})
        r.add("Scale", [y], params={"scale_param": scale}, weights=r.weights(), keeps=[0])
