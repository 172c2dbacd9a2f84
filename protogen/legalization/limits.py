"""What some toolchains take, as limits for the planner of resizing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from protogen.formats.message import Message
from protogen.legalization.draft import built
from protogen.net.targets import judge
from protogen.toolchains.limits import Layer, Limits, parse_limits
from protogen.toolchains.toolchain import Toolchain, load_toolchain
from protogen.toolchains.verdicts import BAD

if TYPE_CHECKING:
    from protogen.resampling.steps import Step


@dataclass(frozen=True)
class TargetLimits(Limits):
    """The rules of some toolchains, and what they do with the layers of a plan as a net."""

    toolchains: tuple[Toolchain, ...] = field(default=(), compare=False)

    @property
    def restricts(self) -> bool:
        return bool(self.rules or self.toolchains)

    def broken(self, steps: Sequence[Layer]) -> str:
        """Return how a step violates a rule, or what a toolchain does with a layer; empty if all of
        them take the steps."""
        reason = super().broken(steps)
        if reason or not steps or not self.toolchains:
            return reason
        message = _net(cast("Sequence[Step]", steps))
        graph, invalid = built(message)
        for toolchain in self.toolchains:
            for one in judge(toolchain, graph, message, None, invalid).layers:
                if one.verdict in BAD:
                    return f"{one.type}: {one.text} ({toolchain.name})"
        return ""


def _net(steps: Sequence[Step]) -> Message:
    """Return the net of a plan."""
    shape = {"shape": [{"dim": list(steps[0].before)}]}
    source = steps[0].bottoms[0]
    layers: list[Any] = [
        Message.make("LayerParameter", name=source, type="Input", top=[source], input_param=shape)
    ]
    layers += [
        Message.make(
            "LayerParameter",
            name=step.name,
            type=step.type,
            bottom=list(step.bottoms),
            top=list(step.tops),
            **step.params,
        )
        for step in steps
    ]
    return Message.make("NetParameter", layer=layers)


def gather_limits(
    target: str | Path | Sequence[str | Path] | None = None, limits: str = ""
) -> Limits:
    """Return what targets take, together with limits such as "kernel<=7,no-group".

    Raises:
        InputError: a target is unknown, its file is invalid, or the text has an invalid limit.
    """
    names = [target] if isinstance(target, (str, Path)) else list(target or ())
    own = parse_limits(limits)
    toolchains = tuple(load_toolchain(name) for name in names)
    if not toolchains:
        return own
    combined = own
    for toolchain in toolchains:
        combined = Limits.of(toolchain) | combined
    return TargetLimits(
        combined.name or ", ".join(one.name for one in toolchains),
        combined.rules, combined.title, combined.notes, toolchains,
    )  # fmt: skip
