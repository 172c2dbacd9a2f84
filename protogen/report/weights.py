"""What a page shows of weights: how they are spread, and the first filters as pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.graph import Layer
    from protogen.net.net import Net

BARS = 31  # of a histogram
SAMPLE = 1 << 20  # values of a blob that a histogram counts
FILTERS = 128  # of the first layer that are shown


def histogram(array: NDArray[np.floating]) -> dict[str, Any]:
    """How an array's values are spread: ``bars`` counts them, at most 2^20 that stand at even
    distances, in equal steps from ``low`` to ``high``; ``mean`` and ``std`` are of all of them, and
    ``bad`` of them are NaN or infinite."""
    import numpy as np

    from protogen.formats.mapped import pieces

    low, high, total, squares, bad = math.inf, -math.inf, 0.0, 0.0, 0
    for piece in pieces(array):
        flat = np.asarray(piece, np.float32).ravel()
        fine = np.isfinite(flat)
        if not fine.all():
            bad += int(flat.size - fine.sum())
            flat = flat[fine]
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
    """The first convolution's filters as a picture, where they are pictures."""
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
        # Caffe's nets see blue, green, red.
        sheets = [contact_sheet(kernels[:, c]) for c in range(kernels.shape[1])][::-1]
        sheet = sheets[0] if len(sheets) == 1 else np.stack(sheets, axis=2)
        return layer, picture_of(sheet)
    return None
