"""``protogen check-onnx``."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from protogen.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protogen.onnx.importer import Verdict

_WORDS = {
    "converts": "converts",
    "approximated": "approximated",
    "dialect": "in a dialect only",
    "refused": "does not convert",
}


_COUNTED = _WORDS | {"converts": "convert", "refused": "do not convert"}


@click.command("check-onnx")
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=N,C,H,W", help="An input's shape. May repeat."
)
@click.option("--all", "show_all", is_flag=True, help="Also the operators that convert.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, model: str, inputs: tuple[str, ...], show_all: bool, as_json: bool
) -> None:
    """Say of each operator of an ONNX model whether Caffe has a form of it.

    Operators that do not convert are listed with the tensor that they make and the reason, those
    that only a fork's layers can say with the dialect that has them. Nothing is written. Exits 1
    where the model does not convert to the layers of BVLC Caffe.

    \b
    Examples:
      protogen check-onnx model.onnx
      protogen check-onnx model.onnx --input images=1,3,640,640 --all
    """
    from protogen.onnx.importer import check_onnx

    found = check_onnx(model, input_shapes=options.parse_inputs(inputs))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        _show(found, show_all)
    if any(one.kind in ("refused", "dialect") for one in found):
        ctx.exit(1)


def _show(found: Sequence[Verdict], show_all: bool) -> None:
    from protogen.cli import tables

    rows = [
        (one.operator, tables.printable(one.output), _WORDS[one.kind], tables.printable(one.text))
        for one in found
        if show_all or one.kind != "converts"
    ]
    if rows:
        tables.show(("operator", "tensor", "", "layers, dialect or reason"), rows)
    counts = Counter(one.kind for one in found)
    told = [f"{counts[kind]} {words}" for kind, words in _COUNTED.items() if counts[kind]]
    click.echo(f"{len(found)} operators: {', '.join(told)}")
