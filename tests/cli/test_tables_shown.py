"""Tables in a pipe and on a terminal, against those that rich draws."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protogen.cli import tables
from protogen.errors import printable
from protogen.formats.tables import text

WORDS = st.text("ab漢é\u0301—·\t\x1b", max_size=12)
CELLS = st.one_of(WORDS, st.lists(WORDS, max_size=5).map(" ".join), st.text("ab", max_size=60))


@st.composite
def contents(draw):
    """Headings, rows and the right-aligned columns of a table."""
    count = draw(st.integers(1, 5))
    names = st.sampled_from(["layer", "a b", "multiply-adds"])
    headers = draw(st.lists(names, min_size=count, max_size=count))
    rows = draw(st.lists(st.lists(CELLS, min_size=count, max_size=count), max_size=5))
    return headers, rows, draw(st.sets(st.integers(0, count - 1)))


def drawn(headers, rows, right, width):
    """Return the lines that rich draws."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        side = "right" if index in right else "left"
        table.add_column(header, justify=side, overflow="fold", no_wrap=index in right)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False, width=width, color_system=None, file=io.StringIO())
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@given(contents())
def test_a_table_in_a_pipe_is_that_of_rich(content):
    assert text(*content).split("\n") == drawn(*content, 10_000)


@given(contents(), st.integers(20, 120))
def test_a_table_on_a_terminal_is_that_of_rich(content, width):
    """rich leaves out columns where a terminal is too narrow for all; there the lines are whole."""
    parts = tables.columns(*content)
    widths = tables.column_widths(parts, width)
    if 2 + sum(widths) + tables.GAP * (len(widths) - 1) > width:
        assert widths == [part.width for part in parts]
        return
    assert on_terminal(*content, width) == drawn(*content, width)


def on_terminal(headers, rows, right, width):
    """Return the lines of a table on a terminal, without their colours."""
    out = io.StringIO()
    out.isatty = lambda: True
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdout", out)
        tables.show(headers, rows, right)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    return [line.rstrip() for line in plain.splitlines()]


def test_headings_are_bold_and_some_cells_have_colours(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("COLORTERM", "")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", out)
    tables.show(["layer", "verdict"], [["a", "taken"], ["b", "refused"]], (), {"refused": "red"})
    assert out.getvalue().splitlines() == [
        "",
        " \x1b[1mlayer   verdict\x1b[0m",
        " ───────────────",
        " a       taken",
        " b       \x1b[31mrefused\x1b[0m",
        "",
    ]
