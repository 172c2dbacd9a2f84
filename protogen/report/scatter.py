"""Plot of data before and after preprocessing: pixels as points in two channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import COLOURS, INK, open_frame, save, style

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Panel:
    """Points (n, C), and the names of the first and the last channel, which are drawn."""

    title: str
    points: NDArray[np.floating]
    names: tuple[str, str]


def draw(panels: Sequence[Panel], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a panel for each step, with the same range on both axes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(3.9 * len(panels), 4.1), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            x, y = panel.points[:, 0], panel.points[:, -1]
            axis.plot(
                x,
                y,
                ".",
                ms=3.5,
                alpha=0.3,
                color=COLOURS[number % len(COLOURS)],
                mew=0,
                rasterized=True,
            )
            axis.axhline(0, color=INK, lw=0.7)
            axis.axvline(0, color=INK, lw=0.7)
            limit = 1.05 * max(abs(x).max(), abs(y).max(), 1e-6)
            axis.set_xlim(-limit, limit)
            axis.set_ylim(-limit, limit)
            axis.set_aspect("equal")
            axis.set_title(panel.title)
            axis.set_xlabel(f"{panel.names[0]}, value of the pixel")
            axis.set_ylabel(f"{panel.names[1]}, value of the pixel")
            open_frame(axis)
        save(figure, file, form)
