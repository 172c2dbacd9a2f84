"""``protogen summary``."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, output
from protogen.errors import InputError, quantity
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from protogen.net.net import Net
    from protogen.net.targets import TargetReport


@click.command("summary")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
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
    from protogen.net.cost import costs

    rows = [_row(cost) for cost in costs(net.graph)]
    if report is not None:
        for row, one in zip(rows, report.layers, strict=True):
            row["target"] = one.verdict
            row["target_reason"] = one.text
    totals = {
        "layers": len(rows),
        "parameters": _total(rows, "parameters"),
        "multiply_adds": _total(rows, "multiply_adds"),
        "parameter_bytes": _total(rows, "parameters") * 4,
        "activation_bytes": _total(rows, "activations") * 4,
        "unknown": sum(row["output"] is None for row in rows),
    }
    if as_json:
        output.print_json(
            "summary",
            name=net.name,
            inputs=list(net.inputs),
            outputs=list(net.outputs),
            layers=rows,
            totals=totals,
            assumed=[str(note) for note in net.graph.assumed],
        )
    elif as_csv:
        net.tell_assumed()
        _write_csv(rows)
    else:
        _show(net, rows, totals, report)


def _show(
    net: Net, rows: list[dict[str, Any]], totals: dict[str, int], report: TargetReport | None
) -> None:
    from protogen.cli import tables, target_table
    from protogen.net.dialects import in_a_sentence
    from protogen.net.forks import of_forks

    headings = ["layer", "type", "output", "parameters", "multiply-adds", "field", "stride"]
    tables.show(
        [*headings, *([report.toolchain.name] if report is not None else [])],
        [
            (
                row["name"],
                row["type"],
                tables.shape(row["output"]),
                tables.count(row["parameters"]),
                tables.count(row["multiply_adds"]),
                _field(row),
                row["stride"] or "",
                *([row["target"]] if report is not None else []),
            )
            for row in rows
        ],
        right=(3, 4, 5, 6),
        colours=target_table.COLOURS,
    )
    if report is not None:
        output.note(target_table.total(report))
    output.note(
        f"{quantity(totals['layers'], 'layer')}, "
        f"{quantity(totals['parameters'], 'parameter', form=',')} "
        f"({tables.size(totals['parameter_bytes'])}), {tables.count(totals['multiply_adds'])} "
        f"multiply-adds, activations {tables.size(totals['activation_bytes'])}"
    )
    inputs, outputs = (", ".join(map(output.printable, x)) for x in (net.inputs, net.outputs))
    output.note(f"inputs: {inputs or 'none'}; outputs: {outputs or 'none'}")
    if (detection := of_forks(net.message)) is not None:
        click.echo(
            output.printable(f"note: {in_a_sentence(detection)} (protogen dialects says why).")
        )
    for note in net.graph.assumed:
        click.echo(output.printable(f"note: {note}"))
    if totals["unknown"]:
        click.echo(
            f"note: the totals leave out {quantity(totals['unknown'], 'layer')} of unknown shape. "
            "Give shapes with --input-shape BLOB=N,C,H,W."
        )


def _write_csv(rows: list[dict[str, Any]]) -> None:
    from protogen.cli import tables

    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {k: tables.shape(row[k]) for k in ("output", "receptive_field")})


def _row(cost: Any) -> dict[str, Any]:
    return {
        "name": cost.layer.name,
        "type": cost.layer.type,
        "output": None if cost.output is None else list(cost.output),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "activations": cost.activations,
        "receptive_field": None if cost.receptive_field is None else list(cost.receptive_field),
        "stride": None if cost.stride is None else "x".join(dict.fromkeys(map(str, cost.stride))),
    }


def _field(row: dict[str, Any]) -> str:
    from protogen.layers import layer_type

    if row["output"] is None:
        return ""
    if row["receptive_field"] is None:
        kind = layer_type(row["type"])
        return "" if kind is not None and kind.is_source else "all"
    return shape_text(dict.fromkeys(row["receptive_field"]))


def _total(rows: list[dict[str, Any]], key: str) -> int:
    return sum(row[key] or 0 for row in rows)


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
