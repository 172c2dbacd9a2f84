"""Which layers of a net take part: phase, level and stages (Caffe: Net::FilterNet)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypedDict

from protogen.errors import InputError, did_you_mean
from protogen.formats.message import Field, Message, Source
from protogen.layers.graph import Layer

PHASES = ("TRAIN", "TEST")


class State(TypedDict, total=False):
    """What decides which layers take part (Caffe: NetState)."""

    phase: str
    level: int
    stages: Collection[str]


USUAL: State = {"phase": "TEST", "level": 0, "stages": ()}


def plain_state(state: State) -> dict[str, Any]:
    """All of it, as data for JSON."""
    return {**USUAL, **state, "stages": list(state.get("stages", ()))}


def is_usual(state: State) -> bool:
    """Whether it is what nets for use are built with."""
    chosen: Any = {key: value for key, value in state.items() if key in USUAL}
    return plain_state(chosen) == plain_state(USUAL)


def stages_of(net: Message) -> set[str]:
    """The stages that rules of a net name."""
    rules = (rule for item in net.all("layer") for rule in _rules(item.value))
    return {stage for rule in rules for stage in (*rule.stage, *rule.not_stage)}


def _rules(layer: Message) -> Iterable[Message]:
    return (*layer.include, *layer.exclude)


def check_state(net: Message, source: Source | None, phase: str, stages: Collection[str]) -> None:
    """Raises InputError for a phase that there is not, or a stage that no rule names."""
    if phase not in PHASES:
        raise InputError(f"{phase!r} is not TRAIN or TEST", subject="phase")
    if not stages:
        return
    known = stages_of(net)
    for stage in stages:
        if stage not in known:
            listed = (
                f"Rules name {', '.join(sorted(known))}." if known else "The net has no stages."
            )
            raise InputError(
                "no rule of the net names it",
                where=source.filename if source else "",
                subject=f'stage "{stage}"',
                advice=did_you_mean(stage, known) or listed,
            )


def in_words(phase: str, level: int, stages: Collection[str]) -> str:
    """The state as messages name it: ``phase TEST, level 1, stage deploy``."""
    names = ", ".join(stages)
    return (
        f"phase {phase}"
        + (f", level {level}" if level else "")
        + (f", stage {names}" if names else "")
    )


class MissingBlobError(InputError):
    """A layer reads a blob that no layer makes."""

    layer: Layer
    bottom: str

    @classmethod
    def at(cls, layer: Layer, bottom: str, problem: str, advice: str) -> MissingBlobError:
        made = cls.of(layer.error(problem, advice).diagnostic)
        made.layer, made.bottom = layer, bottom
        return made


def left_out(
    error: MissingBlobError, net: Message, phase: str, level: int, stages: Collection[str]
) -> InputError:
    """The error, with the rule of a layer that would make the blob, where there is one."""
    ways = []
    for maker in (item.value for item in net.all("layer")):
        if error.bottom in maker.top and maker.include and not maker.exclude:
            rule = maker.include[0]
            wanted = [f"--phase {rule.phase}"] if rule.has("phase") and rule.phase != phase else []
            wanted += [f"--stage {name}" for name in rule.stage if name not in stages]
            if rule.has("min_level") and level < rule.min_level:
                wanted.append(f"--level {rule.min_level}")
            ways += [f'"{maker.name}" ({maker.type}) with {" ".join(wanted)}'] if wanted else []
    if not ways:
        return error
    return error.with_parts(
        problem=f'reads "{error.bottom}", but no layer makes it in {in_words(phase, level, stages)}',
        advice=f"These do: {', '.join(ways[:3])}.",
    )


def takes_part(
    item: Field, phase: str, level: int, stages: Collection[str], source: Source | None
) -> bool:
    """Whether a layer of a net is built; InputError where it has both kinds of rules."""
    params: Message = item.value
    if params.include and params.exclude:
        raise InputError(
            "has include and exclude rules",
            where=source.place(item.start) if source else "",
            subject=f'layer "{params.name}" ({params.type})',
            advice="Keep one kind: Caffe refuses both.",
        )
    return included(params, phase, level, stages)


def included(params: Message, phase: str, level: int = 0, stages: Collection[str] = ()) -> bool:
    """Whether the rules of a LayerParameter let it take part; include comes first."""
    if not (params.has("include") or params.has("exclude")):
        return True
    if params.include:
        return any(_meets(rule, phase, level, stages) for rule in params.include)
    return not any(_meets(rule, phase, level, stages) for rule in params.exclude)


def _meets(rule: Message, phase: str, level: int, stages: Collection[str]) -> bool:
    return (
        (not rule.has("phase") or rule.phase == phase)
        and (not rule.has("min_level") or level >= rule.min_level)
        and (not rule.has("max_level") or level <= rule.max_level)
        and all(stage in stages for stage in rule.stage)
        and not any(stage in stages for stage in rule.not_stage)
    )
