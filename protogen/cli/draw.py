"""``protogen draw``."""

from __future__ import annotations

from typing import Any

import click

from protogen.cli import filetypes, options, output
from protogen.errors import quantity


@click.command("draw")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.Writable("SVG", "PNG"),
    required=True,
    metavar="FILE.svg|png",
    help="Write the drawing here; - is the standard output, as SVG.",
)
@click.option(
    "--fold/--no-fold",
    default=None,
    help="Draw a block of layers that repeats as one box.  [default: only if the net is too large]",
)
@click.option(
    "--dark/--light",
    default=None,
    help="Colours.  [default: in SVG, those that the reader's system prefers; in PNG, light]",
)
@options.dialect
@options.state(None, "; TEST, or TRAIN if the text has only a training net")
@options.input_shapes
def command(
    net: str,
    target: str,
    fold: bool | None,
    dark: bool | None,
    input_shapes: tuple[str, ...],
    **reading: Any,
) -> None:
    """Draw a net as SVG or PNG.

    Data flows from top to bottom. A net that is too large for a page is drawn in columns, its
    parallel branches in rows, and blocks that repeat as one box. PNG needs the extra report, and has at
    most 16,000 pixels on a side.

    \b
    Examples:
      protogen draw deploy.prototxt -o net.svg
      protogen draw deploy.prototxt --no-fold --dark -o net.png
      protogen draw train_val.prototxt --phase TRAIN --input-shape data=64,3,227,227 -o net.png
    """
    from protogen.cli.output import printable
    from protogen.formats import files
    from protogen.report.draw import draw

    reading = options.reading_of(reading)
    shapes = options.shapes_for(net, input_shapes, **reading)
    diagram = draw(net, target, fold=fold, dark=dark, input_shapes=shapes, **reading)
    boxes = diagram.boxes
    folded = sum(box.family == "repeat" for box in boxes)
    text = quantity(len(boxes), "box", "boxes")
    if folded:
        text += f"; {quantity(folded, 'repeated block')} folded, --no-fold draws all layers"
    if target != files.STDOUT:
        output.note(f"wrote {printable(target)} ({text})")
