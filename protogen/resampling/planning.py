"""Chooses the cheapest plan within the limits from all strategies and border corrections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product as pairs_of

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.resampling.emit import emit
from protogen.resampling.request import Problem, ResizeRequest, equal
from protogen.resampling.stages import Chain
from protogen.resampling.steps import Form, Step
from protogen.resampling.strategies import CORRECTIONS, STRATEGIES, Strategy, corrected, uncorrected
from protogen.toolchains.limits import UNLIMITED, Limits

WRITE_COST = 4  # writing a value to memory costs about as much as this many multiply-adds
_FORMS = (Form(), Form("dense"), Form("split"))
_MIXES = (
    Form(),
    Form(mixing="reshape"),
    Form(mixing="permute"),
    Form(mixing="onehot"),
    Form(mixing="permute", bias=True),
)
_EXTRA_PAD = 8  # how much larger than needed a pad may be, to get kernels extended with zeros
APPROXIMATE = "approximate"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One possible plan. ``bound`` is its largest error for data in [-1, 1]; 0 if it is exact.

    The bound is computed from the matrices.
    """

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
        """Multiply-adds, plus the written values at their cost in multiply-adds."""
        return self.multiply_adds + WRITE_COST * sum(step.values for step in self.steps)


@dataclass(frozen=True)
class StrategyOutcome:
    """Outcome of a strategy: the reason for or against it, and its cost if it has a plan."""

    label: str
    reason: str
    layers: int = 0
    multiply_adds: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """The chosen plan, all possible plans (cheapest first), and the outcome of every strategy."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    verdicts: tuple[StrategyOutcome, ...]


def labels() -> Iterator[str]:
    """Yield the labels of every strategy with each of its corrections."""
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
    """Choose the cheapest exact plan within the limits.

    The cheapest plan is the one with the fewest layers, unless another needs less than half of its
    work. If no exact plan exists and ``approximate`` is set, the plan with the smallest error is
    chosen.

    Args:
        strategy: the only strategy to try: ``deconvolution``, or with a correction
            ``deconvolution+scale``, or ``approximate``.

    Raises:
        InputError: the strategy is unknown.
        UnsupportedError: no exact plan exists; the message lists the reasons.
    """
    _check_label(strategy)
    problems = (request.problem(0), request.problem(1))
    candidates: list[Candidate] = []
    verdicts: list[StrategyOutcome] = []
    for family in STRATEGIES:
        if not strategy or strategy.partition("+")[0] == family.name:
            exact, reasons = _try_corrections(family, strategy, request, problems, limits)
            candidates += exact
            verdicts += reasons
    candidates = _ranked(candidates)
    if not candidates and strategy in ("", APPROXIMATE):
        approximations = _approximations(request, problems, limits)
        if not approximations:
            verdicts.append(StrategyOutcome(APPROXIMATE, "no plan is within the limits"))
        elif approximate or strategy == APPROXIMATE:
            candidates = approximations
        else:
            bound = f"error up to {approximations[0].bound:.3g} for data in [-1, 1]"
            verdicts.append(
                StrategyOutcome(approximations[0].label, f"{bound}; --approximate accepts it")
            )
    if not candidates:
        raise _no_plan_error(request, verdicts, limits)
    verdicts += _costs(candidates)
    return Decision(candidates[0], tuple(candidates), tuple(verdicts))


@lru_cache(maxsize=256)
def every_candidate(
    request: ResizeRequest, limits: tuple[Limits, ...] = ()
) -> tuple[Candidate, ...]:
    """Return every exact plan in each of its forms, the least work first.

    Args:
        limits: plans within each of these limits are added: some need kernels with more zeros.

    Raises:
        UnsupportedError: no exact plan exists; the message lists the reasons.
    """
    chosen: dict[tuple[str, str], Candidate] = {}
    for within in (UNLIMITED, *limits):
        for one in decide(request, limits=within).candidates:
            for form in _MIXES if one.label == "matrix" else _FORMS[:2]:
                try:
                    steps = emit(one.chains, request, form, name="x", bottom="data", top="x")
                except UnsupportedError:
                    continue
                key = (f"{one.label} {within.name}", str(form))
                chosen.setdefault(key, replace(one, form=form, steps=steps))
    return tuple(sorted(chosen.values(), key=lambda candidate: candidate.work))


def _try_corrections(
    strategy: Strategy,
    label_filter: str,
    request: ResizeRequest,
    problems: tuple[Problem, Problem],
    limits: Limits,
) -> tuple[list[Candidate], list[StrategyOutcome]]:
    """Try a strategy with each of its corrections.

    If all corrections fail for the same reason, they have one common outcome.
    """
    unfit = [
        f"{axis}: {reason}"
        for axis, problem in zip(("height", "width"), problems, strict=True)
        if (reason := strategy.unfit(problem))
    ]
    if strategy.name == "fraction" and any(
        all(term == 1 for term in terms)
        for terms in zip(*((p.p, p.q) for p in problems), strict=True)
    ):
        unfit = ["not needed for an integer factor"]
    if unfit:
        return [], [StrategyOutcome(strategy.name, unfit[0])]
    candidates: list[Candidate] = []
    verdicts: list[StrategyOutcome] = []
    for correction in strategy.corrections:
        label = strategy.name + (f"+{correction}" if correction else "")
        if label_filter not in ("", label, strategy.name):
            continue
        candidate, reason = _best_candidate(strategy, correction, label, request, problems, limits)
        if candidate is None:
            verdicts.append(StrategyOutcome(label, reason))
        else:
            candidates.append(candidate)
    if not candidates and len({v.reason for v in verdicts}) == 1:
        verdicts = [StrategyOutcome(strategy.name, verdicts[0].reason)]
    return candidates, verdicts


def _best_candidate(
    strategy: Strategy,
    correction: str,
    label: str,
    request: ResizeRequest,
    problems: tuple[Problem, Problem],
    limits: Limits,
) -> tuple[Candidate | None, str]:
    """Return the cheapest candidate of a strategy with a correction, or why there is none."""
    if request.size is None and (strategy.needs_size or correction in ("scale", "border")):
        return None, "the input size is unknown (give --input-shape)"
    if request.size is None and request.rounds_by_size:
        return None, "the nearest pixels depend on the input size (give --input-shape)"
    extra_pad = _extra_pad(request, limits)
    options = [list(corrected(strategy, correction, problem, extra_pad)) for problem in problems]
    for axis, chains, problem in zip(("height", "width"), options, problems, strict=True):
        if not chains:
            return None, f"{axis}: {_why_not(strategy, correction, problem)}"
    if correction and _needs_no_correction(problems):
        return None, "the border needs no correction"
    best, reason = None, ""
    for i, j in _pairings(len(options[0]), len(options[1])):
        candidate, candidate_reason = _candidate(
            label, (options[0][i], options[1][j]), request, limits
        )
        reason = reason or candidate_reason
        if candidate is not None and (best is None or candidate.work < best.work):
            best = candidate
    if best is None and limits.restricts and strategy.name != "matrix":
        reason += "; extending kernels with zeros does not help"
    return best, reason


def _extra_pad(request: ResizeRequest, limits: Limits) -> int:
    """Return the extra pad. Only limits and plans for any size need kernels extended with zeros."""
    return _EXTRA_PAD if limits.restricts or request.size is None else 0


def _pairings(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the index pairs of the chains of height and width to combine.

    With few chains these are all pairs. Many chains differ only in their zeros: then both chains
    are extended by the same amount, or only one of them is.
    """
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
    """Return the chains in the first form that is within the limits, or why there is none."""
    if chains[0].kinds != chains[1].kinds:
        return None, "height and width need layers of different types"
    reason = ""
    for form in _MIXES if label == "matrix" else _FORMS:
        if form != Form() and not limits.restricts:
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
            "scale": "border pixels are not multiples of the output of the layers",
            "power": "border pixels are not the output divided by the sum of its weights",
            "border": "repeating the edge pixels changes the result",
        }[correction]
    return strategy.why_not(problem)


def _needs_no_correction(problems: tuple[Problem, Problem]) -> bool:
    return all(equal(p.wanted, p.inner.matrix) for p in problems)


def _ranked(candidates: list[Candidate]) -> list[Candidate]:
    """Sort by cost: fewest layers first, unless another plan needs less than half of the work."""
    ranked = sorted(candidates, key=lambda c: (len(c.steps), c.work))
    for other in ranked[1:]:
        if 2 * other.work < ranked[0].work:
            ranked.remove(other)
            ranked.insert(0, other)
    return ranked


def _approximations(
    request: ResizeRequest, problems: tuple[Problem, Problem], limits: Limits
) -> list[Candidate]:
    """Return plans without a border correction, the smallest error first."""
    extra_pad = _extra_pad(request, limits)
    candidates: list[Candidate] = []
    for strategy in STRATEGIES:
        # A strategy that needs the size (matrix) is exact, or not within the limits.
        if strategy.needs_size or any(strategy.unfit(problem) for problem in problems):
            continue
        options = [list(uncorrected(strategy, problem, extra_pad)) for problem in problems]
        for chains in pairs_of(options[0], options[1]):
            bound = _bound(chains, problems)
            label = f"{APPROXIMATE} {strategy.name}"
            candidate, _ = _candidate(label, chains, request, limits, bound)
            if candidate is not None:
                candidates.append(candidate)
    best_of_label: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: (round(c.bound, 9), len(c.steps), c.work)):
        best_of_label.setdefault(candidate.label, candidate)
    return list(best_of_label.values())


def _bound(chains: tuple[Chain, Chain], problems: tuple[Problem, Problem]) -> float:
    """Return the largest error for data in [-1, 1], from the four worst pixels of each axis."""
    import numpy as np

    rows = []
    for chain, problem in zip(chains, problems, strict=True):
        actual = chain.matrix(problem.axis.size)
        worst = np.argsort(np.abs(actual - problem.wanted).sum(axis=1))[-4:]
        rows.append([(actual[i], problem.wanted[i]) for i in worst])
    return max(
        float(np.abs(np.outer(a, c) - np.outer(b, d)).sum()) for (a, b), (c, d) in pairs_of(*rows)
    )


def _costs(candidates: list[Candidate]) -> list[StrategyOutcome]:
    outcomes = []
    for index, candidate in enumerate(candidates):
        fewer = len(candidate.steps) < len(candidates[0].steps)
        cost_reason = "much more work" if fewer else "more layers"
        same_count = len(candidate.steps) == len(candidates[0].steps)
        reason = "chosen" if index == 0 else "more work" if same_count else cost_reason
        if candidate.bound:
            reason += f", error up to {candidate.bound:.3g} for data in [-1, 1]"
        outcomes.append(
            StrategyOutcome(candidate.label, reason, len(candidate.steps), candidate.multiply_adds)
        )
    return outcomes


def _check_label(strategy: str) -> None:
    known = [*labels(), *(s.name for s in STRATEGIES)]
    if strategy and strategy not in known:
        raise InputError(
            f"unknown value {strategy!r}",
            subject="strategy",
            advice=did_you_mean(strategy, known)
            or f"Known strategies: {', '.join(s.name for s in STRATEGIES)}, {APPROXIMATE}. "
            f"Corrections: {', '.join('+' + c for c in CORRECTIONS if c)}.",
        )


def _no_plan_error(
    request: ResizeRequest, verdicts: list[StrategyOutcome], limits: Limits
) -> UnsupportedError:
    lines = [f"  {v.label}: {v.reason}" for v in verdicts]
    within = f" within the limits of {limits.name or 'the target'}" if limits.restricts else ""
    advice = ""
    if request.size is None:
        advice = "Give --input-shape: more strategies are possible for a known size."
    problem = f"no exact plan of stock layers{within}"
    return UnsupportedError(problem, subject="resize", advice=advice, lines=lines)
