"""What toolchains and dialects do with a net, and nets in the forms of a toolchain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import Place, quantity
from protogen.formats.schema.dialect import in_words
from protogen.net.forks import in_a_sentence
from protogen.notebook.conversions import comparison_table, sentence
from protogen.notebook.nets import net_line, net_table, number
from protogen.notebook.page import fields, fold, items, join, paragraph, table, tag

if TYPE_CHECKING:
    from protogen.generate.rescuing import Rescued
    from protogen.generate.targeting import TargetNet
    from protogen.legalization.legalize import Legalized
    from protogen.net.targets import TargetReport
    from protogen.running.trying import Trial
    from protogen.toolchains.detection import Detection

_KINDS = {"refused": "bad", "wrong": "bad", "ignored": "doubt", "unknown": "doubt"}


def _report(report: TargetReport) -> str:
    return report.sentence()


def _report_table(report: TargetReport) -> Markup:
    rows = [
        (
            str(one.place.line or "") if isinstance(one.place, Place) else "",
            one.layer or "(net)",
            one.type,
            tag(one.verdict, _KINDS.get(one.verdict, "")),
            "; ".join(map(str, one.reasons)),
        )
        for one in report.rows
    ]
    headings = ("line", "layer", "type", report.toolchain.name, "")
    return join(paragraph(report.sentence()), table(headings, rows, (0,)))


def _legalized(legalized: Legalized) -> str:
    names = ", ".join(toolchain.name for toolchain in legalized.toolchains)
    replaced = quantity(len(legalized.changes), "layer")
    return f"for {names}: {replaced} replaced; {net_line(legalized.net)}"


def _legalized_table(legalized: Legalized) -> Markup:
    rows = [
        (one.layer, one.type, one.reason, one.form, ", ".join(one.becomes), number(one.error))
        for one in legalized.changes
    ]
    headings = ("layer", "type", "why", "form", "becomes", "error")
    unknown = [(name, reason) for name, reason in legalized.unknown.items()]
    names = ", ".join(toolchain.title for toolchain in legalized.toolchains)
    return join(
        paragraph(f"For {names}: {quantity(len(rows), 'layer')} replaced."),
        table(headings, rows, (5,)) if rows else Markup(""),
        fold("Layers that no source describes", table(("layer", ""), unknown))
        if unknown
        else Markup(""),
        net_table(legalized.net),
    )


def _target_net(net: TargetNet) -> str:
    return _legalized(net.legalized)


def _target_net_table(net: TargetNet) -> Markup:
    checked = comparison_table(net.checked) if net.checked else Markup("")
    return join(
        _legalized_table(net.legalized),
        checked,
        paragraph(f"Not compared: {net.unchecked}." if net.unchecked else ""),
    )


def _rescued(rescued: Rescued) -> str:
    files = [str(x) for x in (rescued.prototxt, rescued.caffemodel, rescued.model) if x is not None]
    problems = quantity(len(rescued.problems), "problem") if rescued.problems else "no problems"
    checked = f"; {sentence(rescued.checked)}" if rescued.checked else ""
    return f"{', '.join(files)}: {problems}{checked}"


def _rescued_table(rescued: Rescued) -> Markup:
    return join(
        fields(
            {
                "net": rescued.prototxt,
                "weights": rescued.caffemodel,
                "model": rescued.model,
                "dialects": in_a_sentence(rescued.dialects),
            }
        ),
        items(f"upgraded: {one}" for one in rescued.upgraded),
        Markup("").join(
            paragraph(Markup("{} {}").format(tag("problem", "bad"), one))
            for one in rescued.problems
        ),
        comparison_table(rescued.checked) if rescued.checked else Markup(""),
    )


def _detection(detection: Detection) -> str:
    return in_a_sentence(detection)


def _detection_table(detection: Detection) -> Markup:
    why = [(str(one.use), in_words(one.dialects) or "no known dialect") for one in detection.why]
    lacks = sorted(detection.lacks.items(), key=lambda pair: len(pair[1]))
    rows = [(name, ", ".join(str(one) for one in uses[:5])) for name, uses in lacks]
    return join(
        paragraph(f"{in_a_sentence(detection)}."),
        table(("used", "dialects that have it"), why) if why else Markup(""),
        fold("What other dialects lack", table(("dialect", "lacks"), rows)) if rows else Markup(""),
    )


def _trial(trial: Trial) -> str:
    error = "" if trial.error is None else f", error {number(trial.error)}"
    layer = f" at {trial.layer}" if trial.layer else ""
    detail = f"; {trial.detail}" if trial.detail else ""
    return f"{trial.toolchain}: {trial.outcome}{layer}{error}{detail}"


def _trial_table(trial: Trial) -> Markup:
    log = fold("Log", Markup("<pre>{}</pre>").format(trial.log)) if trial.log else Markup("")
    return join(
        fields(
            {
                "toolchain": f"{trial.toolchain} {trial.version}",
                "result": tag(trial.outcome, "" if trial.right else "bad"),
                "error": number(trial.error),
                "first layer": f"{trial.layer} ({trial.type})" if trial.type else trial.layer,
                "detail": trial.detail,
                "time": f"{trial.seconds:.1f} s" if trial.seconds else "",
            }
        ),
        log,
    )


LINES: dict[str, Callable[[Any], str]] = {
    "TargetReport": _report,
    "Legalized": _legalized,
    "TargetNet": _target_net,
    "Rescued": _rescued,
    "Detection": _detection,
    "Trial": _trial,
}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "TargetReport": _report_table,
    "Legalized": _legalized_table,
    "TargetNet": _target_net_table,
    "Rescued": _rescued_table,
    "Detection": _detection_table,
    "Trial": _trial_table,
}
