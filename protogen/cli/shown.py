"""What ``protogen convert`` prints about the files that it wrote."""

from __future__ import annotations

from typing import Any

from protogen.cli import for_target, output, tables
from protogen.errors import quantity
from protogen.notebook.conversions import checks as checks


def print_exported(converted: Any) -> None:
    program = converted.program
    output.print_json(
        "convert",
        model=str(converted.path),
        external=str(converted.external) if converted.external else None,
        inputs=[{"name": one.name, "shape": one.shape} for one in program.inputs],
        outputs=[{"name": one.name, "shape": one.shape} for one in program.outputs],
        layers=len(converted.net.layers),
        operators=len(program.nodes),
        weight_bytes=converted.weight_bytes,
        receipt=converted.receipt or None,
    )


def print_imported(converted: Any) -> None:
    net, names = converted.imported.net, converted.imported.names()
    output.print_json(
        "convert",
        prototxt=str(converted.prototxt),
        caffemodel=str(converted.caffemodel) if converted.caffemodel else None,
        names=str(converted.names) if converted.names else None,
        scales=str(converted.scales) if converted.scales else None,
        inputs=[{"name": name, "shape": net.graph.shapes[name]} for name in net.inputs],
        outputs=[{"name": name, "shape": net.graph.shapes[name]} for name in net.outputs],
        layers=len(net.layers),
        operators=len(converted.imported.source.operators),
        weight_bytes=converted.weight_bytes,
        renamed=names["renamed"],
        values=names["values"],
        layers_by_operator=names["operators"],
        approximated=list(converted.imported.approximated),
        checked=converted.checked.plain() if converted.checked else None,
        reasons=dict(converted.imported.reasons) if converted.legalized is None else {},
        **(for_target.plain(converted.legalized) if converted.legalized else {}),
    )


def show_imported(converted: Any, verbose: bool) -> None:
    net = converted.imported.net
    for label, blobs in (("in ", net.inputs), ("out", net.outputs)):
        for name in blobs:
            shape = tables.shape(net.graph.shapes[name] or ())
            output.note(f"{label} {output.printable(name)}  {shape}")
    if converted.checked is not None:
        from protogen.cli import verify

        verify.show(converted.checked, verbose)
    operators = quantity(len(converted.imported.source.operators), "operator")
    weights = f"{tables.size(converted.weight_bytes)} of weights"
    output.note(f"{operators}, {quantity(len(net.layers), 'layer')}, {weights}")
    for name in converted.imported.renamed:
        output.note(f"renamed {output.printable(name)}")
    output.wrote(converted.prototxt, converted.caffemodel, converted.names, converted.scales)
