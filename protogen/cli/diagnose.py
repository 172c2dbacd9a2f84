"""``protogen diagnose``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options

if TYPE_CHECKING:
    from protogen.training.diagnosis import Diagnosis


@click.command("diagnose")
@options.proto
@click.argument("log", metavar="TRAIN.log")
@click.argument("net", metavar="[NET.prototxt]", required=False)
@click.option(
    "--input", "inputs", multiple=True, metavar="BLOB=N,C,H,W", help="A blob's shape. May repeat."
)
@click.option("--plot", metavar="FILE.png", help="Draw loss, scores and norms (.png, .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, log: str, net: str | None, **given: Any) -> None:
    """Read a Caffe training log, and name what it shows to be wrong.

    Recognised are a loss of 87.3365, one stuck at ln(classes) or 0.693, NaN in loss or learning rate,
    growing losses, and with debug_info layers that are dead, get no gradient, or get one that shrinks
    or grows with depth. With the net, layers are told with their line. The exit code is 1 where
    something was found.

    \b
    Examples:
      protogen diagnose train.log
      protogen diagnose train.log train_val.prototxt --plot course.png
    """
    from protogen.formats import files
    from protogen.net.net import load
    from protogen.training.diagnosis import diagnose

    files.distinct([("--plot", given["plot"])], [log, net])
    form = options.picture_form(given["plot"]) if given["plot"] else None
    shapes = options.parse_inputs(given["inputs"])
    loaded = load(net, phase="TRAIN", input_shapes=shapes, tolerant=True) if net else None
    found = diagnose(log, loaded)
    if form:
        from protogen.report import training

        with files.replacing(given["plot"]) as file:
            training.draw(_course(found), file, form)
    if given["as_json"]:
        click.echo(json.dumps(found.plain(), indent=2))
    else:
        _show(found)
        if given["plot"]:
            click.echo(f"wrote {given['plot']}")
    if found.findings:
        ctx.exit(1)


def _show(found: Diagnosis) -> None:
    log = found.log
    if log.loss:
        (first, a), (last, b) = log.loss[0], log.loss[-1]
        click.echo(f"loss {a:.4g} at iteration {first}, {b:.4g} at iteration {last}")
    for name, series in log.test.items():
        click.echo(
            f"test {name} {series[0][1]:.4g} at iteration {series[0][0]}, "
            f"{series[-1][1]:.4g} at iteration {series[-1][0]}"
        )
    if not log.weight_gradients:
        click.echo("no norms: debug_info: true in the solver would tell where gradients end")
    for finding in found.findings:
        click.echo(f"{finding.kind}: {finding.text}")
    if not found.findings:
        click.echo("nothing found")


def _course(found: Diagnosis) -> Any:
    from protogen.report.training import Course

    log = found.log
    finite = [value for _, value in log.loss if math.isfinite(value)]
    lines = {}
    for finding in found.findings:
        if finding.kind == "loss-stuck" and finite:
            word = finding.text.split(" = ")[1].split(":")[0]
            lines[word] = sum(finite[len(finite) // 2 :]) / len(finite[len(finite) // 2 :])
    scores = {f"test {n}": s for n, s in log.test.items() if "loss" not in n}
    losses = {"training": log.loss} | {f"test {n}": s for n, s in log.test.items() if "loss" in n}
    order = [name for name in log.weights if name in log.weight_gradients]
    gradients = {name: log.weight_gradients[name] for name in order}
    return Course(losses, scores, log.rate, log.weights, gradients, lines)
