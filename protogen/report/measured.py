"""Parts of the report page for which the net runs: its signals, and its ranges."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from protogen.net.net import Net

if TYPE_CHECKING:
    from protogen.running.ranges import HalfCheck

MOST = 2000  # rows of the ranges that the page shows at most
LOWEST, HIGHEST = -14, 12  # powers of ten at the ends of the axis at most; the rest is at its ends


def signals(net: Net) -> dict[str, Any]:
    """Return plot and findings of ``pg.health``; without weights, also for recommended fillers."""
    from protogen.report import signals
    from protogen.report.page import embedded
    from protogen.training.signals.health import gradients_known, health

    gradients = gradients_known(net)
    from_file = bool(net.weights)
    results = [health(net, gradients=gradients)]
    if not from_file:
        results.append(health(net, gradients=gradients, recommend=True))
    buffer = io.BytesIO()
    signals.draw([result.row(result.weights) for result in results], buffer, "png")
    return {
        "picture": embedded(buffer.getvalue()),
        "text": f"Standard normal data, {results[0].batch} samples, weights from {results[0].weights}.",
        "findings": [finding.text for finding in results[0].findings],
    }


def ranges(net: Net) -> dict[str, Any]:
    """Return the rows of ``pg.half_check`` for random data, and the axis of their drawings.

    ``axis`` has the ends of the axis, as powers of ten; ``limits`` float16's smallest number, its
    smallest normal number and its largest number, as powers of ten. ``bars`` of a row has the ends of
    a bar, as powers of ten, and the share of the nonzero values in it.
    """
    from protogen.running.ranges import BlobRange, half_check
    from protogen.running.rounding import LIMITS

    check = half_check(net)
    rows: list[dict[str, Any]] = []
    for row in check.rows[:MOST]:
        one = row.range
        nonzero = sum(count for _, count in one.exponents)
        rows.append(
            {
                "layer": row.layer,
                "what": row.blob if isinstance(row, BlobRange) else f"weights {row.index}",
                "low": one.low,
                "high": one.high,
                "bars": [
                    [round(_power(e), 2), round(_power(e + 1), 2), float(f"{count / nonzero:.2g}")]
                    for e, count in one.exponents
                ],
                "error": one.half_error,
                "zero": one.half_zero,
                "scale": one.scale,
                "int8_zero": one.int8_zero,
                "snr": one.int8_snr,
                "channel": None if isinstance(row, BlobRange) else row.channel_snr,
                "broken": one.broken,
                "remarks": row.remarks,
            }
        )
    limits = [math.log10(value) for value in LIMITS]
    ends = [power for row in rows for bar in row["bars"] for power in bar[:2]] + limits
    axis = [max(math.floor(min(ends)), LOWEST), min(math.ceil(max(ends)), HIGHEST)]
    for plain in rows:
        for bar in plain["bars"]:
            bar[:2] = (min(max(end, axis[0]), axis[1]) for end in bar[:2])
    return {"text": _text(check), "axis": axis, "limits": limits, "rows": rows}


def _text(check: HalfCheck) -> str:
    """Return the note of the section: the data, and how many blobs do not fit."""
    data = f"random data (seed {check.seed})" if check.random else "the net's own data"
    rows, broken = len(check.rows), len(check.broken)
    fit = f"{broken} of {rows} blobs do not fit" if broken else f"All {rows} blobs fit"
    cut = f" The table has the first {MOST}." if rows > MOST else ""
    return (
        f"Measured in float32 on {data}; other data has other ranges (protogen run --half-check). "
        f"{fit} into float16.{cut}"
    )


def _power(exponent: int) -> float:
    """Return 2^exponent as a power of ten."""
    return exponent * math.log10(2)
