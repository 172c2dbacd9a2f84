"""Layers of Synopsys' fork that take parts of a blob, or move parts between axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.forks.synopsys.pointwise import SYNOPSYS
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


class Piece(LayerType):
    """The part that starts at ``begin`` and has the lengths ``size``; -1 means up to the end."""

    reads = fields(piece_param="begin size")
    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 1, 32)
        begins, sizes = self._parts(layer, bottoms[0])
        for axis, (n, begin, size) in enumerate(zip(bottoms[0], begins, sizes, strict=True)):
            if begin < 0 or size < 1 or begin + size > n:
                raise layer.error(
                    f"begin {begin} and size {size} do not fit into the length {n} of axis {axis}"
                )
        return [tuple(sizes)]

    def _parts(self, layer: Layer, shape: Shape) -> tuple[list[int], list[int]]:
        p = layer.params.piece_param
        begins, sizes = list(p.begin), list(p.size)
        if not len(begins) == len(sizes) == len(shape):
            raise layer.error(
                f"begin and size must have one number per axis of {shape_text(shape)}, got "
                f"{len(begins)} and {len(sizes)}"
            )
        lengths = [n - b if s == -1 else s for n, b, s in zip(shape, begins, sizes, strict=True)]
        return begins, lengths

    def lower(self, layer: Layer, e: Emitter) -> None:
        begins, sizes = self._parts(layer, e.shape(layer.reads[0]))
        ends = [begin + size for begin, size in zip(begins, sizes, strict=True)]
        axes = list(range(len(begins)))
        reads = [layer.reads[0], *map(e.array, (begins, ends, axes))]
        e.op("Slice", reads, [layer.writes[0]])


@dataclass(slots=True)
class _Parts:
    """Begin, end and step of each axis of a blob of the shape ``shape``; an end of -1 with a negative
    step is before the first value. ``removed`` are the axes that the top lacks."""

    shape: list[int]
    begin: list[int]
    end: list[int]
    step: list[int]
    removed: list[int]

    def limit(self, axis: int) -> None:
        """Make begin and end of an axis indices within its length."""
        n, begin, end = self.shape[axis], self.begin[axis], self.end[axis]
        self.begin[axis] = min(begin, n - 1) if begin >= 0 else max(begin + n, 0)
        self.end[axis] = min(end, n) if end >= 0 else max(end + n, -1)

    def lengths(self) -> list[int]:
        """Return the number of values of each axis, 0 or less for none."""
        return [
            (end - begin - (1 if step > 0 else -1)) // step + 1 if (end - begin) * step > 0 else 0
            for begin, end, step in zip(self.begin, self.end, self.step, strict=True)
        ]


class StridedSlice(LayerType):
    """Every strides-th value from ``begin`` to before ``end``, as TensorFlow's StridedSlice with its
    masks, or along ``axes`` as ONNX's Slice. A begin beyond the axis means its last value."""

    reads = fields(
        strided_slice_param=(
            "begin end strides axes begin_mask end_mask ellipsis_mask new_axis_mask "
            "shrink_axis_mask"
        )
    )
    stock = False
    source = SYNOPSYS
    computes = False
    passes_signal = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        parts = self._parts(layer, bottoms[0])
        lengths = parts.lengths()
        if min(lengths, default=1) < 1:
            raise layer.error(f"it takes no value along axis {lengths.index(min(lengths))}")
        return [tuple(n for i, n in enumerate(lengths) if i not in parts.removed)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        before = e.shape(layer.reads[0])
        parts = self._parts(layer, before)
        x = e.reshape(layer.reads[0], before, tuple(parts.shape))
        # ONNX counts a negative end from the end of the axis, so "before the first" is -(n + 1).
        ends = [-n - 1 if end < 0 else end for n, end in zip(parts.shape, parts.end, strict=True)]
        axes = list(range(len(ends)))
        if axes:
            x = e.value("Slice", x, *map(e.array, (parts.begin, ends, axes, parts.step)))
        after = e.shape(layer.writes[0])
        e.op("Identity", [e.reshape(x, tuple(parts.lengths()), after)], [layer.writes[0]])

    def _parts(self, layer: Layer, shape: Shape) -> _Parts:
        p = layer.params.strided_slice_param
        begins, ends = list(p.begin), list(p.end)
        steps = list(p.strides) or [1] * len(begins)
        if not len(begins) == len(ends) == len(steps) or 0 in steps:
            raise layer.error(
                "begin, end and strides must have one number per axis, and no stride may be 0"
            )
        if p.axes:
            return self._of_axes(layer, p, shape, (begins, ends, steps))
        return self._of_masks(layer, p, shape, (begins, ends, steps))

    def _of_axes(
        self, layer: Layer, p: Message, shape: Shape, numbers: tuple[list[int], ...]
    ) -> _Parts:
        axes = [axis_of(layer, axis, len(shape), "axes") for axis in p.axes]
        if len(axes) != len(numbers[0]) or len(set(axes)) < len(axes):
            raise layer.error("axes must name one axis for each begin, and each axis once")
        rank = len(shape)
        parts = _Parts(list(shape), [0] * rank, list(shape), [1] * rank, [])
        for axis, begin, end, step in zip(axes, *numbers, strict=True):
            parts.begin[axis], parts.end[axis], parts.step[axis] = begin, end, step
            parts.limit(axis)
        return parts

    def _of_masks(
        self, layer: Layer, p: Message, shape: Shape, numbers: tuple[list[int], ...]
    ) -> _Parts:
        """Return the parts by TensorFlow's masks: bit i of a mask concerns entry i of begin."""
        count = len(numbers[0])
        inserts = [i for i in range(count) if p.new_axis_mask & 1 << i]
        dots = [i for i in range(count) if p.ellipsis_mask & 1 << i]
        if p.ellipsis_mask and (len(dots) != 1 or p.ellipsis_mask >> count):
            raise layer.error("ellipsis_mask must have one bit, of an entry of begin")
        dot = dots[0] if dots else count
        inserts = [i for i in inserts if i != dot]
        more = len(shape) - (count - len(dots) - len(inserts))  # axes without an entry of begin
        if more < 0 or (dots and not more and dot < count - 1):
            raise layer.error(f"has {count} entries of begin for {len(shape)} axes")
        seen = list(shape)  # axes of the fork when it limits begin
        for i in inserts:
            if i < dot:
                seen.insert(i, 1)
        entries = [*range(dot), *[None] * more, *range(dot + 1, count)]  # entry of each axis
        lengths = iter(shape)
        full = [1 if i in inserts else next(lengths) for i in entries]
        parts = _Parts(full, [0] * len(full), list(full), [1] * len(full), [])
        for axis, i in enumerate(entries):
            if i is None or i in inserts:
                continue
            begin, end, step = (values[i] for values in numbers)
            masked = p.begin_mask & 1 << i and not p.shrink_axis_mask & 1 << i
            if i > dot and not masked:
                self._check_after_ellipsis(layer, begin, i, seen)
            self._place(parts, p, axis, i, (begin, end, step))
        return parts

    def _check_after_ellipsis(self, layer: Layer, begin: int, i: int, seen: Sequence[int]) -> None:
        """Raises UnsupportedError if the fork takes other values than begin says. It limits a begin
        after the ellipsis by the length of axis i, although the ellipsis moves it to another axis."""
        if not 0 <= begin < (seen[i] if i < len(seen) else 0):
            raise layer.unsupported(
                f"the fork limits begin number {i} by the length of another axis, because it is after "
                "the ellipsis",
                "Set begin for each axis instead of ellipsis_mask.",
            )

    def _place(
        self, parts: _Parts, p: Message, axis: int, i: int, numbers: tuple[int, int, int]
    ) -> None:
        """Set begin, end and step of an axis from entry i, and apply the masks to them."""
        begin, end, step = numbers
        n = parts.shape[axis]
        shrinks = p.shrink_axis_mask & 1 << i
        if shrinks:
            begin = min(begin, n - 1) if begin >= 0 else max(begin + n, 0)
            step = 1 if step > 0 else -1
            end = begin + step
            parts.removed.append(axis)
        parts.begin[axis], parts.end[axis], parts.step[axis] = begin, end, step
        parts.limit(axis)
        if p.begin_mask & 1 << i and not shrinks:
            parts.begin[axis] = 0 if step > 0 else n - 1
        if p.end_mask & 1 << i and not shrinks:
            parts.end[axis] = n if step > 0 else -1


class _Blocks(LayerType, abstract=True):
    """Base class of SpaceToBatchND and BatchToSpaceND. ``block_shape`` has one number for each axis
    from axis 1 on, the other field two."""

    stock = False
    source = SYNOPSYS
    computes = False

    def parts(self, layer: Layer, shape: Shape) -> tuple[list[int], list[int], list[int]]:
        """Return the blocks, and what is added or cropped before and after each of their axes."""
        block = next(iter(self.reads))
        p = getattr(layer.params, block)
        blocks, ends = list(p.block_shape), list(p.paddings if "pad" in self.other else p.crops)
        check_rank(layer, [shape], len(blocks) + 1, 32)
        if len(ends) != 2 * len(blocks) or min(blocks, default=1) < 1:
            raise layer.error(
                f"block_shape must have numbers above 0 and {self.other} two numbers for each, got "
                f"{blocks} and {ends}"
            )
        return blocks, ends[::2], ends[1::2]

    other = ""


class SpaceToBatchND(_Blocks):
    """TensorFlow: zeros around the axes (``paddings``), then blocks of ``block_shape`` values become
    samples."""

    reads = fields(space_to_batch_nd_param="block_shape paddings")
    other = "paddings"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        blocks, before, after = self.parts(layer, bottoms[0])
        shape = list(bottoms[0])
        for axis, (block, a, b) in enumerate(zip(blocks, before, after, strict=True), 1):
            shape[axis] += a + b
            if shape[axis] % block:
                raise layer.error(
                    f"block_shape {block} does not divide the padded length {shape[axis]} of axis "
                    f"{axis}"
                )
            shape[axis] //= block
        shape[0] *= math.prod(blocks)
        return [tuple(shape)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        blocks, first, last = self.parts(layer, shape)
        count, rest = len(blocks), shape[len(blocks) + 1 :]
        x = layer.reads[0]
        if any(first) or any(last):
            zeros = [0] * len(rest)
            x = e.value("Pad", x, e.array([0, *first, *zeros, 0, *last, *zeros]))
        split: list[int] = [shape[0]]
        for length, block in zip(after[1:], blocks, strict=False):
            split += [length, block]
        x = e.value("Reshape", x, e.array([*split, *rest]))
        inner = [2 * i + 2 for i in range(count)]
        outer = [2 * i + 1 for i in range(count)]
        tail = range(2 * count + 1, 2 * count + 1 + len(rest))
        x = e.value("Transpose", x, perm=[*inner, 0, *outer, *tail])
        e.op("Reshape", [x, e.array(list(after))], [layer.writes[0]])


class BatchToSpaceND(_Blocks):
    """TensorFlow: samples become blocks of ``block_shape`` values, then ``crops`` are cut off."""

    reads = fields(batch_to_space_nd_param="block_shape crops")
    other = "crops"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        blocks, before, after = self.parts(layer, bottoms[0])
        shape = list(bottoms[0])
        if shape[0] % math.prod(blocks):
            raise layer.error(f"block_shape {blocks} does not divide {shape[0]} samples")
        shape[0] //= math.prod(blocks)
        for axis, (block, a, b) in enumerate(zip(blocks, before, after, strict=True), 1):
            shape[axis] = shape[axis] * block - a - b
            if shape[axis] < 1:
                raise layer.error(f"crops leave {shape[axis]} values of axis {axis}")
        return [tuple(shape)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        blocks, first, _ = self.parts(layer, shape)
        count, rest = len(blocks), shape[len(blocks) + 1 :]
        x = e.value("Reshape", layer.reads[0], e.array([*blocks, after[0], *shape[1:]]))
        perm: list[int] = [count]
        for i in range(count):
            perm += [count + 1 + i, i]
        x = e.value("Transpose", x, perm=[*perm, *range(2 * count + 1, 2 * count + 1 + len(rest))])
        whole = [n * block for n, block in zip(shape[1:], blocks, strict=False)]
        x = e.value("Reshape", x, e.array([after[0], *whole, *rest]))
        ends = [begin + n for begin, n in zip(first, after[1:], strict=False)]
        axes = list(range(1, count + 1))
        e.op("Slice", [x, *map(e.array, (first, ends, axes))], [layer.writes[0]])
