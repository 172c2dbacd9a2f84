"""``protogen layers``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from protogen.cli import options
from protogen.errors import InputError, did_you_mean


@click.command("layers")
@options.proto
@options.plugin
@click.argument("types", nargs=-1, metavar="[TYPE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(types: tuple[str, ...], as_json: bool) -> None:
    """List the layer types that protogen knows, which of them stock Caffe has (or can stand for:
    protogen rewrite), and what has a form in ONNX.

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
                "protogen does not know this layer type",
                subject=name,
                advice=did_you_mean(name, known),
            )
    chosen = [row for row in rows if not types or row.type in types]
    if as_json:
        click.echo(json.dumps([asdict(row) for row in chosen], indent=2))
        return
    if types:
        for row in chosen:
            click.echo(f"{row.type} ({row.family}): {row.summary}")
            limits = f" ({row.limits})" if row.limits else ""
            click.echo(f"    stock Caffe: {row.stock}")
            click.echo(f"    ONNX: {'yes' if row.onnx else 'no'}{limits}")
        return
    tables.show(
        ["type", "family", "stock", "ONNX", "limits"],
        [
            (row.type, row.family, row.stock, "yes" if row.onnx else "no", row.limits)
            for row in chosen
        ],
    )
    click.echo(f"{len(chosen)} types, {sum(row.onnx for row in chosen)} of them in ONNX")
