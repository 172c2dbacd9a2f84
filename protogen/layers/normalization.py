"""Normalisation layers: BatchNorm, LRN and MVN."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers.activation import rectify
from protogen.layers.base import (
    Filling,
    Mistake,
    check_rank,
    fields,
    four_axes,
)
from protogen.layers.elementwise import _Same, affine
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def channels_of(shape: Shape) -> int:
    """Return the number of channels: axis 1, or 1 if the blob lacks that axis."""
    return shape[1] if len(shape) > 1 else 1


def uses_batch_statistics(layer: Layer) -> bool:
    """Return whether a BatchNorm uses mean and variance of the batch instead of its blobs."""
    p = layer.params.batch_norm_param
    return not p.use_global_stats if p.has("use_global_stats") else layer.phase == "TRAIN"


def centred_and_deviation(e: Emitter, x: str, eps: float, channel: int = 1) -> list[str]:
    """Emit x minus the batch mean of its channel, and the batch deviation of each channel."""
    axes = [axis for axis in range(len(e.shape(x))) if axis != channel]
    centred = e.value("Sub", x, e.reduce("ReduceMean", x, axes))
    variance = e.reduce("ReduceMean", e.value("Mul", centred, centred), axes)
    return [centred, e.value("Sqrt", e.value("Add", variance, e.array(eps)))]


class BatchNorm(_Same):
    """(x - mean) / sqrt(variance + eps). Caffe's blobs are mean, variance and the factor by which
    both are multiplied; gamma and beta belong to a Scale layer. In phase TRAIN, and without
    ``use_global_stats``, mean and variance are those of the batch. Forks add scale and shift as
    blobs 3 and 4 (NVCaffe's scale_bias, Cambricon's use_alpha_beta, Intel's use_weight_bias), a
    rectifier (Intel's relu), or add eps after the square root (Synopsys' add_eps_before_sqrt)."""

    written_in_place = True

    passes_signal = True

    reads = fields(
        batch_norm_param=(
            "use_global_stats eps scale_bias scale_filler use_alpha_beta use_weight_bias "
            "bias_term relu add_eps_before_sqrt"
        )
    )
    harmless = MappingProxyType(
        {"batch_norm_param.icnet": "saves the memory of a copy that only training reads"}
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
            factor = np.ones(1, np.float32) if nvidia else blobs[2]
            scale = np.float32(blobs[2].flat[0])
            variance = blobs[1] if p.add_eps_before_sqrt else _widened(blobs[1], p.eps, scale)
            statistics = [blobs[0], variance, factor]
        eps = max(p.eps, 1e-5) if nvidia else p.eps
        if not p.add_eps_before_sqrt:
            if uses_batch_statistics(layer):
                raise layer.unsupported("stock BatchNorm adds eps before the square root")
            eps = 0.0
        params: dict[str, Any] = {"eps": eps}
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
            later = 0.0 if p.add_eps_before_sqrt else eps
            x, deviation = centred_and_deviation(e, layer.reads[0], eps - later)
            e.op("Div", [x, affine(e, deviation, 1.0, later)], [write])
            return
        mean, variance, factor = (e.weight(layer, i) for i in range(3))
        # Caffe stores sums and divides them by the factor; a factor of 0 means that they are empty.
        scale = np.float32(0 if factor.flat[0] == 0 else 1 / factor.flat[0])
        if nvidia:  # NVCaffe stores running means and ignores the factor
            scale = np.float32(1)
        ones = np.ones(channels_of(shape), np.float32)
        constants = [ones, 0 * ones, mean * scale, variance * scale]
        if not p.add_eps_before_sqrt:
            constants[3], eps = _widened(constants[3], eps, np.float32(1)), 0.0
        reads = [layer.reads[0], *map(e.array, constants)]
        e.op("BatchNormalization", reads, [write], epsilon=eps)

    def mistakes(self, layer: Layer) -> list[Mistake]:
        return [
            Mistake(
                "BatchNorm's third blob, the factor of mean and variance, is ignored",
                blobs=lambda blobs: [*blobs[:2], 0 * blobs[2] + 1],
            )
        ]


def _widened(variance: NDArray[Any], eps: float, scale: np.float32) -> NDArray[np.float32]:
    """Return the variance whose root is sqrt(variance / scale) + eps, times ``scale`` again."""
    import numpy as np

    if scale == 0:
        return np.full_like(variance, eps * eps)
    wide = np.sqrt(variance.astype(np.float64) / scale) + eps
    return (wide * wide * scale).astype(np.float32)


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


def root_and_eps(e: Emitter, x: str, eps: float, before: bool) -> str:
    """Emit sqrt(x + eps) if eps is added before the square root, else sqrt(x) + eps."""
    if before:
        return e.value("Sqrt", e.value("Add", x, e.array(eps)))
    return e.value("Add", e.value("Sqrt", x), e.array(eps))


class MVN(_Same):
    """Normalises each channel, or each sample (across_channels), to zero mean and unit variance.
    The top always has four axes. Forks (Synopsys): eps is added before the square root."""

    reads = fields(mvn_param="normalize_variance across_channels eps add_eps_before_sqrt")

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
        variance = e.reduce("ReduceMean", e.value("Mul", centred, centred), axes)
        deviation = root_and_eps(e, variance, p.eps, p.add_eps_before_sqrt)
        e.op("Div", [centred, deviation], [layer.writes[0]])
