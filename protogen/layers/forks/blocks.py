"""Layers of forks that move blocks of pixels to channels, or channels to blocks of pixels, in the order of
TensorFlow or an unknown one."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape
from protogen.layers.base import LayerType, Window, check_bottoms, fields
from protogen.layers.checking import check_set
from protogen.layers.forks.reorg import move_blocks
from protogen.layers.forks.resizing import _nchw
from protogen.layers.graph import Layer
from protogen.layers.ordering import shuffle_pixels
from protogen.layers.writing import Emitter, Rewriter


class _Blocks(LayerType, abstract=True):
    """Base class of the layers that have TensorFlow's order: the position in the block before the
    channel."""

    stock = False
    computes = False
    _to_channels = False

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def _size(self, layer: Layer) -> int:
        """Return the length of the blocks."""
        raise NotImplementedError

    def _moved(self, layer: Layer, shape: Shape, s: int) -> Shape:
        """Return the shape (N, C, H, W) after the move.

        Raises:
            InputError: the blocks do not fit.
        """
        if s < 1:
            raise layer.error(f"the blocks must have a size of at least 1, got {s}")
        n, c, h, w = shape
        if self._to_channels:
            if h % s or w % s:
                raise layer.error(f"height and width must be divisible by {s}, got {h}x{w}")
            return n, c * s * s, h // s, w // s
        if c % (s * s):
            raise layer.error(f"the number of channels must be divisible by {s * s}, got {c}")
        return n, c // (s * s), h * s, w * s

    def _move(self, e: Emitter, x: str, s: int, mode: str = "DCR") -> str:
        if self._to_channels:
            return e.value("SpaceToDepth", x, blocksize=s)
        return e.value("DepthToSpace", x, blocksize=s, mode=mode)


class PeriodicShuffle(_Blocks):
    """CED: channels become blocks of group_size x group_size pixels, top[n, c, y g + i, x g + j] =
    bottom[n, (i g + j) num_output + c, y, x]."""

    reads = fields(periodic_shuffle_param="num_output group_size")
    source = "Wangyupei/CED"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.periodic_shuffle_param
        n, c, h, w = _nchw(layer, bottoms[0])
        g, count = p.group_size, p.num_output
        if g < 1 or count < 1:
            raise layer.error(f"num_output and group_size must be above 0, got {count} and {g}")
        if c != count * g * g:
            raise layer.error(
                f"num_output {count} and group_size {g} require {count * g * g} channels, got {c}"
            )
        return [(n, count, h * g, w * g)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        x = self._move(e, layer.reads[0], layer.params.periodic_shuffle_param.group_size)
        e.op("Identity", [x], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        channels = r.shape(layer.bottoms[0])[1]
        size = layer.params.periodic_shuffle_param.group_size
        move_blocks(layer, r, layer.bottoms[0], channels, size, True)


class _TensorFlow(_Blocks, abstract=True):
    """Base class of Synopsys' layers after those of TensorFlow."""

    source = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"
    _formats: tuple[str, ...] = ()
    _block = ""  # the field of LayerParameter

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_set(layer, self.required)
        p = getattr(layer.params, self._block)
        if p.data_format not in self._formats:
            names = ", ".join(self._formats)
            raise layer.error(f"data_format must be one of {names}, got {p.data_format!r}")
        shape = _nchw(layer, bottoms[0])
        if p.data_format != "NHWC":
            return [self._moved(layer, shape, p.block_size)]
        n, h, w, c = shape
        n, c, h, w = self._moved(layer, (n, c, h, w), p.block_size)
        return [(n, h, w, c)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = getattr(layer.params, self._block)
        x, last = layer.reads[0], p.data_format == "NHWC"
        if last:
            x = e.value("Transpose", x, perm=[0, 3, 1, 2])
        x = self._move(e, x, p.block_size, "CRD" if p.data_format == "CRD" else "DCR")
        if last:
            e.op("Transpose", [x], [layer.writes[0]], perm=[0, 2, 3, 1])
        else:
            e.op("Identity", [x], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = getattr(layer.params, self._block)
        if p.data_format == "NHWC":
            raise layer.unsupported("no stock layers move axes, which data_format NHWC needs")
        if p.data_format == "CRD":
            shuffle_pixels(layer, r, p.block_size)
            return
        channels = r.shape(layer.bottoms[0])[1]
        move_blocks(layer, r, layer.bottoms[0], channels, p.block_size, not self._to_channels)


class SpaceToDepth(_TensorFlow):
    """Synopsys: blocks of block_size x block_size pixels become channels in TensorFlow's order, the
    position in the block before the channel. The axes are those of data_format: NHWC (the default)
    or NCHW."""

    reads = fields(space_to_depth_param="block_size data_format")
    required = ("space_to_depth_param.block_size",)
    _formats = ("NHWC", "NCHW")
    _block = "space_to_depth_param"
    _to_channels = True


class DepthToSpace(_TensorFlow):
    """Synopsys: channels become blocks of block_size x block_size pixels. data_format NHWC (the
    default), NCHW and DCR: the position in the block before the channel, as in TensorFlow; CRD: the
    channel before the position. The axes are N, H, W, C for NHWC, else N, C, H, W."""

    reads = fields(depth_to_space_param="block_size data_format")
    required = ("depth_to_space_param.block_size",)
    _formats = ("NHWC", "NCHW", "DCR", "CRD")
    _block = "depth_to_space_param"


class PassThrough(LayerType):
    """NNIE and Ascend: blocks of pixels become channels, or back with ``reverse`` of reorg_param.
    NNIE has pass_through_param, Ascend reorg_param."""

    reads = fields(
        pass_through_param="num_output block_height block_width", reorg_param="stride reverse"
    )

    stock = False
    source = "xxradon/PytorchToCaffe"
    computes = False

    refusal = (
        "no public source defines the order of its channels",
        "Register its order with pg.layer: emit Reshape, Transpose, Reshape.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p, reorg = layer.params.pass_through_param, layer.params.reorg_param
        n, c, h, w = _nchw(layer, bottoms[0])
        if not layer.params.has("pass_through_param"):
            s = reorg.stride if reorg.has("stride") else 2  # Ascend's default
            tall = wide = s
        else:
            tall, wide = p.block_height, p.block_width
        if min(tall, wide) < 1:
            raise layer.error(
                f"the blocks must have a size of at least 1x1, got {tall}x{wide}",
                "Set block_height and block_width, or stride.",
            )
        if reorg.reverse:
            if c % (tall * wide):
                raise layer.error(f"the number of channels must be divisible by {tall * wide}")
            return [(n, c // (tall * wide), h * tall, w * wide)]
        if h % tall or w % wide:
            raise layer.error(f"blocks of {tall}x{wide} pixels do not fit into {h}x{w} pixels")
        count = c * tall * wide
        if p.num_output not in (0, count):
            raise layer.error(f"num_output must be {count} for {c} channels, got {p.num_output}")
        return [(n, count, h // tall, w // wide)]
