"""Which layer types protogen knows, and what becomes of them: read from the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protogen.layers import LayerType
from protogen.layers.base import family_of


@dataclass(frozen=True, slots=True)
class Support:
    """One layer type. ``summary`` is what it does; ``onnx`` says whether it has an ONNX form, and
    ``limits`` which of its forms have none, or why it has none at all; ``stock`` is ``yes`` for a type
    of BVLC Caffe, ``rewritten`` where stock layers can stand for it, and ``no`` else."""

    type: str
    family: str
    summary: str
    onnx: bool
    limits: str
    stock: str


def supported() -> list[Support]:
    """Every registered layer type by family and name; those of a user are left out."""
    rows = []
    for name, kind in LayerType.registry.items():
        if kind.user_defined:
            continue
        first = " ".join((type(kind).__doc__ or "").split("\n\n")[0].split())
        limits = kind.limits if kind.has_form else kind.refusal[0]
        family = family_of(kind)
        rewrites = type(kind).rewrite is not LayerType.rewrite
        stock = "yes" if kind.stock else "rewritten" if rewrites else "no"
        rows.append(Support(name, family, first, kind.has_form, limits, stock))
    return sorted(rows, key=lambda row: (row.family, row.type))


def markdown(cases: Mapping[str, int]) -> str:
    """The table of supported layers as Markdown. ``cases`` counts, by type, nets with numbers from
    real Caffe that were run through the written ONNX."""
    lines = [
        "| type | what it does | stock Caffe | ONNX | checked against real Caffe |",
        "|---|---|---|---|---|",
    ]
    for row in supported():
        form = "yes" if row.onnx else f"no: {row.limits}"
        form += f" ({row.limits})" if row.onnx and row.limits else ""
        count = cases.get(row.type, 0)
        checked = f"{count} nets" if count > 1 else f"{count} net" if count else ""
        summary = row.summary.replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{row.type}` | {summary} | {row.stock} | {form} | {checked} |")
    return "\n".join(lines) + "\n"
