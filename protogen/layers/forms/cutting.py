"""Forms of Slice and Crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.layers.base import kind_of
from protogen.layers.forms.blocks import convolve, depthwise, image, only, top_shape
from protogen.layers.forms.moving import MOST_PARTS
from protogen.layers.forms.registry import form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

if TYPE_CHECKING:
    from protogen.geometry import Shape


def _cuts(layer: Layer, r: Rewriter) -> tuple[int, list[tuple[int, int]], Shape]:
    """Return the axis of a Slice and the range of each top."""
    shape = r.shape(layer.bottoms[0])
    p = layer.params.slice_param
    axis = p.slice_dim if p.has("slice_dim") else p.axis
    axis = axis + len(shape) if axis < 0 else axis
    kind = kind_of(layer)
    assert kind is not None
    ranges, begin = [], 0
    for top in kind.shapes(layer, [shape]):
        assert top is not None
        ranges.append((begin, begin + top[axis]))
        begin += top[axis]
    only(layer, len(ranges) <= MOST_PARTS, f"it has more than {MOST_PARTS} tops")
    return axis, ranges, shape


@form("Slice", text="a one-hot Convolution for each part")
def slice_by_convolutions(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    axis, ranges, shape = _cuts(layer, r)
    only(layer, axis == 1 and len(shape) == 4, "it does not cut the channels of an image")
    eye = np.eye(shape[1], dtype=np.float32)
    for i, (begin, end) in enumerate(ranges):
        weight = eye[begin:end].reshape(end - begin, shape[1], 1, 1)
        convolve(r, layer.bottoms[0], weight, role=f"part{i}", top=layer.tops[i])


@form("Slice", text="a depthwise convolution that crops for each part")
def slice_by_crops(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    axis, ranges, shape = _cuts(layer, r)
    only(layer, axis in (2, 3) and len(shape) == 4, "it does not cut rows or columns")
    for i, (begin, end) in enumerate(ranges):
        sizes = [1, 1]
        sizes[axis - 2] = shape[axis] - (end - begin) + 1
        kernel = np.zeros(sizes, np.float32)
        kernel[(begin, 0) if axis == 2 else (0, begin)] = 1
        x = layer.bottoms[0]
        depthwise(r, x, kernel, channels=shape[1], role=f"part{i}", top=layer.tops[i])


@form("Slice", text="a chain of Slices with two tops")
def slice_in_pairs(layer: Layer, r: Rewriter) -> None:
    axis, ranges, _ = _cuts(layer, r)
    only(layer, len(ranges) > 2, "it has two tops")
    x = layer.bottoms[0]
    for i, (begin, end) in enumerate(ranges[:-1]):
        last = i == len(ranges) - 2
        rest = layer.tops[-1] if last else ""
        x = r.split(x, f"cut{i}", axis, [end - begin], tops=[layer.tops[i], rest])[1]


@form("Slice", text="with slice_point along axis")
def slice_with_points(layer: Layer, r: Rewriter) -> None:
    axis, ranges, _ = _cuts(layer, r)
    points = [end for _, end in ranges[:-1]]
    params = {"axis": axis, "slice_point": points, "slice_dim": None}
    r.retype("Slice", slice_param=params)


@form("Crop", text="Slices")
def crop_by_slices(layer: Layer, r: Rewriter) -> None:
    x = layer.bottoms[0]
    cuts = _crops(layer, r)
    for number, (axis, begin, end, length) in enumerate(cuts):
        points = [p for p in (begin, end) if 0 < p < length]
        which = 1 if begin else 0
        tops = [""] * (len(points) + 1)
        if number == len(cuts) - 1:
            tops[which] = layer.tops[0]
        x = r.split(x, f"cut{axis}", axis, points, tops=tops)[which]
    if not cuts:
        r.add("Power", [x])


@form("Crop", text="a depthwise convolution")
def crop_by_convolution(layer: Layer, r: Rewriter) -> None:
    """A kernel with a single 1 at the offset, as large as the rows and columns that are dropped."""
    import numpy as np

    _, channels, height, width = image(layer, r)
    begins, sizes = [0, 0], [height, width]
    for axis, begin, end, _ in _crops(layer, r):
        only(layer, axis in (2, 3), "it does not crop rows or columns only")
        begins[axis - 2], sizes[axis - 2] = begin, end - begin
    kernel = np.zeros((height - sizes[0] + 1, width - sizes[1] + 1), np.float32)
    kernel[begins[0], begins[1]] = 1
    depthwise(r, layer.bottoms[0], kernel, channels=channels)


def _crops(layer: Layer, r: Rewriter) -> list[tuple[int, int, int, int]]:
    """Return (axis, begin, end, length) for each axis that becomes shorter."""
    from protogen.layers.shaping import crop_offsets

    shape, top = r.shape(layer.bottoms[0]), top_shape(layer, r)
    offsets = crop_offsets(layer, shape)
    return [
        (axis, offsets[axis], offsets[axis] + m, n)
        for axis, (n, m) in enumerate(zip(shape, top, strict=True))
        if n != m
    ]
