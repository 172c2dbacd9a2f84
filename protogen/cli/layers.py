"""``protogen layers``."""

from __future__ import annotations

from dataclasses import asdict

import click

from protogen.cli import completions, options, output
from protogen.errors import InputError, did_you_mean, quantity


@click.command("layers")
@options.proto
@options.plugin
@click.argument("types", shell_complete=completions.types, nargs=-1, metavar="[TYPE]...")
@options.as_json
def command(types: tuple[str, ...], as_json: bool) -> None:
    """List the layer types that protogen knows.

    The column "origin" is BVLC, or the public repository of the fork that defines the type. The column "stock" tells whether BVLC Caffe has the type, or whether protogen rewrite replaces it by
    layers of BVLC Caffe; the column "ONNX" whether protogen convert exports it.

    \b
    Examples:
      protogen layers
      protogen layers Pooling Proposal
    """
    from protogen.cli import tables
    from protogen.layers.support import supported

    rows = supported()
    known = {row.type for row in rows}
    for name in types:
        if name not in known:
            raise InputError(
                "unknown layer type",
                subject=name,
                advice=did_you_mean(name, known),
            )
    chosen = [row for row in rows if not types or row.type in types]
    if as_json:
        output.print_json("layers", layers=[asdict(row) for row in chosen])
        return
    if types:
        for row in chosen:
            output.say(f"{row.type} ({row.family}): {row.summary}")
            limits = f" ({row.limits})" if row.limits else ""
            click.echo(f"    origin: {row.origin}")
            click.echo(f"    stock Caffe: {row.stock}")
            click.echo(f"    ONNX: {'yes' if row.onnx else 'no'}{limits}")
        return
    tables.show(
        ["type", "family", "origin", "stock", "ONNX", "limits"],
        [
            (row.type, row.family, row.origin, row.stock, "yes" if row.onnx else "no", row.limits)
            for row in chosen
        ],
    )
    output.note(
        f"{quantity(len(chosen), 'type')}; {sum(row.onnx for row in chosen)} with export to ONNX"
    )
