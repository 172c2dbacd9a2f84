"""``protogen view``."""

from __future__ import annotations

import sys
from typing import Any

import click

from protogen.cli import filetypes, options, output
from protogen.cli.waiting import no_line


@click.command("view")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("caffemodel", type=filetypes.INPUT, required=False, metavar="[NET.caffemodel]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port of the page.  [default: a free one]",
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@options.dialect
@options.state(None, "; TEST, or TRAIN if the text has only a training net")
@options.input_shapes
def command(
    net: str,
    caffemodel: str | None,
    port: int,
    no_browser: bool,
    input_shapes: tuple[str, ...],
    **reading: Any,
) -> None:
    """Show a net in the browser, and again after every save.

    The page shows the text with the findings of protogen check beside their lines, and the report of
    protogen report. A click on a finding or a line selects its layer in the drawing; a click on a layer
    selects its lines. When the net, the weights or the project's settings are saved, the page is drawn
    again at the same place. With an error in the text, the last drawing stays until it is corrected.

    The page is served on 127.0.0.1 only. Its address contains a random token, without which nothing is
    answered. Ctrl-C ends the command.

    \b
    Examples:
      protogen view train_val.prototxt
      protogen view deploy.prototxt net.caffemodel
      protogen view deploy.prototxt --no-browser --port 8000
    """
    from protogen.memory import lift_limit
    from protogen.viewing.server import view

    lift_limit()  # the browser would get it, too

    def ready(address: str, opened: bool) -> None:
        click.echo(address)
        if not opened and not no_browser:
            output.note("No browser was opened: open the address yourself.")
        output.note("The page is drawn again when a file is saved. Ctrl-C ends the command.")

    reading = options.reading_of(reading)
    shapes = options.shapes_for(net, input_shapes, **reading)
    with no_line():
        view(
            net,
            caffemodel,
            browser=not no_browser,
            port=port,
            ready=ready,
            input_shapes=shapes,
            **reading,
        )
    line = "protogen view has ended."
    output.note(f"\n{line}" if sys.stdout.isatty() else line)  # the terminal shows ^C before it
