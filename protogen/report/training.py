"""Plot of a training log: loss, learning rate, and gradients by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import COLOURS, INK, escape_dollars, open_frame, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^Dv"  # of the series in a panel, where they have few points
Series = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Course:
    """Data of the plot: series by name, learning rates, and norms by layer in the net's order."""

    losses: Mapping[str, Series]
    scores: Mapping[str, Series]
    rate: Series
    weights: Mapping[str, float]
    gradients: Mapping[str, float]
    lines: Mapping[str, float]  # horizontal reference lines, such as ln(classes)


def draw(course: Course, file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a panel for losses with the learning rate, one for scores, and one for norms.

    A panel without data is left out. A log has norms only with debug_info.
    """
    import matplotlib
    from matplotlib.figure import Figure

    count = 1 + bool(course.scores) + bool(course.gradients)
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(5.2 * count, 4), layout="constrained")
        axes = list(figure.subplots(1, count, squeeze=False)[0])
        _lines(axes.pop(0), course.losses, course.lines, "loss", course.rate)
        if course.scores:
            _lines(axes.pop(0), course.scores, {}, "value of the output", ())
        if course.gradients:
            _norms(axes.pop(0), course)
        save(figure, file, form)


def _lines(
    axis: Axes, series: Mapping[str, Series], levels: Mapping[str, float], label: str, rate: Series
) -> None:
    for number, (name, values) in enumerate(series.items()):
        x, y = zip(*values, strict=True) if values else ((), ())
        axis.plot(
            x,
            y,
            lw=1.3,
            marker=MARKERS[number % len(MARKERS)] if len(x) < 30 else "",
            ms=4,
            color=COLOURS[number % len(COLOURS)],
            label=escape_dollars(name),
        )
    for name, level in levels.items():
        axis.axhline(level, color=INK, lw=0.8, ls="--", label=escape_dollars(name))
    axis.set_xlabel("iteration")
    axis.set_ylabel(label)
    low, high = axis.get_ylim()
    if low > 0:  # start at 0, so that small changes do not look like a trend
        axis.set_ylim(0, high * 1.1)
    lines = axis.get_lines()
    open_frame(axis)
    if len({value for _, value in rate}) > 1:
        rate_axis = axis.twinx()
        lines = [
            *lines,
            *rate_axis.plot(
                *zip(*rate, strict=True), lw=0.9, ls=":", color=INK, label="learning rate (right)"
            ),
        ]
        rate_axis.set_ylabel("learning rate")
        rate_axis.spines["top"].set_visible(False)
    axis.legend(handles=lines, frameon=False, fontsize=8)


def _norms(axis: Axes, course: Course) -> None:
    names = list(course.gradients)
    positions = range(len(names))
    axis.plot(
        positions,
        [course.gradients[n] or float("nan") for n in names],
        "o-",
        ms=3.5,
        color=COLOURS[1],
        label="gradient of the weights",
    )
    axis.plot(
        positions,
        [course.weights.get(n) or float("nan") for n in names],
        "s-",
        ms=3.5,
        color=COLOURS[0],
        label="weights",
    )
    axis.set_yscale("log")
    step = max(1, len(names) // 12)
    axis.set_xticks(
        list(positions)[::step],
        [escape_dollars(n) for n in names][::step],
        rotation=60,
        ha="right",
        fontsize=7,
    )
    axis.set_xlabel("layer with weights, in the order of the net")
    axis.set_ylabel("mean absolute value, last iteration")
    axis.legend(frameon=False, fontsize=8)
    open_frame(axis)
