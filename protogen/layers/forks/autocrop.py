"""AutoCrop of the forks for edges (yun-liu/RCF)."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import LayerType, check_bottoms, four_axes
from protogen.layers.checking import check_tops
from protogen.layers.graph import Layer


class AutoCrop(LayerType):
    """RCF: the part of the first bottom at the positions of the second, with its height and width.

    The offset follows from the convolutions and poolings between both bottoms and the layer where
    they divide.
    """

    source = "yun-liu/RCF"
    stock = False
    refusal = (
        "its offset follows from the layers before it, not from its own fields",
        "Replace it by Crop with axis: 2 and the offset of the net.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        first, second = (four_axes(layer, shape) for shape in bottoms)
        if first[2] < second[2] or first[3] < second[3]:
            raise layer.error(
                f"its first bottom, {first[2]}x{first[3]} pixels, must not be smaller than its second, "
                f"{second[2]}x{second[3]}"
            )
        return [(*first[:2], *second[2:])]
