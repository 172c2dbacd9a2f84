"""The two models that are compared, whatever form each has, and what they are fed with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.net.build import Reading
from protogen.net.net import Net, load
from protogen.onnx.flow import RESTING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx import Model, Preprocessing, Program, Step

    Source = Net | Model | Program | str | Path | tuple[str | Path, str | Path | None]
    Arrays = dict[str, NDArray[Any]]
    Lengths = tuple[int | None, ...]


class Side:
    """One of the two models."""

    def __init__(self, source: Source, state: Reading | None = None) -> None:
        from protogen.onnx import Program, load_model, steps
        from protogen.running.runtime import check_room

        self.net: Net | None = None
        self.program: Program | None = None
        self.model: Any = None
        if isinstance(source, Net):
            self.net = source
        elif isinstance(source, tuple):
            self.net = load(*source, **(state or {}))
        elif isinstance(source, Program):
            self.program = source
        elif isinstance(source, (str, Path)):
            self.model = load_model(source)
        else:
            self.model = source
        if self.net is not None:
            check_room(self.net.graph)
        self._layers: dict[str, Layer] = {}
        self._steps: dict[str, Step] = {}
        for layer in self.net.layers if self.net is not None else ():
            self._layers.update(dict.fromkeys(layer.writes, layer))
        for step in steps(self.program or self.model) if self.net is None else ():
            self._steps.update(dict.fromkeys(step.writes, step))

    def inputs(self) -> dict[str, Lengths]:
        """Shapes of the inputs by name, None for a free axis."""
        from protogen.onnx import input_shapes

        if self.net is not None:
            return {name: self.net.graph.shapes[name] or () for name in self.net.inputs}
        if self.program is not None:
            return {value.name: value.lengths for value in self.program.inputs}
        return input_shapes(self.model)

    def kinds(self) -> dict[str, str]:
        """Element types of inputs by name, as numpy calls them, where they are known."""
        from protogen.onnx import input_kinds

        return input_kinds(self.model) if self.model is not None else {}

    def outputs(self) -> list[str]:
        """What the model gives out; an input that it hands on is left out."""
        from protogen.onnx import output_names

        if self.net is not None:
            names: Iterable[str] = self.net.outputs
        elif self.program is not None:
            names = [value.name for value in self.program.outputs]
        else:
            names = output_names(self.model)
        fed = self.inputs()
        return [name for name in dict.fromkeys(names) if name not in fed]

    def values(self) -> list[str]:
        """Every value that can be looked at, in order."""
        from protogen.onnx import values

        if self.net is not None:
            inputs = set(self.net.inputs)
            made = [name for x in self.net.layers for name in x.writes if name not in inputs]
        elif self.program is not None:
            made = [name for node in self.program.nodes for name in node.writes]
        else:
            made = values(self.model)
        return list(dict.fromkeys([*made, *self.outputs()]))

    def maker(self, value: str) -> Layer | None:
        """The layer that makes a value; None where the model is no Caffe net."""
        return self._layers.get(value)

    def layer_of(self, value: str) -> str:
        """How messages call the layer that makes a value."""
        layer = self._layers.get(value)
        return layer.subject if layer is not None else ""

    def subject_of(self, value: str) -> str:
        """How messages call the layer or operator that makes a value."""
        made = self._layers.get(value) or self._steps.get(value)
        return made.subject if made is not None else "the model"

    def rests_at(self, value: str) -> tuple[float, ...]:
        """Where the value stands still however far what it is made of goes."""
        layer = self._layers.get(value)
        kind = kind_of(layer) if layer is not None else None
        if layer is not None and kind is not None:
            return kind.rests_at(layer)
        step = self._steps.get(value)
        return RESTING.get(step.op_type, ()) if step is not None else ()

    def opened(self, blobs: Sequence[str]) -> tuple[Callable[[Arrays], Arrays], set[str]]:
        """What computes these values, and which of them follow from the inputs' numbers."""
        from protogen.onnx import exposed, exposing, fed_by_inputs, lower
        from protogen.onnx.session import open_model
        from protogen.running.runtime import opened

        if self.net is None and self.program is None:
            wide = exposed(self.model, blobs)
            return open_model(wide.SerializeToString(), blobs), fed_by_inputs(wide)
        if self.net is not None:
            program = lower(self.net, outputs=blobs, fold=False)
        else:
            assert self.program is not None
            program = exposing(self.program, blobs)
        run, needed = opened(program), [value.name for value in program.inputs]
        return (lambda own: run({name: own[name] for name in needed})), fed_by_inputs(program)


class Feeder:
    """Draws the same arrays for both sides, under the names that each has for its inputs.

    Args:
        sides: the two models.
        given: arrays by the first's names, which are taken as they are.
        names: the second's names of inputs by the first's, where they differ.
    """

    def __init__(
        self,
        sides: tuple[Side, Side],
        given: Mapping[str, NDArray[Any]],
        names: Mapping[str, str],
    ) -> None:
        import numpy as np

        self._sides = sides
        mine, theirs = (side.inputs() for side in sides)
        self.pairs = _paired(mine, theirs, names)
        self._shapes: dict[str, Shape] = {}  # by the first's name, or the second's for those alone
        for a, b in self.pairs:
            fixed = _common(mine.get(a), theirs.get(b))
            if fixed is None:
                raise _differ(mine, theirs)
            self._shapes[a or b] = fixed
        for name in given:
            if name not in mine:
                raise InputError("there is no such input", subject=f'"{name}"')
        self._given = {
            name: np.asarray(array, np.float32, order="C") for name, array in given.items()
        }

    @property
    def fixed(self) -> bool:
        """Whether every input is given, so that there is nothing to draw."""
        return self._given.keys() >= self._shapes.keys()

    def draw(self, seed: int, scale: float) -> list[Arrays]:
        """Arrays for the first and for the second side; ``scale`` is that of numbers that may be
        any."""
        from protogen.running.drawing import random_inputs, wanted_inputs

        wanted: dict[str, NDArray[Any]] = {}
        kinds: dict[str, str] = {}
        for place, side in reversed(list(enumerate(self._sides))):
            own = {pair[place]: pair[0] or pair[1] for pair in self.pairs if pair[place]}
            kinds |= {own[name]: kind for name, kind in side.kinds().items()}
            if side.net is not None:
                drawn = wanted_inputs(side.net.graph, seed)
                wanted |= {own[name]: array for name, array in drawn.items()}
        wanted = {n: array for n, array in wanted.items() if array.shape == self._shapes[n]}
        arrays = random_inputs(self._shapes, seed, wanted, scale=scale, kinds=kinds)
        arrays |= self._given
        return [
            {pair[place]: arrays[pair[0] or pair[1]] for pair in self.pairs if pair[place]}
            for place in (0, 1)
        ]


class PreprocessedFeeder(Feeder):
    """For a model that holds a preprocessing: the net is fed with the same steps done in numpy."""

    def __init__(self, sides: tuple[Side, Side], how: Preprocessing, net: Net) -> None:
        self._how = how
        self._own = {name: net.graph.shapes[name] or () for name in net.inputs}
        self._name = how.input_of(self._own)
        super().__init__((sides[0], sides[0]), {}, {})

    def draw(self, seed: int, scale: float) -> list[Arrays]:
        own = super().draw(seed, scale)[0]
        pixels = self._how.random(self._own[self._name], seed)
        pixels = (pixels * min(scale, 1.0)).astype(pixels.dtype)
        return [{**own, self._name: self._how.apply(pixels)}, {**own, self._name: pixels}]


def _paired(
    mine: Mapping[str, Lengths], theirs: Mapping[str, Lengths], names: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Inputs by name; the one that is left on each side is the same. An input that only one side
    has is alone (the other name is empty): what it is for shows in the outputs.

    Raises:
        InputError: several are left on both sides.
    """
    pairs = [(name, names.get(name, name)) for name in mine if names.get(name, name) in theirs]
    left = [name for name in mine if name not in dict(pairs)]
    found = {b for _, b in pairs}
    right = [name for name in theirs if name not in found]
    if len(left) == len(right) == 1:
        return [*pairs, (left[0], right[0])]
    if left and right:
        raise _differ(mine, theirs)
    return [*pairs, *((name, "") for name in left), *(("", name) for name in right)]


def _differ(mine: Mapping[str, Lengths], theirs: Mapping[str, Lengths]) -> InputError:
    found = [
        ", ".join(f"{n} {shape_text('?' if i is None else i for i in s)}" for n, s in x.items())
        for x in (mine, theirs)
    ]
    return InputError(
        f"the inputs differ: {found[0] or 'none'} against {found[1] or 'none'}",
        advice="Compare models of one shape; preprocessing in one of them must be left out.",
    )


def _common(a: Lengths | None, b: Lengths | None) -> Shape | None:
    """The shape that fits both; axes that are free in both have length 1."""
    a, b = (b if a is None else a), (a if b is None else b)
    if a is None or b is None or len(a) != len(b):
        return None
    if any(x != y and None not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(
        1 if (n := y if x is None else x) is None else n for x, y in zip(a, b, strict=True)
    )
