"""Converted, compared and cut nets and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import quantity
from protogen.formats import tables
from protogen.notebook.nets import ends, net_line, net_table, number, some
from protogen.notebook.page import OPEN, fields, fold, items, join, paragraph, table, tag

if TYPE_CHECKING:
    from protogen.converting.caffe_to_onnx import Converted
    from protogen.converting.comparison import Comparison
    from protogen.converting.onnx_to_caffe import Imported
    from protogen.converting.parts import Cut, PartFile
    from protogen.converting.proving import BlobDifference
    from protogen.onnx.importer.net import ImportedNet
    from protogen.pytorch.net import TorchNet

HEADINGS = ("blob", "shape", "error", "relative", "")
RIGHT = (2, 3)


def verdict(row: BlobDifference) -> str:
    """Return what is wrong with a blob; empty if nothing is."""
    if row.only:
        return f"only in the {row.only}"
    return "unproved" if row.unproved else "" if row.passed else "differs"


def cells(row: BlobDifference) -> tuple[str, ...]:
    """Return the row of a blob, in the order of ``HEADINGS``."""
    known = [tables.shape(shape) for shape in row.shapes if shape is not None]
    shapes = " against ".join(dict.fromkeys(known))
    return row.blob, shapes, number(row.largest), number(row.relative), verdict(row)


def sentence(comparison: Comparison) -> str:
    """Return how many blobs agree, and the largest error."""
    agree = sum(row.passed for row in comparison.rows)
    agrees = "agrees" if agree == 1 else "agree"
    some = f"{len(comparison.unproved)} of them unproved, " if comparison.unproved else ""
    return (
        f"{agree} of {quantity(len(comparison.rows), 'blob')} {agrees} to "
        f"{comparison.tolerance:g}, {some}largest relative error {number(comparison.worst)}"
    )


def _comparison(comparison: Comparison) -> str:
    first = comparison.first
    at = f"; the first that does not is {first.blob}" if first else ""
    return sentence(comparison) + at


def comparison_table(comparison: Comparison) -> Markup:
    """Return whether two models agree, and the difference of each blob."""
    if comparison.proved:
        mark = tag("agrees")
    else:
        mark = tag("nothing is proved" if comparison.first is None else "differs", "bad")
    rows = [_marked(row) for row in comparison.rows]
    reasons = [f"{row.blob} is unproved: {row.unproved}." for row in comparison.unproved[:OPEN]]
    first = comparison.first
    is_open = len(rows) <= OPEN or first is not None
    return join(
        paragraph(Markup("{} {}").format(mark, sentence(comparison))),
        paragraph(f"The first blob that does not agree is {first.blob}." if first else ""),
        paragraph(f"Likely cause: {comparison.cause}." if comparison.cause else ""),
        fold(quantity(len(rows), "blob"), table(HEADINGS, rows, RIGHT), is_open),
        items(reasons),
    )


def _marked(row: BlobDifference) -> tuple[Any, ...]:
    """Return the row of a blob with its verdict on a coloured ground."""
    *numbers, word = cells(row)
    kind = "doubt" if row.unproved else "bad"
    return (*numbers, tag(word, kind) if word else "")


def _converted(converted: Converted) -> str:
    operators = quantity(len(converted.program.nodes), "operator")
    weights = tables.size(converted.weight_bytes)
    layers = quantity(len(converted.net.layers), "layer")
    return f"{converted.path}: {layers} to {operators}, {weights} of weights; {ends(converted.net)}"


def _values(values: Iterable[Any]) -> str:
    return ", ".join(f"{one.name} {tables.shape(one.shape)}" for one in values)


def checks(checked: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result of ``verify``, a line for each program that ran the model or the net."""
    for program, result in checked.items():
        if isinstance(result, str):
            yield f"{program}: {result}"
        else:
            blobs, unproved = result["compared"], len(result["unproved"])
            worst = number(result["worst"])
            doubts = f"{unproved} of them unproved, " if unproved else ""
            agree = "agrees" if blobs == 1 else "agree"
            yield (
                f"{program}: {quantity(blobs, 'blob')} {agree}, {doubts}largest relative error {worst}"
            )


def _converted_table(converted: Converted) -> Markup:
    program = converted.program
    return join(
        fields(
            {
                "model": converted.path,
                "weights": converted.external,
                "inputs": _values(program.inputs),
                "outputs": _values(program.outputs),
                "operators": f"{len(program.nodes):,}, opset {program.opset}",
                "size of the weights": tables.size(converted.weight_bytes),
            }
        ),
        items(checks(converted.receipt.get("checked", {}))),
        net_table(converted.net, "converted from", is_open=False),
    )


def _imported(imported: Imported) -> str:
    operators = quantity(len(imported.imported.source.operators), "operator")
    return f"{imported.prototxt}: {operators} to {net_line(imported.imported.net)}"


def _imported_table(imported: Imported) -> Markup:
    return join(
        fields(
            {
                "net": imported.prototxt,
                "weights": imported.caffemodel,
                "names": imported.names,
                "scales": imported.scales,
                "size of the weights": tables.size(imported.weight_bytes),
            }
        ),
        comparison_table(imported.checked) if imported.checked else Markup(""),
        _imported_net_table(imported.imported),
    )


def _imported_net(imported: ImportedNet) -> str:
    operators = quantity(len(imported.source.operators), "operator")
    return f"{operators} to {net_line(imported.net)}"


def _imported_net_table(imported: ImportedNet) -> Markup:
    reasons = list(imported.reasons.items())
    return join(
        net_table(imported.net),
        items(f"approximated: {one}" for one in imported.approximated),
        fold("Why these layers", table(("layer", "reason"), reasons)) if reasons else Markup(""),
    )


def _torch(net: TorchNet) -> str:
    return f"{net.name} to {net_line(net.net)}; {sentence(net.checked)}"


def _torch_table(net: TorchNet) -> Markup:
    return join(
        paragraph(f"{net.name}, exported by {net.exporter}"),
        items(net.notes),
        comparison_table(net.checked),
        net_table(net.net),
    )


def _part(part: PartFile) -> str:
    size = f"{quantity(len(part.layers), 'layer')}, {tables.size(part.weight_bytes)} of weights"
    inputs, outputs = (some([name for name, _ in x]) or "none" for x in (part.inputs, part.outputs))
    return f"{part.path}: {size}; {inputs} -> {outputs}"


def _part_table(part: PartFile) -> Markup:
    def shaped(values: Iterable[tuple[str, Any]]) -> str:
        return ", ".join(
            name if shape is None else f"{name} {'x'.join(map(str, shape))}"
            for name, shape in values
        )

    return fields(
        {
            "file": part.path,
            "weights": part.weights,
            "inputs": shaped(part.inputs),
            "outputs": shaped(part.outputs),
            "layers": f"{len(part.layers):,}",
            "multiply-adds": "" if part.multiply_adds is None else tables.count(part.multiply_adds),
            "size of the weights": tables.size(part.weight_bytes),
        }
    )


def _cut(cut: Cut) -> str:
    rest = f", the rest {_part(cut.rest)}" if cut.rest else ""
    return f"part {_part(cut.part)}{rest}"


def _cut_table(cut: Cut) -> Markup:
    return join(
        fold("Part", _part_table(cut.part), True),
        fold("Rest", _part_table(cut.rest), True) if cut.rest else Markup(""),
        comparison_table(cut.checked) if cut.checked else Markup(""),
    )


LINES: dict[str, Callable[[Any], str]] = {
    "Converted": _converted,
    "Imported": _imported,
    "ImportedNet": _imported_net,
    "TorchNet": _torch,
    "Comparison": _comparison,
    "Cut": _cut,
    "PartFile": _part,
}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "Converted": _converted_table,
    "Imported": _imported_table,
    "ImportedNet": _imported_net_table,
    "TorchNet": _torch_table,
    "Comparison": comparison_table,
    "Cut": _cut_table,
    "PartFile": _part_table,
}
