"""Anchors of region proposal networks: boxes in pixels of the input, one set per pixel of the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating]

SCALES = (8.0, 16.0, 32.0)  # of py-faster-rcnn
RATIOS = (0.5, 1.0, 2.0)  # height / width, of py-faster-rcnn


def rounded(values: Array) -> Array:
    """Round to the nearest integer, and halves away from 0, like C's round."""
    import numpy as np

    whole = np.floor(np.abs(values))
    nearest: Array = np.copysign(whole + (np.abs(values) - whole >= 0.5), values)
    return nearest


def _around(centre: float, width: Array, height: Array) -> Array:
    """Return boxes (R * S, 4) of these widths and heights (R, S) with corners x0 y0 x1 y1, whose
    last pixel belongs to the box."""
    import numpy as np

    half = np.stack([width, height], -1).reshape(-1, 2) / 2 - 0.5
    return np.concatenate([centre - half, centre + half], 1)


def anchors(
    base: int, ratios: Sequence[float], scales: Sequence[float], halves_to_even: bool = False
) -> Array:
    """Return the anchors of py-faster-rcnn's generate_anchors.py: float64 (ratios * scales, 4), the
    scales of a ratio side by side.

    A square of ``base`` pixels gets the ratio, its sides are rounded to whole pixels and then
    multiplied by the scale. ``halves_to_even``: numpy's rounding instead of C's.
    """
    import numpy as np

    nearest = np.round if halves_to_even else rounded
    ratio = np.asarray(ratios, np.float64)
    width = nearest(np.sqrt(base * base / ratio))
    height = nearest(width * ratio)
    scale = np.asarray(scales, np.float64)
    return _around((base - 1) / 2, np.outer(width, scale), np.outer(height, scale))


def pixel_anchors(base: int, ratios: Sequence[float], scales: Sequence[float]) -> Array:
    """Return the anchors of happynear/caffe-windows: float64 (ratios * scales, 4). ``scales`` are
    sizes in pixels, and only the sizes of the final anchors are rounded."""
    import numpy as np

    width = np.sqrt(np.float32(base * base) / np.asarray(ratios, np.float32))
    height = width * np.asarray(ratios, np.float32)
    scale = np.asarray(scales, np.float32)
    sizes = (np.outer(side, scale).astype(np.float64) / base for side in (width, height))
    width, height = (np.trunc(size - 0.5) + 1 for size in sizes)
    return _around((base - 1) / 2, width, height)


def cambricon_anchors(
    base: float, ratios: Sequence[float], scales: Sequence[float], rounds: bool
) -> Array:
    """Return the anchors of Cambricon/caffe: float32 (ratios * scales, 4). With ``rounds``
    (pvanet_mode) they are those of ``anchors``; else nothing is rounded, the last pixel does not
    belong to the box, and the ratios of a scale are side by side."""
    import numpy as np

    if rounds:
        root = np.sqrt(np.asarray(ratios, np.float32))
        width = np.floor(np.float32(base) / root + np.float32(0.5))
        height = np.floor(width * root * root + np.float32(0.5))
        scale = np.asarray(scales, np.float32)
        return _around((base - 1) / 2, np.outer(width, scale), np.outer(height, scale))
    root = np.sqrt(np.asarray(ratios, np.float32))
    scale = np.asarray(scales, np.float32)[:, None]
    half = np.stack([base / 2 / root * scale, base / 2 * root * scale], -1).reshape(-1, 2)
    return np.concatenate([(base - 1) / 2 - half, (base - 1) / 2 + half], 1)


def cambricon_defaults() -> Array:
    """Return the nine anchors of Cambricon/caffe for a net without anchor_ratio: (9, 4)."""
    import numpy as np

    return np.array(
        [
            [-84, -40, 99, 55],
            [-176, -88, 191, 103],
            [-360, -184, 375, 199],
            [-56, -56, 71, 71],
            [-120, -120, 135, 135],
            [-248, -248, 263, 263],
            [-36, -80, 51, 95],
            [-80, -168, 95, 183],
            [-168, -344, 183, 359],
        ],
        np.float64,
    )


def text_anchors() -> Array:
    """Return the ten anchors of CTPN, 16 pixels wide: (10, 4). Its code divides integers like
    Python 2 and cuts the corners to integers."""
    import numpy as np

    heights = np.array([11, 16, 23, 33, 48, 68, 97, 139, 198, 283])
    low = np.trunc(7.5 - heights // 2)
    high = np.trunc(7.5 + heights // 2)
    x = np.zeros(len(heights))
    return np.stack([x, low, x + 15, high], 1)


def shifted(boxes: Array, height: int, width: int, stride: float, by_anchor: bool) -> Array:
    """Return the anchors of all pixels of a map: float32 (H * W * A, 4). The anchors of a pixel are
    side by side, or with ``by_anchor`` the pixels of an anchor."""
    import numpy as np

    y, x = np.meshgrid(np.arange(height) * stride, np.arange(width) * stride, indexing="ij")
    shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    every = (shifts + boxes[None]).astype(np.float32)
    return (every.transpose(1, 0, 2) if by_anchor else every).reshape(-1, 4)
