"""``protogen rewrite``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, for_target, options, output
from protogen.errors import InputError, UnsupportedError, quantity
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.generate.rewriting import Rewritten


@click.command("rewrite")
@options.proto
@options.plugin
@options.identity
@options.ignored_fields
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("weights", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@options.output_text
@click.option(
    "--caffemodel",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights here.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    shell_complete=completions.types,
    metavar="TYPE",
    help="Replace only this type. Repeatable.",
)
@options.dialect
@options.input_shapes
@options.half_check
@options.seed
@options.state("TEST")
@for_target.write_for
@for_target.explain
@for_target.from_blobs
@for_target.to_blobs
@click.option(
    "--limit",
    metavar="RULES",
    default="",
    help="Stay within these limits, such as kernel<=7,no-group.",
)
@click.option(
    "--require-all", is_flag=True, help="Write nothing if a layer cannot be replaced (exit code 3)."
)
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, net: str, weights: str | None, **flags: Any) -> None:
    """Rewrite a net in stock Caffe layers, or for a toolchain.

    With --target the whole net is written for a toolchain (see protogen targets): layers that it
    refuses or computes otherwise are replaced by the cheapest form that it takes, the text has only
    fields that its parser knows, and the caffemodel has every layer. A layer without such a form is
    an error (exit code 3). Comments are lost. --explain lists the forms with their cost.

    Without --target, Upsample, Interp, BilinearInterpolate, PixelShuffle, ReLU6, HardSwish, HardSigmoid, Mish,
    DepthwiseConvolution, Normalize, Permute, ShuffleChannel, Axpy and BN become layers of BVLC Caffe
    that compute the same. Each replacement is compared with its original on random data. Layers that
    cannot be replaced are listed with the reason. The rest of the text does not change.

    \b
    Examples:
      protogen rewrite yolov3.prototxt -o stock.prototxt
      protogen rewrite pspnet.prototxt pspnet.caffemodel -o stock.prototxt \\
          --caffemodel stock.caffemodel
      protogen rewrite ssd.prototxt --type Permute --type Normalize -o stock.prototxt
      protogen rewrite deploy.prototxt net.caffemodel --target rknn2 -o npu.prototxt \\
          --caffemodel npu.caffemodel
    """
    from protogen.generate.rewriting import rewrite
    from protogen.toolchains.limits import parse_limits

    if weights and flags["output"] not in (None, files.STDOUT) and not flags["caffemodel"]:
        flags["caffemodel"] = files.beside(flags["output"], ".caffemodel", "--caffemodel")
    files.distinct(
        [("--output", flags["output"]), ("--caffemodel", flags["caffemodel"])], [net, weights]
    )
    reading = options.reading_of(flags)
    if flags["toolchain"]:
        ctx.exit(0 if _for_target(net, weights, reading, flags) else 1)
    for key, flag in (
        ("explain", "--explain"), ("from_blobs", "--from-blob"), ("to_blobs", "--to-blob"), ("half_check", "--half-check"),
        ("seed", "--seed"),
    ):  # fmt: skip
        if flags[key]:
            raise InputError(f"{flag} needs --target")
    rewritten = rewrite(
        net,
        weights,
        types=flags["types"],
        limits=parse_limits(flags["limit"]),
        input_shapes=options.shapes_for(net, flags["input_shapes"], **reading),
        ignored_fields=flags["ignored_fields"],
        **reading,
    )
    if flags["require_all"] and rewritten.retained:
        count = len(rewritten.retained)
        raise UnsupportedError(
            f"{quantity(count, 'layer')} cannot be replaced",
            where=net,
            lines=[
                f"  {one.place}: {one.layer!r} ({one.type}): {one.reason}"
                for one in rewritten.retained
            ],
        )
    if flags["output"]:
        rewritten.save(flags["output"], flags["caffemodel"])
    elif flags["caffemodel"]:
        rewritten.save_weights(flags["caffemodel"])
    if flags["as_json"]:
        output.print_json(
            "rewrite",
            replaced=[asdict(one) for one in rewritten.replaced],
            retained=[asdict(one) for one in rewritten.retained],
            prototxt=rewritten.text,
        )
        return
    if not flags["output"]:
        click.echo(rewritten.text, nl=False)
    _report(rewritten, flags["output"], flags["caffemodel"], weights)


def _for_target(
    net: str, weights: str | None, reading: dict[str, Any], flags: dict[str, Any]
) -> bool:
    """Write the net for a toolchain; returns False if a value does not fit into float16, with
    --half-check."""
    from protogen.generate.targeting import rewrite_for

    if flags["half_check"] and (flags["as_json"] or not flags["output"]):
        raise InputError("--half-check needs --output, and does not apply with --json")
    for key, flag in (("types", "--type"), ("limit", "--limit"), ("require_all", "--require-all")):
        if flags[key]:
            raise InputError(f"{flag} does not apply with --target, which replaces what it must")
    written = rewrite_for(
        flags["toolchain"],
        net,
        weights,
        inputs=flags["from_blobs"],
        outputs=flags["to_blobs"],
        seed=flags["seed"],
        input_shapes=options.shapes_for(net, flags["input_shapes"], **reading),
        ignored_fields=flags["ignored_fields"],
        **reading,
    )
    text, models = flags["output"], flags["caffemodel"]
    if text or models:
        written.save(text, models)
    if flags["as_json"]:
        plain = for_target.plain(written.legalized)
        output.print_json("rewrite", prototxt=written.text, retained=[], **plain)
        return True
    if not text:
        click.echo(written.text, nl=False)
    err = not text  # stdout carries only the prototxt then
    output.wrote(text, models, err=err)
    for_target.show(written.legalized, flags["explain"], err=err)
    if written.checked is not None:
        worst = written.checked.worst
        rows = quantity(len(written.checked.rows), "blob")
        output.note(
            f"{rows} compared with the original: largest relative error {worst:.1e}", err=err
        )
    else:
        output.note(f"not compared with the original: {written.unchecked}", err=err)
    if written.net.weights and not models:
        output.note("note: the layers have weights: write them with --caffemodel FILE", err=True)
    if text and (models or not written.net.weights):
        for_target.show_next(written.toolchain, written.net, text, models)
    if flags["half_check"]:
        return for_target.half_check(written.net, flags["seed"], False)
    return True


def _report(
    rewritten: Rewritten, target: str | None, caffemodel: str | None, weights: str | None
) -> None:
    from protogen.cli.output import printable
    from protogen.cli.resize import some

    err = not target  # stdout carries only the prototxt then
    output.wrote(target, caffemodel, err=err)
    groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for new in rewritten.replaced:
        groups.setdefault((new.type, new.becomes), []).append(new.error / max(1.0, new.largest))
    for (type_, becomes), errors in groups.items():
        parts = ", ".join(becomes) if len(becomes) <= 6 else f"{len(becomes)} layers"
        output.note(
            f"{len(errors):>4} x {type_} -> {parts}  (differs by {max(errors):.1g})", err=err
        )
    if not rewritten.replaced and not rewritten.retained:
        output.note("nothing to replace: every layer is a stock layer", err=err)
    retained: dict[tuple[str, str], list[str]] = {}
    for old in rewritten.retained:
        retained.setdefault((old.type, old.reason), []).append(old.layer)
    for (type_, reason), names in retained.items():
        click.echo(printable(f"not replaced: {type_} ({some(tuple(names))}): {reason}"), err=True)
    if caffemodel and not weights:
        output.note(
            f"note: {caffemodel} contains only the weights of the new layers. Give the net's "
            "caffemodel as the second argument to get all weights.",
            err=True,
        )
    if rewritten.weights_needed and not caffemodel:
        output.note(
            "note: Caffe's fillers cannot create the weights of "
            f"{some(rewritten.weights_needed)}: write them with --caffemodel FILE.",
            err=True,
        )
