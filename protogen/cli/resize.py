"""``protogen resize``, ``protogen targets``, and what ``upsample --exact`` shares with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options as shared
from protogen.cli.asked import Asked, check_files, say_files, say_rewired, write_files
from protogen.resampling.matrices import ALIGNS, POLICIES, ROUNDINGS

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.generate.splicing import Spliced

MODES = ("bilinear", "nearest", "cubic", "lanczos", "area")
LIKE = ("keras", "tf1", "tf2", "torch", "torch-align", "opencv", "pillow")

# What makes ``upsample`` plan instead of writing the classic layer.
PLANNING = (
    "exact",
    "size",
    "align",
    "like",
    "antialias",
    "rounding",
    "cubic_a",
    "exclude_outside",
    "strategy",
    "explain",
    "target",
    "limit",
    "approximate",
)


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a plan, for both commands."""
    for option in reversed(
        [
            click.option("--size", metavar="HxW", help="The output's size, instead of a factor."),
            click.option(
                "--align",
                type=click.Choice(ALIGNS),
                metavar="RULE",
                help="Where pixels lie: half_pixel, align_corners, asymmetric, or another of ONNX's "
                "rules.  [default: half_pixel]",
            ),
            click.option("--like", type=click.Choice(LIKE), help="As this software computes it."),
            click.option(
                "--antialias", is_flag=True, help="A wider kernel where the output shrinks."
            ),
            click.option(
                "--rounding",
                type=click.Choice(ROUNDINGS),
                metavar="RULE",
                help="Of nearest: floor, ceil, round_prefer_floor, round_prefer_ceil.  "
                "[default: round_prefer_floor]",
            ),
            click.option("--cubic-a", type=float, metavar="A", help="Of cubic.  [default: -0.75]"),
            click.option(
                "--exclude-outside",
                is_flag=True,
                help="Pixels outside weigh nothing; else the edge is repeated.",
            ),
            click.option("--strategy", metavar="NAME", help="This way only, such as matrix."),
            click.option(
                "--explain", is_flag=True, help="Say what else would do, and what not and why."
            ),
            click.option(
                "--target",
                multiple=True,
                metavar="NAME|FILE.toml",
                help="Within this toolchain's limits (protogen targets); may repeat.",
            ),
            click.option(
                "--limit", metavar="RULES", help="Within these, such as kernel<=7,no-group."
            ),
            click.option(
                "--approximate", is_flag=True, help="The best there is where nothing is exact."
            ),
        ]
    ):
        command = option(command)
    return command


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where results go, for both commands."""
    for option in reversed(
        [
            click.option(
                "-o", "--output", metavar="FILE", help="Write the prototxt here, not to stdout."
            ),
            click.option("--caffemodel", metavar="FILE", help="Write the weights."),
            click.option("--onnx", metavar="FILE", help="Write the layers as ONNX."),
            click.option("--opset", type=int, default=18, show_default=True, help="With --onnx."),
            click.option("--plot", metavar="FILE.png|svg", help="Draw kernels and errors."),
            click.option(
                "--json", "as_json", is_flag=True, help="Print everything as one JSON object."
            ),
        ]
    ):
        command = option(command)
    return command


@click.command("resize")
@click.option("--factor", metavar="F|HxW", help="Output pixels an input pixel: 2, 1.5, 3/2, 2x0.5.")
@click.option("--input-shape", metavar="N,C,H,W", help="Of the input; makes a whole net.")
@click.option("--channels", type=int, help="Where no input shape is given.  [default: 3]")
@click.option("--name", help="The name of the layers.  [default: resize]")
@click.option("--bottom", help="The blob to read.  [default: data]")
@click.option("--top", help="The blob to make.  [default: the name]")
@click.option("--mode", type=click.Choice(MODES), help="How to fill in.  [default: bilinear]")
@plan_options
@click.option("--keep-aspect", type=click.Choice(POLICIES[1:]), help="With --size: keep the ratio.")
@click.option("--roi", metavar="T,L,B,R", help="With --align tf_crop_and_resize: shares to read.")
@click.option("--extrapolation", type=float, metavar="V", help="What stands outside.  [default: 0]")
@click.option("--into", metavar="NET", help="Put the layers into this net's text.")
@click.option("--after", metavar="BLOB", help="With --into: the blob to resize.")
@click.option("--rewire", is_flag=True, help="With --into: readers of BLOB read the new top.")
@click.option("--templates", metavar="DIR", help="Your own templates, which override by name.")
@output_options
def command(**options: Any) -> None:
    """Resize up or down, exactly, with stock Caffe layers.

    Every resize that ONNX defines, and those of PyTorch, TensorFlow, Keras, OpenCV and Pillow
    (--like), becomes the cheapest plan of Deconvolution, Convolution, Pooling, Scale and their
    like that equals it at every pixel, the border too. The plan is run, and its error printed.

    \b
    Examples:
      protogen resize --factor 1.5 --input-shape 1,64,32,32
      protogen resize --size 300x300 --mode cubic --like pillow --input-shape 1,3,480,640
      protogen resize --factor 0.5 --mode area --input-shape 1,3,64,64 --explain
      protogen resize --factor 8 --target horizon-x3 --input-shape 1,21,28,28 \\
          -o up.prototxt --caffemodel up.caffemodel
    """
    asked = Asked(**options)
    check_files(asked)
    run(asked)


@click.command("targets")
@click.argument("names", nargs=-1, metavar="[NAME|FILE.toml]...")
def targets(names: tuple[str, ...]) -> None:
    """List toolchains whose limits --target knows, or show their rules with their sources.

    \b
    Examples:
      protogen targets
      protogen targets horizon-x3
    """
    from protogen.toolchains.limits import WORDS, load_target
    from protogen.toolchains.limits import targets as known

    for limits in map(load_target, names):
        click.echo(f"{limits.name}: {limits.title}")
        for rule in limits.rules:
            layers = ", ".join(rule.layers) or "every layer"
            what = rule.must or f"no {rule.feature}"
            click.echo(
                f"  {layers}: {what}  ({rule.source})" if rule.source else f"  {layers}: {what}"
            )
        for note in limits.notes:
            click.echo(f"  note: {note}")
    if names:
        return
    rows = list(known())
    width = max(len(one.name) for one in rows)
    for one in rows:
        click.echo(f"{one.name:<{width}}  {one.title}")
    click.echo(f"Rules may use {', '.join(WORDS)}.")


def run(options: Asked) -> None:
    """Plans, writes and reports."""
    place = options.spliced_at()
    spliced = _spliced(options, place) if place else None
    plan = spliced.upsampling if spliced else _plan(options)
    text = spliced.encode() if spliced else plan.prototxt.encode("utf-8", "surrogateescape")
    error = plan.error  # it is run before anything is written
    write_files(options, plan, text, lambda file, form: _draw(plan, file, form))
    if options.as_json:
        made = plan.describe() | {
            "error": asdict(error) | {"exact": error.exact},
            "weights_needed": list(plan.weights_needed),
            "prototxt": text.decode("utf-8", "replace"),
        }
        if spliced:
            made["rewired"] = list(spliced.rewired)
        click.echo(json.dumps(made, indent=2))
        return
    if not options.output:
        click.echo(text, nl=False)
    _say(plan, spliced, options)


def _draw(plan: Plan, file: Any, form: Any) -> None:
    from protogen.generate.plan_picture import pictures
    from protogen.report import resizing

    resizing.draw(*pictures(plan), file, form)


def _plan(options: Asked) -> Plan:
    from protogen.generate.resizing import resize

    return resize(**_given(options, "input_shape", "bottom", "channels"))


def _spliced(options: Asked, place: tuple[str, str]) -> Any:
    from protogen.generate.splicing import splice

    return splice(*place, exact=True, **_given(options, "rewire", "channels"))


def _given(options: Asked, *more: str) -> dict[str, Any]:
    """The options that were given, by the names of ``resize``."""
    made = options.given(
        "factor",
        "size",
        "name",
        "top",
        "mode",
        "align",
        "like",
        "antialias",
        "rounding",
        "cubic_a",
        "exclude_outside",
        "strategy",
        "approximate",
        "extrapolation",
        "templates",
        *more,
    )
    if options.target:
        made["target"] = list(options.target)
    if options.limit:
        made["limits"] = options.limit
    if options.keep_aspect:
        made["policy"] = options.keep_aspect
    if options.roi:
        made["roi"] = shared.numbers(options.roi, "--roi")
    return made


def _say(plan: Plan, spliced: Spliced | None, options: Asked) -> None:
    """What a person should know. It goes to stderr while stdout carries the prototxt."""
    from protogen.cli import tables

    err = not options.output
    say_files(options)
    cost, error = plan.cost, plan.error
    sample = "" if plan.request.size else f"  (of a sample of {tables.shape(error.shape)})"
    for label, value in (
        ("plan", plan.headline()),
        ("layers", f"{cost.layers}: {', '.join(step.type for step in plan.steps)}"),
        ("parameters", f"{tables.count(cost.parameters)}, {tables.size(cost.weight_bytes)}"),
        ("multiply-adds", tables.count(cost.multiply_adds) + sample),
        ("activations", tables.size(cost.activation_bytes) + sample),
        ("error", _error(plan)),
    ):
        click.echo(f"{label:<14} {value}", err=err)
    if options.explain:
        width = max(len(v.label) for v in plan.decision.verdicts)
        click.echo(f"\n{'strategy':<{width}}  layers  multiply-adds  verdict", err=err)
        for v in plan.decision.verdicts:
            numbers = (
                f"{v.layers or '':>6}  {tables.count(v.multiply_adds) if v.layers else '':>13}"
            )
            click.echo(f"{v.label:<{width}}  {numbers}  {v.reason}", err=err)
    if plan.weights_needed and not options.caffemodel:
        some = ", ".join(plan.weights_needed[:3]) + (", ..." if plan.weights_needed[3:] else "")
        click.echo(
            f"note: Caffe's fillers cannot make the weights of {some}: write them with "
            "--caffemodel FILE.",
            err=True,
        )
    if plan.decision.chosen.chains[0].normalised:
        click.echo(
            "note: it divides by what the layers make of ones, so an infinite input makes NaN; "
            "with --input-shape a Scale does it.",
            err=True,
        )
    say_rewired(options, spliced)


def _error(plan: Plan) -> str:
    error = plan.error
    found = f"largest {max(error.inside, error.border):.2g} where values reach {error.largest:.2g}"
    if error.exact:
        return f"{found}, found by running it: exact"
    return (
        f"{found}, found by running it: {error.inside:.2g} inside, {error.border:.2g} at the border"
    )
