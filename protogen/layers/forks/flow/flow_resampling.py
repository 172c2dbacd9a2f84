"""Layers of FlowNet2 that change height and width: each axis is a product with constant weights."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, Window, check_bottoms, check_rank, check_room, fields
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.flow.correlation import SOURCE
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def weighted(e: Emitter, read: str, rows: Array, columns: Array) -> str:
    """Emit the product of each map with weights of rows (H', H) and of columns (W', W)."""
    x = e.value("MatMul", read, e.array(columns.T))
    return e.value("MatMul", e.array(rows), x)


def size_of_top(layer: Layer, bottoms: Sequence[Shape], height: int, width: int) -> Shape:
    """Return the size of a second bottom, or without one the size of the parameters.

    Raises:
        InputError: the size is missing.
    """
    check_bottoms(layer, 1, 2)
    check_tops(layer, 1, 1)
    check_rank(layer, bottoms, 4, 4)
    if len(bottoms) == 2:
        return bottoms[1][2:]
    if min(height, width) < 1:
        raise layer.error(
            f"the size of its top is missing, got {height} x {width}",
            "Set height and width, or add a second bottom of the wanted size.",
        )
    return height, width


def _round(values: Array) -> NDArray[np.int64]:
    """Return the nearest integers as C's round does: halves away from 0."""
    import numpy as np

    wide = values.astype(np.float64)
    return (np.sign(wide) * np.floor(np.abs(wide) + 0.5)).astype(np.int64)


class Resample(LayerType):
    """Forks (FlowNet2): resized to height x width, or to the size of a second bottom.

    With fx and fy, the lengths of the bottom by those of the top, pixel x of the top lies at
    x fx + fy / 2 - 1/2: centres of pixels if both ratios are equal (the fork confuses fx and fy).
    LINEAR and CUBIC (a = -1/2) weigh the pixels of the bottom, and divide by the sum of the weights;
    with antialias, a smaller top widens the filter by the ratio of each axis. NEAREST takes the
    nearest pixel.
    """

    resizes = True
    reads = fields(resample_param="height width type antialias")
    harmless = MappingProxyType({"resample_param.factor": "the fork does not read it"})
    stock = False
    source = SOURCE

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.resample_param
        size = size_of_top(layer, bottoms, int(p.height), int(p.width))
        if p.type == "AREA":
            raise layer.error("type AREA is not implemented in the fork", "Use LINEAR.")
        return [(*bottoms[0][:2], *size)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        before, after = e.shape(layer.reads[0])[2:], e.shape(layer.writes[0])[2:]
        p, x = layer.params.resample_param, layer.reads[0]
        if before == after:
            e.op("Identity", [x], [layer.writes[0]])
            return
        if p.type == "NEAREST":
            for axis in (0, 1):
                index = _round(self._positions(before, after, axis))
                if index.min() < 0 or index.max() >= before[axis]:
                    raise layer.unsupported(
                        f"from {shape_text(before)} to {shape_text(after)} the fork reads outside of "
                        "the map, because it confuses the ratios of height and width",
                        "Use the same ratio for both.",
                    )
                x = e.value("Gather", x, e.array(index), axis=axis + 2)
            e.op("Identity", [x], [layer.writes[0]])
            return
        check_room(layer, before[0] * after[0] + before[1] * after[1])
        rows, columns = (self._weights(layer, before, after, axis) for axis in (0, 1))
        e.op("Identity", [weighted(e, x, rows, columns)], [layer.writes[0]])

    def _positions(self, before: Shape, after: Shape, axis: int) -> Array:
        """Return the position in the bottom of each pixel of the top, in the fork's float32."""
        import numpy as np

        one = np.float32
        ratios = [one(n) / one(m) for n, m in zip(before, after, strict=True)]
        steps = np.arange(after[axis], dtype=np.float32) * ratios[axis]
        return steps + ratios[1 - axis] / one(2) - one(0.5)

    def _weights(self, layer: Layer, before: Shape, after: Shape, axis: int) -> Array:
        """Return the weights along an axis: float32 (length of the top, length of the bottom)."""
        import numpy as np

        p, one = layer.params.resample_param, np.float32
        ratios = [one(n) / one(m) for n, m in zip(before, after, strict=True)]
        widened = bool(p.antialias) and max(ratios) > 1
        scale = one(1) / (ratios[axis] if widened else one(1))
        support = 4 if p.type == "CUBIC" else 2
        reach = 2 if ratios[axis] < 1 else int(np.ceil(one(support) / scale))
        position = self._positions(before, after, axis)
        pixels = np.arange(before[axis])
        near = np.abs(pixels - _round(position)[:, None]) <= reach
        distance = np.abs(scale * (position[:, None] - pixels.astype(np.float32)))
        weights = np.where(near, _cubic(distance) if p.type == "CUBIC" else _linear(distance), 0)
        total = weights.sum(1, keepdims=True)
        # The fork writes 0 where the weights sum to 0.
        normal: Array = np.zeros(weights.shape, np.float32)
        np.divide(weights, total, out=normal, where=total != 0)
        return normal

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.resample_param
        shapes = [r.shape(bottom) for bottom in layer.bottoms]
        before, after = shapes[0][2:], self.shapes(layer, shapes)[0][2:]
        if before[0] * after[1] != before[1] * after[0]:
            raise layer.unsupported("the ratios of height and width differ")
        if p.type == "NEAREST":
            r.resize(after, mode="nearest", align="half_pixel", rounding="round_prefer_ceil")
            return
        r.resize(
            after,
            mode="cubic" if p.type == "CUBIC" else "bilinear",
            align="half_pixel",
            cubic_a=-0.5,
            exclude_outside=True,
            antialias=bool(p.antialias),
        )


def _linear(distance: Array) -> Array:
    import numpy as np

    weights: Array = np.maximum(0, 1 - distance)
    return weights


def _cubic(x: Array) -> Array:
    import numpy as np

    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (-0.5 * x + 2.5) - 4) + 2
    weights: Array = np.where(x <= 1, near, np.where(x < 2, far, 0))
    return weights


class Downsample(LayerType):
    """Forks (FlowNet2): resized to top_height x top_width, or to the size of a second bottom, by a
    weighted mean around each position, with aligned corners. The weights fall to 0 at the distance
    of the next pixel of the top. Pixels that are NaN do not count; the result is NaN if their
    weights exceed half of the others."""

    resizes = True
    reads = fields(downsample_param="top_height top_width")
    stock = False
    source = SOURCE

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.downsample_param
        size = size_of_top(layer, bottoms, int(p.top_height), int(p.top_width))
        return [(*bottoms[0][:2], *size)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import math

        before, after = e.shape(layer.reads[0])[2:], e.shape(layer.writes[0])[2:]
        if before == after:
            e.op("Identity", [layer.reads[0]], [layer.writes[0]])
            return
        if min(*before, *after) < 2:
            raise layer.unsupported(
                f"from {shape_text(before)} to {shape_text(after)} the fork divides 0 by 0",
                "Use sizes of at least 2.",
            )
        check_room(layer, before[0] * after[0] + before[1] * after[1])
        rows, columns = (self._weights(n, m) for n, m in zip(before, after, strict=True))
        if min(rows.sum(1).min(), columns.sum(1).min()) < 1e-4:
            raise layer.unsupported(
                f"from {shape_text(before)} to {shape_text(after)} no pixel of the bottom is near "
                "enough to some pixels of the top, so the fork divides 0 by 0",
                "Use it to reduce sizes only.",
            )
        x = layer.reads[0]
        is_nan = e.value("IsNaN", x)
        missing = weighted(e, e.value("Cast", is_nan, to=FLOAT), rows, columns)
        present = weighted(e, e.value("Cast", e.value("Not", is_nan), to=FLOAT), rows, columns)
        total = weighted(e, e.value("Where", is_nan, e.array(0.0), x), rows, columns)
        most_missing = e.value("Greater", e.value("Div", missing, present), e.array(0.5))
        mean = e.value("Div", total, present)
        e.op("Where", [most_missing, e.array(math.nan), mean], [layer.writes[0]])

    def _weights(self, before: int, after: int) -> Array:
        """Return the weights along an axis: float32 (length of the top, length of the bottom)."""
        import numpy as np

        one = np.float32
        scale = one(before - 1) / one(after - 1)
        position = np.arange(after, dtype=np.float32) / one(after - 1) * one(before - 1)
        pixels = np.arange(before)
        near = np.abs(pixels - _round(position)[:, None]) <= int(np.ceil(scale))
        distance = np.abs(pixels.astype(np.float32) - position[:, None]) / scale
        weights: Array = np.where(near, np.maximum(0, 1 - distance), 0).astype(np.float32)
        return weights
