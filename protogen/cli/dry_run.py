"""``protogen convert --dry-run``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from protogen.cli import options, output
from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.net.targets import TargetReport
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
            inputs=flags["from_blobs"],
            outputs=flags["to_blobs"],
            drop_quantisation=flags["drop_quantisation"],
        )
        report = _imported(net, verdicts, flags)
    else:
        from protogen.onnx.exporter.verdicts import check_caffe

        reading = options.reading_of(flags)
        verdicts = check_caffe(
            net,
            caffemodel,
            opset=flags["opset"],
            inputs=flags["from_blobs"],
            outputs=flags["to_blobs"],
            input_shapes=options.shapes_for(net, flags["input_shapes"], **reading),
            ignored_fields=flags["ignored_fields"],
            **reading,
        )
        report = _read(net, caffemodel, reading, flags)
    _show(verdicts, "operator" if from_onnx else "layer", flags, report)
    if report is not None and not flags["as_json"]:
        from protogen.cli import target_table

        target_table.show_report(net, report)
    fails = any(one.kind in ("refused", "dialect") for one in verdicts)
    return fails or (report is not None and not report.usable)


def _imported(net: str, verdicts: Sequence[Verdict], flags: dict[str, Any]) -> TargetReport | None:
    """Return what the target does with the Caffe net of an ONNX model."""
    if not flags["toolchain"]:
        return None
    from protogen.toolchains.toolchain import load_toolchain

    toolchain = load_toolchain(flags["toolchain"])
    if any(one.kind == "refused" for one in verdicts):
        output.note("the layers for the target are not known: operators do not convert")
        return None
    from protogen.legalization.legalize import legalize
    from protogen.net.targets import judge
    from protogen.onnx.importer.net import import_model

    imported = import_model(
        net,
        input_shapes=options.onnx_shapes(net, flags["input_shapes"]),
        inputs=flags["from_blobs"],
        outputs=flags["to_blobs"],
        richest=True,
    )
    legal = legalize(imported.net, toolchain).net
    return judge(toolchain, legal.graph, legal.message)


def _read(
    net: str, caffemodel: str | None, reading: dict[str, Any], flags: dict[str, Any]
) -> TargetReport | None:
    """Return what the target does with a Caffe net."""
    if not flags["toolchain"]:
        return None
    from protogen.net.targets import check_target

    shapes = options.shapes_for(net, flags["input_shapes"], **reading)
    weights = caffemodel if caffemodel and caffemodel.endswith(".caffemodel") else None
    return check_target(net, flags["toolchain"], weights, input_shapes=shapes, **reading)


def _show(
    verdicts: Sequence[Verdict], what: str, flags: dict[str, Any], report: TargetReport | None
) -> None:
    from protogen.cli import tables, target_table

    if flags["as_json"]:
        more = {"target": target_table.plain_report(report)} if report is not None else {}
        output.print_json("convert", verdicts=[asdict(one) for one in verdicts], **more)
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
    output.say(f"{quantity(len(verdicts), what)}: {', '.join(parts)}")
