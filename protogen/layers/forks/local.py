"""Convolutions of forks: Local, whose weights differ by position, and HoleConvolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.base import Filling, LayerType, Window, check_bottoms, check_rank, fields
from protogen.layers.checking import check_tops
from protogen.layers.convolution import Convolution
from protogen.layers.forks.simple import HAPPYNEAR
from protogen.layers.graph import Layer
from protogen.layers.padding import SIDES
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Local(LayerType):
    """Forks (happynear): as Convolution, but with its own weights at each position of the top. Blobs
    (num_output, 1, C kernel^2, positions) and (1, 1, num_output, positions)."""

    reads = fields(local_param="num_output bias_term pad kernel_size stride")
    stock = False
    source = HAPPYNEAR
    weighted = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.local_param
        if min(p.kernel_size, p.num_output, p.stride) < 1:
            raise layer.error("kernel_size, num_output and stride must be at least 1")
        if min(bottoms[0][2:]) < p.kernel_size:
            raise layer.error(f"kernel_size {p.kernel_size} is larger than its bottom")
        sizes = ((n + 2 * p.pad - p.kernel_size) // p.stride + 1 for n in bottoms[0][2:])
        return [(bottoms[0][0], int(p.num_output), *sizes)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.local_param
        positions = math.prod(self.shapes(layer, bottoms)[0][2:])
        taps = bottoms[0][1] * p.kernel_size**2
        weight: Shape = (int(p.num_output), 1, int(taps), positions)
        return [weight, (1, 1, int(p.num_output), positions)][: 1 + bool(p.bias_term)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        outputs, _, taps, _ = blobs[0]
        weight = Filling("local_param.weight_filler", fan_in=taps, fan_out=outputs)
        return [weight, Filling("local_param.bias_filler")][: len(blobs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return bottoms[0][0] * math.prod(blobs[0])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        p = layer.params.local_param
        return Window((p.kernel_size,) * 2, (p.stride,) * 2, (p.pad,) * 2, (1, 1))

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.local_param
        k, s = int(p.kernel_size), int(p.stride)
        c, (m, h, w) = e.shape(layer.reads[0])[1], e.shape(layer.writes[0])[1:]
        x = layer.reads[0]
        if p.pad:
            x = e.value("Pad", x, e.array([0, 0, p.pad, p.pad] * 2))
        taps = []
        for i in range(k):
            for j in range(k):
                ends = [i + s * (h - 1) + 1, j + s * (w - 1) + 1]
                taps.append(e.value("Slice", x, *map(e.array, ([i, j], ends, [2, 3], [s, s]))))
        joined = e.value("Concat", *taps, axis=1) if k > 1 else taps[0]
        rows = e.value("Reshape", joined, e.array([0, k * k * c, h * w]))
        rows = e.value("Transpose", rows, perm=[2, 0, 1])  # positions, images, values of a window
        product = e.value("MatMul", rows, e.array(self._by_position(e.weight(layer, 0), c, k)))
        y = e.value("Reshape", e.value("Transpose", product, perm=[1, 2, 0]), e.array([0, m, h, w]))
        if p.bias_term:
            y = e.value("Add", y, e.array(e.weight(layer, 1).reshape(1, m, h, w)))
        e.op("Identity", [y], [layer.writes[0]])

    def _by_position(
        self, weight: NDArray[np.floating], channels: int, kernel: int
    ) -> NDArray[np.floating]:
        """Return the weights as (positions, kernel^2 C, outputs): the order of the joined slices."""
        outputs, _, _, positions = weight.shape
        split = weight.reshape(outputs, channels, kernel * kernel, positions)
        return split.transpose(3, 2, 1, 0).reshape(positions, -1, outputs)


class HoleConvolution(Convolution):
    """Forks (SegStereo): Convolution with the dilation in ``hole``, or hole_h and hole_w, one of which must
    be set."""

    reads = fields(
        convolution_param=(
            "kernel_size kernel_h kernel_w stride stride_h stride_w pad pad_h pad_w hole hole_h hole_w "
            f"{SIDES} num_output bias_term group dilation dilation_h dilation_w axis"
        )
    )
    stock = False
    source = "yangguorun/SegStereo"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 4, 4)
        p = layer.params.convolution_param
        if not (p.has("hole") or p.has("hole_h") or p.has("hole_w")):
            raise layer.error("hole is missing", "Set it, or use a Convolution.")
        return super().shapes(layer, bottoms)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        w = self._read(layer, [r.shape(bottom) for bottom in layer.bottoms])[2]
        others = dict.fromkeys(("hole", "hole_h", "hole_w", "dilation_h", "dilation_w"))
        dilation = list(w.dilation) if any(d != 1 for d in w.dilation) else None
        r.retype("Convolution", convolution_param={**others, "dilation": dilation})
