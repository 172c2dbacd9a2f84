"""Comparison of two models on the same inputs, blob by blob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen._late import Shown
from protogen.converting.proving import BlobDifference, Proof, causes, difference
from protogen.converting.sides import Feeder, PreprocessedFeeder, Side
from protogen.converting.trials import trials
from protogen.errors import InputError, MismatchError, ProtogenWarning, did_you_mean, quantity, warn
from protogen.formats.prototxt import source_of
from protogen.geometry import shape_text
from protogen.net.build import Reading
from protogen.net.net import Net
from protogen.net.rules import is_usual, stages_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.converting.sides import Arrays, Source
    from protogen.onnx import Preprocessing, Program

    Sides = tuple[Side, Side]
    Pairs = list[tuple[str, str]]

TOLERANCE = (
    1e-4  # relative to a blob's largest magnitude; rounding errors of a hundred layers are smaller
)
HALF_TOLERANCE = 2e-2  # float16 weights have an error of 5e-4 each, which adds up in a deep net


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Shown):
    """Result of a comparison.

    Attributes:
        rows: all blobs that both models have, in the first model's order; then the outputs that
            only one model has.
        tolerance: the largest relative error that passes.
        cause: why the first blob that differs does so; empty if unknown.
        tried: seed and scale of each input.
    """

    rows: list[BlobDifference]
    tolerance: float
    cause: str = ""
    tried: tuple[tuple[int, float], ...] = ()

    @property
    def first(self) -> BlobDifference | None:
        """The first blob that differs by more than the tolerance, or that only one model has."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((row.relative for row in self.rows if row.relative is not None), default=0.0)

    @property
    def unproved(self) -> list[BlobDifference]:
        """Blobs that agree but prove nothing."""
        return [row for row in self.rows if row.unproved]

    @property
    def proved(self) -> bool:
        """Whether all blobs agree and at least one proves something."""
        return self.first is None and len(self.unproved) < len(self.rows)

    def plain(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
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
    """Run two models on the same inputs and compare every blob that has the same name in both.

    Random inputs are in the range that the layers expect. Two inputs are tried, and inputs of other
    scales for blobs that do not depend on the input so far. Such blobs prove nothing; the result
    states the reason.

    Args:
        a, b: a Net, an ONNX model, the path of an ONNX file, or (prototxt, caffemodel).
        feeds: arrays by input name; the other inputs are random.
        seed: the seed of the first input; each further input has the next seed.
        tolerance: the largest error relative to the blob's largest magnitude in ``a``.
        check: raise an error if the models differ or nothing is proved; else only return the
            result.
        outputs: blobs that both models must have; by default, all outputs of both.
        names: names in ``b`` of values of ``a``, where they differ; empty: not compared.
        state: phase, level, stages, identities, ignored_fields and dialect for nets that are read
            from files. A stage applies to nets whose rules name it, a field to nets that set it.

    Raises:
        MismatchError: a blob differs by more than the tolerance, an output exists in one model
            only, or nothing is proved; ``table`` is the Comparison.
        InputError: the models have different inputs, or ``a`` has no such output.

    Warns:
        ProtogenWarning: the blobs agree, but some of them prove nothing.
    """
    states = _readings(a, b, state)
    sides = Side(a, states[0]), Side(b, states[1])
    feeder = Feeder(sides, feeds or {}, names or {})
    return _compare(sides, feeder, seed, tolerance, check, outputs, names or {})


def _readings(a: Source, b: Source, state: Reading) -> list[Reading]:
    """Return the reading options of each model, without the stages that only the other model's
    rules name and without the fields that only the other model's text has."""
    paths = [side[0] for side in (a, b) if isinstance(side, tuple)]
    if not paths and not is_usual(state):
        raise InputError(
            "phase, level and stages apply only to nets that are read from a prototxt",
            advice="Leave them out.",
        )
    stages = state.get("stages", ())
    named = {stage for path in paths for stage in stages_named(path, stages)}
    fields = state.get("ignored_fields", ())
    texts = [source_of(path).text for path in paths]
    readings: list[Reading] = []
    for side in (a, b):
        own_stages = stages_named(side[0], stages) if isinstance(side, tuple) else []
        text = source_of(side[0]).text if isinstance(side, tuple) and fields else ""
        own_fields = [
            one for one in fields if _last(one) in text or not any(_last(one) in t for t in texts)
        ]
        chosen = [s for s in stages if s in own_stages or s not in named]
        readings.append({**state, "stages": chosen, "ignored_fields": own_fields})
    return readings


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
    """Compare a written model with the net that it was converted from.

    Args:
        net: the net.
        model: the written model.
        how: the preprocessing in the model; numpy applies the same steps to the net's inputs.
        outputs: the blobs at which the net was cut, if any.
        seed, tolerance: see ``verify``.

    Raises:
        MismatchError: a blob differs by more than the tolerance, or nothing is proved.

    Warns:
        ProtogenWarning: the blobs agree, but some of them prove nothing.
    """
    sides = Side(net), Side(model)
    feeder = Feeder(sides, {}, {}) if how is None else PreprocessedFeeder(sides, how, net)
    return _compare(sides, feeder, seed, tolerance, True, outputs, {})


def compare_sides(
    a: Side,
    b: Side,
    outputs: Sequence[str],
    seed: int,
    tolerance: float,
    feeder: Feeder | None = None,
) -> Comparison:
    """Compare two sides with the same inputs, by default random ones; see ``verify``."""
    feeder = feeder or Feeder((a, b), {}, {})
    return _compare((a, b), feeder, seed, tolerance, True, outputs, {})


def compare_outputs(
    net: Net, feeds: Arrays, theirs: Mapping[str, NDArray[Any]], tolerance: float
) -> Comparison:
    """Compare outputs that another program computed with the net's own outputs.

    Raises:
        MismatchError: an output differs by more than the tolerance.
    """
    from protogen.running.runtime import run

    side = Side(net)
    outputs = run(net, feeds, list(theirs))
    rows = [
        difference(name, side.layer_of(name), outputs[name], array, tolerance)
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
    pairs, unpaired = _pairs(sides, outputs, names)
    if not pairs:
        result = Comparison(unpaired, tolerance)
        _raise_or_warn(result, check)
        return result
    evaluators = [side.evaluator([pair[i] for pair in pairs]) for i, side in enumerate(sides)]
    dependent = {a for a, b in pairs if a in evaluators[0][1] and b in evaluators[1][1]}
    single = feeder.is_fixed or not dependent
    proofs = [
        Proof(a, b, sides[0].layer_of(a), a in dependent, sides[0].saturation(a), tolerance, single)
        for a, b in pairs
    ]
    tried: list[tuple[int, float]] = []
    cause = ""

    def unproved() -> bool:
        return any(proof.reason for proof in proofs)

    for trial in trials(sides, [run for run, _ in evaluators], feeder, seed, single, unproved):
        open_proofs = [proof for proof in proofs if len(tried) < 2 or proof.reason]
        tried.append((trial.seed, trial.scale))
        for proof in open_proofs:
            proof.add(trial.first[proof.blob], trial.second[proof.other])
        if any(proof.failed for proof in open_proofs):
            cause = _find_cause(sides[0], proofs, trial.feeds, trial.second, tolerance)
            break
        del trial  # its values take memory while the next ones are computed
    result = Comparison([*_rows(sides, proofs), *unpaired], tolerance, cause, tuple(tried))
    _raise_or_warn(result, check)
    return result


def _find_cause(
    side: Side, proofs: Sequence[Proof], feeds: Arrays, theirs: Arrays, tolerance: float
) -> str:
    """Return the likely cause of the first difference."""
    from protogen.converting.mistakes import likely_cause

    if side.net is None:
        return ""
    first = next(proof for proof in proofs if proof.failed)
    agreeing = {proof.blob for proof in proofs if not proof.failed}
    return likely_cause(side.net, feeds, first.blob, theirs[first.other], agreeing, tolerance)


def _rows(sides: Sides, proofs: Sequence[Proof]) -> list[BlobDifference]:
    """Return the difference of each blob, with the reason if the blob proves nothing."""
    rows = [proof.row for proof in proofs if proof.row is not None]
    if any(not row.passed for row in rows):
        return rows
    # Look for causes in the Caffe net if one of the two models is one.
    index = 1 if sides[0].net is None and sides[1].net is not None else 0
    proofs_by_name = {(proof.blob, proof.other)[index]: proof for proof in proofs}
    unproved = {name: proof for name, proof in proofs_by_name.items() if proof.reason}
    texts = causes(sides[index], unproved, proofs_by_name.keys() - unproved.keys())
    by_blob = {unproved[name].blob: text for name, text in texts.items()}
    return [replace(row, unproved=by_blob.get(row.blob, "")) for row in rows]


def _raise_or_warn(result: Comparison, check: bool) -> None:
    """Raise an error if the models differ or nothing is proved; warn about unproved blobs."""
    if not result.proved:
        if check:
            raise mismatch(result)
    elif result.unproved:
        row, count = result.unproved[0], len(result.unproved)
        others = f"; {count} of {len(result.rows)} blobs are unproved, and this is the first"
        warn(
            ProtogenWarning(
                f"agrees but is unproved: {row.unproved}{others if count > 1 else ''}",
                subject=f'blob "{row.blob}"',
            ),
        )


def mismatch(result: Comparison) -> MismatchError:
    """Return the error for the first blob that differs, or for blobs that prove nothing."""
    first = result.first
    if first is None:
        return _nothing_proved(result)
    count, total = sum(not row.passed for row in result.rows), len(result.rows)
    if first.only:
        return MismatchError(
            f"exists only in the {first.only} model",
            table=result,
            subject=f'output "{first.blob}"',
            advice="If the other model has it under another name, give --pair A=B. To compare "
            "other outputs only, give --blob.",
        )
    text = f"{count} of {quantity(total, 'blob')} "
    text += "differs" if count == 1 else "differ, and this is the first"
    after = f" after {first.layer}" if first.layer else ""
    if first.relative is not None:
        size = f"{first.relative:.2g} of its largest value"
        problem = f"differs by {size}{after}, but the tolerance is {result.tolerance:g}"
    elif first.shapes[0] == first.shapes[1]:
        problem = f"has NaN or infinite values at different positions in the two models{after}"
    else:
        shape, expected = (shape_text(shape or ()) for shape in first.shapes[::-1])
        problem = f"has the shape {shape}, expected {expected}{after}"
    return MismatchError(
        f"{problem}; {text}",
        table=result,
        subject=f'blob "{first.blob}"',
        advice=f"Likely cause: {result.cause}." if result.cause else "",
    )


def _nothing_proved(result: Comparison) -> MismatchError:
    rows = result.unproved
    if not rows:
        return MismatchError(
            "nothing is proved: the models have no blob of the same name", table=result
        )
    count = f"{len(rows)} blobs" if len(rows) > 1 else f'blob "{rows[0].blob}"'
    return MismatchError(
        f"nothing is proved: {count} would agree whatever the models compute, because "
        f"{rows[0].unproved}",
        table=result,
    )


def _pairs(
    sides: Sides, outputs: Sequence[str], names: Mapping[str, str]
) -> tuple[Pairs, list[BlobDifference]]:
    """Return the pairs of values with the same name, and the outputs that only one model has.

    Raises:
        InputError: the first model has no such output, or a model has no value of a given name.
    """
    first, second = (side.values() for side in sides)
    if outputs and sides[0].net is not None:
        outputs = sides[0].net.graph.last(outputs)
    for name in outputs:
        if name not in first:
            advice = did_you_mean(name, first)
            raise InputError("unknown blob", subject=f'"{name}"', advice=advice)
    second_names = set(second)
    renamed = ((a, b) for a, b in names.items() if b)
    for index, name in ((index, n) for pair in renamed for index, n in enumerate(pair)):
        if name not in (first, second_names)[index] and name not in sides[index].inputs():
            which = ("first", "second")[index]
            advice = did_you_mean(name, (first, second_names)[index])
            problem = f"unknown value of the {which} model"
            raise InputError(problem, subject=f'"{name}"', advice=advice)
    pairs = [
        (name, second_name)
        for name in first
        if (second_name := names.get(name, name)) in second_names
    ]
    paired = ({a for a, _ in pairs}, {b for _, b in pairs})
    lists = (outputs, ()) if outputs else (sides[0].outputs(), sides[1].outputs())
    unpaired = [
        BlobDifference(name, side.layer_of(name), (None, None), None, None, False, only)
        for side, only, names_of_pairs, listed in zip(
            sides, ("first", "second"), paired, lists, strict=True
        )
        for name in listed
        if name not in names_of_pairs
    ]
    return pairs, unpaired
