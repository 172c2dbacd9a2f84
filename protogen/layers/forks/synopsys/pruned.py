"""Layers of Synopsys' fork whose weights are multiplied by masks (pruning)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Mistake,
    Window,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.convolution import WINDOW, Convolution, Deconvolution, _Convolutional
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.padding import SIDES
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TRAINS = (
    "in phase TRAIN it changes its masks at random",
    "Convert the net of phase TEST.",
)

_FIELDS = f"{WINDOW} {SIDES} num_output bias_term group axis".replace(
    " dilation_h dilation_w", ""
).split()


def masked(layer: Layer, e: Emitter, count: int) -> list[NDArray[np.floating]]:
    """Return weight and, if ``count`` is 2, bias times their masks, which are the blobs after them."""
    if layer.phase == "TRAIN":
        raise layer.unsupported(*_TRAINS)
    return [e.weight(layer, i) * e.weight(layer, count + i) for i in range(count)]


def with_masks(shapes: Sequence[Shape]) -> list[Shape]:
    """Return the shapes of weight and bias, their masks, and mean and deviation for the pruning."""
    return [*shapes, *shapes, (1, 1, 1, 2)]


def mask_fillings(block: str, count: int) -> list[Filling]:
    """Return the fillings of the masks, and of the mean and deviation."""
    names = ("weight_mask_filler", "bias_mask_filler")[:count]
    return [*(Filling(f"{block}.{name}", neutral=1.0) for name in names), Filling()]


def _multiplied(layer: Layer, r: Rewriter, count: int) -> list[NDArray[np.floating]]:
    """Return the masked blobs for a stock layer.

    Raises:
        UnsupportedError: the net has no weights, or it is of phase TRAIN.
    """
    blobs = r.weights()
    if blobs is None:
        raise layer.unsupported(
            "its masks are in the caffemodel", "Give the caffemodel of the net."
        )
    if layer.phase == "TRAIN":
        raise layer.unsupported(*_TRAINS)
    return [blobs[i] * blobs[count + i] for i in range(count)]


class _Masked(_Convolutional, abstract=True):
    """Base class of the convolutions with masks. ``squeeze_convolution_param`` has the fields of
    ``convolution_param``."""

    reads = fields(squeeze_convolution_param=" ".join(_FIELDS))
    stock = False
    source = SYNOPSYS
    trained = True
    blob_names = ("weight", "bias")

    def plain(self, layer: Layer) -> Layer:
        """Return the layer with convolution_param."""
        block = layer.params.squeeze_convolution_param.plain()
        known = {name: value for name, value in block.items() if name in _FIELDS}
        params = Message.make("LayerParameter", convolution_param=known)
        return replace(layer, params=params)

    def _read(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[Message, int, Window]:
        return super()._read(self.plain(layer), bottoms)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return with_masks(super().blobs(layer, bottoms))

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        count = len(blobs) // 2
        block = "squeeze_convolution_param"
        own = [
            replace(filling, field=filling.field.replace("convolution_param", block))
            for filling in super().fillings(layer, bottoms, blobs[:count])
        ]
        return [*own, *mask_fillings(block, count)]

    def stored(self, layer: Layer, e: Emitter, count: int) -> list[str]:
        return [e.array(blob) for blob in masked(layer, e, count)]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 3, 5)
        return super().shapes(layer, bottoms)

    def mistakes(self, layer: Layer) -> list[Mistake]:
        return []

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        block = self.plain(layer).params.convolution_param.plain()
        sides = [block.pop(name, 0) for name in SIDES.split()]
        if any(sides):
            raise layer.unsupported("stock layers have equal pads at both ends")
        count = 2 if block.get("bias_term", True) else 1
        r.add(
            "Deconvolution" if self.transposed else "Convolution",
            layer.bottoms,
            params={"convolution_param": block},
            weights=_multiplied(layer, r, count),
            keeps=range(count),
        )


class SqueezeConvolution(_Masked, Convolution):
    """Convolution with weights times their mask and a bias times its mask. Blobs: weight, bias, their
    masks, and two numbers for the training."""

    holes = False


class SqueezeDeconvolution(_Masked, Deconvolution):
    """Deconvolution with weights times their mask and a bias times its mask."""


class SqueezeInnerProduct(LayerType):
    """InnerProduct from axis 1 on, with weights times their mask and a bias times its mask."""

    reads = fields(squeeze_inner_product_param="num_output bias_term")
    stock = False
    source = SYNOPSYS
    weighted = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        number = layer.params.squeeze_inner_product_param.num_output
        if number < 1 or len(bottoms[0]) < 2:
            raise layer.error(
                f"num_output must be at least 1, got {number}, for a bottom with 2 or more axes, got "
                f"{shape_text(bottoms[0])}"
            )
        return [(bottoms[0][0], number)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.squeeze_inner_product_param
        weight = (p.num_output, math.prod(bottoms[0][1:]))
        return with_masks([weight, (p.num_output,)][: 2 if p.bias_term else 1])

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        block, count = "squeeze_inner_product_param", len(blobs) // 2
        n, k = blobs[0]
        weight = Filling(f"{block}.weight_filler", fan_in=k, fan_out=n)
        own = [weight, Filling(f"{block}.bias_filler")][:count]
        return [*own, *mask_fillings(block, count)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return bottoms[0][0] * blobs[0][0] * blobs[0][1]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        count = 2 if layer.params.squeeze_inner_product_param.bias_term else 1
        x = e.value("Flatten", layer.reads[0], axis=1)
        blobs = [e.array(blob) for blob in masked(layer, e, count)]
        e.op("Gemm", [x, *blobs], [layer.writes[0]], transB=1)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.squeeze_inner_product_param
        count = 2 if p.bias_term else 1
        block = {"num_output": p.num_output, "bias_term": p.bias_term}
        r.add(
            "InnerProduct",
            layer.bottoms,
            params={"inner_product_param": block},
            weights=_multiplied(layer, r, count),
            keeps=range(count),
        )
