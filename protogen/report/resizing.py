"""Plot of a resize: the kernel, the output and the error of each way to compute it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from protogen.report.style import escape_dollars, save, style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from protogen.generate.plan_picture import Row

_DPI = 115
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

    largest_error = max(float(row.error.max()) for row in rows)
    with matplotlib.rc_context(style() | {"axes.titlesize": 9}):
        figure = Figure(figsize=(9.6, 3.05 * (len(rows) + 1)), layout="constrained")
        figure.suptitle(escape_dollars(title), fontsize=11)
        grid = figure.subplots(len(rows) + 1, 3, squeeze=False)
        _image(figure, grid[0][0], picture, f"input: zone plate, {_size(picture)}", "gray", (-1, 1))
        _image(figure, grid[0][1], exact, f"exact resize, {_size(exact)}", "gray", (-1, 1), "value")
        grid[0][2].axis("off")
        for axes, row in zip(grid[1:], rows, strict=True):
            _image(
                figure, axes[0], row.taps, f"{row.label}\n{row.taps_title}", "Blues", None, "weight"
            )
            _image(
                figure, axes[1], row.output, f"output of {_wrapped(row.layers)}", "gray", (-1, 1)
            )
            row_error = float(row.error.max())
            text = f"error up to {row_error:.2g}" + (": exact" if row_error < _NOISE else "")
            _image(
                figure,
                axes[2],
                row.error,
                text,
                "OrRd",
                (0, max(largest_error, _NOISE)),
                "absolute error",
            )
        save(figure, file, form, dpi=_DPI, values=True)


def _image(
    figure: Figure,
    axes: Axes,
    values: NDArray[Any],
    title: str,
    colours: str,
    limits: tuple[float, float] | None,
    scale: str = "",
) -> None:
    """Draw one array; with ``scale``, also the scale of its colours with this title."""
    low, high = limits or (None, None)
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(escape_dollars(title))
    axes.set_xticks([])
    axes.set_yticks([])
    if scale:
        figure.colorbar(image, ax=axes, shrink=0.8, label=scale)


def _size(values: NDArray[Any]) -> str:
    return f"{values.shape[0]}x{values.shape[1]} pixels"


def _wrapped(layers: str) -> str:
    """Wrap the list of layer types at 44 characters."""
    import textwrap

    return "\n".join(textwrap.wrap(layers, 44))
