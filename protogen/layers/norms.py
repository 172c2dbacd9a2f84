"""Norms over the channels of each pixel."""

from __future__ import annotations

from protogen.layers.writing import Emitter


def divided_by_norm(e: Emitter, x: str, kind: str) -> tuple[str, str]:
    """Emit x / norm and the norm, as happynear's Normalize: sqrt(1e-6 + sum of x^2) over axis 1 for
    ``L2``, 1e-6 + sum of |x| for ``L1``."""
    squared = kind == "L2"
    sizes = e.value("Mul", x, x) if squared else e.value("Abs", x)
    norm = e.value("Add", e.reduce("ReduceSum", sizes, [1]), e.array(1e-6))
    norm = e.value("Sqrt", norm) if squared else norm
    return e.value("Div", x, norm), norm
