"""``protogen diff``."""

from __future__ import annotations

from dataclasses import asdict

import click

from protogen.cli import filetypes, options, output


@click.command("diff")
@options.proto
@click.argument("a", type=filetypes.INPUT, metavar="A.prototxt")
@click.argument("b", type=filetypes.INPUT, metavar="B.prototxt")
@options.as_json
@click.pass_context
def command(ctx: click.Context, a: str, b: str, as_json: bool) -> None:
    """Compare two nets by layers and parameters.

    Older formats are upgraded first. A default value that is written out equals one that is left
    out, and the order of fields has no effect. The exit code is 1 if the nets differ.

    \b
    Example:
      protogen diff deploy.prototxt mine.prototxt
    """
    from protogen.cli.output import printable
    from protogen.formats import prototxt
    from protogen.net.differences import diff
    from protogen.net.upgrade import upgrade

    differences = diff(upgrade(prototxt.read(a)), upgrade(prototxt.read(b)))
    if as_json:
        output.print_json("diff", differences=[asdict(one) for one in differences])
    else:
        for difference in differences:
            click.echo(printable(str(difference)))
    ctx.exit(1 if differences else 0)
