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
        origin: BVLC, protogen, or the public repository of the fork whose code defines the layer.
        onnx: whether the layer can be exported to ONNX.
        limits: parameters that cannot be exported, or the reason why the type cannot be exported.
        stock: ``yes`` for a type of BVLC Caffe, ``rewritten`` if stock layers can replace it, else
            ``no``.
    """

    type: str
    family: str
    summary: str
    origin: str
    onnx: bool
    limits: str
    stock: str


def supported() -> list[Support]:
    """Return every registered layer type, sorted by family and name, without a user's own types."""
    rows = []
    for name, kind in LayerType.registry.items():
        if kind.user_defined:
            continue
        summary = _summary(kind)
        limits = kind.limits if kind.has_form else kind.refusal[0]
        family = family_of(kind)
        rewrites = type(kind).rewrite is not LayerType.rewrite
        stock = "yes" if kind.stock else "rewritten" if rewrites else "no"
        origin = "BVLC" if kind.stock else kind.source or "protogen"
        rows.append(Support(name, family, summary, origin, kind.has_form, limits, stock))
    return sorted(rows, key=lambda row: (row.family, row.type))


def markdown(proofs: Mapping[str, str]) -> str:
    """Return the table of supported layers as Markdown.

    Args:
        proofs: for each type, with what the numbers of its exported ONNX model were compared.
    """
    lines = [
        "| type | what it does | origin | stock Caffe | ONNX | compared with |",
        "|---|---|---|---|---|---|",
    ]
    for row in supported():
        export = "yes" if row.onnx else f"no: {row.limits}"
        export += f" ({row.limits})" if row.onnx and row.limits else ""
        summary = row.summary.replace("``", "`").replace("|", "\\|")
        proof = proofs.get(row.type, "")
        lines.append(
            f"| `{row.type}` | {summary} | {row.origin} | {row.stock} | {export} | {proof} |"
        )
    lines += ["", "Python layers whose class is public:", ""]
    lines += ["| module and class | what it does | source | ONNX |", "|---|---|---|---|"]
    for (module, name), kind in sorted(LayerType.python.items()):
        summary = _summary(kind).replace("``", "`").replace("|", "\\|")
        source = f"https://github.com/{kind.source}"
        export = "an input" if kind.is_source else "yes" if kind.has_form else "no"
        lines.append(f"| `{module}.{name}` | {summary} | {source} | {export} |")
    return "\n".join(lines) + "\n"


def _summary(kind: LayerType) -> str:
    """Return the first paragraph of a type's docstring as one line."""
    return " ".join((type(kind).__doc__ or "").split("\n\n")[0].split())
