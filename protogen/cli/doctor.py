"""``protogen doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from protogen.cli import options
from protogen.errors import InputError


@click.command("doctor")
@options.proto
@options.plugin
@click.option("--opencv5", metavar="DIR", help="Look for Caffe nets that OpenCV reads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, opencv5: str | None, as_json: bool) -> None:
    """Find what a new release breaks, and what replaces it.

    --opencv5: OpenCV 5 has no Caffe reader. Sources below DIR (Python, C++, C#, Java, JavaScript and
    others) are searched for readNetFromCaffe and .caffemodel; each net that stands in the tree is
    tried, and the lines are printed that replace the call, preprocessing included. Nothing is
    changed or run. Exits 1 where something is found.

    \b
    Example:
      protogen doctor --opencv5 src
    """
    from protogen.cli import tables
    from protogen.lint.opencv5 import examine

    if opencv5 is None:
        raise InputError("say what to look for", advice="Write --opencv5 DIR.")
    found = examine(opencv5)
    if as_json:
        click.echo(json.dumps([asdict(use) for use in found], indent=2))
    else:
        for use in found:
            click.echo(tables.printable(f"{use.place}: {use.code}"))
            for line in (use.verdict, *use.advice):
                click.echo(f"    {tables.printable(line)}")
        nets = {(use.prototxt, use.caffemodel): use.converts for use in found}
        click.echo(
            f"{len(found)} uses of {len(nets)} nets, of which {sum(nets.values())} convert"
            if found
            else "no use of a Caffe net found"
        )
    ctx.exit(1 if found else 0)
