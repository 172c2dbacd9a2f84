"""``protogen summary``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError

if TYPE_CHECKING:
    from protogen.net.net import Net
    from protogen.net.summary import Summary
    from protogen.net.targets import TargetReport


@click.command("summary")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@options.state("TEST")
@options.dialect
@options.input_shapes
@options.strict
@options.target
@click.option("--shapes", is_flag=True, help="Print the shape of every blob and parameter.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@options.as_json
def command(
    net: str,
    input_shapes: tuple[str, ...],
    toolchain: str | None,
    shapes: bool,
    as_csv: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """List layers, shapes, parameters and cost of a net.

    Multiply-adds are products of data and parameters. The receptive field of a layer is the part of
    the input that one output pixel depends on ("all": the whole input). The stride is the distance,
    in input pixels, between the receptive fields of two neighbouring output pixels.

    \b
    Examples:
      protogen summary deploy.prototxt
      protogen summary deploy.prototxt --shapes
      protogen summary train_val.prototxt --phase TRAIN \\
          --input-shape data=64,3,227,227 --input-shape label=64
      protogen summary deploy.prototxt --csv > net.csv
      protogen summary deploy.prototxt --target mnn
    """
    from protogen.net.net import load, unassuming

    if as_csv and (shapes or as_json):
        other = "--shapes" if shapes else "--json"
        raise InputError(f"--csv and {other} exclude each other", advice="Keep one.")
    if toolchain and shapes:
        raise InputError("--target and --shapes exclude each other", advice="Keep one.")
    known = options.shapes_for(
        net, input_shapes, **{key: reading[key] for key in ("phase", "level", "stages", "dialect")}
    )
    with unassuming():  # assumed shapes are reported with the result
        loaded = load(net, input_shapes=known, tolerant=True, **reading)
    if shapes:
        _shapes(loaded, as_json)
    else:
        report = None
        if toolchain:
            from protogen.net.targets import check_target

            how = {key: value for key, value in reading.items() if key != "strict"}
            report = check_target(net, toolchain, input_shapes=known, **how)
        _summary(loaded, as_csv, as_json, report)


def _summary(net: Net, as_csv: bool, as_json: bool, report: TargetReport | None) -> None:
    summary = net.summary()
    rows = [dict(row) for row in summary.rows]
    if report is not None:
        for row, one in zip(rows, report.layers, strict=True):
            row["target"] = one.verdict
            row["target_reason"] = one.text
    if as_json:
        output.print_json(
            "summary",
            name=net.name,
            inputs=list(net.inputs),
            outputs=list(net.outputs),
            layers=rows,
            totals=summary.totals,
            assumed=[str(note) for note in net.graph.assumed],
        )
    elif as_csv:
        net.tell_assumed()
        _write_csv(rows)
    else:
        _show(summary, report)


def _show(summary: Summary, report: TargetReport | None) -> None:
    from protogen.cli import tables, target_table
    from protogen.net.summary import HEADINGS, RIGHT

    cells = summary.cells()
    if report is None:
        tables.show(HEADINGS, cells, RIGHT)
    else:
        verdicts = [one.verdict for one in report.layers]
        tables.show(
            (*HEADINGS, report.toolchain.name),
            [(*row, verdict) for row, verdict in zip(cells, verdicts, strict=True)],
            RIGHT,
            target_table.COLOURS,
        )
        output.note(report.sentence())
    for line in summary.total_lines():
        output.note(line)
    for note in summary.notes:
        click.echo(output.printable(f"note: {note}"))


def _write_csv(rows: list[dict[str, Any]]) -> None:
    import csv

    from protogen.cli import tables

    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = row | {k: tables.shape(row[k]) for k in ("output", "receptive_field")}
        writer.writerow({key: output.csv_cell(cell) for key, cell in cells.items()})


def _shapes(net: Net, as_json: bool) -> None:
    from protogen.cli import tables

    net.tell_assumed()
    if as_json:
        output.print_json("summary", blobs=net.shapes, parameters=net.parameter_shapes)
        return
    for name, shape in net.shapes.items():
        click.echo(f"{output.printable(name)}\t{tables.shape(shape)}")
    for layer, blobs in net.parameter_shapes.items():
        for index, shape in enumerate(blobs or ()):
            click.echo(f"{output.printable(layer)}[{index}]\t{tables.shape(shape)}")
