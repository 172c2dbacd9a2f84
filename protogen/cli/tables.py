"""Tables for people: rich in a terminal, whole lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from protogen.geometry import shape_text

_BAR_FROM = 64 << 20  # bytes: less is written before a bar is seen


def show(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Prints a table; ``right`` are the columns of numbers.

    A terminal gets colours and its own width; a pipe gets every character of every cell.
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
        table.add_row(*(Text(printable(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 10_000, color_system="auto")
    if terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines()))


def count(value: int | None) -> str:
    """A number as people read it: 1,234, or 12.3 M from a million on."""
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
    """A shape, or ? where it is not known."""
    if value is None:
        return "?"
    return shape_text(value, "scalar")


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def printable(text: str) -> str:
    """A name from a stranger's file without control characters."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def bar() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, for files that take long enough to be seen."""
    if not sys.stderr.isatty():
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

    def tell(done: int, total: int) -> None:
        nonlocal task
        if total >= _BAR_FROM:
            task = bar.add_task("", total=total) if task is None else task
            bar.update(task, completed=done)

    with bar:
        yield tell


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of things that are counted, on a terminal."""
    if not sys.stderr.isatty():
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
