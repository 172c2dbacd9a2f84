"""Plot of a net's signals: histograms by depth, standard deviations forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from protogen.report.labels import labels
from protogen.report.style import COLOURS, GREY, escape_dollars, open_frame, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from protogen.training.signals.health import Row

_NOTE = "histogram of the values after each layer, all on the same x axis"
_NAME = 18  # characters of a layer's name at most
_COLUMNS = 10  # histograms in a row


def draw(rows: Sequence[Row], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a row of histograms for each initialisation, and standard deviations by depth below."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(len(row.names) for row in rows))
    with matplotlib.rc_context(style(8)):
        height = 1.9 * len(rows) + 3.2
        figure = Figure(figsize=(max(8, 1.35 * columns), height), layout="constrained")
        parts: Any = figure.subfigures(len(rows) + 1, 1, height_ratios=[1.9] * len(rows) + [3.2])
        for number, (row, part) in enumerate(zip(rows, parts, strict=False)):
            part.suptitle(
                f"{escape_dollars(row.title)}: {_NOTE}",
                x=0.01,
                ha="left",
                fontsize=9,
                fontweight="bold",
            )
            names = labels(row.names, _NAME)
            axes = part.subplots(1, columns, squeeze=False)[0]
            for axis, layer in zip(axes, _spread(len(row.names), columns), strict=False):
                _histogram(
                    axis, row, layer, names[row.names[layer]], COLOURS[number % len(COLOURS)]
                )
            for axis in axes[min(columns, len(row.names)) :]:
                axis.axis("off")
        has_gradients = any(g is not None for row in rows for g in row.gradients)
        below = parts[-1].subplots(1, 2 if has_gradients else 1, squeeze=False)[0]
        _curves(below[0], rows, "deviations", "standard deviation of the signal", len(rows) > 1)
        if has_gradients:
            _curves(
                below[1], rows, "gradients", "standard deviation of the gradient", len(rows) > 1
            )
        save(figure, file, form)


def _spread(count: int, columns: int) -> list[int]:
    """Return the indices of the layers to show: all, or evenly spaced from the first to the last."""
    if count <= columns:
        return list(range(count))
    return [round(i * (count - 1) / (columns - 1)) for i in range(columns)]


def _histogram(axis: Axes, row: Row, layer: int, name: str, colour: str) -> None:
    import numpy as np

    values = row.histograms[layer]
    low, high = row.ends[layer]
    axis.set_title(escape_dollars(name), fontsize=7)
    axis.set_yticks([])
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(labelsize=6, length=2)
    if values:
        edges = np.linspace(low, high, len(values) + 1)
        second, first = sorted(values)[-2:]
        # A rectifier sets about half of all values to 0. Cut that bar, so that the others are visible.
        heights = np.minimum(
            np.asarray(values) / (second if first > 4 * second > 0 else first), 1.15
        )
        # All histograms of a row have the same scale: a vanishing signal is a line in the middle.
        left, right = min(a for a, _ in row.ends), max(b for _, b in row.ends)
        min_width = (right - left) / 60
        width = max((high - low) / len(values), min_width)
        axis.bar(edges[:-1], heights, width, align="edge", color=colour, lw=0)
        axis.set_ylim(0, 1.15)
        axis.set_xlim(left, max(right, left + 1e-30) + min_width)
        axis.set_xticks([left, right], [f"{left:.2g}", f"{right:.2g}"])
    else:
        axis.set_xticks([])
        axis.text(0.5, 0.5, f"all {low:.3g}", ha="center", va="center", transform=axis.transAxes)


def _curves(axis: Axes, rows: Sequence[Row], key: str, label: str, legend: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, row in enumerate(rows):
        values = [v if v else None for v in getattr(row, key)]
        depths = [i + 1 for i, v in enumerate(values) if v is not None]
        axis.plot(
            depths,
            [v for v in values if v is not None],
            "o-",
            ms=3,
            lw=1.2,
            color=COLOURS[number % len(COLOURS)],
            label=row.title,
        )
    axis.set_yscale("log")
    axis.set_xlabel("layer with weights, counted from the input")
    axis.set_ylabel(label)
    axis.grid(axis="y", lw=0.4, color=GREY)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_frame(axis)
    if legend:
        axis.legend(frameon=False, fontsize=7)
