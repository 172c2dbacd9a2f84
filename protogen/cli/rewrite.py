"""``protogen rewrite``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, output
from protogen.errors import UnsupportedError, quantity
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.generate.rewriting import Rewritten


@click.command("rewrite")
@options.proto
@options.plugin
@options.identity
@options.ignored_fields
@click.argument("net", metavar="NET.prototxt")
@click.argument("weights", metavar="[NET.caffemodel]", required=False)
@click.option(
    "--to",
    "form",
    type=click.Choice(["bvlc"]),
    default="bvlc",
    show_default=True,
    help="The Caffe whose layers are used.",
)
@options.output_text
@click.option("--caffemodel", metavar="FILE.caffemodel", help="Write the weights here.")
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Replace only this type. Repeatable."
)
@options.dialect
@options.input_shapes
@options.state("TEST")
@click.option(
    "--target",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="Stay within the limits of this toolchain when resizing (see protogen targets). Repeatable.",
)
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
def command(net: str, weights: str | None, **flags: Any) -> None:
    """Replace layers of forks by stock Caffe layers.

    Upsample, Interp, BilinearInterpolate, PixelShuffle, ReLU6, HardSwish, HardSigmoid, Mish,
    DepthwiseConvolution, Normalize, Permute, ShuffleChannel, Axpy and BN become layers of BVLC Caffe
    that compute the same. Each replacement is compared with its original on random data. Layers that
    cannot be replaced are listed with the reason. The rest of the text does not change.

    \b
    Examples:
      protogen rewrite yolov3.prototxt -o stock.prototxt
      protogen rewrite pspnet.prototxt pspnet.caffemodel -o stock.prototxt \\
          --caffemodel stock.caffemodel
      protogen rewrite ssd.prototxt --type Permute --type Normalize -o stock.prototxt
    """
    from protogen.generate.resizing import gather_limits
    from protogen.generate.rewriting import rewrite

    files.distinct(
        [("--output", flags["output"]), ("--caffemodel", flags["caffemodel"])], [net, weights]
    )
    reading = options.reading_of(flags)
    rewritten = rewrite(
        net,
        weights,
        types=flags["types"],
        limits=gather_limits(list(flags["target"]), flags["limit"]),
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
