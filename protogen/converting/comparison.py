"""Two models on the same inputs, blob by blob."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen.converting.proving import BlobDifference, Proof, causes, difference
from protogen.converting.sides import Feeder, PreprocessedFeeder, Side
from protogen.errors import InputError, MismatchError, ProtogenWarning, did_you_mean
from protogen.formats.prototxt import source_of
from protogen.geometry import shape_text
from protogen.net.build import Reading
from protogen.net.net import Net, stages_named
from protogen.net.rules import is_usual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.converting.sides import Arrays, Source
    from protogen.onnx import Preprocessing, Program

    Sides = tuple[Side, Side]
    Pairs = list[tuple[str, str]]

TOLERANCE = 1e-4  # of a blob's largest magnitude: rounding through a hundred layers stays below
# Deviations of the inputs, one after the other: two for all blobs, the others for those that proved
# nothing yet. Small ones leave what saturates, large ones what a bias hides.
SCALES = (1.0, 1.0, 0.1, 10.0, 0.01, 100.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All blobs that both models have, in the first's order, then outputs that one model lacks.

    ``cause`` says why the first that differs does, where that is known. ``tried`` has the seed of
    each input and its scale.
    """

    rows: list[BlobDifference]
    tolerance: float
    cause: str = ""
    tried: tuple[tuple[int, float], ...] = ()

    @property
    def first(self) -> BlobDifference | None:
        """The first blob that differs by more than the tolerance, or that one model lacks."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((row.relative for row in self.rows if row.relative is not None), default=0.0)

    @property
    def unproved(self) -> list[BlobDifference]:
        """Blobs that agree and prove nothing."""
        return [row for row in self.rows if row.unproved]

    @property
    def proved(self) -> bool:
        """Whether all blobs agree, and one at least proves something."""
        return self.first is None and len(self.unproved) < len(self.rows)

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        first = self.first
        return {
            "passed": self.proved,
            "tolerance": self.tolerance,
            "seeds": [seed for seed, _ in self.tried],
            "scales": [scale for _, scale in self.tried],
            "compared": len(self.rows),
            "worst": self.worst,
            "first": first.blob if first else None,
            "cause": self.cause,
            "unproved": {row.blob: row.unproved for row in self.unproved},
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
    outputs: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    **state: Unpack[Reading],
) -> Comparison:
    """Runs two models on the same inputs and compares every blob that both name.

    Inputs are drawn within the range of the layers that read them. Two are tried, and others of other
    scales for blobs that are the same whatever the input is: those prove nothing, and the result
    says why.

    Args:
        a, b: a Net, an ONNX model, the path of an ONNX file, or prototxt and caffemodel.
        feeds: inputs by name that are taken as they are; the others are drawn.
        seed: of the first input's numbers; the next ones count on.
        tolerance: largest error, as a part of the blob's largest magnitude in ``a``.
        check: raise where they differ or nothing is proved; otherwise the result says so.
        outputs: blobs that both must have; all outputs of both where none is named.
        names: the names in ``b`` of values of ``a``, where they differ.
        state: phase, level, stages, identities, ignored_fields and dialect of nets that are read
            from files; a stage counts for those whose rules name it, a field for those that set it.

    Raises:
        MismatchError: a blob differs by more, one model lacks an output of the other, or nothing is
            proved; ``table`` is the Comparison.
        InputError: the inputs differ, or ``a`` has no such output.

    Warns:
        ProtogenWarning: blobs agree, but some of them prove nothing.
    """
    states = _states(a, b, state)
    sides = Side(a, states[0]), Side(b, states[1])
    feeder = Feeder(sides, feeds or {}, names or {})
    return _compare(sides, feeder, seed, tolerance, check, outputs, names or {})


def _states(a: Source, b: Source, state: Reading) -> list[Reading]:
    """What each side is read with: a stage that only the other's rules name, or a field that only the
    other's text has, is not for it."""
    paths = [side[0] for side in (a, b) if isinstance(side, tuple)]
    if not paths and not is_usual(state):
        raise InputError(
            "phase, level and stages are for nets that are read from a prototxt",
            advice="Leave them out.",
        )
    stages = state.get("stages", ())
    named = {stage for path in paths for stage in stages_named(path, stages)}
    fields = state.get("ignored_fields", ())
    texts = [source_of(path).text for path in paths]
    made: list[Reading] = []
    for side in (a, b):
        own = stages_named(side[0], stages) if isinstance(side, tuple) else []
        text = source_of(side[0]).text if isinstance(side, tuple) and fields else ""
        mine = [
            one for one in fields if _last(one) in text or not any(_last(one) in t for t in texts)
        ]
        chosen = [s for s in stages if s in own or s not in named]
        made.append({**state, "stages": chosen, "ignored_fields": mine})
    return made


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def verify_conversion(
    net: Net,
    model: Path | Program,
    how: Preprocessing | None,
    *,
    outputs: Sequence[str] = (),
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """A written model against the net that it was made from. ``how`` is the preprocessing that the
    model holds; the net is fed with the same steps done in numpy. ``outputs`` are the blobs that
    the net was cut to, where it was.

    Raises:
        MismatchError: a blob differs by more than the tolerance, or nothing is proved.

    Warns:
        ProtogenWarning: blobs agree, but some of them prove nothing.
    """
    sides = Side(net), Side(model)
    feeder = Feeder(sides, {}, {}) if how is None else PreprocessedFeeder(sides, how, net)
    return _compare(sides, feeder, seed, tolerance, True, outputs, {})


def compare_outputs(
    net: Net, feeds: Arrays, theirs: Mapping[str, NDArray[Any]], tolerance: float
) -> Comparison:
    """Outputs that another program computed against the net's own.

    Raises:
        MismatchError: one differs by more than the tolerance.
    """
    from protogen.running.runtime import run

    side = Side(net)
    mine = run(net, feeds, list(theirs))
    rows = [
        difference(name, side.layer_of(name), mine[name], array, tolerance)
        for name, array in theirs.items()
    ]
    result = Comparison(rows, tolerance)
    if result.first is not None:
        raise mismatch(result)
    return result


def _compare(
    sides: Sides,
    feeder: Feeder,
    seed: int,
    tolerance: float,
    check: bool,
    outputs: Sequence[str],
    names: Mapping[str, str],
) -> Comparison:
    pairs, alone = _pairs(sides, outputs, names)
    if not pairs:
        result = Comparison(alone, tolerance)
        _judge(result, check)
        return result
    ready = [side.opened([pair[i] for pair in pairs]) for i, side in enumerate(sides)]
    fed = {a for a, b in pairs if a in ready[0][1] and b in ready[1][1]}
    once = feeder.fixed or not fed
    proofs = [
        Proof(a, b, sides[0].layer_of(a), a in fed, sides[0].rests_at(a), tolerance, once)
        for a, b in pairs
    ]
    tried: list[tuple[int, float]] = []
    cause = ""
    for count, scale in enumerate(SCALES[: 1 if once else None]):
        waiting = [proof for proof in proofs if count < 2 or proof.reason]
        if not waiting:
            break
        tried.append((seed + count, scale))
        given = feeder.draw(seed + count, scale)
        values = [run(own) for (run, _), own in zip(ready, given, strict=True)]
        for proof in waiting:
            proof.take(values[0][proof.blob], values[1][proof.other])
        if any(proof.failed for proof in waiting):
            cause = _cause(sides[0], proofs, given[0], values[1], tolerance)
            break
    result = Comparison([*_rows(sides, proofs), *alone], tolerance, cause, tuple(tried))
    _judge(result, check)
    return result


def _cause(
    side: Side, proofs: Sequence[Proof], given: Arrays, theirs: Arrays, tolerance: float
) -> str:
    """Why the first that differs does."""
    from protogen.converting.mistakes import likely_cause

    if side.net is None:
        return ""
    first = next(proof for proof in proofs if proof.failed)
    agreeing = {proof.blob for proof in proofs if not proof.failed}
    return likely_cause(side.net, given, first.blob, theirs[first.other], agreeing, tolerance)


def _rows(sides: Sides, proofs: Sequence[Proof]) -> list[BlobDifference]:
    """What was found of each blob, with the cause where it proves nothing."""
    rows = [proof.row for proof in proofs if proof.row is not None]
    if any(not row.passed for row in rows):
        return rows
    # Causes are looked for in the net, where one of the two is one.
    place = 1 if sides[0].net is None and sides[1].net is not None else 0
    named = {(proof.blob, proof.other)[place]: proof for proof in proofs}
    unproved = {name: proof for name, proof in named.items() if proof.reason}
    told = causes(sides[place], unproved, named.keys() - unproved.keys())
    by_blob = {unproved[name].blob: text for name, text in told.items()}
    return [replace(row, unproved=by_blob.get(row.blob, "")) for row in rows]


def _judge(result: Comparison, check: bool) -> None:
    """Raises, or warns, as the result asks for."""
    if not result.proved:
        if check:
            raise mismatch(result)
    elif result.unproved:
        row, count = result.unproved[0], len(result.unproved)
        others = f"; {count} of {len(result.rows)} blobs are, this is the first"
        warnings.warn(
            ProtogenWarning(
                f"agrees, but is unproved: {row.unproved}{others if count > 1 else ''}",
                subject=f'blob "{row.blob}"',
            ),
            stacklevel=4,
        )


def mismatch(result: Comparison) -> MismatchError:
    """What a comparison found, told of the first blob that differs, or that proves nothing."""
    first = result.first
    if first is None:
        return _nothing(result)
    count, total = sum(not row.passed for row in result.rows), len(result.rows)
    if first.only:
        return MismatchError(
            f"only the {first.only} of the two models has it",
            table=result,
            subject=f'output "{first.blob}"',
            advice="Where the other has it under another name, say so with --pair A=B; --output "
            "names those that are to be compared.",
        )
    after = f" after {first.layer}" if first.layer else ""
    if first.relative is not None:
        problem = f"differs by {first.relative:.2g} of its largest value"
    elif first.shapes[0] == first.shapes[1]:
        problem = "is NaN or infinite at other places than it must be"
    else:
        found, wanted = (shape_text(shape or ()) for shape in first.shapes[::-1])
        problem = f"is {found}, but must be {wanted}"
    return MismatchError(
        f"{problem}{after}; {count} of {total} blobs do, this is the first",
        table=result,
        subject=f'blob "{first.blob}"',
        advice=f"Likely cause: {result.cause}." if result.cause else "",
    )


def _nothing(result: Comparison) -> MismatchError:
    rows = result.unproved
    if not rows:
        return MismatchError("nothing is proved: no blob has the same name in both", table=result)
    count = f"{len(rows)} blobs" if len(rows) > 1 else f'blob "{rows[0].blob}"'
    return MismatchError(
        f"nothing is proved, for {count} would agree whatever the models compute: {rows[0].unproved}",
        table=result,
    )


def _pairs(
    sides: Sides, outputs: Sequence[str], names: Mapping[str, str]
) -> tuple[Pairs, list[BlobDifference]]:
    """Values of one name, and outputs that only one of the two models has.

    Raises:
        InputError: the first has no output of such a name, or there is no value of a given name.
    """
    mine, theirs = (side.values() for side in sides)
    if outputs and sides[0].net is not None:
        outputs = sides[0].net.graph.last(outputs)
    for name in outputs:
        if name not in mine:
            advice = did_you_mean(name, mine)
            raise InputError("the model has no such blob", subject=f'"{name}"', advice=advice)
    there = set(theirs)
    for place, name in ((place, n) for pair in names.items() for place, n in enumerate(pair)):
        if name not in (mine, there)[place] and name not in sides[place].inputs():
            which = ("first", "second")[place]
            raise InputError(f"the {which} model has no such value", subject=f'"{name}"')
    pairs = [(name, other) for name in mine if (other := names.get(name, name)) in there]
    paired = ({a for a, _ in pairs}, {b for _, b in pairs})
    lists = (outputs, ()) if outputs else (sides[0].outputs(), sides[1].outputs())
    alone = [
        BlobDifference(name, side.layer_of(name), (None, None), None, None, False, only)
        for side, only, have, listed in zip(sides, ("first", "second"), paired, lists, strict=True)
        for name in listed
        if name not in have
    ]
    return pairs, alone
