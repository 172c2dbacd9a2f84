"""Normalize of forks: each pixel or sample divided by its norm."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from protogen.formats.message import Name
from protogen.geometry import Shape
from protogen.layers.base import (
    Filling,
    check_rank,
    check_room,
    fields,
    four_axes,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import PRODUCT, _Same
from protogen.layers.graph import Layer
from protogen.layers.normalization import channels_of, root_and_eps
from protogen.layers.writing import Emitter, Rewriter


class Normalize(_Same):
    """Forks (SSD): x divided by the norm over the channels of its pixel (or over the sample), times
    a learned scale. ``add_eps_before_sqrt: false`` (Synopsys) concerns the norm of a sample only.
    happynear (normalize_param, or a second top): x divided by its L1 or L2 norm over the channels of its
    pixel, without a scale; the second top holds the norm."""

    reads = fields(
        norm_param="across_spatial channel_shared eps add_eps_before_sqrt",
        normalize_param="normalize_type",
    )
    harmless = MappingProxyType(
        {f"normalize_param.{name}": "training only" for name in ("fix_gradient", "bp_norm")}
    )

    stock = False
    source = "weiliu89/caffe"

    def _is_happynears(self, layer: Layer) -> bool:
        p = layer.params
        if p.has("norm_param"):
            return bool(p.normalize_param.has("normalize_type"))
        return layer.dialect == "happynear" or len(layer.tops) > 1 or p.has("normalize_param")

    def meaning(self, layer: Layer) -> str:
        return "happynear" if self._is_happynears(layer) else "ssd"

    def dialect_of(self, layer: Layer, blobs: Sequence[Shape]) -> str:
        return "ssd" if blobs else "happynear"

    def decide(self, layer: Layer) -> None:
        p = layer.params
        if not (p.has("norm_param") or layer.dialect or self._is_happynears(layer)):
            raise layer.unsupported(
                "the type is ambiguous without parameters: SSD's has a scale as blob, happynear's not",
                'Set norm_param { across_spatial: true }, or normalize_param { normalize_type: "L2" }.',
            )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().shapes(layer, bottoms)
        check_rank(layer, bottoms, 1, 32)
        if not self._is_happynears(layer):
            return tops
        check_tops(layer, 1, 2)
        if layer.params.normalize_param.normalize_type not in ("L1", "L2"):
            raise layer.error('normalize_type must be "L1" or "L2"')
        shape: Shape = four_axes(layer, bottoms[0])
        return [shape, (shape[0], 1, *shape[2:])][: len(layer.tops)]

    def _lower_happynears(self, layer: Layer, e: Emitter) -> None:
        x = e.reshape(layer.reads[0], e.shape(layer.reads[0]), e.shape(layer.writes[0]))
        kind = str(layer.params.normalize_param.normalize_type)
        for value, write in zip(_divided_by_norm(e, x, kind), layer.writes, strict=False):
            e.op("Identity", [value], [write])

    blob_names = ("scale",)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if self._is_happynears(layer):
            return []
        shared = layer.params.norm_param.channel_shared
        return [()] if shared else [(channels_of(bottoms[0]),)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("norm_param.scale_filler", value=1.0)][: len(blobs)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        if self._is_happynears(layer):
            self._lower_happynears(layer, e)
            return
        p = layer.params.norm_param
        x = layer.reads[0]
        rank = len(e.shape(x))
        axes = list(range(1, rank)) if p.across_spatial else [1]
        total = e.reduce("ReduceSum", e.value("Mul", x, x), axes)
        norm = root_and_eps(e, total, p.eps, p.add_eps_before_sqrt or not p.across_spatial)
        scale = e.array(e.weight(layer, 0).reshape(-1, *[1] * (rank - 2)))
        e.op("Mul", [e.value("Div", x, norm), scale], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        if self._is_happynears(layer):
            raise layer.unsupported("no stock layers compute it")
        p = layer.params.norm_param
        x, shape = layer.bottoms[0], r.shape(layer.bottoms[0])
        inverse = {"power_param": {"power": -0.5, "shift": p.eps}}
        if p.across_spatial:
            sums = {"reduction_param": {"operation": Name("SUMSQ"), "axis": 1}}
            norm = r.add("Reduction", [x], role="norm", params=sums)
            if not p.add_eps_before_sqrt:
                root = {"power_param": {"power": 0.5}}
                norm = r.add("Power", [norm], role="root", top=norm, params=root)
                inverse = {"power_param": {"power": -1.0, "shift": p.eps}}
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


def _divided_by_norm(e: Emitter, x: str, kind: str) -> tuple[str, str]:
    """Emit x / norm and the norm, as happynear's Normalize: sqrt(1e-6 + sum of x^2) over axis 1 for
    ``L2``, 1e-6 + sum of |x| for ``L1``."""
    squared = kind == "L2"
    sizes = e.value("Mul", x, x) if squared else e.value("Abs", x)
    norm = e.value("Add", e.reduce("ReduceSum", sizes, [1]), e.array(1e-6))
    norm = e.value("Sqrt", norm) if squared else norm
    return e.value("Div", x, norm), norm
