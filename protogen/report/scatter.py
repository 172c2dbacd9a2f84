"""The picture of data before and after preprocessing: pixels as points in two channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INK = "#1f2933"
_COLOURS = ("#2a6f97", "#4f772d", "#c1666b", "#9a6fb0")


@dataclass(frozen=True, slots=True)
class Panel:
    """Points (n, C), of which the first and the last channel are drawn, and their names."""

    title: str
    points: NDArray[np.floating]
    names: tuple[str, str]


def draw(panels: Sequence[Panel], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """One panel for each step, the same length on both axes."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9, "axes.edgecolor": _INK, "text.color": _INK, "axes.labelcolor": _INK,
        "xtick.color": _INK, "ytick.color": _INK, "axes.linewidth": 0.6,
        "svg.hashsalt": "protogen", "svg.fonttype": "none",
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.9 * len(panels), 4.1), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            x, y = panel.points[:, 0], panel.points[:, -1]
            axis.plot(x, y, ".", ms=3.5, alpha=0.3, color=_COLOURS[number % len(_COLOURS)],
                      mew=0, rasterized=True)  # fmt: skip
            axis.axhline(0, color=_INK, lw=0.7)
            axis.axvline(0, color=_INK, lw=0.7)
            reach = 1.05 * max(abs(x).max(), abs(y).max(), 1e-6)
            axis.set_xlim(-reach, reach)
            axis.set_ylim(-reach, reach)
            axis.set_aspect("equal")
            axis.set_title(panel.title)
            axis.set_xlabel(panel.names[0])
            axis.set_ylabel(panel.names[1])
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(file, format=form, dpi=130, metadata=metadata)
