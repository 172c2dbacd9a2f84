"""``protogen report`` and ``protogen draw``."""

from __future__ import annotations

from pathlib import Path

import click

from protogen.cli import options

_phase = options.phase(None, "; TEST, or TRAIN where only that one is a net")


@click.command("report")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.argument("caffemodel", required=False, metavar="[NET.caffemodel]")
@click.option(
    "-o", "--output", metavar="FILE.html", help="Where the page goes; NET.html if left out."
)
@click.option("--against", metavar="OTHER.prototxt", help="Show what differs from another net.")
@click.option("--health", is_flag=True, help="Show what random data becomes in every layer.")
@_phase
@options.inputs
def report(
    net: str,
    caffemodel: str | None,
    output: str | None,
    against: str | None,
    health: bool,
    phase: str | None,
    inputs: tuple[str, ...],
) -> None:
    """Show a net as one page that opens anywhere, without a network.

    The page has the net drawn (blocks fold; search, zoom, keyboard), each layer's parameters,
    shapes, costs and findings, histograms of weights and the first layer's filters, tables that
    sort, the kernels of upsampling layers, and where the pixels of each blob lie, with the right
    offsets of Crops.

    \b
    Examples:
      protogen report deploy.prototxt
      protogen report deploy.prototxt net.caffemodel -o net.html
      protogen report train_val.prototxt --phase TRAIN --input data=16,3,32,32 --input label=16 --health
      protogen report mine.prototxt --against deploy.prototxt -o changes.html
    """
    from protogen.cli import tables
    from protogen.report.write import write_report

    page = Path(net).with_suffix(".html").name if output is None else output
    with tables.counting("layers") as progress:
        write_report(
            net,
            page,
            caffemodel,
            against=against,
            signals=health,
            phase=phase,
            input_shapes=options.parse_inputs(inputs),
            progress=progress,
        )
    click.echo(f"wrote {tables.printable(str(page))} ({tables.size(Path(page).stat().st_size)})")


@click.command("draw")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.option("-o", "--output", required=True, metavar="FILE.svg|FILE.png")
@_phase
@options.inputs
def draw(net: str, output: str, phase: str | None, inputs: tuple[str, ...]) -> None:
    """Draw a net from above to below.

    \b
    Examples:
      protogen draw deploy.prototxt -o net.svg
      protogen draw train_val.prototxt --phase TRAIN --input data=64,3,227,227 -o net.png
    """
    from protogen.cli import tables
    from protogen.report.write import draw as write

    made = write(net, output, phase=phase, input_shapes=options.parse_inputs(inputs))
    boxes = sum(not box.stub for part in made.parts for box in part.boxes)
    click.echo(f"wrote {tables.printable(output)} ({boxes} boxes)")
