"""Include and exclude rules: phase, level and stages select layers (Caffe: Net::FilterNet)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TypedDict

from protogen.errors import InputError, did_you_mean
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Source
from protogen.layers.graph import Layer

PHASES = ("TRAIN", "TEST")


class State(TypedDict, total=False):
    """The state that the rules of layers are matched against (Caffe: NetState)."""

    phase: str
    level: int
    stages: Collection[str]


USUAL: State = {"phase": "TEST", "level": 0, "stages": ()}


def plain_state(state: State) -> dict[str, Any]:
    """Return the state with all defaults, as data for JSON."""
    return {**USUAL, **state, "stages": list(state.get("stages", ()))}


def is_usual(state: State) -> bool:
    """Return whether the state is the default: phase TEST, level 0, no stages."""
    chosen: Any = {key: value for key, value in state.items() if key in USUAL}
    return plain_state(chosen) == plain_state(USUAL)


def stages_of(net: Message) -> set[str]:
    """Return the stages that appear in the rules of a net."""
    rules = (rule for item in net.all("layer") for rule in _rules(item.value))
    return {stage for rule in rules for stage in (*rule.stage, *rule.not_stage)}


def _rules(layer: Message) -> Iterable[Message]:
    return (*layer.include, *layer.exclude)


def check_state(net: Message, source: Source | None, phase: str, stages: Collection[str]) -> None:
    """Raise InputError for an unknown phase, or a stage that appears in no rule."""
    if phase not in PHASES:
        raise InputError(f"expected TRAIN or TEST, got {phase!r}", subject="phase")
    if not stages:
        return
    known = stages_of(net)
    for stage in stages:
        if stage not in known:
            listed = (
                f"Known stages: {', '.join(sorted(known))}." if known else "The net has no stages."
            )
            raise InputError(
                "unknown stage, it appears in no include or exclude rule of the net",
                where=source.filename if source else "",
                subject=f'stage "{stage}"',
                advice=did_you_mean(stage, known) or listed,
            )


def in_words(phase: str, level: int, stages: Collection[str]) -> str:
    """Return the state as text for messages: ``phase TEST, level 1, stage deploy``."""
    names = ", ".join(stages)
    return (
        f"phase {phase}"
        + (f", level {level}" if level else "")
        + (f", stage {names}" if names else "")
    )


class MissingBlobError(InputError):
    """A layer reads a blob that no layer produces."""

    layer: Layer
    bottom: str

    @classmethod
    def at(cls, layer: Layer, bottom: str, problem: str, advice: str) -> MissingBlobError:
        """Return the error for ``bottom`` of ``layer``."""
        error = cls.of(layer.error(problem, advice).diagnostic)
        error.layer, error.bottom = layer, bottom
        return error


def left_out(
    error: MissingBlobError, net: Message, phase: str, level: int, stages: Collection[str]
) -> InputError:
    """Return the error with advice: the options that include a layer which produces the blob, if
    there is one."""
    producers = []
    for producer in (item.value for item in net.all("layer")):
        if error.bottom in producer.top and producer.include and not producer.exclude:
            rule = producer.include[0]
            options = [f"--phase {rule.phase}"] if rule.has("phase") and rule.phase != phase else []
            options += [f"--stage {name}" for name in rule.stage if name not in stages]
            if rule.has("min_level") and level < rule.min_level:
                options.append(f"--level {rule.min_level}")
            if options:
                producers.append(f'"{producer.name}" ({producer.type}) with {" ".join(options)}')
    if not producers:
        return error
    state = in_words(phase, level, stages)
    return error.with_parts(
        problem=f'reads "{error.bottom}", but no layer produces it in {state}',
        advice=f"These layers produce it: {', '.join(producers[:3])}.",
    )


def takes_part(
    item: Field, phase: str, level: int, stages: Collection[str], source: Source | None
) -> bool:
    """Return whether a layer of a net is included.

    Raises:
        InputError: the layer has both include and exclude rules.
    """
    params: Message = item.value
    if params.has("include") and params.has("exclude"):
        raise InputError(
            "has both include and exclude rules",
            where=source.place(item.start) if source else "",
            subject=f'layer "{params.name}" ({params.type})',
            advice="Remove one kind: Caffe refuses a layer with both.",
        )
    return included(params, phase, level, stages)


def included(params: Message, phase: str, level: int = 0, stages: Collection[str] = ()) -> bool:
    """Return whether the rules of a LayerParameter include it in this state."""
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


def stages_named(path: str | Path, stages: Collection[str]) -> list[str]:
    """Return those of the stages that appear in rules of a prototxt."""
    from protogen.net.upgrade import upgrade

    known = stages_of(upgrade(prototxt.read(path))) if stages else ()
    return [stage for stage in stages if stage in known]
