"""Comparison of a module with the net that it was converted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from protogen.converting.comparison import Comparison, compare_sides
from protogen.converting.sides import Feeder, Side
from protogen.errors import MismatchError, ProtogenWarning, UnsupportedError, warn
from protogen.pytorch.examples import Examples, array_of
from protogen.pytorch.rounding import rounding_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.converting.sides import Lengths
    from protogen.net.net import Net
    from protogen.pytorch.parts import Observed

    Arrays = dict[str, NDArray[Any]]


ROUNDINGS = 5.0  # the limit, as a multiple of the error of the module's own values in float32
LARGEST_ROUNDING = 1e-2  # larger differences have another cause


class ModuleSide(Side):
    """A module as one of the two sides of a comparison.

    Its values are its outputs, and what its parts return, under the names that they have in the net.

    Args:
        observed: the module.
        examples: arguments of its ``forward``.
        outputs: the net's names of the module's outputs, in order.
        parts: the path of a part and the net's name of what it returns, in the order of the calls; an empty
            name for what a layer in place writes over.
        ends: the values that are the outputs of the net.
    """

    def __init__(
        self,
        observed: Observed,
        examples: Examples,
        outputs: Sequence[str],
        parts: Sequence[tuple[str, str]],
        ends: Sequence[str],
    ) -> None:
        self.net = self.program = self.model = None
        self.observed, self.examples = observed, examples
        self.tried: list[Arrays] = []
        self._outputs, self._parts, self._ends = outputs, parts, ends
        self._path: dict[str, str] = {}
        for path, name in parts:
            if name:
                self._path.setdefault(name, path)  # the innermost part
        self._layers, self._steps = {}, {}

    def release(self) -> None:
        """Free nothing: the weights are those of the module."""

    def inputs(self) -> dict[str, Lengths]:
        return {name: tuple(tensor.shape) for name, tensor in self.examples.tensors.items()}

    def kinds(self) -> dict[str, str]:
        return {
            name: str(tensor.dtype).removeprefix("torch.")
            for name, tensor in self.examples.tensors.items()
        }

    def outputs(self) -> list[str]:
        values = set(self.values())
        return [name for name in dict.fromkeys(self._ends) if name in values]

    def values(self) -> list[str]:
        values = dict.fromkeys([*self._path, *self._outputs])
        return [name for name in values if name not in self.examples.tensors]

    def layer_of(self, value: str) -> str:
        path = self._path.get(value)
        return f'module "{path}"' if path else ""

    def of(self, observed: Observed, examples: Examples) -> ModuleSide:
        """Return the same side for another module with the same parts."""
        return ModuleSide(observed, examples, self._outputs, self._parts, self._ends)

    def evaluator(self, blobs: Sequence[str]) -> tuple[Callable[[Arrays], Arrays], set[str]]:
        def run(arrays: Arrays) -> Arrays:
            self.tried.append(arrays)
            return self.computed(arrays)

        return run, set(blobs)

    def computed(self, arrays: Arrays) -> Arrays:
        """Run the module, and return its outputs and what its parts return."""
        import torch

        results = self.observed.run(self.examples.tensors_of(arrays))
        if self.observed.record.paths != [path for path, _ in self._parts]:
            raise UnsupportedError(
                "control flow that depends on data: which parts of the module are called depends on the "
                "values of the inputs",
                subject=f"module {type(self.observed.module).__name__}",
            )
        names = [*self._outputs, *(name for _, name in self._parts)]
        return {
            name: array_of(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
            for name, tensor in zip(names, results, strict=True)
            if name
        }


def matched(paths: Sequence[str], parts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the net's name of what each call of a part returns, in the order of an ordinary run.

    A module can call other parts while it is exported (``torch.compiler.is_exporting``). What a part returns
    has a name if it is called as often in both.

    Args:
        paths: the path of the part for each tensor that parts return in an ordinary run.
        parts: path and name for each tensor that parts return while the module is exported.
    """
    names: dict[str, list[str]] = {}
    for path, name in parts:
        names.setdefault(path, []).append(name)
    counts = Counter(paths)
    rest = {path: iter(own) for path, own in names.items() if len(own) == counts[path]}
    return [(path, next(rest[path]) if path in rest else "") for path in paths]


class ExampleFeeder(Feeder):
    """Draws the example inputs first, then random inputs."""

    def __init__(self, sides: tuple[Side, Side], examples: Arrays) -> None:
        super().__init__(sides, {}, {})
        self._examples: Arrays | None = examples

    def draw(self, seed: int, scale: float) -> list[Arrays]:
        drawn = super().draw(seed, scale)
        if self._examples is None:
            return drawn
        arrays, self._examples = self._examples, None
        return [{key: arrays.get(key, values[key]) for key in values} for values in drawn]


def compare(side: ModuleSide, net: Net, seed: int, tolerance: float) -> Comparison:
    """Compare a module with its net: on the example inputs, then on random inputs; see ``pg.verify``.

    If values differ by more than the tolerance, the module is run in float64 too. The limit is then five
    times the error of the module's own values in float32, since both sides have roundings.

    Raises:
        MismatchError: a value differs by more than the tolerance, or nothing is proved.
        UnsupportedError: the module calls other parts for other inputs.

    Warns:
        ProtogenWarning: the values agree, but some of them prove nothing.
    """
    sides = (side, Side(net))
    shared = set(sides[1].values())
    ends = side.outputs() or [name for name in side.values() if name in shared][:1]

    def compared(limit: float) -> Comparison:
        feeder = ExampleFeeder(sides, side.examples.arrays())
        return compare_sides(*sides, ends, seed, limit, feeder)

    try:
        return compared(tolerance)
    except MismatchError as error:
        wrong = [row for row in error.table.rows if not row.passed]
        worst = max((row.relative or float("inf") for row in wrong), default=float("inf"))
        if worst > LARGEST_ROUNDING:
            raise
        rounding = rounding_error(side, side.tried, [row.blob for row in wrong])
        limit = ROUNDINGS * rounding
        if worst > limit:
            raise
    checked = compared(limit)
    warn(
        ProtogenWarning(
            f"differs by {worst:.2g} of its largest value, more than the tolerance of {tolerance:g}, but the "
            f"module's own roundings are of this size: in float32 it differs from itself in float64 by "
            f"{rounding:.2g}",
            subject=f'blob "{wrong[0].blob}"',
        ),
    )
    return checked
