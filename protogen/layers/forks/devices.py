"""Layers that run a compiled model in a file of its own on a device."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import LayerType, Window, check_bottoms, fields
from protogen.layers.checking import check_tops
from protogen.layers.graph import Layer

_WAY_OUT = (
    "Convert the model in that file instead, or end the net at this layer's bottoms with --to-blob."
)


class _Compiled(LayerType, abstract=True):
    """Base class of the layers. Only the file defines the shapes of their tops."""

    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        return [None] * len(layer.tops)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None


class TRT(_Compiled):
    """NVIDIA: a net of other files (``deploy`` and ``model``), run by TensorRT; bottoms data, label."""

    source = "NVIDIA/caffe"
    reads = fields(trt_param="top_k trt_mode model deploy calibrator deploy_outputs")
    refusal = ("it runs the net of another file with TensorRT", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        return [None]


class Atlas(_Compiled):
    """Tengine: a model of another file, compiled for Huawei's Atlas."""

    source = "wangshankun/Tengine_Atlas"
    refusal = ("it runs a compiled model of another file on Huawei's Atlas", _WAY_OUT)
