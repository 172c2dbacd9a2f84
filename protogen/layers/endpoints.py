"""Layers where data enters a net."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import Emitter, LayerType


class Input(LayerType):
    """A blob that the user feeds. Caffe: one shape for all tops, or one per top."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        given = [tuple(shape.dim) for shape in layer.params.input_param.shape]
        if len(given) == 1:
            given *= len(layer.tops)
        if len(given) != len(layer.tops):
            raise layer.error(
                f"has {len(layer.tops)} tops, but {len(given)} shapes",
                "Give input_param one shape, or one for each top.",
            )
        return given

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Nothing: the tops are inputs of the model."""
