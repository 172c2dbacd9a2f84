"""Tables and numbers for people: coloured tables on a terminal, whole lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from protogen.cli.output import is_quiet
from protogen.cli.waiting import no_line
from protogen.formats.tables import count as count
from protogen.formats.tables import rich_table, text
from protogen.formats.tables import shape as shape
from protogen.formats.tables import size as size

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
    table = rich_table(headers, rows, right, colours)
    if not sys.stdout.isatty():
        print(text(table))
        return
    from rich.console import Console

    Console(highlight=False).print(table)


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

    with no_line(), bar:
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
    with no_line(), bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
