"""What the values of a layer stand for: what its bottoms must hold, and when its tops tell nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from protogen.geometry import Shape
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Drawn = NDArray[np.float32]
    Rng = np.random.Generator


class Values:
    """The part of a layer type that those read who feed nets and judge what comes out."""

    resting: ClassVar[tuple[float, ...]] = ()
    blob_names: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def is_view(self, layer: Layer) -> bool:
        """Whether the tops share the bottom's memory in Caffe."""
        return False

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        """Values in range for the bottom of this index; None where any number will do.

        Labels, places and regions are not any number. ``shapes`` are those of all bottoms. Where
        several layers read one value, the smaller of what each draws is in range for all.
        """
        return None

    def handed_back(
        self,
        layer: Layer,
        tops: Sequence[Drawn | None],
        shapes: Sequence[Shape],
        rng: Rng,
    ) -> list[Drawn | None]:
        """What the bottoms must hold so that the tops hold these values; None for any number.
        Layers that only move values know it. ``tops`` has a value for one top at least."""
        first = next((top for top in tops if top is not None), None)
        if first is None or not self.is_view(layer):
            return [None] * len(shapes)
        return [first.reshape(shapes[0]), *[None] * (len(shapes) - 1)]

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        """Values at which a top stands still however far its bottom goes: 0 and 1 for Sigmoid."""
        return self.resting

    def idle(self, layer: Layer, blobs: Sequence[NDArray[np.floating]]) -> str:
        """Why the parameters make the tops the same whatever the bottoms are, as the end of a
        sentence; empty where they do not."""
        return "has all-zero weights" if self._zero(blobs, "weight", "scale") else ""

    def swells(self, layer: Layer, blobs: Sequence[NDArray[np.floating]]) -> str:
        """Why the parameters make the tops far larger than the bottoms, as the end of a sentence;
        empty where they do not."""
        return "has a variance of 0" if self._zero(blobs, "variance", "factor") else ""

    def _zero(self, blobs: Sequence[NDArray[np.floating]], *names: str) -> bool:
        pairs = zip(self.blob_names, blobs, strict=False)
        return any(name in names and not _any(blob) for name, blob in pairs)


def _any(blob: NDArray[np.floating]) -> bool:
    from protogen.formats.mapped import pieces

    return any(piece.any() for piece in pieces(blob))


def whole(rng: Rng, end: int, shape: Shape) -> Drawn:
    """Whole numbers from 0 up to ``end``, which is left out."""
    return rng.integers(0, max(1, end), shape).astype("float32")


def labels_below(rng: Rng, end: int, shape: Shape, ignored: int | None) -> Drawn:
    """Labels below ``end``. Where a label is ignored, one in eight is that one."""
    import numpy as np

    made = whole(rng, end, shape)
    if ignored is None:
        return made
    return np.where(rng.random(shape) < 1 / 8, np.float32(ignored), made)


def positive(rng: Rng, shape: Shape) -> Drawn:
    """Numbers from 0.1 to 1."""
    return rng.uniform(0.1, 1, shape).astype("float32")


def going_on(rng: Rng, shape: Shape) -> Drawn:
    """1 for steps that go on with a sequence, three of four, and 0 for those that begin one."""
    return (rng.random(shape) < 0.75).astype("float32")


def above_0(rng: Rng, shape: Shape, scale: float, shift: float) -> Drawn | None:
    """Numbers x of which shift + scale x is above 0."""
    return None if scale == 0 else (positive(rng, shape) - shift) / scale


def boxes(rng: Rng, shape: Shape) -> Drawn:
    """Corners x0, y0, x1, y1 within 0 to 1 of many boxes, then four variances for each."""
    import numpy as np

    count = math.prod(shape) // 8
    corners = np.sort(rng.random((count, 2, 2)), axis=1)
    variances = rng.uniform(0.1, 0.2, (count, 4))
    return (
        np.concatenate([corners.reshape(-1), variances.reshape(-1)])
        .reshape(shape)
        .astype("float32")
    )


def selectors(rng: Rng, shape: Shape) -> Drawn:
    """0 or 1 for each sample, with a 1 at least and, among several, a 0."""
    flat = whole(rng, 2, (math.prod(shape),))
    order = rng.permutation(flat.size)
    flat[order[:1]] = 1
    flat[order[1:2]] = 0
    return flat.reshape(shape)


def regions(rng: Rng, shape: Shape, maps: Shape, scale: float) -> Drawn:
    """Rows of image, x0, y0, x1, y1 in the coordinates of an input of which the map is ``scale``
    times the size."""
    import numpy as np

    count = shape[0]
    ends = [(n - 1) / (scale or 1.0) for n in (maps[3], maps[2])]
    corners = np.sort(rng.random((count, 2, 2)), axis=1) * ends
    images = rng.integers(0, max(1, maps[0]), (count, 1))
    return np.concatenate([images, corners.reshape(count, 4)], 1).reshape(shape).astype("float32")


def winners(rng: Rng, shape: Shape, plane: Shape) -> Drawn:
    """Places within a plane, each in the window of its own that a MAX pooling would have."""
    import numpy as np

    def along(axis: int) -> NDArray[np.int64]:
        m, n = shape[axis], plane[axis - 2]
        low = np.arange(m) * n // m
        size = np.maximum(1, (np.arange(m) + 1) * n // m - low)
        where = np.moveaxis(rng.random(shape), axis, -1)
        return np.moveaxis(low + (where * size).astype(np.int64), -1, axis)

    return (along(2) * plane[1] + along(3)).astype("float32")


def joined(tops: Sequence[Drawn | None], shapes: Sequence[Shape], axis: int, rng: Rng) -> Drawn:
    """One array of parts along an axis; parts that are not given are any numbers."""
    import numpy as np

    parts = [
        rng.standard_normal(shape, np.float32) if top is None else top
        for top, shape in zip(tops, shapes, strict=True)
    ]
    return np.concatenate(parts, axis)


def cut(whole_: Drawn, lengths: Sequence[int], axis: int) -> Iterator[Drawn]:
    """The parts of an array along an axis."""
    import numpy as np

    at = 0
    for length in lengths:
        yield np.take(whole_, range(at, at + length), axis)
        at += length
