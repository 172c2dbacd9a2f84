"""Tables and numbers for people: coloured tables on a terminal, whole lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.cli.output import is_quiet
from protogen.cli.waiting import no_line
from protogen.formats.tables import GAP, Column, columns, padded, rule, text
from protogen.formats.tables import count as count
from protogen.formats.tables import shape as shape
from protogen.formats.tables import size as size

if TYPE_CHECKING:
    from rich.console import Console

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
    if not sys.stdout.isatty():
        print(text(headers, rows, right))
        return
    from rich.console import Console

    # rich takes seconds for thousands of rows, so it renders only what has a colour or is too long.
    console = Console(highlight=False)
    parts = columns(headers, rows, right)
    lines = _lines(console, parts, column_widths(parts, console.width), colours)
    print("\n".join(("", *lines, "")))  # one write, because a terminal shows each at once


def column_widths(parts: Sequence[Column], available: int) -> list[int]:
    """Return the widths of columns in lines of ``available`` characters, as rich chooses them. On a
    terminal that is too narrow for a table, they are those of the cells, and the terminal breaks lines."""
    last = len(parts) - 1
    padding = [(index > 0) + (index < last) for index in range(len(parts))]
    widths = _fitting(
        [part.width + pad for part, pad in zip(parts, padding, strict=True)],
        [not part.is_right for part in parts],
        available - 2 - last,  # a space at both ends, and a line between columns
    )
    widths = [width - pad for width, pad in zip(widths, padding, strict=True)]
    return widths if min(widths, default=1) > 0 else [part.width for part in parts]


def _fitting(widths: Sequence[int], foldable: Sequence[bool], available: int) -> list[int]:
    """Return widths whose sum is at most ``available``: the widest columns that can be folded become
    narrower; if that is not enough, all do."""
    result = [min(width, available) for width in widths]
    while sum(result) > available and any(foldable):
        widest = max(width for width, can in zip(result, foldable, strict=True) if can)
        chosen = [can and width == widest for width, can in zip(result, foldable, strict=True)]
        others = (w for w, can in zip(result, foldable, strict=True) if can and w != widest)
        step = widest - max(others, default=0)
        if not step:
            break
        excess = sum(result) - available
        result = _reduced(result, chosen, excess, [min(step, excess)] * len(result))
    if sum(result) > available:
        result = _reduced(result, [width > 0 for width in result], sum(result) - available, result)
    return result


def _reduced(
    widths: Sequence[int], chosen: Sequence[bool], excess: int, most: Sequence[int]
) -> list[int]:
    """Return the widths after ``excess`` was taken from the chosen ones in equal parts, at most ``most``
    from each."""
    result = []
    left = sum(chosen)
    for width, is_chosen, limit in zip(widths, chosen, most, strict=True):
        part = min(limit, round(excess / left)) if is_chosen else 0
        excess, left = excess - part, left - is_chosen
        result.append(width - part)
    return result


def _lines(
    console: Console, parts: Sequence[Column], widths: Sequence[int], colours: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of a table on a terminal, without those around it."""
    gap = " " * GAP
    paint = _painter(console)
    cells = [padded(part, width) for part, width in zip(parts, widths, strict=True)]
    long = {
        index
        for part, width in zip(parts, widths, strict=True)
        if part.width > width
        for index, one in enumerate(part.widths)
        if one > width
    }
    for index, row in enumerate(zip(*cells, strict=True)):
        styles = [colours.get(part.cells[index], "") for part in parts] if colours else ()
        for line in _folded(console, parts, widths, index, row) if index in long else (row,):
            if not index:
                yield " " + paint(gap.join(line).rstrip(), "bold")
            elif any(styles):
                yield " " + gap.join(map(paint, line, styles))
            else:
                yield (" " + gap.join(line)).rstrip()
        if not index:
            yield " " + rule(widths)


def _folded(
    console: Console, parts: Sequence[Column], widths: Sequence[int], index: int, row: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a row with cells that are too long; ``row`` are the cells in their widths.
    Headings stand at the bottom."""
    cells = [
        _pieces(console, part, index, width) if part.widths[index] > width else [cell]
        for part, width, cell in zip(parts, widths, row, strict=True)
    ]
    height = max(map(len, cells))
    for cell, width in zip(cells, widths, strict=True):
        blank = [" " * width] * (height - len(cell))
        cell[:] = [*cell, *blank] if index else [*blank, *cell]
    yield from zip(*cells, strict=True)


def _pieces(console: Console, part: Column, index: int, width: int) -> list[str]:
    """Return the lines of a cell that is too long. A right-aligned cell, a number, has one line."""
    cell = part.cells[index]
    if part.is_plain and " " not in cell:
        if part.is_right:
            return [cell[:width]]
        return [cell[at : at + width].ljust(width) for at in range(0, len(cell), width)]
    from rich.text import Text

    lines = Text(cell).wrap(
        console,
        width,
        justify="right" if part.is_right else "left",
        overflow="fold",
        no_wrap=part.is_right,
    )
    return [line.plain for line in lines]


def _painter(console: Console) -> Callable[[str, str], str]:
    """Return a function that gives a text a style of rich, as far as the terminal has styles."""
    from rich.console import COLOR_SYSTEMS
    from rich.style import Style

    system = None if console.legacy_windows else COLOR_SYSTEMS.get(console.color_system or "")

    def paint(words: str, style: str) -> str:
        if system is None or not style:
            return words
        parsed = Style.parse(style)
        return (parsed.without_color if console.no_color else parsed).render(
            words, color_system=system
        )

    return paint


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
