"""Tables and numbers as text, for a terminal, a pipe or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.errors import printable
from protogen.geometry import shape_text

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 10_000  # characters: no cell of a text is shortened or wrapped


def rich_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[int] = (),
    colours: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """Return a table of rich. ``right`` lists the columns that are right-aligned; ``colours`` are those
    of cells with this text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, header in enumerate(headers):
        table.add_column(
            header,
            justify="right" if i in right else "left",
            overflow="fold",
            no_wrap=i in right,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell), colours.get(cell, "")) for cell in row))
    return table


def text(table: Table) -> str:
    """Return a table as text: whole lines without colours."""
    from rich.console import Console

    console = Console(highlight=False, width=_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())


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
