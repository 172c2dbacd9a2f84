"""Comparison of the outputs of a toolchain with those of a net: by name, by layer, or by position."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protogen.geometry import shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.layers.graph import Graph

    Arrays = Mapping[str, NDArray[Any]]
    Outputs = Arrays | Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """How one blob compares.

    Attributes:
        blob: its name in the net.
        error: the largest error relative to the blob's largest magnitude; None if it cannot be computed.
        problem: what is wrong, such as "differs by 0.2 of its largest magnitude"; empty if it agrees.
        note: that the shape has more or fewer axes of length 1; empty if the shape is equal.
    """

    blob: str
    error: float | None
    problem: str = ""
    note: str = ""


def compare(expected: Arrays, actual: Outputs, graph: Graph, tolerance: float) -> list[Difference]:
    """Compare every expected blob, in order.

    Args:
        expected: the blobs of the net, by name.
        actual: what the toolchain computes: by name, where the name may be that of a layer which writes
            the blob; or in the order of the net's outputs.
        graph: the layers of the net.
        tolerance: the largest relative error that passes.
    """
    pairs = _pairs(expected, actual, graph)
    return [
        difference(name, array, pairs[name], tolerance)
        if name in pairs
        else Difference(name, None, "is missing")
        for name, array in expected.items()
    ]


def _pairs(expected: Arrays, actual: Outputs, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return the toolchain's array of each expected blob that it has."""
    named = dict(actual) if isinstance(actual, Mapping) else {}
    unnamed = [] if isinstance(actual, Mapping) else list(actual)
    pairs = {name: named.pop(name) for name in expected if name in named}
    for name in (name for name in expected if name not in pairs):
        writers = [
            f"{layer.name}.{i}" if i else layer.name  # OpenCV's names of further tops
            for layer in reversed(graph.layers)
            for i, top in enumerate(layer.tops)
            if top == name
        ]
        writer = next((one for one in writers if one in named and one not in expected), None)
        if writer is not None:
            pairs[name] = named.pop(writer)
    for name in (name for name in expected if name not in pairs):
        again = [one for one in named if re.fullmatch(re.escape(name) + r"/\d+", one)]
        source = copied(name, graph)
        if again:  # TPU-MLIR's name of a blob that a layer in place writes again
            pairs[name] = named.pop(max(again, key=lambda one: int(one.rpartition("/")[2])))
        elif source in named and source not in expected:
            pairs[name] = named.pop(source)
    for name in (name for name in expected if name not in pairs):
        # A toolchain that makes several operators of a layer: the last has the result.
        parts = [one for one in named if one.startswith(f"{name}_") and one not in expected]
        if len(parts) > 1:
            pairs[name] = named.pop(parts[-1])
    left = [name for name in expected if name not in pairs]
    if not named and len(unnamed) > len(left):
        # rknn2 adds inner blobs, in any place.
        return pairs | _nearest({name: expected[name] for name in left}, unnamed)
    unnamed += named.values()
    if left and len(left) == len(unnamed):
        pairs |= zip(left, _in_order([expected[name] for name in left], unnamed), strict=True)
    return pairs


def copied(name: str, graph: Graph) -> str:
    """Return the name of the blob of which another is a copy by a Reshape to the same shape: TPU-MLIR
    removes that layer, and gives the output the name of its bottom. Empty if it is none."""
    for layer in reversed(graph.layers):
        if name in layer.tops:
            shapes = [graph.shapes.get(value) for value in (*layer.reads, *layer.writes)]
            same = layer.type == "Reshape" and shapes[0] is not None and shapes[0] == shapes[-1]
            return layer.bottoms[0] if same else ""
    return ""


def _nearest(expected: Arrays, actual: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return for each expected blob the array of its shape that differs least."""
    pairs = {}
    left = list(actual)
    for name, array in expected.items():
        same = [i for i, one in enumerate(left) if one.shape == array.shape]
        if same:
            errors = [difference(name, array, left[i], 0.0).error for i in same]
            sizes = [math.inf if error is None else error for error in errors]
            pairs[name] = left.pop(same[sizes.index(min(sizes))])
    return pairs


def _in_order(
    expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return the arrays in the order of the expected ones: their own order, unless each shape occurs
    once and the shapes are in another order."""
    by_shape = {array.shape: array for array in actual}
    shapes = [array.shape for array in expected]
    if len(by_shape) == len(actual) and set(shapes) == by_shape.keys():
        return [by_shape[shape] for shape in shapes]
    return list(actual)


def difference(
    blob: str, expected: NDArray[Any], actual: NDArray[Any], tolerance: float
) -> Difference:
    """Compare one blob. Axes of length 1 do not count. Values that are not finite must be equal in
    both; the largest float32 counts as infinite, because Caffe uses it as a marker."""
    import numpy as np

    note = ""
    if actual.shape != expected.shape:
        shapes = [shape_text(array.shape) or "()" for array in (actual, expected)]
        note = f"has the shape {shapes[0]}, expected {shapes[1]}"
        if long_axes(actual) != long_axes(expected):
            return Difference(blob, None, note)
        actual = actual.reshape(expected.shape)
    x, y = expected.astype(np.float64), actual.astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    finite = np.isfinite(x) & (np.abs(x) < largest)
    finite_there = np.isfinite(y) & (np.abs(y) < largest)
    if not np.array_equal(finite, finite_there) or not np.array_equal(
        np.sign(x[~finite]), np.sign(y[~finite]), equal_nan=True
    ):
        return Difference(blob, None, "has NaN or infinite values at other positions")
    x, y = x[finite], y[finite]
    scale = float(np.abs(x).max(initial=0.0)) or float(np.abs(y).max(initial=0.0))
    error = float(np.abs(x - y).max(initial=0.0)) / scale if scale else 0.0
    if error <= tolerance:
        return Difference(blob, error, "", note)
    return Difference(blob, error, f"differs by {error:.2g} of its largest magnitude", note)


def long_axes(array: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape without axes of length 1: some toolchains add them, or leave them out."""
    return tuple(length for length in array.shape if length != 1)
