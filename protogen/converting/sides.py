"""The two models of a comparison, in any form (net, program, ONNX model), and their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, did_you_mean
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.net.build import Reading
from protogen.net.net import Net, load
from protogen.onnx.flow import RESTING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.onnx import Model, Preprocessing, Program, Step
    from protogen.running.runtime import Runner

    Source = Net | Model | Program | str | Path | tuple[str | Path, str | Path | None]
    Arrays = dict[str, NDArray[Any]]
    Lengths = tuple[int | None, ...]


class Side:
    """One of the two models of a comparison.

    Args:
        source: the model.
        state: options for a net that is read from files.

    Large weights stay in their file: a side runs few times, and copies of the weights would take memory.
    """

    def __init__(self, source: Source, state: Reading | None = None) -> None:
        from protogen.onnx import Program, load_mapped, steps
        from protogen.onnx.constants import check_constants
        from protogen.running.runtime import check_room

        self._arrays: Mapping[str, NDArray[Any]] = {}  # constants that the model lacks
        self._runners: list[Runner] = []
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
            self.model, self._arrays = load_mapped(source)
        else:
            check_constants(source, "")
            self.model = source
        if self.net is not None:
            check_room(self.net.graph)
        self._layers: dict[str, Layer] = {}
        self._steps: dict[str, Step] = {}
        for layer in self.net.layers if self.net is not None else ():
            self._layers.update(dict.fromkeys(layer.writes, layer))
        for step in steps(self.program or self.model) if self.net is None else ():
            self._steps.update(dict.fromkeys(step.writes, step))

    def release(self) -> None:
        """Free the memory of large weights; the next run reads them again."""
        for runner in self._runners:
            runner.release()

    def inputs(self) -> dict[str, Lengths]:
        """Return the shapes of the inputs by name, None for a free axis."""
        from protogen.onnx import input_shapes

        if self.net is not None:
            return {name: self.net.graph.shapes[name] or () for name in self.net.inputs}
        if self.program is not None:
            return {value.name: value.lengths for value in self.program.inputs}
        return input_shapes(self.model)

    def kinds(self) -> dict[str, str]:
        """Return the inputs' element types by name, as numpy type names, where known."""
        from protogen.onnx import input_kinds

        return input_kinds(self.model) if self.model is not None else {}

    def outputs(self) -> list[str]:
        """Return the outputs; an output that is also an input is left out."""
        from protogen.onnx import output_names

        if self.net is not None:
            names: Iterable[str] = self.net.outputs
        elif self.program is not None:
            names = [value.name for value in self.program.outputs]
        else:
            names = output_names(self.model)
        inputs = self.inputs()
        return [name for name in dict.fromkeys(names) if name not in inputs]

    def values(self) -> list[str]:
        """Return every value that can be compared, in order."""
        from protogen.onnx import values

        if self.net is not None:
            inputs = set(self.net.inputs)
            names = [name for x in self.net.layers for name in x.writes if name not in inputs]
        elif self.program is not None:
            names = [name for node in self.program.nodes for name in node.writes]
        else:
            names = values(self.model)
        return list(dict.fromkeys([*names, *self.outputs()]))

    def producer(self, value: str) -> Layer | None:
        """Return the layer that produces a value; None if the model is not a Caffe net."""
        return self._layers.get(value)

    def layer_of(self, value: str) -> str:
        """Return the name in messages of the layer that produces a value; empty if unknown."""
        layer = self._layers.get(value)
        return layer.subject if layer is not None else ""

    def subject_of(self, value: str) -> str:
        """Return the name in messages of the layer or operator that produces a value."""
        producer = self._layers.get(value) or self._steps.get(value)
        return producer.subject if producer is not None else "the model"

    def saturation(self, value: str) -> tuple[float, ...]:
        """Return the numbers at which a value saturates, such as 0 and 1 for a sigmoid."""
        layer = self._layers.get(value)
        kind = kind_of(layer) if layer is not None else None
        if layer is not None and kind is not None:
            return kind.rests_at(layer)
        step = self._steps.get(value)
        return RESTING.get(step.op_type, ()) if step is not None else ()

    def evaluator(self, blobs: Sequence[str]) -> tuple[Callable[[Arrays], Arrays], set[str]]:
        """Return a function that computes these values, and which of them depend on inputs."""
        from protogen.onnx import exposed, exposing, fed_by_inputs, lower
        from protogen.running.runtime import opened, opened_model

        if self.net is None and self.program is None:
            model = exposed(self.model, blobs)
            self._runners.append(opened_model(model, self._arrays, blobs))
            return self._runners[-1], fed_by_inputs(model)
        if self.net is not None:
            program = lower(self.net, outputs=blobs, fold=False)
        else:
            assert self.program is not None
            program = exposing(self.program, blobs)
        run, needed = opened(program), [value.name for value in program.inputs]
        self._runners.append(run)
        return (lambda arrays: run({name: arrays[name] for name in needed})), fed_by_inputs(program)


class Feeder:
    """Draws the same random inputs for both models, under the input names of each model.

    Args:
        sides: the two models.
        feeds: arrays by input name of the first model; they replace random inputs.
        names: input names of the second model by those of the first, where they differ.
    """

    def __init__(
        self,
        sides: tuple[Side, Side],
        feeds: Mapping[str, NDArray[Any]],
        names: Mapping[str, str],
    ) -> None:
        import numpy as np

        self._sides = sides
        first, second = (side.inputs() for side in sides)
        self.pairs = _pair_inputs(first, second, names)
        self._shapes: dict[
            str, Shape
        ] = {}  # by the name in the first model, or the second if only that has it
        for a, b in self.pairs:
            shape = _common_shape(first.get(a), second.get(b))
            if shape is None:
                raise _input_error(first, second)
            self._shapes[a or b] = shape
        for name in feeds:
            if name not in first:
                raise InputError(
                    f"unknown input of the first model (inputs: {', '.join(first) or 'none'})",
                    subject=f'"{name}"',
                    advice=did_you_mean(name, first),
                )
        self._feeds = {
            name: np.asarray(array, np.float32, order="C") for name, array in feeds.items()
        }

    @property
    def is_fixed(self) -> bool:
        """Whether ``feeds`` has every input, so that no random input is drawn."""
        return self._feeds.keys() >= self._shapes.keys()

    def draw(self, seed: int, scale: float) -> list[Arrays]:
        """Return the arrays for the first and for the second model.

        ``scale`` is the standard deviation of inputs that can be any number.
        """
        from protogen.running.drawing import random_inputs, wanted_inputs

        wanted: dict[str, NDArray[Any]] = {}
        kinds: dict[str, str] = {}
        for place, side in reversed(list(enumerate(self._sides))):
            first_names = {pair[place]: pair[0] or pair[1] for pair in self.pairs if pair[place]}
            kinds |= {first_names[name]: kind for name, kind in side.kinds().items()}
            if side.net is not None:
                drawn = wanted_inputs(side.net.graph, seed)
                wanted |= {first_names[name]: array for name, array in drawn.items()}
        wanted = {n: array for n, array in wanted.items() if array.shape == self._shapes[n]}
        arrays = random_inputs(self._shapes, seed, wanted, scale=scale, kinds=kinds)
        arrays |= self._feeds
        return [
            {pair[place]: arrays[pair[0] or pair[1]] for pair in self.pairs if pair[place]}
            for place in (0, 1)
        ]


class PreprocessedFeeder(Feeder):
    """For a model that contains preprocessing: the net gets inputs preprocessed in numpy."""

    def __init__(self, sides: tuple[Side, Side], how: Preprocessing, net: Net) -> None:
        self._how = how
        self._shapes_of_net = {name: net.graph.shapes[name] or () for name in net.inputs}
        self._name = how.input_of(self._shapes_of_net)
        super().__init__((sides[0], sides[0]), {}, {})

    def draw(self, seed: int, scale: float) -> list[Arrays]:
        arrays = super().draw(seed, scale)[0]
        pixels = self._how.random(self._shapes_of_net[self._name], seed)
        pixels = (pixels * min(scale, 1.0)).astype(pixels.dtype)
        return [{**arrays, self._name: self._how.apply(pixels)}, {**arrays, self._name: pixels}]


def _pair_inputs(
    first: Mapping[str, Lengths], second: Mapping[str, Lengths], names: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Pair the inputs by name.

    If one input is left in each model, these two are a pair. An input that only one model has is
    paired with an empty name: if it matters, the outputs differ.

    Raises:
        InputError: several inputs are left in both models.
    """
    pairs = [(name, names.get(name, name)) for name in first if names.get(name, name) in second]
    left_first = [name for name in first if name not in dict(pairs)]
    paired = {b for _, b in pairs}
    left_second = [name for name in second if name not in paired]
    if len(left_first) == len(left_second) == 1:
        return [*pairs, (left_first[0], left_second[0])]
    if left_first and left_second:
        raise _input_error(first, second)
    return [*pairs, *((name, "") for name in left_first), *(("", name) for name in left_second)]


def _input_error(first: Mapping[str, Lengths], second: Mapping[str, Lengths]) -> InputError:
    texts = [
        ", ".join(f"{n} {shape_text('?' if i is None else i for i in s)}" for n, s in x.items())
        for x in (first, second)
    ]
    return InputError(
        f"the models have different inputs: {texts[0] or 'none'} and {texts[1] or 'none'}",
        advice="Compare models with the same input shapes and without preprocessing.",
    )


def _common_shape(a: Lengths | None, b: Lengths | None) -> Shape | None:
    """Return the shape that fits both; an axis that is free in both has length 1."""
    a, b = (b if a is None else a), (a if b is None else b)
    if a is None or b is None or len(a) != len(b):
        return None
    if any(x != y and None not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(
        1 if (n := y if x is None else x) is None else n for x, y in zip(a, b, strict=True)
    )
