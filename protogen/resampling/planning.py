"""Chooses a plan: every strategy with every correction, within the limits, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product as pairs_of

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.resampling.emit import emit
from protogen.resampling.request import Problem, ResizeRequest, equal
from protogen.resampling.stages import Chain
from protogen.resampling.steps import Form, Step
from protogen.resampling.strategies import CORRECTIONS, STRATEGIES, Strategy, corrected, uncorrected
from protogen.toolchains.limits import UNLIMITED, Limits

MOVE = 4  # a value written to memory costs about as much as this many multiply-adds
_FORMS = (Form(), Form("dense"), Form("split"))
_MIXES = (Form(), Form(mixing="reshape"))
_SPARE = 8  # how much larger pads, or how many kernels with zeros behind them, are tried
APPROXIMATE = "approximate"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to do it. ``bound`` is the error for data in [-1, 1] that follows from its
    matrices, 0 where it is exact."""

    label: str
    chains: tuple[Chain, Chain]
    form: Form
    steps: tuple[Step, ...]
    bound: float = 0.0

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)

    @property
    def work(self) -> int:
        """Multiply-adds, and values written as so many of them."""
        return self.multiply_adds + MOVE * sum(step.values for step in self.steps)


@dataclass(frozen=True)
class StrategyOutcome:
    """What became of a strategy: the reason why it was not taken, or its cost."""

    label: str
    reason: str
    layers: int = 0
    multiply_adds: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """The plan that was chosen, all that work (cheapest first), and why the others do not."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    verdicts: tuple[StrategyOutcome, ...]


def labels() -> Iterator[str]:
    """Every strategy with each of its corrections."""
    for strategy in STRATEGIES:
        for correction in strategy.corrections:
            yield strategy.name + (f"+{correction}" if correction else "")
    yield APPROXIMATE


@lru_cache(maxsize=512)
def decide(
    request: ResizeRequest,
    strategy: str = "",
    limits: Limits = UNLIMITED,
    approximate: bool = False,
) -> Decision:
    """The cheapest exact plan within the limits; where there is none and ``approximate`` says
    so, the one with the smallest error.

    Cheapest is the one with the fewest layers, unless another needs less than half its work.

    Args:
        strategy: only this one: ``deconvolution``, or with its correction
            ``deconvolution+scale``, or ``approximate``.

    Raises:
        InputError: there is no such strategy.
        UnsupportedError: nothing exact is possible; the reasons are named.
    """
    _check_label(strategy)
    problems = (request.problem(0), request.problem(1))
    found: list[Candidate] = []
    verdicts: list[StrategyOutcome] = []
    for one in STRATEGIES:
        if not strategy or strategy.partition("+")[0] == one.name:
            made, reasons = _family(one, strategy, request, problems, limits)
            found += made
            verdicts += reasons
    found = _ranked(found)
    if not found and strategy in ("", APPROXIMATE):
        near = _approximations(request, problems, limits)
        if not near:
            verdicts.append(StrategyOutcome(APPROXIMATE, "nothing is within the limits"))
        elif approximate or strategy == APPROXIMATE:
            found = near
        else:
            bound = f"off by up to {near[0].bound:.3g} for data in [-1, 1]"
            verdicts.append(StrategyOutcome(near[0].label, f"{bound}; --approximate takes it"))
    if not found:
        raise _none(request, verdicts, limits)
    verdicts += _costs(found)
    return Decision(found[0], tuple(found), tuple(verdicts))


def _family(
    strategy: Strategy,
    wanted: str,
    request: ResizeRequest,
    problems: tuple[Problem, Problem],
    limits: Limits,
) -> tuple[list[Candidate], list[StrategyOutcome]]:
    """A strategy with each of its corrections; one verdict where all fail for one reason."""
    unfit = [
        f"{axis}: {reason}"
        for axis, problem in zip(("height", "width"), problems, strict=True)
        if (reason := strategy.unfit(problem))
    ]
    if strategy.name == "fraction" and any(
        all(r == 1 for r in rs) for rs in zip(*((p.p, p.q) for p in problems), strict=True)
    ):
        unfit = ["a whole factor needs no fraction"]
    if unfit:
        return [], [StrategyOutcome(strategy.name, unfit[0])]
    found: list[Candidate] = []
    verdicts: list[StrategyOutcome] = []
    for correction in strategy.corrections:
        label = strategy.name + (f"+{correction}" if correction else "")
        if wanted not in ("", label, strategy.name):
            continue
        made, reason = _try(strategy, correction, label, request, problems, limits)
        if made is None:
            verdicts.append(StrategyOutcome(label, reason))
        else:
            found.append(made)
    if not found and len({v.reason for v in verdicts}) == 1:
        verdicts = [StrategyOutcome(strategy.name, verdicts[0].reason)]
    return found, verdicts


def _try(
    strategy: Strategy,
    correction: str,
    label: str,
    request: ResizeRequest,
    problems: tuple[Problem, Problem],
    limits: Limits,
) -> tuple[Candidate | None, str]:
    """The cheapest candidate of a strategy and a correction, or the reason why there is none."""
    if request.size is None and (strategy.needs_size or correction in ("scale", "border")):
        return None, "the input's size is not known (give --input-shape)"
    spare = _spare(request, limits)
    options = [list(corrected(strategy, correction, problem, spare)) for problem in problems]
    for axis, chains, problem in zip(("height", "width"), options, problems, strict=True):
        if not chains:
            return None, f"{axis}: {_why_not(strategy, correction, problem)}"
    if correction and _needless(problems):
        return None, "the border needs no correction"
    best, reason = None, ""
    for i, j in _orders(len(options[0]), len(options[1])):
        made, why = _candidate(label, (options[0][i], options[1][j]), request, limits)
        reason = reason or why
        if made is not None and (best is None or made.work < best.work):
            best = made
    if best is None and limits.rules and strategy.name != "matrix":
        reason += "; kernels extended by zeros do not help"
    return best, reason


def _spare(request: ResizeRequest, limits: Limits) -> int:
    """Kernels extended by zeros are for targets, and for output lengths that fit any size."""
    return _SPARE if limits.rules or request.size is None else 0


def _orders(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Which chains of height and width to pair: all of a few; of many that differ by zeros alone,
    those that are extended alike, or along one axis."""
    for i, j in pairs_of(range(rows), range(columns)):
        if rows * columns <= 16 or i == j or 0 in (i, j):
            yield i, j


def _candidate(
    label: str,
    chains: tuple[Chain, Chain],
    request: ResizeRequest,
    limits: Limits,
    bound: float = 0.0,
) -> tuple[Candidate | None, str]:
    """The chains in the first form that is within the limits."""
    if chains[0].kinds != chains[1].kinds:
        return None, "height and width need layers of different types"
    reason = ""
    for form in _MIXES if label == "matrix" else _FORMS:
        if form != Form() and not limits.rules:
            break
        try:
            steps = emit(chains, request, form, name="x", bottom="data", top="x")
        except UnsupportedError as error:
            reason = reason or str(error)
            continue
        broken = limits.broken(steps)
        if not broken and steps:
            return Candidate(label, chains, form, steps, bound), ""
        if broken not in reason:
            reason += (
                ("; or " if reason else "") + broken if label == "matrix" or not reason else ""
            )
    return None, reason


def _why_not(strategy: Strategy, correction: str, problem: Problem) -> str:
    if correction and problem.inner.taps() is not None:
        return {
            "scale": "pixels at the border are no multiples of what the layers make",
            "power": "pixels at the border are not what remains divided by its weight",
            "border": "with a repeated border it is another function",
        }[correction]
    return strategy.why_not(problem)


def _needless(problems: tuple[Problem, Problem]) -> bool:
    return all(equal(p.wanted, p.inner.matrix) for p in problems)


def _ranked(found: list[Candidate]) -> list[Candidate]:
    """The cheapest first: fewest layers, unless another needs less than half the work."""
    made = sorted(found, key=lambda c: (len(c.steps), c.work))
    for other in made[1:]:
        if 2 * other.work < made[0].work:
            made.remove(other)
            made.insert(0, other)
    return made


def _approximations(
    request: ResizeRequest, problems: tuple[Problem, Problem], limits: Limits
) -> list[Candidate]:
    """Plans that count the outside as 0, the smallest error first."""
    spare = _spare(request, limits)
    found: list[Candidate] = []
    for strategy in STRATEGIES:
        # matrices have no border: they are exact or out of the limits
        if strategy.needs_size or any(strategy.unfit(problem) for problem in problems):
            continue
        options = [list(uncorrected(strategy, problem, spare)) for problem in problems]
        for chains in pairs_of(options[0], options[1]):
            bound = _bound(chains, problems)
            label = f"{APPROXIMATE} {strategy.name}"
            one, _ = _candidate(label, chains, request, limits, bound)
            if one is not None:
                found.append(one)
    made: dict[str, Candidate] = {}
    for one in sorted(found, key=lambda c: (round(c.bound, 9), len(c.steps), c.work)):
        made.setdefault(one.label, one)
    return list(made.values())


def _bound(chains: tuple[Chain, Chain], problems: tuple[Problem, Problem]) -> float:
    """The largest error for data in [-1, 1], sought where each axis is at its worst."""
    import numpy as np

    rows = []
    for chain, problem in zip(chains, problems, strict=True):
        own = chain.matrix(problem.axis.size)
        worst = np.argsort(np.abs(own - problem.wanted).sum(axis=1))[-4:]
        rows.append([(own[i], problem.wanted[i]) for i in worst])
    return max(
        float(np.abs(np.outer(a, c) - np.outer(b, d)).sum()) for (a, b), (c, d) in pairs_of(*rows)
    )


def _costs(found: list[Candidate]) -> list[StrategyOutcome]:
    made = []
    for index, c in enumerate(found):
        fewer = len(c.steps) < len(found[0].steps)
        longer = "much more work" if fewer else "more layers"
        same = len(c.steps) == len(found[0].steps)
        reason = "chosen" if index == 0 else "more work" if same else longer
        if c.bound:
            reason += f", off by up to {c.bound:.3g} for data in [-1, 1]"
        made.append(StrategyOutcome(c.label, reason, len(c.steps), c.multiply_adds))
    return made


def _check_label(strategy: str) -> None:
    known = [*labels(), *(s.name for s in STRATEGIES)]
    if strategy and strategy not in known:
        raise InputError(
            f"{strategy!r} is not known",
            subject="strategy",
            advice=did_you_mean(strategy, known)
            or f"Known are {', '.join(s.name for s in STRATEGIES)}, each with "
            f"{', '.join('+' + c for c in CORRECTIONS if c)}; and {APPROXIMATE}.",
        )


def _none(
    request: ResizeRequest, verdicts: list[StrategyOutcome], limits: Limits
) -> UnsupportedError:
    lines = [f"  {v.label}: {v.reason}" for v in verdicts]
    within = f" within the limits of {limits.name or 'the target'}" if limits.rules else ""
    more = "Give --input-shape: more is possible for a known size." if request.size is None else ""
    problem = f"no exact plan of stock layers{within}"
    return UnsupportedError(problem, subject="resize", advice=more, lines=lines)
