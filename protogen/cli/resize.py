"""``protogen resize``, and the planning part of ``protogen upsample``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options as shared
from protogen.cli import output
from protogen.cli.requested import (
    PLAN_ARGUMENTS,
    Requested,
    check_files,
    layer_options,
    output_options,
    plan_options,
    report_files,
    report_rewired,
    splice_options,
    write_files,
)
from protogen.errors import MismatchError

if TYPE_CHECKING:
    from protogen.generate.plan import Plan, PlanError
    from protogen.generate.splicing import Spliced


@click.command("resize")
@layer_options("resize")
@plan_options
@splice_options
@output_options
def command(**flags: Any) -> None:
    """Resize up or down, exactly, with stock Caffe layers.

    Every resize of ONNX, and those of PyTorch, TensorFlow, Keras, OpenCV and Pillow (--like), becomes
    the cheapest plan of Deconvolution, Convolution, Pooling, Scale and similar layers that computes
    the same at every pixel, also at the border. The plan is run, and its error is printed.

    With --into, the other outputs (--caffemodel, --onnx, --plot) contain only the new layers.

    \b
    Examples:
      protogen resize --factor 1.5 --input-shape 1,64,32,32
      protogen resize --size 300x300 --mode cubic --like pillow --input-shape 1,3,480,640
      protogen resize --factor 0.5 --mode area --input-shape 1,3,64,64 --explain
      protogen resize --factor 8 --target horizon-x3 --input-shape 1,21,28,28 \\
          -o up.prototxt --caffemodel up.caffemodel
    """
    options = Requested(**flags)
    check_files(options)
    run(options, "resize")


def run(options: Requested, command: str) -> None:
    """Plan, run the plan, write the files and report."""
    place = options.splice_point()
    spliced = _splice(options, place) if place else None
    plan = spliced.upsampling if spliced else _plan(options)
    text = spliced.encode() if spliced else plan.prototxt.encode("utf-8", "surrogateescape")
    # The layers run before a file is written.
    error = plan.measure(plan.decision.chosen, options.seed) if options.seed else plan.error
    if options.verify and not error.exact:
        raise MismatchError(
            f"the plan is not exact: {_error_text(error)}",
            subject=plan.name,
            advice="Leave out --verify to write it anyway.",
        )
    write_files(options, plan, text, lambda file, form: _draw(plan, file, form))
    if options.as_json:
        fields = plan.describe() | {
            "error": asdict(error) | {"exact": error.exact},
            "weights_needed": list(plan.weights_needed),
            "prototxt": text.decode("utf-8", "replace"),
        }
        if spliced:
            fields["rewired"] = list(spliced.rewired)
        output.print_json(command, **fields)
        return
    if not options.output:
        click.echo(text, nl=False)
    _report(plan, error, spliced, options)


def _draw(plan: Plan, file: Any, form: Any) -> None:
    from protogen.generate.plan_picture import pictures
    from protogen.report import resizing

    resizing.draw(*pictures(plan), file, form)


def _plan(options: Requested) -> Plan:
    from protogen.generate.resizing import resize

    return resize(**_arguments(options, "input_shape", "bottom", "channels"))


def _splice(options: Requested, place: tuple[str, str]) -> Any:
    from protogen.generate.splicing import splice

    return splice(*place, exact=True, **_arguments(options, "rewire", "channels"))


def _arguments(options: Requested, *more: str) -> dict[str, Any]:
    """The options as arguments of ``pg.resize``."""
    arguments = options.specified(
        "factor", "name", "top", "mode", "templates", *PLAN_ARGUMENTS, *more
    )
    if options.target:
        arguments["target"] = list(options.target)
    if options.limit:
        arguments["limits"] = options.limit
    if options.keep_aspect:
        arguments["policy"] = options.keep_aspect
    if options.roi:
        arguments["roi"] = shared.numbers(options.roi, "--roi")
    return arguments


def _report(plan: Plan, error: PlanError, spliced: Spliced | None, options: Requested) -> None:
    """Print plan, cost and error; on stderr while stdout carries the prototxt."""
    from protogen.cli import tables

    err = not options.output
    report_files(options)
    cost = plan.cost
    sample = "" if plan.request.size else f"  (for an input of {tables.shape(error.shape)})"
    for label, value in (
        ("plan", plan.headline()),
        ("layers", f"{cost.layers}: {', '.join(step.type for step in plan.steps)}"),
        ("parameters", f"{tables.count(cost.parameters)}, {tables.size(cost.weight_bytes)}"),
        ("multiply-adds", tables.count(cost.multiply_adds) + sample),
        ("activations", tables.size(cost.activation_bytes) + sample),
        ("error", _error_text(error)),
    ):
        output.note(f"{label:<14} {value}", err=err)
    if options.explain:
        _explain(plan, err)
    if plan.weights_needed and not options.caffemodel:
        output.note(
            f"note: Caffe's fillers cannot create the weights of {some(plan.weights_needed)}: write "
            "them with --caffemodel FILE.",
            err=True,
        )
    if plan.decision.chosen.chains[0].normalised:
        output.note(
            "note: the plan divides by the response to an input of ones, so an infinite input value "
            "gives NaN. With --input-shape a Scale layer is used instead.",
            err=True,
        )
    report_rewired(options, spliced)


def _explain(plan: Plan, err: bool) -> None:
    """A line for every strategy: its cost, and why it was not chosen."""
    from protogen.cli import tables

    width = max(len(v.label) for v in plan.decision.verdicts)
    output.say(f"\n{'strategy':<{width}}  layers  multiply-adds  verdict", err=err)
    for v in plan.decision.verdicts:
        numbers = f"{v.layers or '':>6}  {tables.count(v.multiply_adds) if v.layers else '':>13}"
        output.say(f"{v.label:<{width}}  {numbers}  {v.reason}", err=err)


def some(names: tuple[str, ...]) -> str:
    """The first three of the names."""
    return ", ".join(names[:3]) + (", ..." if names[3:] else "")


def _error_text(error: PlanError) -> str:
    text = f"at most {max(error.inside, error.border):.2g} for values up to {error.largest:.2g}"
    if error.exact:
        return f"{text}, measured by running the layers: exact"
    return (
        f"{text}, measured by running the layers: {error.inside:.2g} inside, "
        f"{error.border:.2g} at the border"
    )
