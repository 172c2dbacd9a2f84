"""Plot of activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import DPI, metadata, open_frame, style

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHOWN = 4.0  # the plotted range is -4 to 4


@dataclass(frozen=True, slots=True)
class Curve:
    """A function's values ``y`` at ``x``, its slopes between them, and a note below its name."""

    name: str
    note: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    slopes: NDArray[np.float64]


def draw(curves: Sequence[Curve], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a panel for each function, five in a row. The derivative is dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(5, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(style(8)):
        size = (max(5.0, 2.9 * columns), max(3.6, 2.6 * rows))
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel in panels[len(curves) :]:
            panel.axis("off")
        for panel, curve in zip(panels, curves, strict=False):
            shown = abs(curve.x) <= _SHOWN
            middle = (curve.x[1:] + curve.x[:-1]) / 2
            slopes_shown = abs(middle) <= _SHOWN
            panel.axhline(0, color="#d5dbe1", lw=0.8)
            panel.axvline(0, color="#d5dbe1", lw=0.8)
            panel.plot(curve.x[shown], curve.y[shown], color="#2a6f97", lw=1.8, label="function")
            panel.plot(
                middle[slopes_shown],
                curve.slopes[slopes_shown],
                color="#c1666b",
                lw=1.2,
                ls="--",
                label="derivative",
            )
            panel.set_ylim(-2.0, 3.0)
            panel.set_title(f"{curve.name}\n{curve.note}", fontsize=8.5)
            open_frame(panel)
        panels[0].legend(frameon=False, loc="upper left", fontsize=7)
        figure.savefig(file, format=form, dpi=DPI, metadata=metadata(form))
