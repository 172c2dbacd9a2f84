"""Which layers take part in a phase, a level and stages (Caffe: Net::FilterNet, StateMeetsRule)."""

from __future__ import annotations

from collections.abc import Collection

from protogen.errors import InputError
from protogen.formats.message import Field, Message, Source


def takes_part(
    item: Field, phase: str, level: int, stages: Collection[str], source: Source | None
) -> bool:
    """Whether a layer takes part, by its include and exclude rules.

    Raises:
        InputError: it has rules of both kinds.
    """
    params: Message = item.value
    if not (params.has("include") or params.has("exclude")):
        return True
    include, exclude = params.include, params.exclude
    if include and exclude:
        raise InputError(
            "has include and exclude rules",
            where=source.place(item.start) if source else "",
            subject=f'layer "{params.name}" ({params.type})',
            advice="Keep one kind: Caffe refuses both.",
        )
    if include:
        return any(_meets(rule, phase, level, stages) for rule in include)
    return not any(_meets(rule, phase, level, stages) for rule in exclude)


def included(params: Message, phase: str) -> bool:
    """Whether a LayerParameter takes part in a phase, at level 0 without stages."""
    if not (params.has("include") or params.has("exclude")):
        return True
    if params.include:
        return any(_meets(rule, phase, 0, ()) for rule in params.include)
    return not any(_meets(rule, phase, 0, ()) for rule in params.exclude)


def _meets(rule: Message, phase: str, level: int, stages: Collection[str]) -> bool:
    return (
        (not rule.has("phase") or rule.phase == phase)
        and (not rule.has("min_level") or level >= rule.min_level)
        and (not rule.has("max_level") or level <= rule.max_level)
        and all(stage in stages for stage in rule.stage)
        and not any(stage in stages for stage in rule.not_stage)
    )
