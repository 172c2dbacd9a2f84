"""Layers of forks that sample maps at computed positions: SpatialTransformer, Transformer,
STLoss, LocLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    check_bottoms,
    check_rank,
    check_room,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.forks.interpolation import Maps, bilinear
from protogen.layers.graph import Layer
from protogen.layers.labels import scalar_shape
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

THETA = tuple(f"theta_{i}_{j}" for i in (1, 2) for j in (1, 2, 3))
GRID_SAMPLE = 16  # the operator set that added GridSample


def grid(height: int, width: int) -> NDArray[np.float32]:
    """Return 2 y / height - 1, 2 x / width - 1 and 1 for each pixel: float32 (pixels, 3)."""
    import numpy as np

    y, x = np.divmod(np.arange(height * width), width)
    ones = np.ones(len(y))
    return np.stack([y / height * 2 - 1, x / width * 2 - 1, ones], 1).astype(np.float32)


def near_identity(rng: Rng, shape: Shape, numbers: Sequence[int]) -> Drawn:
    """Draw affine transformations that move the pixels of a map a little. ``numbers`` are the indices of
    the six numbers that a sample has."""
    import numpy as np

    identity = np.array([1, 0, 0, 0, 1, 0], np.float32)[list(numbers)]
    moves = rng.standard_normal((shape[0], len(identity))) * 0.2
    return (identity + moves).astype(np.float32).reshape(shape)


def pixel_rows(e: Emitter, read: str, shape: Shape, positions: int) -> Maps:
    """Emit a bottom (N, C, H, W) as maps for positions of the shape (N, ``positions``)."""
    import numpy as np

    n, c, h, w = shape
    rows = e.value("Transpose", read, perm=[0, 2, 3, 1])
    rows = e.value("Reshape", rows, e.array([n * h * w, c]))
    return Maps(rows, e.array(np.arange(n)[:, None] * (h * w)), (h, w))


def from_pixels(e: Emitter, values: str, shape: Shape) -> str:
    """Emit values (N, H W, C) as a blob of this shape (N, C, H, W)."""
    return e.value("Reshape", e.value("Transpose", values, perm=[0, 2, 1]), e.array(list(shape)))


def coordinate(e: Emitter, both: str, index: int) -> str:
    """Emit one of the two coordinates (N, P, 2) as (N, P)."""
    return e.value("Gather", both, e.array(index), axis=2)


class SpatialTransformer(LayerType):
    """Forks (K. Mo's layer, CC4): the map sampled on an affine grid, bilinear, 0 outside of the map.

    Bottoms: U (N, C, H, W), theta (N, 6 without the numbers that theta_1_1 .. theta_2_3 set). The top
    has output_H x output_W, by default H x W. With s, t from 2 i / output_H - 1 and
    2 j / output_W - 1: p = theta_1 (s, t, 1), q = theta_2 (s, t, 1), and the position in U is
    (p + 1) H / 2, (q + 1) W / 2. ONNX: GridSample, moved by half a pixel; Gather before operator
    set 16.
    """

    stock = False
    source = "daerduoCarey/SpatialTransformerLayer"
    reads = fields(st_param=f"transform_type sampler_type output_H output_W {' '.join(THETA)}")
    harmless = MappingProxyType({"st_param.to_compute_dU": "concerns the gradient only"})

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms[:1], 4, 4)
        p = layer.params.st_param
        for name, value in (("transform_type", "affine"), ("sampler_type", "bilinear")):
            if getattr(p, name) != value:
                raise layer.error(f'{name} must be "{value}", got "{getattr(p, name)}"')
        n, c, h, w = bottoms[0]
        missing = len(self._free(layer))
        theta = bottoms[1]
        if theta[:1] != (n,) or math.prod(theta[1:]) != missing:
            raise layer.error(
                f"theta must have {missing} values for each of {n} samples (6 without those that "
                f"st_param sets), got shape {shape_text(theta)}"
            )
        size = tuple(
            getattr(p, name) if p.has(name) else length
            for name, length in (("output_H", h), ("output_W", w))
        )
        if min(size) < 1:
            raise layer.error(f"output_H and output_W must be above 0, got {shape_text(size)}")
        return [(n, c, *size)]

    def _free(self, layer: Layer) -> list[int]:
        """Return the indices of the numbers of theta that the bottom has."""
        return [i for i, name in enumerate(THETA) if not layer.params.st_param.has(name)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return near_identity(rng, shapes[1], self._free(layer)) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape, top = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        check_room(layer, math.prod(top[2:]) * 3)
        both = e.value("MatMul", e.array(grid(*top[2:])), self._theta(layer, e, shape[0]))
        _, _, h, w = shape
        if e.opset >= GRID_SAMPLE:
            # GridSample's position is ((g + 1) length - 1) / 2, and its first coordinate is x.
            turned = e.value("Gather", both, e.array([1, 0]), axis=2)
            turned = e.value("Add", turned, e.array([1 / w, 1 / h]))
            points = e.value("Reshape", turned, e.array([shape[0], *top[2:], 2]))
            e.op("GridSample", [layer.reads[0], points], [layer.writes[0]])
            return
        moved = e.value("Add", both, e.array(1.0))
        pixels = e.value("Mul", moved, e.array([h / 2, w / 2]))
        positions = [coordinate(e, pixels, i) for i in range(2)]
        maps = pixel_rows(e, layer.reads[0], shape, math.prod(top[2:]))
        values = bilinear(e, maps, positions, "zero")
        e.op("Identity", [from_pixels(e, values, top)], [layer.writes[0]])

    def _theta(self, layer: Layer, e: Emitter, samples: int) -> str:
        """Emit the transposed transformations: (N, 3, 2)."""
        import numpy as np

        p = layer.params.st_param
        free = self._free(layer)
        theta = e.value("Reshape", layer.reads[1], e.array([samples, len(free)]))
        if len(free) < 6:
            set_ = [getattr(p, name) for name in THETA if p.has(name)]
            rows = e.array(np.array([set_] * samples))
            theta = e.value("Concat", theta, rows, axis=1)
            places = [i for i in range(6) if i not in free]
            order = [(free + places).index(i) for i in range(6)]
            theta = e.value("Gather", theta, e.array(order), axis=1)
        theta = e.value("Reshape", theta, e.array([samples, 2, 3]))
        return e.value("Transpose", theta, perm=[0, 2, 1])


class Transformer(LayerType):
    """Forks (caffe-windows): as SpatialTransformer with all of theta (N, 6), onto a map of the same
    size; a position beyond the first and last pixel gives 0. A position less than 1e-4 (in units of
    half a map) beyond them is moved onto them, as the GPU code does."""

    stock = False
    source = "happynear/caffe-windows"
    limits = "only square maps"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        check_rank(layer, bottoms[:1], 4, 4)
        n, theta = bottoms[0][0], bottoms[1]
        if theta[:2] != (n, 6) or math.prod(theta[2:]) != 1:
            raise layer.error(f"theta must have the shape {n}x6, got {shape_text(theta)}")
        return [bottoms[0]]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return near_identity(rng, shapes[1], range(6)) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        shape = e.shape(layer.reads[0])
        n, _, h, w = shape
        if h != w:
            raise layer.unsupported(
                "its code writes the grid of a map that is not square with a wrong stride",
                "Make height and width equal.",
            )
        check_room(layer, h * w * 3)
        theta = e.value("Reshape", layer.reads[1], e.array([n, 2, 3]))
        theta = e.value("Transpose", theta, perm=[0, 2, 1])
        both = e.value("MatMul", e.array(grid(h, w)), theta)
        positions = []
        for i in range(2):
            moved = _snapped(e, coordinate(e, both, i), -1.0, 1 - 2 / h)
            half = e.array(h / 2)
            positions.append(e.value("Add", e.value("Mul", moved, half), half))
        maps = pixel_rows(e, layer.reads[0], shape, h * w)
        values = bilinear(e, maps, positions, "inside")
        e.op("Identity", [from_pixels(e, values, shape)], [layer.writes[0]])


def _snapped(e: Emitter, x: str, low: float, high: float) -> str:
    """Emit x with values less than 1e-4 outside of ``low`` to ``high`` moved onto these."""
    inner = e.value("Clip", x, e.array(low), e.array(high))
    near = e.value("Less", e.value("Abs", e.value("Sub", x, inner)), e.array(1e-4))
    return e.value("Where", near, inner, x)


class STLoss(LayerType):
    """Forks (K. Mo's layer, CC4): the mean over samples and a grid of output_H x output_W of
    d(p) + d(q), where p and q are the coordinates of SpatialTransformer, and d(x) is half the square of
    how far x is outside of -1 to 1. Bottom: theta (N, 6). Only its GPU code computes it."""

    stock = False
    is_loss = True
    source = "daerduoCarey/SpatialTransformerLayer"
    reads = fields(st_loss_param="output_H output_W")
    required = ("st_loss_param.output_H", "st_loss_param.output_W")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 0, 1)
        p = layer.params.st_loss_param
        if min(p.output_H, p.output_W) < 1:
            raise layer.error("output_H and output_W must be above 0")
        if not bottoms[0] or math.prod(bottoms[0][1:]) != 6:
            raise layer.error(f"theta must have the shape Nx6, got {shape_text(bottoms[0])}")
        return [()]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        if not layer.writes:
            return
        p = layer.params.st_loss_param
        samples = e.shape(layer.reads[0])[0]
        check_room(layer, p.output_H * p.output_W * 3)
        theta = e.value("Reshape", layer.reads[0], e.array([samples, 2, 3]))
        theta = e.value("Transpose", theta, perm=[0, 2, 1])
        both = e.value("MatMul", e.array(grid(p.output_H, p.output_W)), theta)
        outside = e.value("Sub", both, e.value("Clip", both, e.array(-1.0), e.array(1.0)))
        mean = e.reduce("ReduceMean", e.value("Mul", outside, outside), [0, 1, 2], keepdims=False)
        # Each pixel has two coordinates, so the mean over both is half of the sum.
        e.op("Reshape", [mean, e.array(scalar_shape())], [layer.writes[0]])


class LocLoss(LayerType):
    """Forks (K. Mo's layer): the mean over all values of half the square of how far they are outside of
    -threshold to threshold. Only its GPU code computes it."""

    stock = False
    is_loss = True
    source = "daerduoCarey/SpatialTransformerLayer"
    reads = fields(loc_loss_param="threshold")
    required = ("loc_loss_param.threshold",)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 0, 1)
        if layer.params.loc_loss_param.threshold <= 0:
            raise layer.error("threshold must be above 0")
        return [()]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        if not layer.writes:
            return
        threshold = float(layer.params.loc_loss_param.threshold)
        x = e.value("Reshape", layer.reads[0], e.array([-1]))
        inner = e.value("Clip", x, e.array(-threshold), e.array(threshold))
        outside = e.value("Sub", x, inner)
        mean = e.reduce("ReduceMean", e.value("Mul", outside, outside), [0])
        half = e.value("Mul", mean, e.array(0.5))
        e.op("Reshape", [half, e.array(scalar_shape())], [layer.writes[0]])
