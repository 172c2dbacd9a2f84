"""Layers of FlowNet2 (optical flow) that compare, move and join feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.checking import check_equal, check_set, check_tops
from protogen.layers.dense import INT64
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

SOURCE = "lmb-freiburg/flownet2"


class _Correlation(LayerType, abstract=True):
    """Base of the layers that compare patches of the first bottom with displaced patches of the
    second: a top channel for each displacement, with the mean over the kernel and the channels of
    the products (MULTIPLY) or of the absolute differences (SUBTRACT)."""

    stock = False
    source = SOURCE
    required = ("correlation_param.kernel_size", "correlation_param.max_displacement")

    def padding(self, layer: Layer) -> tuple[int, int]:
        """Return the zeros on each side of height and width."""
        raise NotImplementedError

    def border(self, layer: Layer) -> tuple[int, int]:
        """Return the pixels on each side of height and width that no kernel reads in bottom 0."""
        raise NotImplementedError

    def displacements(self, layer: Layer) -> list[tuple[int, int]]:
        """Return the displacement (y, x) of each top channel, in pixels."""
        raise NotImplementedError

    def columns(self, layer: Layer) -> range:
        """Return the displacements along one axis: multiples of stride_2 up to max_displacement."""
        p = layer.params.correlation_param
        radius = p.max_displacement // p.stride_2
        return range(-radius * p.stride_2, radius * p.stride_2 + 1, p.stride_2)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_set(layer, self.required)
        check_rank(layer, bottoms, 4, 4)
        check_equal(layer, bottoms)
        p = layer.params.correlation_param
        if p.kernel_size % 2 == 0:
            raise layer.error(f"kernel_size must be odd, got {p.kernel_size}")
        if min(p.stride_1, p.stride_2) < 1:
            raise layer.error(
                f"stride_1 and stride_2 must be at least 1, got {p.stride_1} and {p.stride_2}"
            )
        sizes = [
            -(-(size + 2 * pad - 2 * border - p.kernel_size + 1) // p.stride_1)
            for size, pad, border in zip(
                bottoms[0][2:], self.padding(layer), self.border(layer), strict=True
            )
        ]
        if min(sizes) < 1:
            raise layer.error(
                f"its kernel and displacements do not fit into {shape_text(bottoms[0][2:])} pixels",
                "Increase pad, or reduce max_displacement.",
            )
        return [(bottoms[0][0], len(self.displacements(layer)), *sizes)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        p = layer.params.correlation_param
        pads, borders = self.padding(layer), self.border(layer)
        reach = [max(map(abs, axis)) for axis in zip(*self.displacements(layer), strict=True)]
        return Window(
            tuple(2 * far + p.kernel_size for far in reach),
            (p.stride_1, p.stride_1),
            tuple(
                pad - border + far for pad, border, far in zip(pads, borders, reach, strict=True)
            ),
            (1, 1),
        )

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.correlation_param
        h, w = e.shape(layer.reads[0])[2:]
        (pad_h, pad_w), (top, left) = self.padding(layer), self.border(layer)
        moves = self.displacements(layer)
        # The leftmost displacement of Correlation1D may begin before the border.
        extra = max(0, -min(x for _, x in moves) - left)
        first, second = (
            e.value("Pad", read, e.array([0, 0, pad_h, pad_w + more, 0, 0, pad_h, pad_w]))
            if pad_h or pad_w or more
            else read
            for read, more in zip(layer.reads, (0, extra), strict=True)
        )
        sizes = (h + 2 * (pad_h - top), w + 2 * (pad_w - left))
        step = p.stride_1 if p.kernel_size == 1 else 1  # a larger kernel strides after the mean
        patch = self._part(e, first, (top, left), sizes, step)
        maps = []
        for y, x in moves:
            other = self._part(e, second, (top + y, left + extra + x), sizes, step)
            if p.correlation_type == "SUBTRACT":
                value = e.value("Abs", e.value("Sub", patch, other))
            else:
                value = e.value("Mul", patch, other)
            maps.append(e.reduce("ReduceMean", value, [1]))
        joined = e.value("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]
        if p.kernel_size == 1:
            e.op("Identity", [joined], [layer.writes[0]])
            return
        kernel, stride = [p.kernel_size] * 2, [p.stride_1] * 2
        e.op("AveragePool", [joined], [layer.writes[0]], kernel_shape=kernel, strides=stride)

    def _part(
        self, e: Emitter, read: str, start: tuple[int, int], sizes: tuple[int, int], step: int
    ) -> str:
        """Emit a Slice of height and width."""
        ends = [low + size for low, size in zip(start, sizes, strict=True)]
        reads = [list(start), ends, [2, 3], [step, step]]
        return e.value("Slice", read, *map(e.array, reads))


class Correlation(_Correlation):
    """Forks (FlowNet2): patches of bottom 0 compared with patches of bottom 1 that are displaced by
    up to max_displacement pixels, in steps of stride_2, in both axes. ``pad`` zeros surround both
    bottoms. Top channel (y, x) in row order holds displacement (y, x); stride_1 skips positions."""

    reads = fields(
        correlation_param="pad kernel_size max_displacement stride_1 stride_2 correlation_type"
    )
    harmless = MappingProxyType(
        {
            "correlation_param.do_abs": "the fork stores it and does not use it",
            "correlation_param.single_direction": "only Correlation1D uses it",
        }
    )

    def padding(self, layer: Layer) -> tuple[int, int]:
        pad = int(layer.params.correlation_param.pad)
        return pad, pad

    def border(self, layer: Layer) -> tuple[int, int]:
        most = int(layer.params.correlation_param.max_displacement)
        return most, most

    def displacements(self, layer: Layer) -> list[tuple[int, int]]:
        return [(y, x) for y in self.columns(layer) for x in self.columns(layer)]


class Correlation1D(_Correlation):
    """Forks (FlowNet2, SegStereo): as Correlation along the width only. single_direction 1 has the
    displacements from 0 on; -1 has as many, but ends at -stride_2, so it begins one step beyond
    max_displacement. That step needs pad, whose zeros it reads."""

    reads = fields(
        correlation_param=(
            "pad kernel_size max_displacement stride_1 stride_2 correlation_type single_direction"
        )
    )
    harmless = MappingProxyType(
        {"correlation_param.do_abs": "the fork stores it and does not use it"}
    )

    def padding(self, layer: Layer) -> tuple[int, int]:
        return 0, int(layer.params.correlation_param.pad)

    def border(self, layer: Layer) -> tuple[int, int]:
        return 0, int(layer.params.correlation_param.max_displacement)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        direction = layer.params.correlation_param.single_direction
        if direction not in (-1, 0, 1):
            raise layer.error(f"single_direction must be -1, 0 or 1, got {direction}")
        return super().shapes(layer, bottoms)

    def displacements(self, layer: Layer) -> list[tuple[int, int]]:
        p, both = layer.params.correlation_param, self.columns(layer)
        right = range(0, both.stop, both.step)
        if p.single_direction == 1:
            return [(0, x) for x in right]
        if p.single_direction == -1:
            return [(0, x - len(right) * p.stride_2) for x in right]
        return [(0, x) for x in both]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.correlation_param
        beyond = -self.displacements(layer)[0][1] - p.max_displacement
        if beyond > p.pad:
            raise layer.unsupported(
                f"with single_direction -1 it reads {beyond} pixels before the start of a row, which "
                "are pixels of the row above",
                f"Set pad to at least {beyond}.",
            )
        super().lower(layer, e)


class FlowWarp(LayerType):
    """Forks (FlowNet2): each pixel (x, y) of the top is bottom 0 at (x, y) + flow, bilinear; bottom
    1 is the flow (x, then y, in pixels). Positions outside of the picture become fill_value. At the
    last row and column, the missing neighbour is that row or column."""

    reads = fields(flow_warp_param="fill_value")
    stock = False
    source = SOURCE
    limits = "ONNX operator set 12 or later"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        image, flow = bottoms
        expected = (image[0], 2, *image[2:])
        if flow != expected:
            raise layer.error(
                f'bottom "{layer.bottoms[1]}" must have the shape {shape_text(expected)} (2 channels: '
                f"x and y), got {shape_text(flow)}"
            )
        return [image]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None  # the flow may point anywhere

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        channels, h, w = e.shape(layer.reads[0])[1:]
        columns = np.tile(np.arange(w, dtype=np.float32), h)
        rows = np.repeat(np.arange(h, dtype=np.float32), w)
        flow = e.value("Reshape", layer.reads[1], e.array([0, 2, h * w]))
        position = e.value("Add", flow, e.array(np.stack([columns, rows])))
        end = e.array(np.array([[w], [h]], np.float32))
        in_range = e.value(
            "And",
            e.value("GreaterOrEqual", position, e.array(0.0)),
            e.value("Less", position, end),
        )
        position = e.value("Where", in_range, position, e.array(0.0))
        low = e.value("Floor", position)
        high = e.value("Min", e.value("Add", low, e.array(1.0)), e.value("Sub", end, e.array(1.0)))
        x0, y0 = self._axes(e, low)
        x1, y1 = self._axes(e, high)
        right, down = self._axes(e, e.value("Sub", position, low))
        left, up = (e.value("Sub", e.array(1.0), share) for share in (right, down))
        pixels = e.value("Reshape", layer.reads[0], e.array([0, channels, h * w]))
        pixels = e.value("Transpose", pixels, perm=[0, 2, 1])
        corners = (
            (x0, y0, left, up),
            (x1, y0, right, up),
            (x0, y1, left, down),
            (x1, y1, right, down),
        )
        terms = []
        for x, y, across, along in corners:
            index = e.value("Add", e.value("Mul", y, e.array(float(w))), x)
            value = e.value("GatherND", pixels, e.value("Cast", index, to=INT64), batch_dims=1)
            terms.append(e.value("Mul", value, e.value("Mul", across, along)))
        total = e.value("Add", e.value("Add", *terms[:2]), e.value("Add", *terms[2:]))
        inside = e.value("And", *self._axes(e, in_range))
        is_zero = layer.params.flow_warp_param.fill_value == "ZERO"
        filled = e.value("Where", inside, total, e.array(0.0 if is_zero else math.nan))
        filled = e.value("Transpose", filled, perm=[0, 2, 1])
        e.op("Reshape", [filled, e.array([0, channels, h, w])], [layer.writes[0]])

    def _axes(self, e: Emitter, read: str) -> list[str]:
        """Emit the two rows of (images, 2, pixels), each as (images, pixels, 1)."""
        read = e.value("Transpose", read, perm=[0, 2, 1])
        parts = (e.value("Slice", read, *map(e.array, ([i], [i + 1], [2]))) for i in (0, 1))
        return list(parts)


class ChannelNorm(LayerType):
    """Forks (FlowNet2): the square root of the sum of x^2 over the channels of each pixel."""

    stock = False
    source = SOURCE

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        return [(bottoms[0][0], 1, *bottoms[0][2:])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        x = layer.reads[0]
        total = e.reduce("ReduceSum", e.value("Mul", x, x), [1])
        e.op("Sqrt", [total], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        ones = np.ones((1, r.shape(layer.bottoms[0])[1], 1, 1), np.float32)
        x = r.add("Power", layer.bottoms, role="square", params={"power_param": {"power": 2.0}})
        params = {
            "num_output": 1,
            "kernel_size": 1,
            "bias_term": False,
            "weight_filler": {"type": "constant", "value": 1.0},
        }
        x = r.add(
            "Convolution", [x], role="sum", params={"convolution_param": params}, weights=[ones]
        )
        r.add("Power", [x], params={"power_param": {"power": 0.5}})


class Accum(LayerType):
    """Forks (FlowNet2): bottoms enlarged to one size (bilinear, aligned corners), then concatenated
    along the channels. The size is that of the last bottom, which is not joined (have_reference),
    or the largest of the bottoms, or top_height x top_width or a multiple of size_divisible_by if
    both are above the largest."""

    resizes = True
    reads = fields(accum_param="top_height top_width size_divisible_by have_reference")
    stock = False
    source = SOURCE

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.accum_param
        check_bottoms(layer, 2 if p.have_reference else 1)
        check_rank(layer, bottoms, 4, 4)
        joined = bottoms[:-1] if p.have_reference else bottoms
        for name, shape in zip(layer.bottoms, joined, strict=False):
            if shape[0] != bottoms[0][0]:
                raise layer.error(
                    f'its bottoms must have the same number of samples, but "{layer.bottoms[0]}" is '
                    f'{shape_text(bottoms[0])} and "{name}" is {shape_text(shape)}'
                )
        size = bottoms[-1][2:] if p.have_reference else self._size(layer, joined)
        return [(bottoms[0][0], sum(shape[1] for shape in joined), *size)]

    def _size(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        p = layer.params.accum_param
        largest = tuple(max(sizes) for sizes in zip(*(shape[2:] for shape in bottoms), strict=True))
        wanted = (int(p.top_height), int(p.top_width))
        if p.has("size_divisible_by"):
            divisor = int(p.size_divisible_by)
            if divisor < 1:
                raise layer.error(f"size_divisible_by must be at least 1, got {divisor}")
            wanted = (-(-largest[0] // divisor) * divisor, -(-largest[1] // divisor) * divisor)
        both_larger = all(a > b for a, b in zip(wanted, largest, strict=True))
        return wanted if both_larger else largest

    def lower(self, layer: Layer, e: Emitter) -> None:
        size = e.shape(layer.writes[0])[2:]
        if min(size) < 2:
            raise layer.unsupported(
                f"its top has {shape_text(size)} pixels, and the fork divides by the length - 1",
                "Use sizes of at least 2.",
            )
        count = len(layer.reads) - bool(layer.params.accum_param.have_reference)
        parts = [self._resized(e, read, size) for read in layer.reads[:count]]
        joined = e.value("Concat", *parts, axis=1) if count > 1 else parts[0]
        e.op("Identity", [joined], [layer.writes[0]])

    def _resized(self, e: Emitter, read: str, size: Shape) -> str:
        shape = e.shape(read)
        if shape[2:] == size:
            return read
        mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        return e.value("Resize", read, "", "", e.array([*shape[:2], *size]), **mode)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        joined = layer.bottoms[: len(layer.bottoms) - bool(layer.params.accum_param.have_reference)]
        shapes = [r.shape(bottom) for bottom in layer.bottoms]
        size = self.shapes(layer, shapes)[0][2:]
        if any(r.shape(bottom)[2:] != size for bottom in joined):
            raise layer.unsupported(
                "its bottoms have several sizes",
                "Resize each with an Interp layer, and join them with a Concat.",
            )
        r.add("Concat", joined)
