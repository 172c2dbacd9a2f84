"""``protogen convert --dry-run``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, output
from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.onnx.verdict import Verdict

_WORDS = {
    "converts": "converts",
    "approximated": "approximated",
    "dialect": "needs a dialect",
    "refused": "does not convert",
}
_PLURAL = {
    "converts": "convert",
    "approximated": "approximated",
    "dialect": "need a dialect",
    "refused": "do not convert",
}


def dry_run(net: str, caffemodel: str | None, from_onnx: bool, flags: dict[str, Any]) -> bool:
    """Print which layers or operators do not convert; returns whether there are any."""
    if from_onnx:
        from protogen.onnx.importer import check_onnx

        verdicts = check_onnx(
            net,
            input_shapes=options.onnx_shapes(net, flags["input_shapes"]),
            dialect=flags["dialect"] or "bvlc",
            outputs=flags["to_blobs"],
        )
        _show(verdicts, "operator", flags)
    else:
        from protogen.onnx.exporter.verdicts import check_caffe

        reading = options.reading_of(flags)
        verdicts = check_caffe(
            net,
            caffemodel,
            opset=flags["opset"],
            outputs=flags["to_blobs"],
            input_shapes=options.shapes_for(net, flags["input_shapes"], **reading),
            ignored_fields=flags["ignored_fields"],
            **reading,
        )
        _show(verdicts, "layer", flags)
    return any(one.kind in ("refused", "dialect") for one in verdicts)


def _show(verdicts: Sequence[Verdict], what: str, flags: dict[str, Any]) -> None:
    from protogen.cli import tables

    if flags["as_json"]:
        output.print_json("convert", verdicts=[asdict(one) for one in verdicts])
        return
    rows = [
        (
            one.type,
            output.printable(one.name if what == "layer" else one.output),
            _WORDS[one.kind],
            output.printable(one.text),
        )
        for one in verdicts
        if flags["verbose"] or one.kind != "converts"
    ]
    headings = {
        "operator": ("operator", "tensor", "", "layers, dialect or reason"),
        "layer": ("type", "layer", "", "operators or reason"),
    }
    if rows:
        tables.show(headings[what], rows)
    counts = Counter(one.kind for one in verdicts)
    parts = [
        f"{count} {_WORDS[kind] if count == 1 else plural}"
        for kind, plural in _PLURAL.items()
        if (count := counts[kind])
    ]
    click.echo(f"{quantity(len(verdicts), what)}: {', '.join(parts)}")
