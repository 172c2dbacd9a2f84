"""Weights on the report page: histograms, and the first filters as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.graph import Layer
    from protogen.net.net import Net

BARS = 31  # bars of a histogram
SAMPLE = 1 << 20  # values of a blob that a histogram counts at most
FILTERS = 128  # filters of the first layer that are shown at most


def histogram(array: NDArray[np.floating]) -> dict[str, Any]:
    """Return the histogram of an array's values.

    ``bars`` counts at most 2^20 values at equal distances, in bins of equal width from ``low`` to
    ``high``. ``mean`` and ``std`` are those of all finite values. ``bad`` is the number of values
    that are NaN or infinite. An array without finite values has only ``bad``.
    """
    import numpy as np

    from protogen.formats.mapped import pieces

    low, high, total, squares, bad = math.inf, -math.inf, 0.0, 0.0, 0
    for piece in pieces(array):
        flat = np.asarray(piece, np.float32).ravel()
        finite = np.isfinite(flat)
        if not finite.all():
            bad += int(flat.size - finite.sum())
            flat = flat[finite]
        if flat.size:
            low, high = min(low, float(flat.min())), max(high, float(flat.max()))
            total += float(flat.sum(dtype=np.float64))
            squares += float(np.square(flat, dtype=np.float64).sum())
    count = array.size - bad
    if not count:
        return {"bad": bad}
    mean = total / count
    flat = array.reshape(-1)[:: -(-array.size // SAMPLE)]
    flat = flat[np.isfinite(flat)].astype(np.float64)
    ends = (low, high) if low < high else (low - 0.5, high + 0.5)
    bars = np.histogram(flat, BARS, ends)[0]
    return {
        "bars": bars.tolist(),
        "low": ends[0],
        "high": ends[1],
        "mean": mean,
        "std": math.sqrt(max(squares / count - mean * mean, 0.0)),
        "bad": bad,
    }


def first_filters(net: Net) -> tuple[Layer, str] | None:
    """Return the first Convolution and its filters as an image.

    None if there is none, or if its filters do not have 1 or 3 channels and at least 2 rows.
    """
    import numpy as np

    from protogen.report.maps import contact_sheet
    from protogen.report.page import picture_of

    for layer in net.layers:
        if layer.type != "Convolution":
            continue
        arrays = net.weights.get(layer.name)
        if not arrays or arrays[0].ndim != 4 or arrays[0].shape[1] not in (1, 3):
            return None
        kernels = np.asarray(arrays[0][:FILTERS], np.float32)
        if kernels.shape[2] < 2 or not np.isfinite(kernels).all():
            return None
        low, high = float(kernels.min()), float(kernels.max())
        kernels = (kernels - low) / (high - low or 1.0)
        kernels = np.repeat(np.repeat(kernels, 4, axis=2), 4, axis=3)
        # The channel order of Caffe is blue, green, red; that of the image is red, green, blue.
        sheets = [contact_sheet(kernels[:, c]) for c in range(kernels.shape[1])][::-1]
        sheet = sheets[0] if len(sheets) == 1 else np.stack(sheets, axis=2)
        return layer, picture_of(sheet)
    return None
