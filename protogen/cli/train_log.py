"""``protogen train-log``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError

if TYPE_CHECKING:
    from protogen.training.diagnosis import Diagnosis


@click.command("train-log")
@options.proto
@options.plugin
@click.argument("log", type=filetypes.INPUT, metavar="TRAIN.log")
@click.argument("net", type=filetypes.INPUT, metavar="[NET.prototxt]", required=False)
@options.dialect
@options.input_shapes
@options.plot("loss, scores and norms")
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, log: str, net: str | None, **flags: Any) -> None:
    """Find training problems in a Caffe log.

    Reported are: a loss of 87.3365, a loss that stays at ln(classes) or 0.693, NaN in the loss or
    learning rate, a growing loss, and with debug_info layers that are dead, get no gradient, or whose
    gradients shrink or grow with depth. With the net, layers are reported with their line. The exit
    code is 1 if there is a problem.

    \b
    Examples:
      protogen train-log train.log
      protogen train-log train.log train_val.prototxt --plot course.png
    """
    from protogen.formats import files
    from protogen.net.net import load
    from protogen.training.diagnosis import diagnose

    files.distinct([("--plot", flags["plot"])], [log, net])
    loaded = None
    if net:
        reading = {"phase": "TRAIN", "dialect": flags["dialect"]}
        shapes = options.shapes_for(net, flags["input_shapes"], **reading)
        loaded = load(net, input_shapes=shapes, tolerant=True, **reading)
    elif flags["input_shapes"] or flags["dialect"]:
        option = "--input-shape" if flags["input_shapes"] else "--dialect"
        raise InputError(f"{option} needs the net", advice="Give NET.prototxt after the log.")
    diagnosis = diagnose(log, loaded)
    if flags["plot"]:
        from protogen.report import training

        with files.replacing(flags["plot"]) as file:
            training.draw(_course(diagnosis), file, options.picture_format(flags["plot"]))
    if flags["as_json"]:
        output.print_json("train-log", **diagnosis.plain())
    else:
        _show(diagnosis)
        output.wrote(flags["plot"])
    if diagnosis.findings:
        ctx.exit(1)


def _show(diagnosis: Diagnosis) -> None:
    log = diagnosis.log
    if log.loss:
        (first, a), (last, b) = log.loss[0], log.loss[-1]
        output.say(f"loss {a:.4g} at iteration {first}, {b:.4g} at iteration {last}")
    for name, series in log.test.items():
        output.say(
            f"test {name} {series[0][1]:.4g} at iteration {series[0][0]}, "
            f"{series[-1][1]:.4g} at iteration {series[-1][0]}"
        )
    if not log.weight_gradients:
        output.note(
            "note: the log has no gradients. Set debug_info: true in the solver to log them."
        )
    for finding in diagnosis.findings:
        output.say(f"{finding.kind}: {finding.text}")
    if not diagnosis.findings:
        output.note("no problems found")


def _course(diagnosis: Diagnosis) -> Any:
    from protogen.report.training import Course

    log = diagnosis.log
    lines = {}
    for finding in diagnosis.findings:
        if finding.kind == "loss-stuck":
            word = finding.text.split(" = ")[1].split(":")[0]  # ln(10), or ln(2) (0.693)
            lines[word] = math.log(int(word.partition("(")[2].partition(")")[0]))
    scores = {f"test {n}": s for n, s in log.test.items() if "loss" not in n}
    losses = {"training": log.loss} | {f"test {n}": s for n, s in log.test.items() if "loss" in n}
    order = [name for name in log.weights if name in log.weight_gradients]
    gradients = {name: log.weight_gradients[name] for name in order}
    return Course(losses, scores, log.rate, log.weights, gradients, lines)
