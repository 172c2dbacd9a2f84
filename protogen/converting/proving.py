"""What it takes that two equal values prove something, and why they do not.

A value that is the same whatever the input is would agree with any mistake before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
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
    """One blob of both models: the largest absolute error, and that over the largest magnitude in
    the first.

    Both are None where the shapes differ, or where one is not finite and the other is. ``only`` is
    "first" or "second" for an output that the other model lacks. ``unproved`` says why the blob
    proves nothing although it agrees; it is empty where it proves something.
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
    """Two values, compared. Where both are not finite they must be so in the same way; the largest
    number of float32, which stands for no number in Caffe, counts as infinite: beside it all others
    would be small."""
    import numpy as np

    shapes = (a.shape, b.shape)
    if a.shape != b.shape:
        return BlobDifference(blob, layer, shapes, None, None, False)
    if np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f"):
        return BlobDifference(blob, layer, shapes, 0.0, 0.0, True)
    if not {a.dtype.kind, b.dtype.kind} <= set("biuf"):
        return BlobDifference(blob, layer, shapes, None, None, False)
    x, y = a.astype(np.float64), b.astype(np.float64)
    good = _numbers(x) & _numbers(y)
    if not np.array_equal(x[~good], y[~good], equal_nan=True):
        return BlobDifference(blob, layer, shapes, None, None, False)
    x, y = x[good], y[good]
    largest = float(np.abs(x - y).max(initial=0.0))
    scale = float(np.abs(x).max(initial=0.0)) or float(np.abs(y).max(initial=0.0))
    relative = largest / scale if scale else 0.0
    return BlobDifference(blob, layer, shapes, largest, relative, relative <= tolerance)


@dataclass
class Proof:
    """What the inputs that were tried have shown of one pair of values.

    Attributes:
        blob, other: its name in the first and in the second model.
        fed: whether it follows from the inputs' numbers.
        resting: where it stands still, see ``Side.rests_at``.
        once: one input is all that there is to try.
    """

    blob: str
    other: str
    layer: str
    fed: bool
    resting: tuple[float, ...]
    tolerance: float
    once: bool = False
    row: BlobDifference | None = None
    reason: Reason = "constant"
    _before: list[NDArray[Any]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return self.row is not None and not self.row.passed

    def take(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """One more input's values."""
        row, old = difference(self.blob, self.layer, a, b, self.tolerance), self.row
        if old is not None and row.passed and (old.relative or 0.0) > (row.relative or 0.0):
            row = replace(row, largest=old.largest, relative=old.relative)
        self.row = row
        if self.reason and row.passed:
            self.reason = self._lack(a)
            self._before = [] if not self.reason else [*self._before, a]

    def _lack(self, a: NDArray[Any]) -> Reason:
        """Why this value, with those before it, proves nothing; empty where it does."""
        import numpy as np

        if not a.size:
            return "empty"
        if a.dtype.kind not in "biuf":
            return ""
        good = a[_numbers(a)]
        if not good.size:
            return "not finite"
        limit = self.tolerance * float(np.abs(good).max())
        if self.resting:
            away = np.min([np.abs(good - value) for value in self.resting], axis=0)
            if away.max() <= limit:
                return "saturated"
        if self.fed and not self.once:
            varies = any(_changed(a, old, self.tolerance) for old in self._before)
        else:
            varies = bool(float(good.max()) - float(good.min()) > limit)
        return "" if varies else "constant"


def _numbers(a: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the values are numbers, neither NaN nor at float32's ends."""
    import numpy as np

    made: NDArray[np.bool_] = np.abs(a) < np.finfo(np.float32).max  # NaN is below nothing
    return made


def _changed(a: NDArray[Any], b: NDArray[Any], tolerance: float) -> bool:
    """Whether two values of one blob differ by more than errors that are passed over."""
    return not difference("", "", a, b, tolerance).passed


def causes(side: Side, unproved: Mapping[str, Proof], proved: set[str]) -> dict[str, str]:
    """Why each of these values proves nothing, in the order of the net.

    Args:
        side: a model that has them, a net where one of the two is.
        unproved: by the name that the value has there.
        proved: names of values that prove something: whatever is wrong comes behind them.
    """
    told: dict[str, str] = {}
    for name, proof in unproved.items():
        told[name] = _upstream(side, name, proof, told, proved) or _own(side, name, proof)
    return told


def _own(side: Side, name: str, proof: Proof) -> str:
    subject = side.subject_of(name)
    if proof.reason == "empty":
        return f"{subject} makes no values"
    if proof.reason == "not finite":
        return f"{subject} makes no finite number of the inputs tried"
    if proof.reason == "saturated":
        ends = " or ".join(f"{value:g}" for value in proof.resting)
        return f"{subject} saturates: every value is {ends} for all inputs tried"
    if not proof.fed:
        return f"{subject} reads no input and writes one number"
    return f"{subject} gives the same, to the tolerance, for all inputs tried"


def _upstream(
    side: Side, name: str, proof: Proof, told: Mapping[str, str], proved: set[str]
) -> str:
    """The cause in a layer's weights, or that of a value before this one."""
    first = side.maker(name)
    if first is None:
        return ""
    # A value that is not finite, or saturates, may have its cause before values that prove much.
    far = proof.reason in ("not finite", "saturated")
    waiting, seen = deque([first]), {first.name}
    swelling = ""
    while waiting:
        layer = waiting.popleft()
        if cause := _of_weights(side, layer, "constant") if proof.reason == "constant" else "":
            return cause
        swelling = swelling or (_of_weights(side, layer, "large") if far else "")
        for read in layer.reads:
            if read in told:
                return told[read]
            maker = side.maker(read)
            if maker is not None and maker.name not in seen and (far or read not in proved):
                seen.add(maker.name)
                waiting.append(maker)
    return f"{swelling}, so that {_own(side, name, proof)}" if swelling else ""


def _of_weights(side: Side, layer: Layer, what: Literal["constant", "large"]) -> str:
    kind = kind_of(layer)
    blobs = side.net.weights.get(layer.name) if side.net is not None else None
    if kind is None or not blobs:
        return ""
    found = (
        kind.reason_constant(layer, blobs)
        if what == "constant"
        else kind.reason_large(layer, blobs)
    )
    return f"{layer.subject} {found}" if found else ""
