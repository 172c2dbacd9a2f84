"""``protogen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from protogen.cli import filetypes, options, output


@click.command("report")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("caffemodel", type=filetypes.INPUT, required=False, metavar="[NET.caffemodel]")
@click.option(
    "-o", "--output", "target", type=filetypes.Writable("HTML"), metavar="FILE.html",
    help="Write the page here.  [default: NET.html in the current folder]",
)  # fmt: skip
@click.option(
    "--against",
    type=filetypes.INPUT,
    metavar="OTHER.prototxt",
    help="Show the differences to another net.",
)
@click.option("--health", is_flag=True, help="Show the signals of random data in every layer.")
@options.half_check
@options.dialect
@options.state(None, "; TEST, or TRAIN if the text has only a training net")
@options.input_shapes
def command(
    net: str,
    caffemodel: str | None,
    target: str | None,
    against: str | None,
    health: bool,
    half_check: bool,
    input_shapes: tuple[str, ...],
    **reading: Any,
) -> None:
    """Write a net as one interactive HTML page.

    The page needs no network. It shows the drawing (blocks fold; search, zoom, minimap, keyboard), the
    parameters, shapes, cost and findings of each layer, histograms of weights, the first layer's
    filters, sortable tables, the kernels of upsampling layers, and the position of each blob's pixels
    in the input with the correct offsets for Crop layers.

    \b
    Examples:
      protogen report deploy.prototxt
      protogen report deploy.prototxt net.caffemodel -o net.html
      protogen report train_val.prototxt --phase TRAIN --health \\
          --input-shape data=16,3,32,32 --input-shape label=16
      protogen report deploy.prototxt net.caffemodel --half-check
      protogen report mine.prototxt --against deploy.prototxt -o changes.html
    """
    from protogen.cli import tables
    from protogen.formats import files
    from protogen.report.write import write_report

    own_name = "net" if net == files.STDIN else Path(net).stem
    page = f"{own_name}.html" if target is None else target
    reading = options.reading_of(reading)
    with tables.counting("layers") as progress:
        write_report(
            net,
            page,
            caffemodel,
            against=against,
            signals=health,
            ranges=half_check,
            input_shapes=options.shapes_for(net, input_shapes, **reading),
            progress=progress,
            **reading,
        )
    if page == files.STDOUT:
        return
    size = tables.size(Path(page).stat().st_size)
    output.note(f"wrote {output.printable(str(page))} ({size})")
