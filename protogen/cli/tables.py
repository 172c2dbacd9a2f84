"""Tables and numbers for people: coloured tables on a terminal, whole lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from protogen.cli.output import is_quiet, printable
from protogen.geometry import shape_text

_BAR_FROM = 64 << 20  # bytes: smaller files are written before a bar could be read


def show(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[int] = (),
    colours: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print a table. ``right`` lists the columns that are right-aligned; ``colours`` are those of
    cells with this text.

    On a terminal it has colours and fits the width; in a pipe no cell is shortened or wrapped.
    """
    from rich import box
    from rich.console import Console
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
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 10_000, color_system="auto")
    if terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines()))


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


@contextmanager
def bar() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of written bytes, on a terminal and for large files only."""
    if not sys.stderr.isatty() or is_quiet():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    bar = Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = None

    def update(done: int, total: int) -> None:
        nonlocal task
        if total >= _BAR_FROM:
            task = bar.add_task("", total=total) if task is None else task
            bar.update(task, completed=done)

    with bar:
        yield update


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of counted items, on a terminal only; ``what`` names the items."""
    if not sys.stderr.isatty() or is_quiet():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
