"""Plot of a resize: the kernel, the output and the error of each way to compute it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from protogen.generate.plan_picture import Row

_INK = "#1f2933"
_NOISE = 1e-5  # a smaller error is rounding of float32


def draw(
    title: str,
    picture: NDArray[np.float32],
    exact: NDArray[np.float64],
    rows: Sequence[Row],
    file: BinaryIO,
    form: Literal["png", "svg"],
) -> None:
    """Draw the image and its exact resize, then a row of three panels for each candidate."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.edgecolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.titlesize": 9,
        "axes.linewidth": 0.6,
        "svg.hashsalt": "protogen",
        "svg.fonttype": "none",
    }
    largest_error = max(float(row.error.max()) for row in rows)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9.6, 3.05 * (len(rows) + 1)), layout="constrained")
        figure.suptitle(_escape_dollars(title), fontsize=11)
        grid = figure.subplots(len(rows) + 1, 3, squeeze=False)
        _image(figure, grid[0][0], picture, "zone plate", "gray", (-1, 1))
        _image(figure, grid[0][1], exact, "exact resize", "gray", (-1, 1))
        grid[0][2].axis("off")
        for axes, row in zip(grid[1:], rows, strict=True):
            _image(figure, axes[0], row.taps, f"{row.label}\n{row.taps_title}", "Blues", None)
            _image(figure, axes[1], row.output, _wrapped(row.layers), "gray", (-1, 1))
            row_error = float(row.error.max())
            text = f"error up to {row_error:.2g}" + (": exact" if row_error < _NOISE else "")
            _image(figure, axes[2], row.error, text, "OrRd", (0, max(largest_error, _NOISE)))
        metadata = {"Date": None} if form == "svg" else {"Software": "protogen"}
        figure.savefig(file, format=form, dpi=130, metadata=metadata)


def _image(
    figure: Figure,
    axes: Axes,
    values: NDArray[Any],
    title: str,
    colours: str,
    limits: tuple[float, float] | None,
) -> None:
    low, high = limits or (None, None)
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(_escape_dollars(title))
    axes.set_xticks([])
    axes.set_yticks([])
    if colours != "gray":
        figure.colorbar(image, ax=axes, shrink=0.8)


def _wrapped(layers: str) -> str:
    """Wrap the list of layer types at 44 characters."""
    import textwrap

    return "\n".join(textwrap.wrap(layers, 44))


def _escape_dollars(text: str) -> str:
    """Escape dollar signs, which matplotlib would read as the delimiters of a formula."""
    return text.replace("$", r"\$")
