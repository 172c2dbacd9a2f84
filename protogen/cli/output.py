"""What commands print: results, notes, and JSON in the documented schema."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import click

from protogen.cli.streams import is_closed
from protogen.cli.waiting import silence
from protogen.errors import InputError, printable_lines
from protogen.errors import printable as printable

SCHEMA = 1  # version of the JSON that --json prints, see docs/json.md
_QUIET = "protogen.quiet"
_STDOUT = "protogen.stdout"


def quiet_option() -> click.Option:
    """``-q/--quiet``, the same for every command."""
    return click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Print results only: no notes, no totals, no progress.",
    )


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.find_root().meta[_QUIET] = value
    if value:
        silence()


def is_quiet() -> bool:
    """Whether the running command was called with ``--quiet``."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.find_root().meta.get(_QUIET))


def take_stdout(option: str, binary: bool = True) -> None:
    """Use the standard output for the result of an option alone.

    Args:
        binary: the result is a file; then all that is printed goes to the standard error.

    Raises:
        InputError: another option uses it.
    """
    from protogen.formats import files

    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return
    root = ctx.find_root()
    if root.meta.setdefault(_STDOUT, option) != option:
        raise InputError(
            f"{root.meta[_STDOUT]} and {option} both write to the standard output",
            advice="Write one of them to a file.",
        )
    if binary and sys.stdout is not sys.stderr:
        stream = sys.stdout
        if stream.isatty():
            raise InputError(
                f"{option} would write a file to a terminal", advice="Redirect it: > FILE."
            )
        files.stdout_to(stream.buffer)
        sys.stdout = sys.stderr

        def back() -> None:
            sys.stdout = stream

        root.call_on_close(back)


class Group(click.Group):
    """A group of commands whose help shows each line whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            width = max(map(len, self.commands))
            for name, command in self.commands.items():
                formatter.write(
                    f"  {name:<{width}}  {(command.help or '').partition(chr(10))[0]}\n"
                )


def say(text: str, err: bool = False) -> None:
    """Print lines of text for people. Names of files may contain control characters: they are escaped."""
    click.echo(printable_lines(text), err=err)


def note(text: str, err: bool = False) -> None:
    """Print a line besides the results: a note, a total, the name of a written file."""
    if not is_quiet() and (err or not is_closed()):
        say(text, err=err)


def wrote(*paths: object, err: bool = False) -> None:
    """Print the name of each written file; None and empty names are skipped."""
    from protogen.formats import files

    for path in filter(None, paths):
        if str(path) == files.STDOUT:
            continue
        note(f"wrote {printable(str(path))}", err=err)


def csv_cell(value: Any) -> Any:
    """Return a value for a cell of CSV. A spreadsheet would compute a text that begins like a formula."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def print_json(command: str, **fields: Any) -> None:
    """Print one JSON object: the command, the schema's version, and the command's own fields. JSON has
    no NaN and no infinity: they become null."""
    import json

    plain = _plain({"command": command, "schema": SCHEMA, **fields})
    click.echo(json.dumps(plain, indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
