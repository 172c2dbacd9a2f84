"""How pictures look: one ink, a few colours, the same file for the same picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1f2933"
GREY = "#d5dbe1"
COLOURS = ("#2a6f97", "#c1666b", "#4f772d", "#9a6fb0", "#d08c3f", "#5c6b73")
DPI = 130


def style(size: float = 9) -> dict[Any, Any]:
    """matplotlib's settings, with this size of letters."""
    return {
        "font.size": size,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.linewidth": 0.6,
        "svg.hashsalt": "protogen",
        "svg.fonttype": "none",
    }


def metadata(form: Literal["png", "svg"]) -> dict[str, Any]:
    """Nothing that changes from day to day or from version to version."""
    return {"Date": None} if form == "svg" else {"Software": None}


def open_frame(axis: Axes) -> None:
    """Without the lines above and to the right."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def harmless(text: str) -> str:
    """A name as it is: matplotlib takes dollars for formulas."""
    return text.replace("$", r"\$")
