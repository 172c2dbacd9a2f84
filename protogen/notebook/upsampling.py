"""Upsampling layers and plans of a resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import quantity
from protogen.formats import tables
from protogen.notebook.nets import net_table, some
from protogen.notebook.page import code, fold, join, paragraph, strong, table, text_fold

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.generate.specification import UpsampleSpec
    from protogen.generate.upsampling import Upsampling

_HEADINGS = ("layer", "bottom", "factor", "mode", "channels", "kernel", "stride", "pad")


def _pair(values: Sequence[int]) -> str:
    return "x".join(map(str, dict.fromkeys(values)))


def _spec(spec: UpsampleSpec) -> str:
    return (
        f"{spec.name}: {spec.mode}, factor {_pair(spec.factor)}, "
        f"{quantity(spec.channels, 'channel')}, kernel {_pair(spec.kernel)}, "
        f"stride {_pair(spec.stride)}, pad {_pair(spec.pad)}"
    )


def _upsampling(up: Upsampling) -> str:
    first = _spec(up.specs[0])
    others = len(up.specs) - 1
    return f"{first}; and {quantity(others, 'more layer')}" if others else first


def _error(up: Upsampling) -> str:
    if not max(up.error.ring):
        return "The result equals interpolation everywhere."
    return (
        f"Inside, the result equals interpolation. In a ring of {_pair(up.error.ring)} px at each border "
        f"it differs by up to {up.error.border:.3g} for data in [-1, 1]: Caffe pads with 0."
    )


def _weights(needed: Sequence[str]) -> str:
    if not needed:
        return ""
    return f"No filler of Caffe creates the weights of {some(needed)}: write a caffemodel."


def _upsampling_table(up: Upsampling) -> Markup:
    rows = [
        (
            spec.name,
            spec.bottom,
            _pair(spec.factor),
            spec.mode,
            f"{spec.channels:,}",
            _pair(spec.kernel),
            _pair(spec.stride),
            _pair(spec.pad),
        )
        for spec in up.specs
    ]
    return join(
        table(_HEADINGS, rows, (4,)),
        paragraph(_error(up)),
        paragraph(_weights(up.weights_needed)),
        text_fold("prototxt", up.prototxt),
    )


def _plan(plan: Plan) -> str:
    cost = plan.cost
    return (
        f"{plan.headline()}; {quantity(cost.layers, 'layer')}, "
        f"{quantity(cost.parameters, 'parameter', form=',')}"
    )


def _plan_table(plan: Plan) -> Markup:
    outcomes = [
        (
            strong(one.label) if one.label == plan.strategy else one.label,
            one.layers or "",
            tables.count(one.multiply_adds) if one.layers else "",
            one.reason,
        )
        for one in plan.decision.verdicts
    ]
    headings = ("strategy", "layers", "multiply-adds", "verdict")
    return join(
        paragraph(code(plan.headline())),
        net_table(plan.net),
        paragraph(_weights(plan.weights_needed)),
        fold("Why this plan", table(headings, outcomes, (1, 2))),
        text_fold("prototxt", plan.prototxt),
    )


LINES: dict[str, Callable[[Any], str]] = {"Upsampling": _upsampling, "Plan": _plan}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "Upsampling": _upsampling_table,
    "Plan": _plan_table,
}
