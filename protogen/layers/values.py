"""Valid values for a layer's bottoms, and parameters that make its tops carry no information."""

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
    """The part of a layer type that drawing inputs and comparing outputs use."""

    resting: ClassVar[tuple[float, ...]] = ()
    blob_names: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def is_view(self, layer: Layer) -> bool:
        """Return whether the tops share the bottom's memory in Caffe."""
        return False

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        """Draw random values for the bottom of this index; None if any number is valid.

        Labels, indices and regions have a limited range. ``shapes`` are the shapes of all bottoms.
        If several layers read one value, the minimum of what they draw is valid for all of them.
        """
        return None

    def bottoms_for_tops(
        self,
        layer: Layer,
        tops: Sequence[Drawn | None],
        shapes: Sequence[Shape],
        rng: Rng,
    ) -> list[Drawn | None]:
        """Return the values of the bottoms for which the tops hold the given values; None for a
        bottom for which any number is valid. Only layers that move values can do this. At least one
        of ``tops`` is not None."""
        first = next((top for top in tops if top is not None), None)
        if first is None or not self.is_view(layer):
            return [None] * len(shapes)
        return [first.reshape(shapes[0]), *[None] * (len(shapes) - 1)]

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        """Return the values that a top approaches for large bottoms: 0 and 1 for Sigmoid."""
        return self.resting

    def reason_constant(self, layer: Layer, blobs: Sequence[NDArray[np.floating]]) -> str:
        """Return why these parameters make the tops independent of the bottoms, as the end of a
        sentence; empty if they do not."""
        return "has all-zero weights" if self._is_zero(blobs, "weight", "scale") else ""

    def reason_large(self, layer: Layer, blobs: Sequence[NDArray[np.floating]]) -> str:
        """Return why these parameters make the tops far larger than the bottoms, as the end of a
        sentence; empty if they do not."""
        return "has a variance of 0" if self._is_zero(blobs, "variance", "factor") else ""

    def _is_zero(self, blobs: Sequence[NDArray[np.floating]], *names: str) -> bool:
        """Return whether one of the named blobs is all zeros."""
        pairs = zip(self.blob_names, blobs, strict=False)
        return any(name in names and not _any(blob) for name, blob in pairs)


def _any(blob: NDArray[np.floating]) -> bool:
    from protogen.formats.mapped import pieces

    return any(piece.any() for piece in pieces(blob))


def whole(rng: Rng, end: int, shape: Shape) -> Drawn:
    """Draw integers from 0 to ``end`` - 1, as float32."""
    return rng.integers(0, max(1, end), shape).astype("float32")


def random_labels(rng: Rng, end: int, shape: Shape, ignored: int | None) -> Drawn:
    """Draw labels from 0 to ``end`` - 1. If there is an ignored label, about one in eight is it."""
    import numpy as np

    labels = whole(rng, end, shape)
    if ignored is None:
        return labels
    return np.where(rng.random(shape) < 1 / 8, np.float32(ignored), labels)


def positive(rng: Rng, shape: Shape) -> Drawn:
    """Draw numbers from 0.1 to 1."""
    return rng.uniform(0.1, 1, shape).astype("float32")


def continuation_flags(rng: Rng, shape: Shape) -> Drawn:
    """Draw cont values: 1 for a step that continues its sequence (about three in four), and 0 for a
    step that starts one."""
    return (rng.random(shape) < 0.75).astype("float32")


def above_0(rng: Rng, shape: Shape, scale: float, shift: float) -> Drawn | None:
    """Draw numbers x for which shift + scale x is above 0; None if scale is 0."""
    return None if scale == 0 else (positive(rng, shape) - shift) / scale


def boxes(rng: Rng, shape: Shape) -> Drawn:
    """Draw boxes as corners x0, y0, x1, y1 from 0 to 1, then four variances for each box."""
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
    """Draw 0 or 1 for each sample, with at least one 1 and, if there are several samples, one 0."""
    flat = whole(rng, 2, (math.prod(shape),))
    order = rng.permutation(flat.size)
    flat[order[:1]] = 1
    flat[order[1:2]] = 0
    return flat.reshape(shape)


def random_regions(rng: Rng, shape: Shape, maps: Shape, scale: float) -> Drawn:
    """Draw rows of image index, x0, y0, x1, y1. The coordinates are those of the net's input;
    ``maps`` is the shape of the feature map, which is ``scale`` times the size of the input."""
    import numpy as np

    count = shape[0]
    ends = [(n - 1) / (scale or 1.0) for n in (maps[3], maps[2])]
    corners = np.sort(rng.random((count, 2, 2)), axis=1) * ends
    images = rng.integers(0, max(1, maps[0]), (count, 1))
    return np.concatenate([images, corners.reshape(count, 4)], 1).reshape(shape).astype("float32")


def pooling_indices(rng: Rng, shape: Shape, plane: Shape) -> Drawn:
    """Draw a mask of MAX pooling: for each window, the index of one of its pixels in the plane."""
    import numpy as np

    def along(axis: int) -> NDArray[np.int64]:
        m, n = shape[axis], plane[axis - 2]
        low = np.arange(m) * n // m
        size = np.maximum(1, (np.arange(m) + 1) * n // m - low)
        where = np.moveaxis(rng.random(shape), axis, -1)
        return np.moveaxis(low + (where * size).astype(np.int64), -1, axis)

    return (along(2) * plane[1] + along(3)).astype("float32")


def concatenated(
    tops: Sequence[Drawn | None], shapes: Sequence[Shape], axis: int, rng: Rng
) -> Drawn:
    """Concatenate arrays along an axis; an array that is None becomes standard normal numbers."""
    import numpy as np

    parts = [
        rng.standard_normal(shape, np.float32) if top is None else top
        for top, shape in zip(tops, shapes, strict=True)
    ]
    return np.concatenate(parts, axis)


def split_array(array: Drawn, lengths: Sequence[int], axis: int) -> Iterator[Drawn]:
    """Split an array along an axis into parts of the given lengths."""
    import numpy as np

    start = 0
    for length in lengths:
        yield np.take(array, range(start, start + length), axis)
        start += length
