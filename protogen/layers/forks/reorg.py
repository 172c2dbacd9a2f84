"""Reorg of YOLO's forks, which moves blocks of pixels to channels, or channels to blocks of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_room,
    fields,
    four_axes,
)
from protogen.layers.checking import check_set
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# The order of the channels of a Reorg, by dialect. Darknet's code, which most forks have, calls its
# loops with the sizes of the bottom. TPU-MLIR's Caffe calls the same loops with those of the top.
DARKNET, BLOCKS, SWAPPED = "darknet", "blocks", "swapped"
_ORDERS = {
    "yolo": DARKNET,
    "intel": DARKNET,
    "cambricon": DARKNET,
    "synopsys": SWAPPED,  # DARKNET with H and W exchanged
    "tpumlir": BLOCKS,
}


class Reorg(LayerType):
    """Forks (YOLO): with s = stride, (N, C, H, W) becomes (N, C s s, H/s, W/s), or with ``reverse``
    (N, C/(s s), H s, W s).

    With B the blocks of s x s pixels as channels, B[n, (i s + j) C + c, y, x] = A[n, c, y s + i,
    x s + j], and B' its inverse: TPU-MLIR's Caffe computes B of the bottom. Darknet's code, as in
    MobileNet-YOLO, Intel's and Cambricon's Caffe, views the bottom as (N, C/(s s), H s, W s),
    computes B of that, and views the result as the top. With ``reverse`` it is the other way round:
    Darknet's code computes B' of the bottom, TPU-MLIR's computes B' of the bottom viewed as
    (N, C/(s s), H s, W s). Synopsys' Caffe is Darknet's with H and W exchanged.
    """

    reads = fields(reorg_param="stride reverse")
    required: ClassVar[tuple[str, ...]] = ("reorg_param.stride",)

    stock = False
    source = "eric612/MobileNet-YOLO"
    computes = False

    def rule(self, layer: Layer) -> tuple[int, bool, str]:
        """Return stride, reverse, and the order of the channels; an empty one if it is unknown."""
        p = layer.params.reorg_param
        return p.stride, p.reverse, _ORDERS.get(layer.dialect, "")

    def decide(self, layer: Layer) -> None:
        stride, _, order = self.rule(layer)
        if stride != 1 and not order:
            raise layer.unsupported(
                "the order of its channels differs between forks: blocks of stride x stride pixels "
                "become channels (tpumlir), or Darknet's order, which reads the bottom as if it had "
                "stride x stride times fewer channels (yolo, intel, cambricon, synopsys)",
                "Set --dialect to the fork that the net was trained with.",
            )

    def meaning(self, layer: Layer) -> str:
        return self.rule(layer)[2]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_set(layer, self.required)
        s, reverse, _ = self.rule(layer)
        if s < 1:
            raise layer.error(f"stride must be at least 1, got {s}")
        n, c, h, w = four_axes(layer, bottoms[0])
        if reverse:
            return [(n, c // (s * s), h * s, w * s)]
        return [(n, c * s * s, h // s, w // s)]

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        """Check that the code of the dialect divides by no zero and writes only in its top."""
        s, reverse, order = self.rule(layer)
        _, c, h, w = four_axes(layer, bottoms[0])
        if order == BLOCKS:
            if reverse and c < s**4:
                raise layer.error(
                    f"reverse with stride {s} must have at least {s**4} channels, got {c}",
                    "Use PixelShuffle or a Deconvolution.",
                )
            return
        if order and c % (s * s):
            raise layer.error(f"the number of channels must be divisible by {s * s}, got {c}")
        if ((order and not reverse) or layer.dialect == "cambricon") and (h % s or w % s):
            raise layer.error(f"height and width must be divisible by {s}, got {h}x{w}")
        if order == SWAPPED and (s != 2 or reverse):
            raise layer.error(
                "Synopsys' code sets the size of its top to half of the bottom's, so it must have "
                f"stride 2 and no reverse, got stride {s}{' and reverse' if reverse else ''}"
            )

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None if self.rule(layer)[0] != 1 else super().window(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        stride, reverse, _ = self.rule(layer)
        bottom = e.shape(layer.reads[0])
        before, after = self._views(layer, four_axes(layer, bottom))
        if before is None:
            self._gather(layer, e, bottom)
            return
        x = e.reshape(layer.reads[0], bottom, before)
        if reverse:
            x = e.value("DepthToSpace", x, blocksize=stride, mode="DCR")
        else:
            x = e.value("SpaceToDepth", x, blocksize=stride)
        e.op("Identity", [e.reshape(x, after, e.shape(layer.writes[0]))], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace the layer by a Convolution or Deconvolution with weights 0 and 1, between Reshapes
        if the order needs them."""
        stride, reverse, _ = self.rule(layer)
        bottom = r.shape(layer.bottoms[0])
        before, after = self._views(layer, four_axes(layer, bottom))
        if before is None:
            raise layer.unsupported(
                "no stock layers mix the images of a batch, which this size makes it do",
                "Use a size that stride divides.",
            )
        x, top = layer.bottoms[0], self.shapes(layer, [bottom])[0]
        if before != bottom:
            x = r.add("Reshape", [x], role="view", params=_reshape(before))
        if after == top:
            move_blocks(layer, r, x, before[1], stride, reverse)
            return
        x = move_blocks(layer, r, x, before[1], stride, reverse, "blocks")
        r.add("Reshape", [x], params=_reshape(top))

    def _views(self, layer: Layer, bottom: Shape) -> tuple[Shape | None, Shape]:
        """Return the shape of the value whose blocks are moved, and the shape of the result; None
        if there is no such value."""
        s, reverse, order = self.rule(layer)
        n, c, h, w = bottom
        if s == 1:
            return bottom, bottom
        if order == BLOCKS and not reverse:
            small = (n, c * s * s, h // s, w // s)
            return None if h % s or w % s else bottom, small
        if order == BLOCKS:
            big = (n, c // s**4, h * s * s, w * s * s)
            return None if c % s**4 else (n, c // s**2, h * s, w * s), big
        if order == SWAPPED:
            h, w = w, h
        big, small = (n, c // s**2, h * s, w * s), (n, c, h, w)
        return (small, big) if reverse else (big, small)

    def _gather(self, layer: Layer, e: Emitter, bottom: Shape) -> None:
        """Emit TPU-MLIR's loops for a size that they do not fit: they mix the images of the batch,
        and leave values of the top at 0."""
        import numpy as np

        top = e.shape(layer.writes[0])
        count, size = math.prod(bottom), math.prod(top)
        check_room(layer, size)
        stride, reverse, _ = self.rule(layer)
        small, big = _loops(top, stride)
        index = np.full(size, count, np.int64)  # the position of the 0 at the end
        if reverse:
            if big.max(initial=0) >= size:
                raise layer.error(
                    f"its code writes behind its top for {shape_text(bottom)}",
                    f"Use a number of channels that {stride**4} divides.",
                )
            index[big] = small  # of several that write a value, the last one counts
        else:
            index[small] = big
        flat = e.value("Reshape", layer.reads[0], e.array([-1]))
        flat = e.value("Concat", flat, e.array([0.0]), axis=0)
        moved = e.value("Gather", flat, e.array(index), axis=0)
        e.op("Reshape", [moved, e.array(list(top))], [layer.writes[0]])


class DarknetReorg(Reorg):
    """Synopsys' models in Python: Reorg with stride 2 in Darknet's order."""

    reads = fields(python_param="module layer param_str")
    required = ()
    python_class = ("yolov2", "darknet_reorg")
    source = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"

    def rule(self, layer: Layer) -> tuple[int, bool, str]:
        return 2, False, DARKNET


def _loops(shape: Shape, s: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions in the array with small planes and in that with large planes, for each
    step of Darknet's loops over the small planes of ``shape``."""
    import numpy as np

    n, c, h, w = shape
    channels = max(1, c // (s * s))
    image, channel, y, x = np.indices(shape).reshape(4, -1)
    offset = channel // channels
    column, row = x * s + offset % s, y * s + offset // s
    plane = channel % channels + channels * image
    return np.arange(n * c * h * w), column + w * s * (row + h * s * plane)


def _reshape(shape: Shape) -> dict[str, Any]:
    """Return the parameters of a Reshape to a shape; the first axis is copied."""
    return {"reshape_param": {"shape": {"dim": [0, *shape[1:]]}}}


def move_blocks(
    layer: Layer, r: Rewriter, x: str, channels: int, s: int, reverse: bool, role: str = ""
) -> str:
    """Add a Convolution with weights 0 and 1 that moves blocks of s x s pixels to channels, with the
    position in the block before the channel; with ``reverse``, the Deconvolution that moves them
    back. ``channels`` are those of ``x``. Return the top."""
    import numpy as np

    planes = channels // (s * s) if reverse else channels
    check_room(layer, planes * planes * s**4)
    weight = np.zeros((s, s, planes, planes, s, s), np.float32)
    for i, j in np.ndindex(s, s):
        weight[i, j, range(planes), range(planes), i, j] = 1
    params = {
        "num_output": planes if reverse else planes * s * s,
        "kernel_size": s,
        "stride": s,
        "bias_term": False,
        "weight_filler": {"type": "constant", "value": 0.0},
    }
    return r.add(
        "Deconvolution" if reverse else "Convolution",
        [x],
        role=role,
        params={"convolution_param": params},
        weights=[weight.reshape(s * s * planes, planes, s, s)],
    )
