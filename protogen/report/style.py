"""Style of all plots: fonts and colours, and metadata that makes files reproducible."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
GREY = "#d5dbe1"
COLOURS = ("#2a6f97", "#c1666b", "#4f772d", "#9a6fb0", "#d08c3f", "#5c6b73")
DPI = 130
# Inverts lightness and keeps hues, so that a plot of lines is readable on a dark page.
DARK = (
    "<style>@media screen and (prefers-color-scheme:dark)"
    "{svg{filter:invert(0.93) hue-rotate(180deg)}}</style>"
)


def style(size: float = 9) -> dict[Any, Any]:
    """Return matplotlib's settings with this font size in points."""
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
    """Return file metadata without date and software version, so that equal plots are equal files."""
    return {"Date": None} if form == "svg" else {"Software": None}


def save(
    figure: Figure,
    file: BinaryIO,
    form: Literal["png", "svg"],
    *,
    dpi: int = DPI,
    values: bool = False,
) -> None:
    """Write a figure. Equal figures are equal files.

    An SVG of lines has dark colours on screens whose system prefers them. ``values``: the colours of
    images or maps are values, which stay as they are on a white background.
    """
    if form == "png" or values:
        figure.savefig(file, format=form, dpi=dpi, metadata=metadata(form))
        return
    buffer = io.StringIO()
    figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata(form))
    head, defs, rest = buffer.getvalue().partition("<defs>")
    file.write(f"{head}{DARK}\n {defs}{rest}".encode())


def open_frame(axis: Axes) -> None:
    """Remove the frame's lines at the top and on the right."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def escape_dollars(text: str) -> str:
    """Escape dollar signs, which matplotlib would read as the delimiters of a formula."""
    return text.replace("$", r"\$")
