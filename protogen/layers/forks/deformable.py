"""Convolutions of forks whose windows are moved by offsets: DeformableConvolution and
ModulatedDeformableConvolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from protogen import geometry
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Window,
    axis_of,
    check_bottoms,
    check_rank,
    check_room,
    fields,
)
from protogen.layers.convolution import window
from protogen.layers.forks.interpolation import Maps, Outside, bilinear
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

_FIELDS = (
    "num_output bias_term kernel_size kernel_h kernel_w stride stride_h stride_w pad pad_h pad_w "
    "dilation group deformable_group axis"
)
_HARMLESS = "selects an implementation"


class _Deformable(LayerType, abstract=True):
    """Base class. Bottoms: x (N, C, H, W), offsets (N, 2 G K, H, W), and for the modulated layer factors
    (N, G K, H, W), with G deformable groups and K pixels of the kernel. The pixel k of the window of an
    output pixel moves by the offsets (y, x) in channels 2 k and 2 k + 1 of its group."""

    weighted = True
    stock = False
    block: ClassVar[str] = ""
    extra: ClassVar[tuple[int, ...]] = ()  # further bottoms: channels for each pixel of a kernel
    outside: ClassVar[Outside] = "zero"

    def params(self, layer: Layer) -> Message:
        """Return the parameters of the convolution."""
        message: Message = getattr(layer.params, self.block)
        return message

    def groups(self, layer: Layer) -> tuple[int, int]:
        """Return group and deformable_group."""
        p = self.params(layer)
        return p.group, p.deformable_group

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2 + len(self.extra), 2 + len(self.extra))
        check_rank(layer, bottoms, 4, 4)
        p = self.params(layer)
        if axis_of(layer, p.axis, 4) != 1:
            raise layer.error(f"axis must be 1, got {p.axis}")
        if p.num_output < 1:
            raise layer.error("num_output is missing or 0", "Set the number of outputs.")
        n, c, h, w = bottoms[0]
        group, deformable = self.groups(layer)
        for name, count, channels in (
            ("group", group, c),
            ("group", group, p.num_output),
            ("deformable_group", deformable, c),
        ):
            if count < 1 or channels % count:
                raise layer.error(f"{name} {count} does not divide {channels} channels")
        view = window(layer, p, 2)
        pixels = math.prod(view.kernel)
        for name, shape, each in zip(layer.bottoms[1:], bottoms[1:], (2, *self.extra), strict=True):
            expected = (n, each * deformable * pixels, h, w)
            if shape != expected:
                raise layer.error(
                    f'"{name}" must have the shape {shape_text(expected)}, got {shape_text(shape)}'
                )
        size = self._size(view, (h, w))
        if min(size) < 1:
            raise layer.error(f"its kernel is larger than its bottom, {shape_text(bottoms[0])}")
        if math.prod(size) > h * w:
            raise layer.error(
                f"its top has more pixels ({shape_text(size)}) than its offsets ({h}x{w}), and the forks "
                "read past their end",
                "Use a smaller pad.",
            )
        return [(n, p.num_output, *size)]

    def _size(self, view: Window, sizes: Shape) -> tuple[int, ...]:
        parts = zip(sizes, view.kernel, view.stride, view.pad, view.dilation, strict=True)
        return tuple(geometry.conv_out(*part) for part in parts)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = self.params(layer)
        kernel = window(layer, p, 2).kernel
        weight = (p.num_output, bottoms[0][1] // self.groups(layer)[0], *kernel)
        return [weight, (p.num_output,)] if p.bias_term else [weight]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        fan_in = math.prod(blobs[0][1:])
        fan_out = blobs[0][0] * math.prod(blobs[0][2:])
        weight = Filling(f"{self.block}.weight_filler", fan_in=fan_in, fan_out=fan_out)
        return [weight, Filling(f"{self.block}.bias_filler")][: len(blobs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(tops[0]) * math.prod(blobs[0][1:])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return rng.standard_normal(shapes[1]).astype("float32") if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit the samples of all windows, then a matrix product. ONNX's DeformConv gives other values
        at the borders than DeformableConvolution."""
        p = self.params(layer)
        n, c = e.shape(layer.reads[0])[:2]
        top = e.shape(layer.writes[0])
        view = window(layer, p, 2)
        group, deformable = self.groups(layer)
        pixels, places = math.prod(view.kernel), math.prod(top[2:])
        check_room(layer, 2 * pixels * places)
        grids = self._grids(view, top[2:])
        offsets = self._per_window(e, layer.reads[1], deformable * pixels * 2 * places)
        offsets = e.value("Reshape", offsets, e.array([n, deformable, pixels, 2, places]))
        positions = [
            e.value("Add", e.value("Gather", offsets, e.array(i), axis=3), e.array(grids[i]))
            for i in range(2)
        ]
        values = bilinear(e, self._maps(e, layer.reads[0], deformable), positions, self.outside)
        if self.extra:
            factors = self._per_window(e, layer.reads[2], deformable * pixels * places)
            factors = e.value("Reshape", factors, e.array([n, deformable, pixels, places, 1]))
            values = e.value("Mul", values, factors)
        # (N, G, K, places, C / G) to the columns of each group of the convolution.
        columns = e.value("Transpose", values, perm=[0, 1, 4, 2, 3])
        columns = e.value("Reshape", columns, e.array([n, group, c // group * pixels, places]))
        weight = e.value(
            "Reshape",
            e.blob(layer, 0),
            e.array([group, p.num_output // group, c // group * pixels]),
        )
        y = e.value("Reshape", e.value("MatMul", weight, columns), e.array(list(top)))
        if p.bias_term:
            bias = e.value("Reshape", e.blob(layer, 1), e.array([p.num_output, 1, 1]))
            y = e.value("Add", y, bias)
        e.op("Identity", [y], [layer.writes[0]])

    def _grids(self, view: Window, size: Shape) -> NDArray[np.float32]:
        """Return y and x of each pixel of the kernel and place, without offsets: (2, K, places)."""
        import numpy as np

        i, j = np.divmod(np.arange(math.prod(view.kernel)), view.kernel[1])
        y, x = np.divmod(np.arange(math.prod(size)), size[1])
        grids = [
            place[None] * stride - pad + pixel[:, None] * dilation
            for place, pixel, stride, pad, dilation in zip(
                (y, x), (i, j), view.stride, view.pad, view.dilation, strict=True
            )
        ]
        return np.stack(grids).astype(np.float32)

    def _per_window(self, e: Emitter, read: str, count: int) -> str:
        """Emit the first ``count`` values of each sample. The forks index offsets by the size of the top,
        also if the blob of the offsets is larger (with a stride)."""
        flat = e.value("Flatten", read, axis=1)
        if math.prod(e.shape(read)[1:]) == count:
            return flat
        return e.value("Slice", flat, e.array([0]), e.array([count]), e.array([1]))

    def _maps(self, e: Emitter, read: str, deformable: int) -> Maps:
        import numpy as np

        n, c, h, w = e.shape(read)
        rows = e.value("Reshape", read, e.array([n, deformable, c // deformable, h * w]))
        rows = e.value("Transpose", rows, perm=[0, 1, 3, 2])
        rows = e.value("Reshape", rows, e.array([n * deformable * h * w, c // deformable]))
        first = np.arange(n * deformable).reshape(n, deformable, 1, 1) * (h * w)
        return Maps(rows, e.array(first), (h, w))


class DeformableConvolution(_Deformable):
    """Forks (deformable convolution, version 1): a convolution whose pixels are sampled, bilinear, at
    positions moved by offsets. A position from 0 up to the length of the map counts, with the last
    pixel beyond it; all others are 0. In the code of the forks group is 1 by default, and
    deformable_group 4 or 1; in PytorchToCaffe's definition both are 4."""

    source = "unsky/Deformable-ConvNets-caffe"
    block = "deformable_convolution_param"
    outside = "edge"
    reads = fields(deformable_convolution_param=_FIELDS)
    harmless = MappingProxyType(
        {
            f"deformable_convolution_param.{name}": _HARMLESS
            for name in ("engine", "force_nd_im2col")
        }
    )

    def groups(self, layer: Layer) -> tuple[int, int]:
        p = self.params(layer)
        group = p.group if p.has("group") or layer.dialect == "pytorch2caffe" else 1
        return group, p.deformable_group

    def decide(self, layer: Layer) -> None:
        if not self.params(layer).has("deformable_group") and layer.dialect != "pytorch2caffe":
            raise layer.unsupported(
                "deformable_group is not set: it is 4 by default in some forks and 1 in others",
                "Set deformable_group.",
            )


class ModulatedDeformableConvolution(_Deformable):
    """Forks (deformable convolution, version 2): as DeformableConvolution, with a factor for each
    sample, and with pixels of 0 around the map."""

    source = "zhanglonghao1992/Deformable-ConvNets-v1-v2-caffe"
    block = "modulated_deformable_convolution_param"
    extra = (1,)
    reads = fields(modulated_deformable_convolution_param=_FIELDS)
    harmless = MappingProxyType(
        {
            f"modulated_deformable_convolution_param.{name}": _HARMLESS
            for name in ("engine", "force_nd_im2col")
        }
    )
