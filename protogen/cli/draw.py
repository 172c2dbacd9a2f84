"""``protogen draw``."""

from __future__ import annotations

from typing import Any

import click

from protogen.cli import options, output
from protogen.errors import quantity


@click.command("draw")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    metavar="FILE.svg|png",
    help="Write the drawing here.",
)
@options.dialect
@options.state(None, "; TEST, or TRAIN if the text has only a training net")
@options.input_shapes
def command(net: str, target: str, input_shapes: tuple[str, ...], **reading: Any) -> None:
    """Draw a net as SVG or PNG.

    Data flows from top to bottom. PNG needs the extra report.

    \b
    Examples:
      protogen draw deploy.prototxt -o net.svg
      protogen draw train_val.prototxt --phase TRAIN --input-shape data=64,3,227,227 -o net.png
    """
    from protogen.cli.output import printable
    from protogen.report.write import draw

    reading = options.reading_of(reading)
    shapes = options.shapes_for(net, input_shapes, **reading)
    diagram = draw(net, target, input_shapes=shapes, **reading)
    boxes = sum(not box.stub for part in diagram.parts for box in part.boxes)
    output.note(f"wrote {printable(target)} ({quantity(boxes, 'box', 'boxes')})")
