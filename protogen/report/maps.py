"""Plot of feature maps: each blob as a contact sheet of its channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Literal

from protogen.report.style import escape_dollars, save, style

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHANNELS = 64  # at most so many of a blob are drawn
_BLOBS = 12  # at most so many are drawn
_SIDE = 3.0  # inches: size of one sheet
_DPI = 120
_GAP = "#dfe8f0"  # colour of the gaps between channels, which differs from every grey


def draw(
    blobs: Mapping[str, NDArray[np.float32]], file: BinaryIO, form: Literal["png", "svg"]
) -> None:
    """Draw the channels of the first sample of each blob (N, C, H, W).

    Each blob has its own scale: black is its smallest value, white its largest.
    """
    import matplotlib
    from matplotlib.figure import Figure

    chosen = list(blobs.items())[:_BLOBS]
    columns = min(len(chosen), 4)
    rows = -(-len(chosen) // columns)
    grey = matplotlib.colormaps["gray"].with_extremes(bad=_GAP)
    with matplotlib.rc_context(style(8)):
        figure = Figure(
            figsize=((_SIDE + 0.5) * columns, (_SIDE + 0.3) * rows), layout="constrained"
        )
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis in axes:
            axis.axis("off")
        for axis, (name, array) in zip(axes, chosen, strict=False):
            sheet = contact_sheet(array[0][:_CHANNELS])
            low, high = float(array[0].min()), float(array[0].max())
            ends = (low, high) if low < high else (low - 1, high + 1)  # a constant blob is grey
            image = axis.imshow(
                sheet, cmap=grey, interpolation="nearest", vmin=ends[0], vmax=ends[1]
            )
            figure.colorbar(image, ax=axis, shrink=0.7, label="value")
            shown = min(len(array[0]), _CHANNELS)
            count = f"{shown} of {len(array[0])}" if shown < len(array[0]) else str(shown)
            plural = "s" if len(array[0]) > 1 else ""
            title = f"{name}\n{count} channel{plural} {array.shape[2]}x{array.shape[3]}, {low:.3g} to {high:.3g}"
            axis.set_title(escape_dollars(title), fontsize=8)
        save(figure, file, form, dpi=_DPI, values=True)


def contact_sheet(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Arrange maps (C, H, W) in a sheet that is nearly square. Gaps between them are NaN."""
    import numpy as np

    count, height, width = maps.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    gap = max(1, max(height, width) // 16)
    row_step, column_step = height + gap, width + gap
    sheet = np.full((rows * row_step - gap, columns * column_step - gap), np.nan, np.float32)
    for i, channel in enumerate(maps):
        y, x = (i // columns) * row_step, (i % columns) * column_step
        sheet[y : y + height, x : x + width] = channel
    return sheet
