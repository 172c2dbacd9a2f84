"""Comparison of a module with the net that it was converted to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.converting.comparison import Comparison, compare_sides
from protogen.converting.sides import Feeder, Side
from protogen.pytorch.examples import Examples, array_of, evaluating, outputs_of
from protogen.pytorch.naming import Named

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from protogen.converting.sides import Lengths
    from protogen.net.net import Net

    Arrays = dict[str, NDArray[Any]]


class ModuleSide(Side):
    """A module as one of the two sides of a comparison.

    Its values are its outputs, and what its parts return, under the names that they have in the net.

    Args:
        module: the module.
        examples: arguments of its ``forward``.
        outputs: the net's names of the module's outputs, in order.
        calls: the net's names of what parts of the module return, by the path of the part, in the order
            of the calls; empty for what a layer in place writes over.
        ends: the values that are the outputs of the net.
    """

    def __init__(
        self,
        module: nn.Module,
        examples: Examples,
        outputs: Sequence[str],
        calls: Mapping[str, Sequence[str]],
        ends: Sequence[str],
    ) -> None:
        self.net = self.program = self.model = None
        self._module, self._examples = module, examples
        self._outputs, self._calls, self._ends = outputs, calls, ends
        self._path = {name: path for path, names in calls.items() for name in names if name}
        self._layers, self._steps = {}, {}

    def inputs(self) -> dict[str, Lengths]:
        return {name: tuple(tensor.shape) for name, tensor in self._examples.tensors.items()}

    def kinds(self) -> dict[str, str]:
        return {
            name: str(tensor.dtype).removeprefix("torch.")
            for name, tensor in self._examples.tensors.items()
        }

    def outputs(self) -> list[str]:
        return [name for name in dict.fromkeys(self._ends) if name not in self._examples.tensors]

    def values(self) -> list[str]:
        return list(dict.fromkeys([*self._path, *self._outputs]))

    def layer_of(self, value: str) -> str:
        path = self._path.get(value)
        return f'module "{path}"' if path else ""

    def evaluator(self, blobs: Sequence[str]) -> tuple[Callable[[Arrays], Arrays], set[str]]:
        paths = {self._path[name] for name in blobs if name in self._path}

        def run(arrays: Arrays) -> Arrays:
            return self._values(arrays, paths)

        return run, set(blobs)

    def _values(self, arrays: Arrays, paths: Iterable[str]) -> Arrays:
        """Run the module, and return its outputs and what its parts return."""
        returned: dict[str, list[Tensor]] = defaultdict(list)

        def hook(path: str) -> Callable[..., None]:
            def store(_: nn.Module, __: Any, result: Any) -> None:
                # Copies, because the next module may work in place.
                returned[path].extend(one.clone() for one in outputs_of(result).values())

            return store

        args, kwargs = self._examples.with_arrays(arrays)
        handles = [
            self._module.get_submodule(path).register_forward_hook(hook(path)) for path in paths
        ]
        try:
            with evaluating(self._module):
                results = outputs_of(self._module(*args, **kwargs))
        finally:
            for handle in handles:
                handle.remove()
        named = dict(zip(self._outputs, results.values(), strict=True))
        for path, tensors in returned.items():
            named |= dict(zip(self._calls[path], tensors, strict=True))
        return {name: array_of(tensor) for name, tensor in named.items()}


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


def calls_of(module: nn.Module, examples: Examples, named: Named) -> dict[str, tuple[str, ...]]:
    """Return the values of the model that are what parts of the module return, by the path of the part.

    A part belongs to them if each of its calls returns one tensor, and the model has one value of the same
    shape for each call.
    """
    counts: dict[str, list[int]] = defaultdict(list)
    handles = []
    for path in named.leaves:

        def count(_: nn.Module, __: Any, result: Any, path: str = path) -> None:
            counts[path].append(len(outputs_of(result)))

        handles.append(module.get_submodule(path).register_forward_hook(count))
    try:
        with evaluating(module):
            module(*examples.args, **examples.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return {
        path: names
        for path, names in named.leaves.items()
        if len(names) == len(counts[path]) and set(counts[path]) == {1}
    }


def compare(
    side: ModuleSide, net: Net, examples: Examples, ends: Sequence[str], seed: int, tolerance: float
) -> Comparison:
    """Compare a module with its net: on the example inputs, then on random inputs; see ``pg.verify``.

    Raises:
        MismatchError: a value differs by more than the tolerance, or nothing is proved.

    Warns:
        ProtogenWarning: the values agree, but some of them prove nothing.
    """
    sides = (side, Side(net))
    feeder = ExampleFeeder(sides, examples.arrays())
    return compare_sides(*sides, ends, seed, tolerance, feeder)
