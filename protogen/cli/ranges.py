"""``--half-check``: the table of ranges for float16 and int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogen.cli import output, tables
from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.running.ranges import HalfCheck
    from protogen.running.rounding import Range

_HEADERS = (
    "from",
    "to",
    "float16 error",
    "0 in float16",
    "int8 scale",
    "0 in int8",
    "int8 SNR",
)
_MOST = 10  # rows of each table without --verbose


def show(check: HalfCheck, verbose: bool) -> None:
    """Print the ten worst blobs and the ten worst weights, the worst first (``verbose``: all of
    them, in order), and a line with the result."""
    from protogen.running.ranges import worst_first

    blobs = check.blobs if verbose else worst_first(check.blobs)[:_MOST]
    weights = check.weights if verbose else worst_first(check.weights)[:_MOST]
    tables.show(
        ["layer", "blob", *_HEADERS, ""],
        [(row.layer, row.blob, *_cells(row.range), ", ".join(row.remarks)) for row in blobs],
        right=range(2, 2 + len(_HEADERS)),
    )
    if weights:
        tables.show(
            ["layer", "weights", *_HEADERS, "per channel", ""],
            [
                (
                    row.layer,
                    f"{row.index}: {tables.shape(row.shape)}",
                    *_cells(row.range),
                    _decibels(row.channel_snr),
                    ", ".join(row.remarks),
                )
                for row in weights
            ],
            right=range(2, 3 + len(_HEADERS)),
        )
    left = len(check.blobs) - len(blobs), len(check.weights) - len(weights)
    more = [quantity(left[0], "blob")] * bool(left[0]) + [_weights(left[1])] * bool(left[1])
    if more:
        output.note(f"not shown: {' and '.join(more)} (-v)")
    output.say(verdict(check))


def verdict(check: HalfCheck) -> str:
    """Return the result in a line: which blobs and weights float16 does not hold, and how many have
    other remarks."""
    from protogen.running.ranges import BlobRange

    names = [
        f"{row.layer} ({row.type})" if isinstance(row, BlobRange) else f"the weights of {row.layer}"
        for row in check.broken
    ]
    others = sum(bool(row.remarks) and not row.range.broken for row in check.rows)
    data = "the data" if not check.random else f"random data (seed {check.seed})"
    end = f"; {quantity(others, 'other remark')}" if others else ""
    holds = "float16 holds all values"
    if names:
        unique = list(dict.fromkeys(map(output.printable, names)))
        more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
        holds = f"float16 does not hold {', '.join(unique[:3])}{more}"
    runs = f", {check.runs} runs" if check.runs > 1 else ""
    weights = f" and {_weights(len(check.weights))}" if check.weights else ""
    return f"{quantity(len(check.blobs), 'blob')}{weights}, {data}{runs}: {holds}{end}"


def _weights(count: int) -> str:
    return quantity(count, "blob of weights", "blobs of weights")


def _cells(one: Range) -> tuple[str, ...]:
    """The cells below _HEADERS."""
    return (
        f"{one.low:.4g}",
        f"{one.high:.4g}",
        f"{one.half_error:.1e}" if one.half_error else "0",
        _share(one.half_zero),
        f"{one.scale:.3g}",
        _share(one.int8_zero),
        _decibels(one.int8_snr),
    )


def _share(value: float) -> str:
    return f"{100 * value:.2g}%" if 0 < value < 0.1 else f"{100 * value:.0f}%"


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
