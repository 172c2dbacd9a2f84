"""``protogen summary`` and ``protogen shapes``."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from protogen.cli.options import parse_inputs, plugin, proto, state
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from protogen.net.net import Net

_INPUT_HELP = "A blob's shape, where the net does not say it (or says another)."
_options = (
    proto,
    plugin,
    click.argument("net", metavar="NET.prototxt"),
    state("TEST"),
    click.option("--input", "inputs", multiple=True, metavar="BLOB=N,C,H,W", help=_INPUT_HELP),
    click.option("--strict", is_flag=True, help="Unknown fields are errors."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def _net_options(function: Any) -> Any:
    for option in reversed(_options):
        function = option(function)
    return function


def _load(net: str, inputs: tuple[str, ...], **options: Any) -> Any:
    from protogen.net.net import load

    return load(net, input_shapes=parse_inputs(inputs), tolerant=True, **options)


@click.command("summary")
@_net_options
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def summary(net: str, inputs: tuple[str, ...], as_json: bool, as_csv: bool, **options: Any) -> None:
    """Show a net: layers, shapes, parameters, multiply-adds, receptive fields, totals.

    Multiply-adds are products of data with parameters. A receptive field is what one output pixel
    sees of the input (all: the whole), the stride how far apart two of them look.

    \b
    Examples:
      protogen summary deploy.prototxt
      protogen summary train_val.prototxt --phase TRAIN --input data=64,3,227,227 --input label=64
      protogen summary deploy.prototxt --csv > net.csv
    """
    from protogen.net.cost import costs
    from protogen.net.net import unassuming

    with unassuming():  # it is a note below
        loaded = _load(net, inputs, **options)
    rows = [_row(cost) for cost in costs(loaded.graph)]
    totals = {
        "layers": len(rows),
        "parameters": _total(rows, "parameters"),
        "multiply_adds": _total(rows, "multiply_adds"),
        "parameter_bytes": _total(rows, "parameters") * 4,
        "activation_bytes": _total(rows, "activations") * 4,
        "unknown": sum(row["output"] is None for row in rows),
    }
    if as_json:
        whole = {
            "name": loaded.name,
            "inputs": list(loaded.inputs),
            "outputs": list(loaded.outputs),
            "layers": rows,
            "totals": totals,
            "assumed": [str(note) for note in loaded.graph.assumed],
        }
        click.echo(json.dumps(whole, indent=2))
    elif as_csv:
        loaded.tell_assumed()
        _write_csv(rows)
    else:
        _show(loaded, rows, totals)


def _show(net: Net, rows: list[dict[str, Any]], totals: dict[str, int]) -> None:
    from protogen.cli import tables

    tables.show(
        ["layer", "type", "output", "parameters", "multiply-adds", "field", "stride"],
        [
            (
                row["name"],
                row["type"],
                tables.shape(row["output"]),
                tables.count(row["parameters"]),
                tables.count(row["multiply_adds"]),
                _field(row),
                row["stride"] or "",
            )
            for row in rows
        ],
        right=(3, 4, 5, 6),
    )
    click.echo(
        f"{totals['layers']} layers, {totals['parameters']:,} parameters "
        f"({tables.size(totals['parameter_bytes'])}), {tables.count(totals['multiply_adds'])} "
        f"multiply-adds, activations {tables.size(totals['activation_bytes'])}"
    )
    ends = [", ".join(map(tables.printable, names)) for names in (net.inputs, net.outputs)]
    click.echo(f"in: {ends[0] or 'none'}; out: {ends[1] or 'none'}")
    for note in net.graph.assumed:
        click.echo(tables.printable(f"note: {note}"))
    if totals["unknown"]:
        click.echo(
            f"{totals['unknown']} layers have an unknown shape; totals leave them out. "
            "Give shapes with --input BLOB=N,C,H,W."
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
        return "" if kind is not None and kind.feeds else "all"
    return shape_text(dict.fromkeys(row["receptive_field"]))


def _total(rows: list[dict[str, Any]], key: str) -> int:
    return sum(row[key] or 0 for row in rows)


@click.command("shapes")
@_net_options
def shapes(net: str, inputs: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Print the shape of every blob, and of every layer's parameters.

    \b
    Examples:
      protogen shapes deploy.prototxt
      protogen shapes deploy.prototxt --input data=8,3,224,224 --json
    """
    from protogen.cli import tables

    loaded = _load(net, inputs, **options)
    if as_json:
        click.echo(
            json.dumps({"blobs": loaded.shapes, "parameters": loaded.parameter_shapes}, indent=2)
        )
        return
    for name, shape in loaded.shapes.items():
        click.echo(f"{tables.printable(name)}\t{tables.shape(shape)}")
    for layer, blobs in loaded.parameter_shapes.items():
        for index, shape in enumerate(blobs or ()):
            click.echo(f"{tables.printable(layer)}[{index}]\t{tables.shape(shape)}")
