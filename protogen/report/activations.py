"""Plot of activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import COLOURS, GREY, open_frame, save, style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

SHOWN = 4.0  # the plotted range is -4 to 4, or -8 to 8 where the slope changes outside
_CHANGE = 0.25  # change of the slope outside of -4 to 4 from which the larger range is plotted
_DPI = 100
_COLUMNS = 5  # panels in a row at most
_MARGIN = 0.08  # part of a panel's height above and below the curves


@dataclass(frozen=True, slots=True)
class Curve:
    """A function's values ``y`` at ``x``, its slopes between them, and a note below its name."""

    name: str
    note: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    slopes: NDArray[np.float64]


def draw(curves: Sequence[Curve], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a panel for each function at its own scale. The derivative is dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(style(8)):
        size = (max(5.0, 2.9 * columns), 0.4 + max(3.4, 2.5 * rows))
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel in panels[len(curves) :]:
            panel.axis("off")
        for number, (panel, curve) in enumerate(zip(panels, curves, strict=False)):
            _panel(panel, curve)
            if number % columns == 0:
                panel.set_ylabel("output and slope")
            if number + columns >= len(curves):  # no panel below
                panel.set_xlabel("input x")
        lines = panels[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        save(figure, file, form, dpi=_DPI)


def _panel(panel: Axes, curve: Curve) -> None:
    """Draw one function and its derivative. The scale fits both in the plotted range."""
    middle = (curve.x[1:] + curve.x[:-1]) / 2
    sides = [curve.slopes[middle < -SHOWN], curve.slopes[middle > SHOWN]]
    changes = any(side.size and side.max() - side.min() > _CHANGE for side in sides)
    end = float(abs(curve.x).max()) if changes else SHOWN
    shown, inside = abs(curve.x) <= end, abs(middle) <= end
    y, slopes = curve.y[shown], curve.slopes[inside]
    panel.axhline(0, color=GREY, lw=0.8)
    panel.axvline(0, color=GREY, lw=0.8)
    panel.plot(curve.x[shown], y, color=COLOURS[0], lw=1.8, label="function f(x)")
    panel.plot(middle[inside], slopes, color=COLOURS[1], lw=1.2, ls="--", label="derivative f '(x)")
    low, high = min(y.min(), slopes.min()), max(y.max(), slopes.max())
    margin = _MARGIN * (high - low or 1.0)
    panel.set_ylim(low - margin, high + margin)
    panel.set_xlim(-end, end)
    panel.set_xticks([-end, -end / 2, 0, end / 2, end])
    panel.set_title(f"{curve.name}\n{curve.note}", fontsize=8.5)
    open_frame(panel)
