"""``protogen verify``."""

from __future__ import annotations

from typing import Any

import click

from protogen.cli import completions, filetypes, options, output
from protogen.converting.comparison import TOLERANCE, Comparison, mismatch, verify
from protogen.errors import InputError
from protogen.net.rules import plain_state


@click.command("verify")
@options.proto
@options.plugin
@click.argument("models", nargs=-1, required=True, type=filetypes.INPUT, metavar="A B")
@click.option(
    "--tolerance",
    type=float,
    default=TOLERANCE,
    show_default=True,
    help="Largest error relative to a blob's largest magnitude.",
)
@options.seed
@options.input_files("Input data: .npy or .npz.  [default: random]")
@options.identity
@options.ignored_fields
@options.dialect
@options.state("TEST")
@click.option(
    "--blob",
    "blobs",
    shell_complete=completions.blobs,
    multiple=True,
    metavar="BLOB",
    help="Require this blob in both models. Repeatable.  [default: the outputs of both]",
)
@click.option(
    "--pair",
    "pairs",
    shell_complete=completions.blobs,
    multiple=True,
    metavar="A=B",
    help="Compare blob A of the first model with blob B of the second. Repeatable.",
)
@options.verbose
@options.as_json
def command(
    models: tuple[str, ...],
    tolerance: float,
    seed: int,
    inputs: tuple[str, ...],
    blobs: tuple[str, ...],
    pairs: tuple[str, ...],
    verbose: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Run two models and compare their blobs.

    A and B are each a Caffe net (NET.prototxt NET.caffemodel) or an ONNX model. Both run on the same
    input, and all blobs with the same name are compared. The first blob that differs is reported with
    its layer and, if it is a known one, with the cause: protogen repeats known mistakes of other tools
    and reports the one that gives the same numbers. A blob whose value does not depend on the input
    is reported as unproved, with the reason. The exit code is 1 if a blob differs by more than the
    tolerance, if an output is missing in one model, or if nothing is proved.

    \b
    Examples:
      protogen verify deploy.prototxt net.caffemodel net.onnx
      protogen verify a.prototxt a.caffemodel b.prototxt b.caffemodel --json
      protogen verify all_in_one.prototxt net.caffemodel net.onnx --stage deploy
      protogen verify deploy.prototxt net.caffemodel cut.onnx --blob fc7
      protogen verify deploy.prototxt net.caffemodel torch.onnx --pair prob=output
    """
    a, b = _pair(models)
    state = options.state_of(reading)
    comparison = verify(
        a,
        b,
        feeds=options.arrays(inputs),
        seed=seed,
        tolerance=tolerance,
        check=False,
        outputs=blobs,
        names=dict(map(_names, pairs)),
        **reading,
        **state,
    )
    if as_json:
        output.print_json("verify", **comparison.plain(), **plain_state(state))
    else:
        show(comparison, verbose)
    if not comparison.proved:
        raise mismatch(comparison)


def _names(pair: str) -> tuple[str, str]:
    first, equals, second = pair.partition("=")
    if not (first and equals and second):
        raise InputError(f"expected A=B, got {pair!r}", subject="--pair")
    return first, second


def show(comparison: Comparison, verbose: bool) -> None:
    """Print a line for each blob that differs or is unproved (``verbose``: for every blob), and the
    total."""
    from protogen.cli import tables
    from protogen.notebook import conversions

    rows = [row for row in comparison.rows if verbose or conversions.verdict(row)]
    if rows:
        tables.show(conversions.HEADINGS, map(conversions.cells, rows), conversions.RIGHT)
    output.say(conversions.sentence(comparison))


def _pair(models: tuple[str, ...]) -> tuple[Any, Any]:
    """The two models of a list of files: weights belong to the prototxt before them."""
    from protogen.converting.sources import kind_of

    pairs: list[Any] = []
    kinds = {path: kind_of(path) for path in models}
    for path in models:
        if kinds[path] in ("caffemodel", "hdf5"):
            if not pairs or not isinstance(pairs[-1], str) or kinds[pairs[-1]] == "onnx":
                raise InputError(
                    "weights must come after their prototxt",
                    where=path,
                    advice="Write NET.prototxt NET.caffemodel.",
                )
            pairs[-1] = (pairs[-1], path)
        else:
            pairs.append(path)
    if len(pairs) != 2:
        raise InputError(
            f"expected 2 models, got {len(pairs)}",
            advice="Write NET.prototxt NET.caffemodel or MODEL.onnx for each.",
        )
    a, b = ((x, None) if isinstance(x, str) and kinds[x] != "onnx" else x for x in pairs)
    return a, b
