"""``protogen health``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output, tables
from protogen.errors import InputError, quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protogen.net.net import Net
    from protogen.training.signals.health import Health


@click.command("health")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("caffemodel", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@options.input_files("A batch of data: .npy or .npz.  [default: random]")
@click.option("--images", metavar="DIR", help="Use the images of a folder as data.")
@click.option("--batch", type=click.IntRange(1), help="Number of samples of random data.")
@options.seed
@click.option(
    "--gradients/--no-gradients",
    default=None,
    help="Measure gradients with JAX.  [default: if JAX is installed]",
)
@options.fan
@options.set_fillers
@options.recommend
@click.option(
    "--compare-init",
    metavar="FILLER,...",
    help="Compare fillers: gaussian:0.01,xavier,msra; also net and recommended.",
)
@options.dialect
@options.state("TRAIN")
@options.input_shapes
@options.plot("histograms and deviations")
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, net: str, caffemodel: str | None, **flags: Any) -> None:
    """Measure signals and gradients before training.

    For every layer the mean, deviation, saturated and dead units of the output are measured, the share
    of positive inputs of layers with weights, and with JAX the gradient. Each problem is reported in a
    sentence; the exit code is 1 if there is one. Without a caffemodel the weights come from the net's
    fillers, and BatchNorm uses the statistics of the batch, as at the start of training.

    \b
    Examples:
      protogen health net.prototxt
      protogen health train_val.prototxt --plot health.png \\
          --input-shape data=32,3,224,224 --input-shape label=32
      protogen health net.prototxt --compare-init gaussian:0.01,xavier,msra --plot init.png
      protogen health net.prototxt net.caffemodel --images pictures/
    """
    from protogen.formats import files
    from protogen.net.net import load

    reading = options.reading_of(flags)
    shapes = options.shapes_for(net, flags["input_shapes"], **reading)
    loaded = load(net, caffemodel, input_shapes=shapes, **reading)
    feeds = _feeds(loaded, flags)
    files.distinct([("--plot", flags["plot"])], [net, caffemodel])
    results = _examine(loaded, feeds, flags)
    if flags["plot"]:
        from protogen.report import signals

        with files.replacing(flags["plot"]) as file:
            rows = [result.row(title) for title, result in results.items()]
            signals.draw(rows, file, options.picture_format(flags["plot"]))
    first = next(iter(results.values()))
    if flags["as_json"]:
        plain = {title: result.plain() for title, result in results.items()}
        fields = {"compared": plain} if flags["compare_init"] else first.plain()
        output.print_json("health", **fields)
    elif flags["compare_init"]:
        _compare(results)
    else:
        _show(first)
    if flags["plot"] and not flags["as_json"]:
        output.wrote(flags["plot"])
    if first.findings and not flags["compare_init"]:
        ctx.exit(1)


def _examine(net: Net, feeds: Mapping[str, Any] | None, flags: dict[str, Any]) -> dict[str, Health]:
    from protogen.training.initialisation import parse_rules
    from protogen.training.signals.health import compare, gradients_known, health

    gradients = flags["gradients"]
    if gradients is None:
        gradients = gradients_known(net)
    how: dict[str, Any] = {
        "seed": flags["seed"],
        "feeds": feeds,
        "batch": flags["batch"],
        "gradients": gradients,
        "fan": flags["fan"],
    }
    if flags["compare_init"]:
        return compare(net, _fillers(flags["compare_init"]), **how)
    parse_rules(flags["rules"])
    rules = dict(text.split("=", 1) for text in flags["rules"])
    first = health(net, rules=rules or None, recommend=flags["recommend"], **how)
    results = {first.weights: first}
    if flags["plot"] and not net.weights and not flags["recommend"]:
        results["recommended fillers"] = health(net, recommend=True, **how)
    return results


def _feeds(net: Net, flags: dict[str, Any]) -> dict[str, Any] | None:
    """Arrays by input; None for random data."""
    if flags["inputs"] and flags["images"]:
        raise InputError("--input and --images exclude each other", advice="Keep one.")
    if flags["images"]:
        from protogen.preprocessing.datasets import batch_of_pictures

        name = next(iter(net.inputs), "")
        shape = net.graph.shapes.get(name) or ()
        return {name: batch_of_pictures(net, flags["images"], shape)}
    # A file without a name is the data: the first input; labels are drawn at random.
    texts = [
        text if "=" in text or text.endswith(".npz") else f"{options.only(net.inputs[:1])}={text}"
        for text in flags["inputs"]
    ]
    return options.arrays(texts, net.inputs)


def _show(health: Health) -> None:
    from protogen.notebook.findings import SIGNAL_HEADINGS, signal_cells

    tables.show(SIGNAL_HEADINGS, signal_cells(health), right=range(2, len(SIGNAL_HEADINGS)))
    output.note(
        f"weights: {health.weights}; {quantity(health.batch, 'sample')}, "
        f"data std {health.start:.3g}"
    )
    if not health.gradients:
        from importlib.util import find_spec

        need = "" if find_spec("jax") else ": they need JAX, pip install 'protogen[gradients]'"
        output.note(f"gradients were not measured{need}")
    for finding in health.findings:
        output.say(f"{finding.kind}: {finding.text}")
    if not health.findings:
        output.note("no problems found")


def _compare(results: dict[str, Health]) -> None:
    tables.show(
        ["fillers", "signal left", "saturated", "dead", "gradient, first to last", "findings"],
        [
            (
                title,
                f"{one.signal_ratio:.3g}",
                _share(
                    max((s.saturated for s in one.signals if s.saturated is not None), default=None)
                ),
                _share(max((s.dead for s in one.signals if s.dead is not None), default=None)),
                _ratio([own.gradient for _, own, _ in one.stages]),
                ", ".join(dict.fromkeys(f.kind for f in one.findings)) or "none",
            )
            for title, one in results.items()
        ],
        right=(1, 2, 3, 4),
    )


def _ratio(gradients: list[float | None]) -> str:
    known = [one for one in gradients if one]
    return f"{known[0] / known[-1]:.3g}" if len(known) > 1 else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g}%"


def _fillers(text: str) -> list[str]:
    """The fillers of ``gaussian:0.01,xavier,uniform:-1,1``; a number belongs to the filler before.

    Raises:
        InputError: a filler is not known.
    """
    from protogen.layers.fillers import parse_filler

    names: list[str] = []
    for word in filter(None, text.split(",")):
        if (names and not word[0].isalpha()) or (names and "=" in word.partition(":")[0]):
            names[-1] += f",{word}"
        else:
            names.append(word)
    if not names:
        raise InputError(
            f"{text!r} names no filler", subject="--compare-init", advice="Write xavier,msra."
        )
    for name in names:
        if name not in ("net", "recommended"):
            parse_filler(name)
    return names
