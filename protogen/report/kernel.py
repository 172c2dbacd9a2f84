"""Plot of upsampling layers: kernel, profile, and error against exact interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import COLOURS, INK, open_frame, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from protogen.generate.upsampling import KernelPicture

_NUMBERS_UP_TO = 10  # taps along an axis: a larger kernel has no room for numbers
_DPI = 180


def draw(pictures: Sequence[KernelPicture], file: BinaryIO, form: Literal["png", "svg"]) -> None:
    """Draw a row of three panels for each layer."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style() | {"axes.titlesize": 10}):
        figure = Figure(figsize=(11, 3.7 * len(pictures)), layout="constrained")
        grid = figure.subplots(len(pictures), 3, squeeze=False)
        for (left, middle, right), picture in zip(grid, pictures, strict=True):
            _heat_map(figure, left, picture)
            _profile(middle, picture)
            _error_map(figure, right, picture)
        save(figure, file, form, dpi=_DPI, values=True)


def _heat_map(figure: Figure, axes: Axes, picture: KernelPicture) -> None:
    import numpy as np

    kernel = np.multiply.outer(picture.rows, picture.columns)
    image = axes.imshow(kernel, cmap="Blues", vmin=0, vmax=max(1.0, float(kernel.max())))
    axes.set_title(picture.title)
    axes.set_xlabel("kernel column")
    axes.set_ylabel("kernel row")
    for axis, length in ((axes.xaxis, kernel.shape[1]), (axes.yaxis, kernel.shape[0])):
        axis.set_ticks(_ticks(length))
    if max(kernel.shape) <= _NUMBERS_UP_TO:
        size = 8 if max(kernel.shape) <= 6 else 6
        for (row, column), value in np.ndenumerate(kernel):
            axes.text(
                column,
                row,
                f"{value:.3g}" if size == 8 else f"{value:.2f}".lstrip("0"),
                ha="center",
                va="center",
                fontsize=size,
                color="white" if value > 0.55 else INK,
            )
    figure.colorbar(image, ax=axes, shrink=0.8, label="weight")


def _profile(axes: Axes, picture: KernelPicture) -> None:
    import numpy as np

    both = (
        ("along width", picture.columns, COLOURS[0], "o"),
        ("along height", picture.rows, COLOURS[1], "s"),
    )
    same = np.array_equal(picture.rows, picture.columns)
    for label, values, colour, marker in both[: 1 if same else 2]:
        x = np.arange(len(values)) - (len(values) - 1) / 2
        axes.vlines(x, 0, values, color=colour, lw=1.2, alpha=0.6)
        axes.plot(x, values, marker, ms=4.5, color=colour, label=None if same else label)
        axes.plot(x, values, "-", lw=0.7, color=colour, alpha=0.5)
    if not same:
        axes.legend(frameon=False, loc="upper left", fontsize=8, handletextpad=0.1)
    axes.axhline(0, color=INK, lw=0.6)
    axes.set_ylim(0, 1.09)
    axes.set_box_aspect(1)
    axes.grid(axis="y", lw=0.3, alpha=0.6)
    open_frame(axes)
    stride = "\u00d7".join(map(str, dict.fromkeys(picture.stride)))
    axes.set_title(f"profile (stride {stride})")
    axes.set_xlabel("output pixels from the centre")
    axes.set_ylabel("weight")


def _error_map(figure: Figure, axes: Axes, picture: KernelPicture) -> None:
    from matplotlib.patches import Rectangle

    error = picture.error
    top = float(error.max())
    image = axes.imshow(error, cmap="OrRd", vmin=0, vmax=max(top, 1e-3))
    height, width = error.shape
    ring_h, ring_w = picture.ring
    if ring_h or ring_w:
        inside = (width - 2 * ring_w, height - 2 * ring_h)
        axes.add_patch(
            Rectangle((ring_w - 0.5, ring_h - 0.5), *inside, fill=False, ec=INK, lw=0.9, ls="--")
        )
        rings = "\u00d7".join(map(str, dict.fromkeys(picture.ring)))
        axes.text(
            (width - 1) / 2, (height - 1) / 2, "exact inside", ha="center", va="center", fontsize=9
        )
        axes.set_title(f"error at the border: {rings} px, up to {top:.3g}")
    else:
        axes.text((width - 1) / 2, (height - 1) / 2, "exact", ha="center", va="center", fontsize=9)
        axes.set_title("error: none")
    axes.set_xlabel("output column")
    axes.set_ylabel("output row")
    figure.colorbar(image, ax=axes, shrink=0.8, label="largest error for data in [-1, 1]")


def _ticks(length: int) -> list[int]:
    step = max(1, -(-length // 8))
    return list(range(0, length, step))
