"""Two models on the same input, blob by blob."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen.errors import InputError, MismatchError
from protogen.geometry import shape_text
from protogen.net.net import Net, load, stages_named
from protogen.net.rules import State, is_usual

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx import Model, Preprocessing, Program

    Source = Net | Model | Program | str | Path | tuple[str | Path, str | Path | None]
    Arrays = dict[str, NDArray[np.float32]]

TOLERANCE = 1e-4  # of a blob's largest magnitude: rounding through a hundred layers stays below


@dataclass(frozen=True, slots=True)
class BlobDifference:
    """One blob of both models: the largest absolute error, and that over the largest magnitude in
    the first. Both are None where the shapes differ."""

    blob: str
    layer: str
    shapes: tuple[Shape, Shape]
    largest: float | None
    relative: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All blobs that both models have, in the first's order. ``cause`` says why the first that
    differs does, where that is known."""

    rows: list[BlobDifference]
    tolerance: float
    cause: str = ""

    @property
    def first(self) -> BlobDifference | None:
        """The first blob that differs by more than the tolerance."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((row.relative for row in self.rows if row.relative is not None), default=0.0)

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        first = self.first
        return {
            "passed": first is None,
            "tolerance": self.tolerance,
            "worst": self.worst,
            "first": first.blob if first else None,
            "cause": self.cause,
            "blobs": [asdict(row) for row in self.rows],
        }


def verify(
    a: Source,
    b: Source,
    *,
    feeds: Mapping[str, NDArray[Any]] | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    check: bool = True,
    **state: Unpack[State],
) -> Comparison:
    """Runs two models on the same input and compares every blob that both name.

    Args:
        a, b: a Net, an ONNX model, the path of an ONNX file, or prototxt and caffemodel.
        feeds: inputs by name; standard normal numbers where it is left out.
        seed: of those numbers.
        tolerance: largest error, as a part of the blob's largest magnitude in ``a``.
        check: raise where they differ; otherwise the result says so.
        state: phase, level and stages of nets that are read from files; a stage counts for those
            whose rules name it.

    Raises:
        MismatchError: a blob differs by more; ``table`` is the Comparison.
        InputError: the inputs differ, or no blob has the same name in both.
    """
    states = _states(a, b, state)
    sides = _Side(a, states[0]), _Side(b, states[1])
    return _compare(sides, _feeds(sides, feeds, seed), tolerance, check)


def verify_conversion(
    net: Net,
    model: Path | Program,
    how: Preprocessing | None,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """A written model against the net that it was made from. ``how`` is the preprocessing that the
    model holds; the net is fed with the same steps done in numpy.

    Raises:
        MismatchError: a blob differs by more than the tolerance.
    """
    from protogen.running.runtime import random_inputs

    sides = _Side(net), _Side(model)
    shapes = {name: net.graph.shapes[name] or () for name in net.inputs}
    own = random_inputs(shapes, seed)
    arrays = dict(own)
    if how is not None:
        name = how.input_of(shapes)
        arrays[name] = how.random(shapes[name], seed)
        own[name] = how.apply(arrays[name])
    return _compare(sides, [own, arrays], tolerance, True)


def compare_outputs(
    net: Net, feeds: Arrays, theirs: Mapping[str, NDArray[Any]], tolerance: float
) -> Comparison:
    """Outputs that another program computed against the net's own.

    Raises:
        MismatchError: one differs by more than the tolerance.
    """
    from protogen.running.runtime import run

    side = _Side(net)
    mine = run(net, feeds, list(theirs))
    rows = [
        _difference(name, side.layer_of(name), mine[name], array, tolerance)
        for name, array in theirs.items()
    ]
    result = Comparison(rows, tolerance)
    if result.first is not None:
        raise mismatch(result, result.first)
    return result


def _compare(
    sides: tuple[_Side, _Side], given: list[Arrays], tolerance: float, check: bool
) -> Comparison:
    pairs = _pairs(sides)
    values = [side.run(given[i], [pair[i] for pair in pairs]) for i, side in enumerate(sides)]
    rows = [
        _difference(name, sides[0].layer_of(name), values[0][name], values[1][other], tolerance)
        for name, other in pairs
    ]
    result = Comparison(rows, tolerance)
    first = result.first
    if first is None:
        return result
    net = sides[0].net
    if net is not None:
        from protogen.converting.mistakes import likely_cause

        agreeing = {row.blob for row in rows if row.passed}
        found = values[1][dict(pairs)[first.blob]]
        cause = likely_cause(net, given[0], first.blob, found, agreeing, tolerance)
        result = Comparison(rows, tolerance, cause)
    if check:
        raise mismatch(result, first)
    return result


def mismatch(result: Comparison, first: BlobDifference) -> MismatchError:
    """What a comparison found, told of the first blob that differs."""
    if first.relative is None:
        found, wanted = (shape_text(shape) for shape in first.shapes[::-1])
        problem = f"is {found}, but must be {wanted}"
    else:
        problem = f"differs by {first.relative:.2g} of its largest value"
    where = f" after {first.layer}" if first.layer else ""
    count = sum(not row.passed for row in result.rows)
    advice = f"Likely cause: {result.cause}." if result.cause else ""
    return MismatchError(
        f"{problem}{where}; {count} of {len(result.rows)} blobs do, this is the first",
        table=result,
        subject=f'blob "{first.blob}"',
        advice=advice,
    )


class _Side:
    """One of the two models, whatever form it has."""

    def __init__(self, source: Source, state: State | None = None) -> None:
        from protogen.onnx import Program, load_model
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

    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        from protogen.onnx import input_shapes

        if self.net is not None:
            return {name: self.net.graph.shapes[name] or () for name in self.net.inputs}
        if self.program is not None:
            return {value.name: value.lengths for value in self.program.inputs}
        return input_shapes(self.model)

    def outputs(self) -> list[str]:
        from protogen.onnx import output_names

        if self.net is not None:
            return [name for name in self.net.outputs if name not in self.net.inputs]
        if self.program is not None:
            return [value.name for value in self.program.outputs]
        return output_names(self.model)

    def values(self) -> list[str]:
        """Every value that can be looked at, in order."""
        from protogen.onnx import values

        if self.net is not None:
            inputs = set(self.net.inputs)
            return [name for x in self.net.layers for name in x.writes if name not in inputs]
        if self.program is not None:
            return [name for node in self.program.nodes for name in node.writes]
        return values(self.model)

    def layer_of(self, value: str) -> str:
        """How messages call the layer that makes a value."""
        for layer in self.net.layers if self.net is not None else ():
            if value in layer.writes:
                return layer.subject
        return ""

    def run(self, own: Arrays, blobs: list[str]) -> Arrays:
        from protogen.onnx import exposing, lower
        from protogen.running.runtime import run, run_program

        if self.net is not None:
            program = lower(self.net, outputs=blobs, fold=False)
        elif self.program is not None:
            program = exposing(self.program, blobs)
        else:
            return run(self.model, own, blobs)
        needed = [value.name for value in program.inputs]
        return run_program(program, {name: own[name] for name in needed})


def _states(a: Source, b: Source, state: State) -> list[State]:
    """What each side is read with: a stage that only the other's rules name is not for it."""
    paths = [side[0] for side in (a, b) if isinstance(side, tuple)]
    if not paths and not is_usual(state):
        raise InputError(
            "phase, level and stages are for nets that are read from a prototxt",
            advice="Leave them out.",
        )
    stages = state.get("stages", ())
    named = {stage for path in paths for stage in stages_named(path, stages)}
    made: list[State] = []
    for side in (a, b):
        own = stages_named(side[0], stages) if isinstance(side, tuple) else []
        made.append({**state, "stages": [s for s in stages if s in own or s not in named]})
    return made


def _feeds(
    sides: tuple[_Side, _Side], feeds: Mapping[str, NDArray[Any]] | None, seed: int
) -> list[Arrays]:
    """The same arrays under the names that each side has for its inputs."""
    import numpy as np

    from protogen.running.runtime import random_inputs

    mine, theirs = (side.inputs() for side in sides)
    order = list(mine) if set(mine) == set(theirs) else list(theirs)
    fixed = {}
    for name, other in zip(mine, order, strict=False):
        fixed[name] = _common(mine[name], theirs[other])
    if len(mine) != len(theirs) or None in fixed.values():
        found = [
            ", ".join(
                f"{n} {'x'.join('?' if i is None else str(i) for i in s)}" for n, s in x.items()
            )
            for x in (mine, theirs)
        ]
        raise InputError(
            f"the inputs differ: {found[0]} against {found[1]}",
            advice="Compare models of one shape; preprocessing in one of them must be left out.",
        )
    arrays = random_inputs({name: shape or () for name, shape in fixed.items()}, seed)
    for name, array in (feeds or {}).items():
        if name not in mine:
            raise InputError("there is no such input", subject=f'"{name}"')
        arrays[name] = np.ascontiguousarray(array, np.float32)
    return [arrays, dict(zip(order, arrays.values(), strict=True))]


def _common(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> Shape | None:
    """The shape that fits both; axes that are free in both have length 1."""
    if len(a) != len(b) or any(x != y and None not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(x or y or 1 for x, y in zip(a, b, strict=True))


def _pairs(sides: tuple[_Side, _Side]) -> list[tuple[str, str]]:
    """Values to compare: those with one name, and the outputs in their order."""
    theirs = set(sides[1].values())
    pairs = [(name, name) for name in sides[0].values() if name in theirs]
    outputs = [side.outputs() for side in sides]
    if not {name for name, _ in pairs}.intersection(outputs[0]):
        if len(outputs[0]) != len(outputs[1]):
            raise InputError(
                "no output has the same name in both: "
                f"{', '.join(outputs[0])} against {', '.join(outputs[1])}"
            )
        pairs += zip(*outputs, strict=True)
    return pairs


def _difference(
    blob: str, layer: str, a: NDArray[Any], b: NDArray[Any], tolerance: float
) -> BlobDifference:
    import numpy as np

    if a.shape != b.shape:
        return BlobDifference(blob, layer, (a.shape, b.shape), None, None, False)
    scale = float(np.abs(a).max(initial=0.0))
    if np.array_equal(a, b, equal_nan=True):
        return BlobDifference(blob, layer, (a.shape, b.shape), 0.0, 0.0, True)
    largest = float(np.abs(a.astype(np.float64) - b).max(initial=0.0))
    relative = largest / scale if scale else float("inf")
    return BlobDifference(blob, layer, (a.shape, b.shape), largest, relative, relative <= tolerance)
