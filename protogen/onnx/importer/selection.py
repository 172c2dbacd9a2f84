"""Constant selections of values: any value of a blob at any position of another one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.forms import gathered, reshaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx.importer.context import ImportContext


@dataclass(frozen=True)
class Axis:
    """Some neighbouring axes of a blob as one axis, and the indices that are selected from it.

    Attributes:
        length: the length of the axis.
        indices: the selected indices, in order.
    """

    length: int
    indices: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every index is selected, in order."""
        return self.indices == tuple(range(self.length))


def axes_of(places: NDArray[Any], shape: Shape) -> list[Axis]:
    """Split a selection of single values into selections from axes, as many and as short as possible.

    Args:
        places: positions in a flat blob of this shape, which are below its number of values.
        shape: the shape of the blob.

    Returns:
        The axes, whose lengths have the product of ``shape``. Selecting from each of them gives the
        selected values in the order of ``places``.
    """
    import numpy as np

    counts = places.shape
    coordinates = np.unravel_index(places, shape)
    groups: list[tuple[list[int], list[int]]] = []  # (axes of the blob, axes of the result)
    for axis, coordinate in enumerate(coordinates):
        varying = [i for i in range(len(counts)) if _varies(coordinate, i)]
        group = ([axis], varying)
        # Axes whose result axes are not in order are one axis.
        while varying and (at := _conflict(groups, group[1])) is not None:
            merged = groups[at:]
            del groups[at:]
            group = (
                [a for axes, _ in merged for a in axes] + group[0],
                sorted({i for _, some in merged for i in some} | set(group[1])),
            )
        groups.append(group)
    return _joined(groups, coordinates, shape, counts)


def narrowed(full: NDArray[Any]) -> NDArray[Any]:
    """Return the array with length 1 along axes where its values do not change."""
    for axis in range(full.ndim):
        first = full.take([0], axis=axis)
        if (full == first).all():
            full = first
    return full


def _varies(coordinate: NDArray[Any], axis: int) -> bool:
    first = coordinate.take([0], axis=axis)
    return bool((coordinate != first).any())


def _conflict(groups: list[tuple[list[int], list[int]]], varying: list[int]) -> int | None:
    """Return the first of the groups that must be merged with a new one; None if none must."""
    for at, (_, some) in enumerate(groups):
        if some and some[-1] >= varying[0]:
            return at
    return None


def _joined(
    groups: list[tuple[list[int], list[int]]],
    coordinates: tuple[NDArray[Any], ...],
    shape: Shape,
    counts: Shape,
) -> list[Axis]:
    """Return the axis of each group. An axis of the result along which no coordinate varies belongs to
    the group before it."""
    import numpy as np

    owners = [number for number, (_, varying) in enumerate(groups) if varying]
    begins = [0, *(groups[number][1][0] for number in owners[1:]), len(counts)]
    result = []
    for number, (axes, _) in enumerate(groups):
        lengths = tuple(shape[axis] for axis in axes)
        flat = np.ravel_multi_index(tuple(coordinates[axis] for axis in axes), lengths)
        at = owners.index(number) if number in owners else -1
        own = range(begins[at], begins[at + 1]) if at >= 0 else range(0)
        if not owners and number == 0:
            own = range(len(counts))
        inside = tuple(slice(None) if i in own else 0 for i in range(len(counts)))
        result.append(Axis(prod(lengths), tuple(flat[inside].reshape(-1).tolist())))
    return result


def selected(ctx: ImportContext, x: str, places: NDArray[Any], role: str = "") -> str:
    """Select single values of a blob: the result has the shape of ``places``, and at each position the
    value of the flat blob at that place."""
    axes = axes_of(places, ctx.shape(x))
    name = role or "selected"
    work = [(len(one.indices) / one.length, i) for i, one in enumerate(axes) if not one.is_whole]
    if work:
        x = reshaped(ctx, x, tuple(one.length for one in axes), f"{name}_axes")
    for _, i in sorted(work):  # first those that leave the fewest values
        x = gathered(ctx, x, i, axes[i].indices, f"{name}_axis{i}")
    return reshaped(ctx, x, tuple(places.shape), role)
