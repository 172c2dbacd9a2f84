"""``protogen verify``."""

from __future__ import annotations

import json
from typing import Any

import click

from protogen.cli import options
from protogen.converting.comparison import TOLERANCE, Comparison, mismatch, verify
from protogen.converting.proving import BlobDifference
from protogen.errors import InputError
from protogen.net.rules import plain_state


@click.command("verify")
@options.proto
@options.plugin
@click.argument("models", nargs=-1, required=True, metavar="A B")
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE,
    show_default=True,
    help="Largest error, as a part of a blob's largest magnitude.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option("--input", "inputs", multiple=True, metavar="[BLOB=]FILE.npy|npz", help="Inputs.")
@options.ignored_fields
@options.dialect
@options.state("TEST")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="BLOB",
    help="An output that both must have.  [default: all of both]",
)
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="A=B",
    help="The value A of the first model is called B in the second.",
)
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Every blob, not only those that differ or are unproved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    models: tuple[str, ...],
    tolerance: float,
    seed: int,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    pairs: tuple[str, ...],
    show_all: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Run two models on the same input and compare every blob that both name.

    A and B are each a Caffe net (NET.prototxt NET.caffemodel) or an ONNX file. The first blob that
    differs is named with its layer, and with the likely cause where it is a known one: each
    known mistake is made on purpose, and the one that gives the other side's numbers is told.
    A blob that stays the same whatever the input is proves nothing: it is told as unproved, with
    the reason. Exits 1 where a blob differs by more than the tolerance, where one model lacks an
    output of the other, and where nothing is proved.

    \b
    Examples:
      protogen verify deploy.prototxt net.caffemodel net.onnx
      protogen verify a.prototxt a.caffemodel b.prototxt b.caffemodel --json
      protogen verify all_in_one.prototxt net.caffemodel net.onnx --stage deploy
      protogen verify deploy.prototxt net.caffemodel cut.onnx --output fc7
      protogen verify deploy.prototxt net.caffemodel torch.onnx --pair prob=output
    """
    a, b = _pair(models)
    state = options.state_of(given)
    found = verify(
        a,
        b,
        feeds=options.arrays(inputs),
        seed=seed,
        tolerance=tolerance,
        check=False,
        outputs=outputs,
        names=dict(map(_names, pairs)),
        ignored_fields=given["ignored_fields"],
        dialect=given["dialect"],
        **state,
    )
    if as_json:
        click.echo(json.dumps(found.plain() | plain_state(state), indent=2))
    else:
        show(found, show_all)
    if not found.proved:
        raise mismatch(found)


def _names(pair: str) -> tuple[str, str]:
    first, equals, second = pair.partition("=")
    if not (first and equals and second):
        raise InputError(f"{pair!r} is not A=B", subject="--pair")
    return first, second


def show(found: Comparison, show_all: bool) -> None:
    """Prints a line for each blob, or for each that differs or is unproved, and one for all."""

    from protogen.cli import tables

    rows = [row for row in found.rows if show_all or _verdict(row)]
    if rows:
        tables.show(
            ["blob", "shape", "error", "relative", ""],
            [
                (
                    row.blob,
                    _shapes(row.shapes),
                    _number(row.largest),
                    _number(row.relative),
                    _verdict(row),
                )
                for row in rows
            ],
            right=(2, 3),
        )
    agree = sum(row.passed for row in found.rows)
    told = f"{len(found.unproved)} of them unproved, " if found.unproved else ""
    click.echo(
        f"{agree} of {len(found.rows)} blobs agree to {found.tolerance:g}, {told}"
        f"largest relative error {_number(found.worst)}"
    )


def _verdict(row: BlobDifference) -> str:
    if row.only:
        return f"in the {row.only} alone"
    return "unproved" if row.unproved else "" if row.passed else "differs"


def _shapes(shapes: Any) -> str:
    from protogen.cli import tables

    known = [tables.shape(shape) for shape in shapes if shape is not None]
    return " against ".join(dict.fromkeys(known))


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def _pair(models: tuple[str, ...]) -> tuple[Any, Any]:
    """Files in the order given: a prototxt takes the weights behind it."""
    made: list[Any] = []
    for path in models:
        if path.endswith((".caffemodel", ".h5")):
            if not made or not isinstance(made[-1], str) or made[-1].endswith(".onnx"):
                raise InputError("stands behind no prototxt", where=path)
            made[-1] = (made[-1], path)
        else:
            made.append(path)
    if len(made) != 2:
        raise InputError(
            f"{len(made)} models are given, but 2 can be compared",
            advice="Write NET.prototxt NET.caffemodel or FILE.onnx for each.",
        )
    a, b = ((x, None) if isinstance(x, str) and not x.endswith(".onnx") else x for x in made)
    return a, b
