"""Written parts of a net or model, and the proof that the part and the rest compute what the whole does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen._late import Shown
from protogen.converting.comparison import Comparison, compare_sides
from protogen.converting.sides import Side
from protogen.errors import InputError
from protogen.geometry import shape_text
from protogen.net.net import Net

if TYPE_CHECKING:
    from protogen.converting.sides import Arrays, Lengths
    from protogen.geometry import Shape
    from protogen.onnx import Model

# A name and a shape, with a name for a free axis; None if the number of axes is unknown.
Value = tuple[str, tuple[int | str, ...] | None]


@dataclass(frozen=True, slots=True, repr=False)
class PartFile(Shown):
    """A written part of a net or model.

    Attributes:
        path: the prototxt or the ONNX model.
        weights: its caffemodel, or the file of its external data; None without one.
        inputs, outputs: names and shapes.
        layers: the layers of the whole that it has, by name; the operators of a model by their first
            output.
        multiply_adds: products of data and parameters; None for an ONNX model, or if they are unknown.
        weight_bytes: size of its weights.
        silenced: blobs of a net that only a Silence layer reads, which the part adds.
    """

    path: Path
    weights: Path | None
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[str, ...]
    multiply_adds: int | None
    weight_bytes: int
    silenced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Cut(Shown):
    """A net or model that was cut.

    Attributes:
        part: the part.
        rest: what was left out after its outputs; None if it is not written.
        layers: the number of layers or operators of the whole.
        multiply_adds: those of the whole; see ``PartFile``.
        checked: the result of ``verify``; None without it.
        twice: values that layers of both files compute, and that other layers of the rest read. As
            outputs of the part they are computed once.
        is_model: whether it is an ONNX model.
    """

    part: PartFile
    rest: PartFile | None
    layers: int
    multiply_adds: int | None
    checked: Comparison | None
    twice: tuple[str, ...] = ()
    is_model: bool = False

    @property
    def shared(self) -> tuple[str, ...]:
        """The layers or operators that both files have, because both need what they compute."""
        names = set(self.rest.layers) if self.rest else set()
        return tuple(name for name in self.part.layers if name in names)


@dataclass(frozen=True, slots=True)
class Runnable:
    """A part that can run.

    Attributes:
        model: the part.
        begins: the values of the whole that are its inputs, besides inputs of the whole, each with its
            name in the part.
        ends: the values of the whole that are its outputs, each with its name in the part.
    """

    model: Net | Model
    begins: Mapping[str, str]
    ends: Mapping[str, str]


def verify_parts(
    whole: Net | Model, parts: Sequence[Runnable], seed: int, tolerance: float
) -> Comparison:
    """Run a net or model, and its parts one after the other, on the same inputs, and compare the outputs of
    the parts.

    A part reads the outputs of the parts before it. A value that none of them computes is that of the
    whole.

    Raises:
        MismatchError: an output differs, or nothing is proved.
        UnsupportedError: a layer cannot run.
    """
    first = Side(whole)
    ends = [value for part in parts for value in part.ends]
    return compare_sides(first, _Joined(first, parts), ends, seed, tolerance)


class _Joined(Side):
    """Parts of a net or model that run one after the other, as one side of a comparison. The names of
    its values are those of the whole."""

    def __init__(self, whole: Side, parts: Sequence[Runnable]) -> None:
        super().__init__(parts[0].model)
        self.net = self.program = self.model = None
        self._whole = whole
        self._parts = parts
        self._sides: list[Side] = []

    def release(self) -> None:
        for side in (self._whole, *self._sides):
            side.release()

    def inputs(self) -> dict[str, Lengths]:
        return self._whole.inputs()

    def kinds(self) -> dict[str, str]:
        return self._whole.kinds()

    def outputs(self) -> list[str]:
        return [value for part in self._parts for value in part.ends]

    def values(self) -> list[str]:
        return self.outputs()

    def evaluator(self, blobs: Sequence[str]) -> tuple[Callable[[Arrays], Arrays], set[str]]:
        """Return a function that runs the parts, and which values depend on inputs."""
        computed: set[str] = set()
        taken: list[str] = []  # values that the whole computes for the parts
        for part in self._parts:
            taken += [value for value in part.begins if value not in computed]
            computed |= part.ends.keys()
        self._sides = [Side(part.model) for part in self._parts]
        runs = list(map(_run, self._parts, self._sides))
        front = self._whole.evaluator(taken)[0] if taken else None
        fed = self._whole.evaluator(blobs)[1]

        def run(arrays: Arrays) -> Arrays:
            known = {**arrays, **(front(arrays) if front else {})}
            result: Arrays = {}
            for part, evaluate in zip(self._parts, runs, strict=True):
                feeds = {**arrays, **{name: known[value] for value, name in part.begins.items()}}
                outputs = evaluate(feeds)
                new = {value: outputs[name] for value, name in part.ends.items()}
                known |= new
                result |= new
            return result

        return run, fed


def _run(part: Runnable, side: Side) -> Callable[[Arrays], Arrays]:
    """Return a function that computes the outputs of a part, by their names in it."""
    names = list(part.ends.values())
    values = side.net.graph.last(names) if side.net is not None else names
    evaluate, needed = side.evaluator(values)[0], side.inputs()

    def run(feeds: Arrays) -> Arrays:
        for name, lengths in needed.items():
            _check_shape(name, feeds[name].shape, lengths)
        outputs = evaluate({name: feeds[name] for name in needed})
        return {name: outputs[value] for name, value in zip(names, values, strict=True)}

    return run


def _check_shape(name: str, actual: Shape, lengths: Lengths) -> None:
    """Check that a part takes an input of this shape."""
    fits = len(actual) == len(lengths) and all(
        b in (None, a) for a, b in zip(actual, lengths, strict=True)
    )
    if not fits:
        expected = shape_text("?" if length is None else length for length in lengths)
        raise InputError(
            f"the whole gives it the shape {shape_text(actual)}, but the part expects {expected}",
            subject=f'input "{name}"',
            advice="Give the shapes of the inputs of the whole with --input-shape, too.",
        )
