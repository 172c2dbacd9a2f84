"""Tables and numbers as text, for a terminal, a pipe or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protogen.errors import printable
from protogen.geometry import shape_text

GAP = 3  # characters between two columns


@dataclass(slots=True)
class Column:
    """One column of a table: its cells, the heading first, and their widths on a terminal.

    Attributes:
        is_plain: all characters are as wide as one column of a terminal, so that ``len`` is the width.
    """

    cells: Sequence[str]
    widths: Sequence[int]
    width: int
    is_right: bool
    is_plain: bool


def columns(
    headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> list[Column]:
    """Return the columns of a table with its headings. Control characters in cells are escaped.

    Args:
        right: the indices of the right-aligned columns.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """
    cells = zip(*([headers, *rows]), strict=True) if headers else ()
    return [_column(column, index in right) for index, column in enumerate(cells)]


def _column(cells: Sequence[str], is_right: bool) -> Column:
    whole = "".join(cells)
    if not whole.isprintable():
        cells = [printable(cell) for cell in cells]
        whole = "".join(cells)
    if whole.isascii():
        widths = list(map(len, cells))
    else:
        from rich.cells import cell_len  # it knows the characters that take two columns, or none

        widths = list(map(cell_len, cells))
    return Column(cells, widths, max(widths), is_right, whole.isascii())


def padded(column: Column, width: int) -> list[str]:
    """Return the cells of a column in this width; longer cells stay as they are. Right-aligned cells
    lose blanks at their ends."""
    if column.is_plain:
        if column.is_right:
            return [cell.rstrip().rjust(width) for cell in column.cells]
        return [cell.ljust(width) for cell in column.cells]
    pairs = zip(column.cells, column.widths, strict=True)
    if column.is_right:
        short = ((cell.rstrip(), len(cell), wide) for cell, wide in pairs)
        return [" " * (width - wide + before - len(cell)) + cell for cell, before, wide in short]
    return [cell + " " * (width - wide) for cell, wide in pairs]


def text(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table as text: whole lines without colours, an empty line before and after. No cell is
    shortened or wrapped.

    Args:
        right: the indices of the right-aligned columns.
    """
    parts = columns(headers, rows, right)
    gap = " " * GAP
    cells = (padded(column, column.width) for column in parts)
    heading, *lines = ((" " + gap.join(row)).rstrip() for row in zip(*cells, strict=True))
    return "\n".join(("", heading, " " + rule([column.width for column in parts]), *lines, ""))


def rule(widths: Sequence[int]) -> str:
    """Return the line below the headings."""
    return "─" * (sum(widths) + GAP * (len(widths) - 1))


def count(value: int | None) -> str:
    """A number in a short form: 1,234; from a million on 12.3 M."""
    if value is None:
        return "?"
    for unit, size, least in (
        ("T", 10**12, 9995 * 10**8),
        ("G", 10**9, 9995 * 10**5),
        ("M", 10**6, 10**6),
    ):
        if value >= least:  # 999.6 M is 1 G in three digits
            digits = ".3g" if value < 999.5 * size else ".0f"
            return f"{value / size:{digits}} {unit}"
    return f"{value:,}"


def shape(value: Sequence[int] | None) -> str:
    """A shape such as 1x3x8x8, or ? if it is not known."""
    if value is None:
        return "?"
    return shape_text(value, "scalar")


def size(count: int) -> str:
    """A number of bytes in KiB or MiB."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
