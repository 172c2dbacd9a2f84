"""``protogen rewrite``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from protogen.cli import options as shared
from protogen.errors import UnsupportedError
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.generate.rewriting import Rewritten


@click.command("rewrite")
@shared.proto
@shared.plugin
@shared.identity
@shared.ignored_fields
@click.argument("net", metavar="NET.prototxt")
@click.argument("weights", metavar="[NET.caffemodel]", required=False)
@click.option(
    "--to",
    "dialect",
    type=click.Choice(["bvlc"]),
    default="bvlc",
    show_default=True,
    help="Whose layers to use.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the prototxt here, not to stdout.")
@click.option("--caffemodel", metavar="FILE", help="Write the weights that belong to it.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these; may repeat.")
@click.option(
    "--input", "inputs", multiple=True, metavar="BLOB=N,C,H,W", help="Another input size."
)
@shared.phase("TEST")
@click.option(
    "--target",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="Resizing within this toolchain's limits (protogen targets).",
)
@click.option(
    "--limit", metavar="RULES", default="", help="Within these, such as kernel<=7,no-group."
)
@click.option("--strict", is_flag=True, help="Write nothing where a layer remains (exit code 3).")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    net: str,
    weights: str | None,
    dialect: str,
    output: str | None,
    caffemodel: str | None,
    types: tuple[str, ...],
    identities: tuple[str, ...],
    ignored_fields: tuple[str, ...],
    inputs: tuple[str, ...],
    phase: str,
    target: tuple[str, ...],
    limit: str,
    strict: bool,
    as_json: bool,
) -> None:
    """Replace the forks' layers of a net by stock layers that compute the same.

    Upsample, Interp, BilinearInterpolate, PixelShuffle, ReLU6, HardSwish, HardSigmoid, Mish,
    DepthwiseConvolution, Normalize, Permute, ShuffleChannel, Axpy and BN become layers that every
    Caffe has. Each replacement is run beside its original on random data; what has none is named.
    Everything else in the text stays as it is.

    \b
    Examples:
      protogen rewrite yolov3.prototxt -o stock.prototxt
      protogen rewrite pspnet.prototxt pspnet.caffemodel -o stock.prototxt \\
          --caffemodel stock.caffemodel
      protogen rewrite ssd.prototxt --type Permute --type Normalize -o stock.prototxt
    """
    from protogen.generate.resizing import gather_limits
    from protogen.generate.rewriting import rewrite

    files.distinct([("-o", output), ("--caffemodel", caffemodel)], [net, weights])
    made = rewrite(
        net,
        weights,
        types=types,
        limits=gather_limits(list(target), limit),
        input_shapes=shared.parse_inputs(inputs),
        phase=phase,
        identities=identities,
        ignored_fields=ignored_fields,
    )
    if strict and made.kept:
        lines = [f"  {one.place}: {one.layer!r} ({one.type}): {one.reason}" for one in made.kept]
        problem = f"{_layers(len(made.kept))} cannot be rewritten"
        raise UnsupportedError(problem, where=net, lines=lines)
    if output:
        made.save(output, caffemodel)
    elif caffemodel:
        made.save_weights(caffemodel)
    if as_json:
        plain = {
            "replaced": [asdict(one) for one in made.replaced],
            "kept": [asdict(one) for one in made.kept],
        }
        click.echo(json.dumps(plain if output else plain | {"prototxt": made.text}, indent=2))
        return
    if not output:
        click.echo(made.text, nl=False)
    _say(made, output, caffemodel, weights)


def _say(made: Rewritten, output: str | None, caffemodel: str | None, weights: str | None) -> None:
    from protogen.cli.tables import printable

    err = not output
    for path in (output, caffemodel):
        if path:
            click.echo(f"wrote {path}", err=err)
    groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in made.replaced:
        groups.setdefault((one.type, one.becomes), []).append(one.error / max(1.0, one.largest))
    for (type_, becomes), errors in groups.items():
        parts = ", ".join(becomes) if len(becomes) <= 6 else f"{len(becomes)} layers"
        click.echo(
            f"{len(errors):>4} x {type_} -> {parts}  (differs by {max(errors):.1g})", err=err
        )
    if not made.replaced and not made.kept:
        click.echo("every layer is a stock layer already", err=err)
    for reason_type, reason in dict.fromkeys((one.type, one.reason) for one in made.kept):
        names = [one.layer for one in made.kept if (one.type, one.reason) == (reason_type, reason)]
        some = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        click.echo(printable(f"kept: {reason_type} ({some}): {reason}"), err=True)
    if caffemodel and not weights:
        click.echo(
            f"note: {caffemodel} holds the new layers' weights alone; with the net's own caffemodel "
            "behind it, it would hold all.",
            err=True,
        )
    needs = made.weights_needed
    if needs and not caffemodel:
        some = ", ".join(needs[:3]) + (", ..." if needs[3:] else "")
        click.echo(
            f"note: Caffe's fillers cannot make the weights of {some}: write them with "
            "--caffemodel FILE.",
            err=True,
        )


def _layers(count: int) -> str:
    return f"{count} layer" + ("s" if count > 1 else "")
