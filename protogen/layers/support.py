"""Table of the registered layer types and their support in stock Caffe and ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protogen.layers import LayerType
from protogen.layers.base import family_of


@dataclass(frozen=True, slots=True)
class Support:
    """One layer type.

    Attributes:
        summary: what the layer computes.
        onnx: whether the layer can be exported to ONNX.
        limits: parameters that cannot be exported, or the reason why the type cannot be exported.
        stock: ``yes`` for a type of BVLC Caffe, ``rewritten`` if stock layers can replace it, else
            ``no``.
    """

    type: str
    family: str
    summary: str
    onnx: bool
    limits: str
    stock: str


def supported() -> list[Support]:
    """Return every registered layer type, sorted by family and name, without a user's own types."""
    rows = []
    for name, kind in LayerType.registry.items():
        if kind.user_defined:
            continue
        summary = " ".join((type(kind).__doc__ or "").split("\n\n")[0].split())
        limits = kind.limits if kind.has_form else kind.refusal[0]
        family = family_of(kind)
        rewrites = type(kind).rewrite is not LayerType.rewrite
        stock = "yes" if kind.stock else "rewritten" if rewrites else "no"
        rows.append(Support(name, family, summary, kind.has_form, limits, stock))
    return sorted(rows, key=lambda row: (row.family, row.type))


def markdown(cases: Mapping[str, int]) -> str:
    """Return the table of supported layers as Markdown.

    Args:
        cases: for each type, the number of test nets whose exported ONNX model was checked against
            numbers from real Caffe.
    """
    lines = [
        "| type | what it does | stock Caffe | ONNX | checked against real Caffe |",
        "|---|---|---|---|---|",
    ]
    for row in supported():
        export = "yes" if row.onnx else f"no: {row.limits}"
        export += f" ({row.limits})" if row.onnx and row.limits else ""
        count = cases.get(row.type, 0)
        checked = f"{count} nets" if count > 1 else f"{count} net" if count else ""
        summary = row.summary.replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{row.type}` | {summary} | {row.stock} | {export} | {checked} |")
    return "\n".join(lines) + "\n"
