"""``protogen health``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, tables
from protogen.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protogen.net.net import Net
    from protogen.training.signals.health import Health


@click.command("health")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@click.option("--data", multiple=True, metavar="[BLOB=]FILE.npy", help="A batch of data.")
@click.option("--images", metavar="DIR", help="A folder of pictures as data.")
@click.option("--batch", type=click.IntRange(1), help="Samples of random data.")
@options.seed
@click.option(
    "--gradients/--no-gradients",
    default=None,
    help="Backwards as well, by JAX.  [default: where JAX is installed]",
)
@click.option(
    "--fan",
    type=click.Choice(["caffe", "true"]),
    default="caffe",
    show_default=True,
    help="How fillers count a layer's inputs.",
)
@click.option("--set", "rules", multiple=True, metavar="PATTERN=FILLER", help="As in init.")
@click.option("--recommend", is_flag=True, help="With the recommended fillers.")
@click.option(
    "--compare-init",
    metavar="FILLER,...",
    help="Side by side: gaussian:0.01,xavier,msra; also net and recommended.",
)
@options.state("TRAIN")
@options.inputs
@click.option("--plot", metavar="FILE.png", help="Draw histograms and deviations (.png, .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, net: str, caffemodel: str | None, **given: Any) -> None:
    """See whether signals get through a net, before it is trained.

    Every layer's output is measured: mean, deviation, saturated and dead units, the sign of what
    layers with weights read, and with JAX the gradient on its way back. What is wrong is said in a
    sentence each; the exit code is then 1. Without a caffemodel the weights are those of the net's
    fillers, and BatchNorm takes the batch's own statistics, as at the start of training.

    \b
    Examples:
      protogen health net.prototxt
      protogen health train_val.prototxt --input data=32,3,224,224 --input label=32 --plot health.png
      protogen health net.prototxt --compare-init gaussian:0.01,xavier,msra --plot init.png
      protogen health net.prototxt net.caffemodel --images pictures/
    """
    from protogen.formats import files
    from protogen.net.net import load

    shapes = options.parse_inputs(given["inputs"])
    loaded = load(net, caffemodel, input_shapes=shapes, **options.state_of(given))
    feeds = _feeds(loaded, given)
    files.distinct([("--plot", given["plot"])], [net, caffemodel])
    form = options.picture_form(given["plot"]) if given["plot"] else None
    found = _examine(loaded, feeds, given)
    if given["plot"] and form:
        from protogen.report import signals

        with files.replacing(given["plot"]) as file:
            signals.draw([one.row(title) for title, one in found.items()], file, form)
    first = next(iter(found.values()))
    if given["as_json"]:
        plain = {title: one.plain() for title, one in found.items()}
        click.echo(json.dumps(plain if given["compare_init"] else first.plain(), indent=2))
    elif given["compare_init"]:
        _compare(found)
    else:
        _show(first)
    if given["plot"] and not given["as_json"]:
        click.echo(f"wrote {given['plot']}")
    if first.findings and not given["compare_init"]:
        ctx.exit(1)


def _examine(net: Net, feeds: Mapping[str, Any] | None, given: dict[str, Any]) -> dict[str, Health]:
    from protogen.training.initialisation import parse_rules
    from protogen.training.signals.health import compare, gradients_known, health

    backwards = given["gradients"]
    if backwards is None:
        backwards = gradients_known(net)
    how: dict[str, Any] = {
        "seed": given["seed"],
        "feeds": feeds,
        "batch": given["batch"],
        "gradients": backwards,
        "fan": given["fan"],
    }
    if given["compare_init"]:
        return compare(net, options.fillers(given["compare_init"]), **how)
    parse_rules(given["rules"])
    rules = dict(text.split("=", 1) for text in given["rules"])
    made = {"": health(net, rules=rules or None, recommend=given["recommend"], **how)}
    made = {one.weights: one for one in made.values()}
    fillers = not net.weights and not given["recommend"]
    if given["plot"] and fillers:
        made["recommended fillers"] = health(net, recommend=True, **how)
    return made


def _feeds(net: Net, given: dict[str, Any]) -> dict[str, Any] | None:
    if given["data"] and given["images"]:
        raise InputError("--data and --images are both given", advice="Keep one.")
    if given["images"]:
        from protogen.preprocessing.datasets import batch_of_pictures

        name = next(iter(net.inputs), "")
        shape = net.graph.shapes.get(name) or ()
        return {name: batch_of_pictures(net, given["images"], shape)}
    if not given["data"]:
        return None
    from protogen.formats.arrayfiles import read_arrays

    made: dict[str, Any] = {}
    for name, path in options.named_files(given["data"]):
        for key, array in read_arrays(path).items():
            target = name or key or options.only(net.inputs[:1])
            options.known(target, net.inputs)
            made[target] = array
    return made


def _show(found: Health) -> None:
    tables.show(
        ["layer", "type", "mean", "std", "saturated", "dead", "inputs > 0", "gradient std"],
        [
            (
                one.layer,
                one.type,
                f"{one.mean:.3g}",
                f"{one.std:.3g}",
                _share(one.saturated),
                _share(one.dead),
                _share(one.positive),
                "" if one.gradient is None else f"{one.gradient:.3g}",
            )
            for one in found.signals
        ],
        right=(2, 3, 4, 5, 6, 7),
    )
    click.echo(f"weights: {found.weights}; {found.batch} samples, data std {found.start:.3g}")
    if not found.gradients:
        from importlib.util import find_spec

        need = "" if find_spec("jax") else "; gradients need JAX: pip install 'protogen[gradients]'"
        click.echo(f"forwards only{need}")
    for finding in found.findings:
        click.echo(f"{finding.kind}: {finding.text}")
    if not found.findings:
        click.echo("nothing found")


def _compare(found: dict[str, Health]) -> None:
    tables.show(
        ["fillers", "signal left", "saturated", "dead", "gradient, first to last", "findings"],
        [
            (
                title,
                f"{one.kept:.3g}",
                _share(
                    max((s.saturated for s in one.signals if s.saturated is not None), default=None)
                ),
                _share(max((s.dead for s in one.signals if s.dead is not None), default=None)),
                _ratio([own.gradient for _, own, _ in one.stages]),
                ", ".join(dict.fromkeys(f.kind for f in one.findings)) or "none",
            )
            for title, one in found.items()
        ],
        right=(1, 2, 3, 4),
    )


def _ratio(gradients: list[float | None]) -> str:
    told = [one for one in gradients if one]
    return f"{told[0] / told[-1]:.3g}" if len(told) > 1 else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g}%"
