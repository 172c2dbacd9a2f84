"""Layers of forks that only move values: they reverse, pad or permute axes, or pass blobs on."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    axis_of,
    check_bottoms,
    check_rank,
    check_room,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import reshape
from protogen.layers.graph import Layer
from protogen.layers.ordering import permuted_by_stock
from protogen.layers.permuting import MOST_SLICES, axis_factors
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _Turning(LayerType, abstract=True):
    """Base class of layers that reverse the order of the values along axes."""

    computes = False
    passes_signal = True
    stock = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        self.axes(layer, bottoms[0])
        return [bottoms[0]]

    def axes(self, layer: Layer, shape: Shape) -> list[int]:
        """Return the axes that the layer reverses.

        Raises:
            InputError: an axis is out of range.
        """
        raise NotImplementedError

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        import numpy as np

        top = tops[0]
        return [None if top is None else np.flip(top, tuple(self.axes(layer, shapes[0])))]

    def lower(self, layer: Layer, e: Emitter) -> None:
        axes = self.axes(layer, e.shape(layer.reads[0]))
        if not axes:
            e.op("Identity", [layer.reads[0]], [layer.writes[0]])
            return
        backwards = e.array([-1] * len(axes))
        ends = e.array([-(2**62)] * len(axes))  # below the first position
        reads = [layer.reads[0], backwards, ends, e.array(axes), backwards]
        e.op("Slice", reads, [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace the layer by Slice and Concat. A long axis is reversed as several axes: the
        factors of its length."""
        shape = r.shape(layer.bottoms[0])
        x = layer.bottoms[0]
        axes = [axis for axis in self.axes(layer, shape) if shape[axis] > 1]
        if not axes:
            r.add("Power", [x])  # the identity; a Split would not keep the name of the top
            return
        for axis in axes:
            x = _turned(layer, r, x, shape, axis, final=axis == axes[-1])


def _turned(layer: Layer, r: Rewriter, x: str, shape: Shape, axis: int, final: bool) -> str:
    """Add the layers that reverse an axis, and return their top; the top of the replaced layer if
    these are the ``final`` layers.

    Raises:
        UnsupportedError: the length has a prime factor above ``MOST_SLICES``.
    """
    parts_of = axis_factors(shape[axis])
    if max(parts_of) > MOST_SLICES:
        raise layer.unsupported(
            f"its stock layers would need {max(parts_of)} slices, at most {MOST_SLICES} are allowed"
        )
    batch = axis > 0
    dims = [*shape[:axis], *parts_of, *shape[axis + 1 :]]
    if len(parts_of) > 1:
        copied = [0 if batch and i == 0 else n for i, n in enumerate(dims)]
        x = r.add("Reshape", [x], role="axes", params=reshape(copied))
    for i, length in enumerate(parts_of, axis):
        parts = r.split(x, "slice", i, range(1, length))
        last = final and len(parts_of) == 1
        params = {"concat_param": {"axis": i}}
        x = r.add("Concat", parts[::-1], role="" if last else "turned", params=params)
    if len(parts_of) > 1:
        copied = [0 if batch and i == 0 else n for i, n in enumerate(shape)]
        x = r.add("Reshape", [x], role="" if final else "back", params=reshape(copied))
    return x


# What a Reverse without axis reverses, by dialect: None for all axes that it names, so for none.
_REVERSED = {
    "ctpn": 0,
    "cc4": 0,
    "textboxes": 0,
    "tpumlir": 0,
    "cambricon": 1,
    "synopsys": None,
}


class Reverse(_Turning):
    """Forks: the values along ``axis`` in reverse order. Without it, most forks reverse axis 0 (the
    steps of a sequence), Cambricon the channels. In Synopsys' fork there may be several axes."""

    reads = fields(reverse_param="axis")

    source = "tianzhi0549/CTPN"

    def decide(self, layer: Layer) -> None:
        if not layer.params.reverse_param.axis and layer.dialect not in _REVERSED:
            raise layer.unsupported(
                "axis is not set, and its default differs between forks: axis 0 in ctpn, cc4, "
                "textboxes and tpumlir, the channels in cambricon, no axis in synopsys",
                "Set reverse_param { axis: 0 }, or --dialect.",
            )

    def meaning(self, layer: Layer) -> str:
        return str(_REVERSED.get(layer.dialect))

    def axes(self, layer: Layer, shape: Shape) -> list[int]:
        named = list(layer.params.reverse_param.axis)
        if not named:
            axis = _REVERSED.get(layer.dialect, 0)
            return [] if axis is None else [axis_of(layer, axis, len(shape))]
        axes = [axis_of(layer, axis, len(shape)) for axis in named]
        if len(set(axes)) < len(axes):
            raise layer.error(f"axis must name each axis at most once, got {named}")
        return sorted(axes)


class Flip(_Turning):
    """Forks (happynear): the width (``flip_width``, the default) and the height (``flip_height``)
    in reverse order."""

    reads = fields(flip_param="flip_width flip_height")

    source = "happynear/caffe-windows"

    def axes(self, layer: Layer, shape: Shape) -> list[int]:
        check_rank(layer, [shape], 1, 4)
        p = layer.params.flip_param
        axes = [2] * bool(p.flip_height) + [3] * bool(p.flip_width)
        return [axis for axis in axes if axis < len(shape)]  # missing axes have length 1


class Transpose(LayerType):
    """Forks (CTPN): axis i of the top is axis ``dim`` number i of the bottom."""

    reads = fields(transpose_param="dim")

    computes = False
    passes_signal = True
    stock = False
    source = "tianzhi0549/CTPN"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        shape, dims = bottoms[0], list(layer.params.transpose_param.dim)
        if sorted(dims) != list(range(len(shape))):
            raise layer.error(
                f"dim must name each axis of its bottom ({shape_text(shape)}) once, from 0 to "
                f"{len(shape) - 1}, got {dims}"
            )
        return [tuple(shape[axis] for axis in dims)]

    def bottoms_for_tops(
        self, layer: Layer, tops: Sequence[Drawn | None], shapes: Sequence[Shape], rng: Rng
    ) -> list[Drawn | None]:
        dims = list(layer.params.transpose_param.dim)
        back = sorted(range(len(dims)), key=dims.__getitem__)
        return [None if tops[0] is None else tops[0].transpose(back)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        dims = list(layer.params.transpose_param.dim)
        options = {"perm": dims} if dims else {}  # a scalar has no axes
        e.op("Transpose", [layer.reads[0]], [layer.writes[0]], **options)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        permuted_by_stock(layer, r, list(layer.params.transpose_param.dim))


class _Padding(LayerType, abstract=True):
    """Base class of layers that pad or crop height and width."""

    passes_signal = True
    stock = False

    def pads(self, layer: Layer) -> tuple[int, int, int, int]:
        """Return the pads at the top, left, bottom and right; negative numbers crop."""
        raise NotImplementedError

    def value(self, layer: Layer) -> float:
        """Return the value of the padding."""
        return 0.0

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        n, c, h, w = bottoms[0]
        top, left, bottom, right = self.pads(layer)
        out = (h + top + bottom, w + left + right)
        if min(out) < 1:
            raise layer.error(
                f"the output size would be {shape_text(out)} for input {h}x{w}",
                "Crop fewer pixels.",
            )
        return [(n, c, *out)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        top, left, bottom, right = self.pads(layer)
        pads = e.array([0, 0, top, left, 0, 0, bottom, right])
        e.op("Pad", [layer.reads[0], pads, e.array(self.value(layer))], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace the layer by a depthwise Convolution: its kernel has a single 1, so zeros beside
        the 1 take off what the larger of two pads is too much. Powers before and after it shift the
        value of the padding to 0."""
        import numpy as np

        channels = r.shape(layer.bottoms[0])[1]
        top, left, bottom, right = self.pads(layer)
        value, x = self.value(layer), layer.bottoms[0]
        pad = (max(0, top, bottom), max(0, left, right))
        kernel = (1 + 2 * pad[0] - top - bottom, 1 + 2 * pad[1] - left - right)
        check_room(layer, channels * kernel[0] * kernel[1])
        weight = np.zeros((channels, 1, *kernel), np.float32)
        weight[:, :, pad[0] - top, pad[1] - left] = 1
        params: dict[str, Any] = {"num_output": channels, "group": channels, "bias_term": False}
        params |= {"kernel_h": kernel[0], "kernel_w": kernel[1], "pad_h": pad[0], "pad_w": pad[1]}
        params |= {"weight_filler": {"type": "constant", "value": float(kernel == (1, 1))}}
        convolution = {"convolution_param": params}
        if not value:
            r.add("Convolution", [x], params=convolution, weights=[weight])
            return
        x = r.add("Power", [x], role="shifted", params={"power_param": {"shift": -value}})
        x = r.add("Convolution", [x], role="padded", params=convolution, weights=[weight])
        r.add("Power", [x], params={"power_param": {"shift": value}})


class Padding(_Padding):
    """Forks. DeepLab: zeros around height and width, ``pad_beg`` and ``pad_end``; negative numbers
    crop. TPU-MLIR: ``pad_l``, ``pad_r``, ``pad_t`` and ``pad_b`` pixels of ``pad_value``."""

    reads = fields(padding_param="pad_beg pad_end pad_l pad_r pad_t pad_b pad_value")

    harmless = MappingProxyType({"padding_param.pad_method": "CONSTANT is its only value"})

    source = "TheLegendAli/DeepLab-Context"

    def pads(self, layer: Layer) -> tuple[int, int, int, int]:
        p = layer.params.padding_param
        if p.has("pad_beg") or p.has("pad_end"):
            if p.pad_beg * p.pad_end < 0:
                raise layer.error(
                    "pad_beg and pad_end must both pad or both crop, got "
                    f"{p.pad_beg} and {p.pad_end}"
                )
            return (p.pad_beg, p.pad_beg, p.pad_end, p.pad_end)
        return (p.pad_t, p.pad_l, p.pad_b, p.pad_r)

    def value(self, layer: Layer) -> float:
        return float(layer.params.padding_param.pad_value)


class AddPad(_Padding):
    """Forks (Cambricon): zeros around height and width: ``pad``, or ``pad_h`` and ``pad_w``."""

    reads = fields(addpad_param="pad pad_h pad_w")

    source = "Cambricon/caffe"

    def pads(self, layer: Layer) -> tuple[int, int, int, int]:
        p = layer.params.addpad_param
        pads = list(p.pad)
        if p.has("pad_h") or p.has("pad_w"):
            if pads:
                raise layer.error("pad and pad_h or pad_w are both set", "Keep one form.")
            return (p.pad_h, p.pad_w, p.pad_h, p.pad_w)
        if len(pads) != 1:
            raise layer.error(f"expected one pad, got {len(pads)}", "Set pad, or pad_h and pad_w.")
        return (pads[0],) * 4
