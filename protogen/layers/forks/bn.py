"""BN, the batch normalisation of forks that has scale and shift among its blobs."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from protogen.geometry import Shape
from protogen.layers.base import Filling, check_rank, fields
from protogen.layers.elementwise import _Same
from protogen.layers.graph import Layer
from protogen.layers.normalization import centred_and_deviation
from protogen.layers.writing import Emitter, Rewriter


class BN(_Same):
    """Forks. SegNet: blobs scale and shift; with ``bn_mode: INFERENCE`` the statistics are merged
    into them, with LEARN (its default, in both phases) the statistics of the batch are used. PSPNet,
    Cambricon, TSN and others (slope_filler, bias_filler, momentum, eps; Synopsys: ``icnet``): blobs
    slope, bias, mean and variance; phase TRAIN uses the statistics of the batch unless ``frozen`` is
    set. SegStereo (scale_filler, shift_filler, var_eps): the same four blobs, with another epsilon,
    the channels on ``axis``, and the batch also in phase TEST without ``use_history_in_test``."""

    passes_signal = True

    reads = fields(
        bn_param=(
            "eps bn_mode slope_filler bias_filler momentum frozen icnet scale_filler shift_filler "
            "var_eps use_history_in_test decay axis multigpu_sync moving_average"
        )
    )

    stock = False
    source = "hszhao/PSPNet"

    blob_names = ("scale", "shift", "mean", "variance")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        axis = self._axis(layer)
        if axis not in (1, 2):
            raise layer.error(f"axis must be 1 or 2, got {axis}")
        tops = super().shapes(layer, bottoms)
        check_rank(layer, bottoms, 1, 32)
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        family, axis = self._family(layer), self._axis(layer)
        channels = (*bottoms[0], 1, 1, 1)[axis]
        shape = (
            (1, channels) if layer.dialect == "tsn" else (*[1] * axis, channels, *[1] * (3 - axis))
        )
        return [shape] * (2 if family in ("segnet", "") else 4)

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        first, second = (
            ("slope_filler", "bias_filler")
            if self._family(layer) == "pspnet"
            else ("scale_filler", "shift_filler")
        )
        learned = [Filling(f"bn_param.{first}", neutral=1.0), Filling(f"bn_param.{second}")]
        return [*learned, Filling(), Filling(value=1.0)][: len(blobs)]

    def dialect_of(self, layer: Layer, blobs: Sequence[Shape]) -> str:
        p, family = layer.params.bn_param, self._family(layer)
        if len(blobs) == 4 and family in ("", "pspnet"):
            return "tsn" if all(len(shape) == 2 for shape in blobs) else "pspnet"
        if len(blobs) == 4 and not p.has("bn_mode"):  # so far only the fillers of SegNet
            return "segstereo"
        return "segnet" if len(blobs) == 2 and not family else ""

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        flat = None if (blobs := r.weights()) is None else [np.reshape(b, -1) for b in blobs]
        x, axis = layer.bottoms[0], self._axis(layer)
        self.decide(layer)
        if self._family(layer) != "segnet" or self._uses_batch(layer):
            if axis != 1:
                raise layer.unsupported("no stock layer normalises the values of axis 2")
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

    def _family(self, layer: Layer) -> str:
        """Return which BN this is: segnet, pspnet or segstereo; empty if nothing tells."""
        p, dialect = layer.params.bn_param, layer.dialect
        if dialect == "synopsys":
            return "pspnet" if p.icnet else "segnet"
        if any(p.has(x) for x in ("slope_filler", "bias_filler", "momentum", "eps", "icnet")):
            return "pspnet"
        its_own = ("var_eps", "use_history_in_test", "decay", "axis", "moving_average")
        if any(p.has(name) for name in (*its_own, "multigpu_sync")):
            return "segstereo"
        if p.has("bn_mode") or dialect in ("segnet", "segstereo"):
            return "segnet" if p.has("bn_mode") else dialect
        if dialect in _PSPNET_BN:
            return "pspnet"
        fills, four = p.has("scale_filler") or p.has("shift_filler"), len(layer.params.param) > 2
        if fills:
            return "segstereo" if four else "segnet"
        return "pspnet" if four or p.has("frozen") else ""

    def decide(self, layer: Layer) -> None:
        if not self._family(layer):
            raise layer.unsupported(
                "the type is ambiguous: SegNet's BN has the blobs scale and shift, PSPNet's has "
                "mean and variance as well",
                "Set --dialect segnet or --dialect pspnet.",
            )

    def _uses_batch(self, layer: Layer) -> bool:
        """Return whether the layer uses mean and variance of the batch."""
        p, family = layer.params.bn_param, self._family(layer)
        if family == "pspnet":
            frozen = p.frozen or (layer.dialect == "cambricon" and not p.has("frozen"))
            return layer.phase == "TRAIN" and not frozen
        if family == "segstereo":  # as its code for GPUs; that for CPUs ignores frozen
            return not (p.frozen or (layer.phase == "TEST" and p.use_history_in_test))
        return bool(p.bn_mode != "INFERENCE")

    def _axis(self, layer: Layer) -> int:
        return int(layer.params.bn_param.axis) if self._family(layer) == "segstereo" else 1

    def _eps(self, layer: Layer) -> float:
        """Return the value added to the variance. SegNet's source has 1e-9."""
        p = layer.params.bn_param
        return {"pspnet": float(p.eps), "segstereo": float(p.var_eps)}.get(
            self._family(layer), 1e-9
        )

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        rank, axis = len(e.shape(layer.reads[0])), self._axis(layer)
        count = len(self.blobs(layer, [e.shape(layer.reads[0])]))
        blobs = [e.weight(layer, i).reshape(-1) for i in range(count)]
        x, eps = layer.reads[0], self._eps(layer)
        tail = [1] * (rank - axis - 1)
        if self._uses_batch(layer):
            x = e.value("Div", *centred_and_deviation(e, x, eps, axis))
        elif count == 4:
            if axis == 1:
                e.op(
                    "BatchNormalization", [x, *map(e.array, blobs)], [layer.writes[0]], epsilon=eps
                )
                return
            mean, deviation = blobs[2], np.sqrt(blobs[3] + np.float32(eps))
            x = e.value("Sub", x, e.array(np.reshape(mean, (-1, *tail))))
            x = e.value("Div", x, e.array(np.reshape(deviation, (-1, *tail))))
        scale, shift = (e.array(np.reshape(b, (-1, *tail))) for b in blobs[:2])
        e.op("Add", [e.value("Mul", x, scale), shift], [layer.writes[0]])


# Dialects whose BN is PSPNet's.
_PSPNET_BN = frozenset(
    ("pspnet", "tsn", "cambricon", "happynear", "minicaffe", "tpumlir", "pytorch2caffe")
)


class SyncBN(BN):
    """Forks (TSN): PSPNet's BN, whose statistics in phase TRAIN are those of all devices."""

    reads = fields(bn_param="eps")

    harmless = MappingProxyType(
        {
            "bn_param.frozen": "its code does not read it",
            "bn_param.momentum": "it is used only in training",
        }
    )

    source = "yjxiong/caffe"

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, bottoms[0][1])] * 4

    def dialect_of(self, layer: Layer, blobs: Sequence[Shape]) -> str:
        return ""

    def _family(self, layer: Layer) -> str:
        return "pspnet"

    def _uses_batch(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN"


class CuDNNBatchNorm(BN):
    """Forks (GENet): BatchNorm with the blobs scale, shift, mean and variance of cuDNN; phase TRAIN
    uses the statistics of the batch unless ``frozen`` is set."""

    reads = fields(batch_norm_param="eps frozen")

    harmless = MappingProxyType({"batch_norm_param.momentum": "it is used only in training"})

    source = "hujie-frank/GENet"

    def dialect_of(self, layer: Layer, blobs: Sequence[Shape]) -> str:
        return ""

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        learned = [
            Filling("batch_norm_param.scale_filler", neutral=1.0),
            Filling("batch_norm_param.bias_filler"),
        ]
        return [*learned, Filling(), Filling(value=1.0)]

    def _family(self, layer: Layer) -> str:
        return "pspnet"

    def _uses_batch(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN" and not layer.params.batch_norm_param.frozen

    def _eps(self, layer: Layer) -> float:
        return float(layer.params.batch_norm_param.eps)
