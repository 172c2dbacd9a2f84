"""Statistics of images, and transforms of data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import quantity
from protogen.geometry import shape_text
from protogen.notebook.page import fields, join, paragraph, strong, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.preprocessing.statistics import Statistics
    from protogen.preprocessing.transforms import Transform

_NAMES = {1: ("grey",), 3: ("blue", "green", "red")}
_MOST = 16  # numbers of an array that are shown


def _numbers(array: NDArray[Any]) -> str:
    """Return a small array as text, and the shape of a large one."""
    if array.size > _MOST:
        return f"an array of {shape_text(array.shape)}"
    return str(array.round(4).tolist())


def _statistics(statistics: Statistics) -> str:
    images = quantity(statistics.count, "image")
    mean, std = (
        ", ".join(f"{one:.4g}" for one in x)
        for x in (statistics.channel_mean, statistics.channel_std)
    )
    return f"{images} of {shape_text(statistics.mean.shape)}, mean {mean}, std {std}"


def _statistics_table(statistics: Statistics) -> Markup:
    channels = len(statistics.channel_mean)
    names = _NAMES.get(channels, tuple(map(str, range(channels))))
    rows: list[tuple[Any, ...]] = [
        (strong(name), *(f"{one:.4g}" for one in values))
        for name, values in (
            ("mean", statistics.channel_mean),
            ("std", statistics.channel_std),
            *(
                (f"covariance, {n}", row)
                for n, row in zip(names, statistics.covariance, strict=True)
            ),
        )
    ]
    size = f"{quantity(statistics.count, 'image')} of {shape_text(statistics.mean.shape)}"
    return join(paragraph(size), table(("", *names), rows, range(1, channels + 1)))


def _transform(transform: Transform) -> str:
    parts = []
    if transform.swap:
        parts.append("swap channels")
    if transform.mean is not None:
        parts.append(f"subtract {_numbers(transform.mean)}")
    if transform.matrix is not None:
        parts.append(f"multiply by {_numbers(transform.matrix)}")
    return ", ".join(parts) or "no effect"


def _transform_table(transform: Transform) -> Markup:
    return fields(
        {
            "channels": "reversed" if transform.swap else "",
            "mean": "" if transform.mean is None else _numbers(transform.mean),
            "matrix": "" if transform.matrix is None else _numbers(transform.matrix),
        }
    ) or paragraph("no effect")


LINES: dict[str, Callable[[Any], str]] = {"Statistics": _statistics, "Transform": _transform}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "Statistics": _statistics_table,
    "Transform": _transform_table,
}
