"""Decides whether equal values of two models prove that the models agree, and explains why not.

A value that does not depend on the input proves nothing: it agrees despite mistakes before it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from protogen.layers import kind_of
from protogen.layers.graph import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.converting.sides import Side
    from protogen.geometry import Shape

Reason = Literal["", "empty", "not finite", "saturated", "constant"]


@dataclass(frozen=True, slots=True)
class BlobDifference:
    """Difference between the values of one blob in two models.

    Attributes:
        largest: the largest absolute error.
        relative: ``largest`` over the largest magnitude in the first model. Both are None if the
            shapes differ, or if a value is finite in one model only.
        only: "first" or "second" for an output that only this model has.
        unproved: why the blob proves nothing although it agrees; empty if it proves something.
    """

    blob: str
    layer: str
    shapes: tuple[Shape | None, Shape | None]
    largest: float | None
    relative: float | None
    passed: bool
    only: str = ""
    unproved: str = ""


def difference(
    blob: str, layer: str, a: NDArray[Any], b: NDArray[Any], tolerance: float
) -> BlobDifference:
    """Compare two values.

    Values that are not finite must be equal in both. The largest float32 counts as infinite: Caffe
    uses it as a marker, and relative to it all other errors would be small.
    """
    import numpy as np

    shapes = (a.shape, b.shape)
    if a.shape != b.shape:
        return BlobDifference(blob, layer, shapes, None, None, False)
    if all(_equal(x, y) for x, y in _pieces(a, b)):
        return BlobDifference(blob, layer, shapes, 0.0, 0.0, True)
    if not {a.dtype.kind, b.dtype.kind} <= set("biuf"):
        return BlobDifference(blob, layer, shapes, None, None, False)
    largest, scale, other_scale = 0.0, 0.0, 0.0
    for x, y in _pieces(a, b):
        if not (_all_finite(x) and _all_finite(y)):
            finite = _finite(x) & _finite(y)
            if not np.array_equal(
                x[~finite].astype(np.float64), y[~finite].astype(np.float64), equal_nan=True
            ):
                return BlobDifference(blob, layer, shapes, None, None, False)
            x, y = x[finite], y[finite]
        largest = max(largest, _magnitude(np.subtract(x, y, dtype=np.float64)))
        scale, other_scale = max(scale, _magnitude(x)), max(other_scale, _magnitude(y))
    relative = largest / (scale or other_scale) if scale or other_scale else 0.0
    return BlobDifference(blob, layer, shapes, largest, relative, relative <= tolerance)


@dataclass
class Proof:
    """Result of all inputs tried so far for one pair of values.

    Attributes:
        blob, other: the name in the first and in the second model.
        depends_on_input: whether the value depends on the inputs' numbers.
        saturation: the values at which it saturates, see ``Side.saturation``.
        single: whether only one input can be tried.
        row: the largest difference; None before the first input.
        reason: why the value proves nothing so far; empty if it proves something.
    """

    blob: str
    other: str
    layer: str
    depends_on_input: bool
    saturation: tuple[float, ...]
    tolerance: float
    single: bool = False
    row: BlobDifference | None = None
    reason: Reason = "constant"
    _earlier: list[NDArray[Any]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return self.row is not None and not self.row.passed

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Add the values for one more input."""
        row, previous = difference(self.blob, self.layer, a, b, self.tolerance), self.row
        if (
            previous is not None
            and row.passed
            and (previous.relative or 0.0) > (row.relative or 0.0)
        ):
            row = replace(row, largest=previous.largest, relative=previous.relative)
        self.row = row
        if self.reason and row.passed:
            self.reason = self._unproved_reason(a)
            self._earlier = [] if not self.reason else [*self._earlier, a]

    def _unproved_reason(self, a: NDArray[Any]) -> Reason:
        """Return why this value and the earlier ones prove nothing; empty if they do."""

        if not a.size:
            return "empty"
        if a.dtype.kind not in "biuf":
            return ""
        low, high = _range(a)
        if low > high:
            return "not finite"
        limit = self.tolerance * max(-low, high)
        if self.saturation and _saturates(a, self.saturation, limit):
            return "saturated"
        if self.depends_on_input and not self.single:
            varies = any(_differ(a, old, self.tolerance, limit) for old in self._earlier)
        else:
            varies = high - low > limit
        return "" if varies else "constant"


_PIECE = 1 << 16  # numbers that are compared at once: they fit into the processor's cache


def _pieces(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the numbers of arrays of one size in pieces, the same pieces of each."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _PIECE):
        yield tuple(array[start : start + _PIECE] for array in flat)


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays are equal; NaN equals NaN."""
    import numpy as np

    floats = a.dtype.kind == b.dtype.kind == "f"
    return np.array_equal(a, b) or (floats and np.array_equal(a, b, equal_nan=True))


def _finite(a: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the values that are neither NaN, nor infinite, nor the largest float32."""
    import numpy as np

    finite: NDArray[np.bool_] = (
        np.abs(a) < np.finfo(np.float32).max
    )  # comparisons with NaN are False
    return finite


def _all_finite(a: NDArray[Any]) -> bool:
    """Return whether all values are finite, see ``_finite``."""
    import numpy as np

    return _magnitude(a) < float(np.finfo(np.float32).max)


def _magnitude(a: NDArray[Any]) -> float:
    """Return the largest magnitude; NaN if the array contains one."""
    return max(float(a.max()), -float(a.min())) if a.size else 0.0


def _range(a: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value; the smallest is larger if there is none."""
    low, high = math.inf, -math.inf
    for (piece,) in _pieces(a):
        values = piece if _all_finite(piece) else piece[_finite(piece)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _saturates(a: NDArray[Any], ends: Sequence[float], limit: float) -> bool:
    """Return whether each finite value is at most ``limit`` from one of these numbers."""
    import numpy as np

    for (piece,) in _pieces(a):
        values = piece if _all_finite(piece) else piece[_finite(piece)]
        distance = np.min([np.abs(values - value) for value in ends], axis=0)
        if distance.max(initial=0.0) > limit:
            return False
    return True


def _differ(a: NDArray[Any], b: NDArray[Any], tolerance: float, limit: float) -> bool:
    """Return whether two values of one blob differ by more than the tolerance.

    ``limit`` is the tolerance times the largest magnitude in ``a``: one difference above it is enough.
    """
    import numpy as np

    if a.shape == b.shape and limit and b.dtype.kind in "biuf":
        for x, y in _pieces(a, b):
            if _all_finite(y) and _magnitude(np.subtract(x, y, dtype=np.float64)) > limit:
                return True
    return not difference("", "", a, b, tolerance).passed


def causes(side: Side, unproved: Mapping[str, Proof], proved: set[str]) -> dict[str, str]:
    """Return why each of these values proves nothing, in the order of the net.

    Args:
        side: the model in which to look for causes; a Caffe net if one of the two models is one.
        unproved: the proofs that lack a result, by the value's name in this model.
        proved: names of values that prove something; the cause is after them.
    """
    known: dict[str, str] = {}
    for name, proof in unproved.items():
        known[name] = _upstream_cause(side, name, proof, known, proved) or _own_cause(
            side, name, proof
        )
    return known


def _own_cause(side: Side, name: str, proof: Proof) -> str:
    subject = side.subject_of(name)
    if proof.reason == "empty":
        return f"{subject} produces no values"
    if proof.reason == "not finite":
        return f"{subject} produces no finite value for any of the inputs tried"
    if proof.reason == "saturated":
        ends = " or ".join(f"{value:g}" for value in proof.saturation)
        return f"{subject} saturates: every value is {ends} for all inputs tried"
    if not proof.depends_on_input:
        return f"{subject} does not depend on an input, and all its values are equal"
    return f"{subject} gives the same values (within the tolerance) for all inputs tried"


def _upstream_cause(
    side: Side, name: str, proof: Proof, known: Mapping[str, str], proved: set[str]
) -> str:
    """Return a cause in a layer's weights before this value, or the cause of an earlier value."""
    first = side.producer(name)
    if first is None:
        return ""
    # The cause of a value that is not finite or saturates can be before values that are proved.
    search_all = proof.reason in ("not finite", "saturated")
    queue, seen = deque([first]), {first.name}
    weight_cause = ""
    while queue:
        layer = queue.popleft()
        if cause := _weight_cause(side, layer, "constant") if proof.reason == "constant" else "":
            return cause
        weight_cause = weight_cause or (_weight_cause(side, layer, "large") if search_all else "")
        for read in layer.reads:
            if read in known:
                return known[read]
            producer = side.producer(read)
            if (
                producer is not None
                and producer.name not in seen
                and (search_all or read not in proved)
            ):
                seen.add(producer.name)
                queue.append(producer)
    return f"{weight_cause}, so that {_own_cause(side, name, proof)}" if weight_cause else ""


def _weight_cause(side: Side, layer: Layer, check: Literal["constant", "large"]) -> str:
    kind = kind_of(layer)
    blobs = side.net.weights.get(layer.name) if side.net is not None else None
    if kind is None or not blobs:
        return ""
    problem = (
        kind.reason_constant(layer, blobs)
        if check == "constant"
        else kind.reason_large(layer, blobs)
    )
    return f"{layer.subject} {problem}" if problem else ""
