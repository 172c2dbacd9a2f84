"""``protogen fmt``."""

from __future__ import annotations

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError, MismatchError, ProtogenError, quantity
from protogen.formats import files


@click.command("fmt")
@options.proto
@click.argument("paths", nargs=-1, required=True, type=filetypes.INPUT, metavar="FILE...")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", "as_diff", is_flag=True, help="Write nothing; print what would change.")
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.PROTOTXT,
    metavar="FILE",
    help="Write here instead of in place.",
)
@options.strict
def command(
    paths: tuple[str, ...], check: bool, as_diff: bool, target: str | None, strict: bool
) -> None:
    """Format prototxt files.

    Each field gets its own line and each level two spaces. Nets and solvers are read. Values, their
    order, comments and unknown fields stay as they are. A file with an error does not stop the others. The
    standard input (-) is written to the standard output.

    \b
    Examples:
      protogen fmt net.prototxt solver.prototxt
      protogen fmt --check *.prototxt
      protogen fmt --diff net.prototxt
    """
    from protogen.formats import prototxt

    if target and len(paths) > 1:
        raise InputError(
            f"-o writes one file, but {len(paths)} are read",
            advice="Leave it out to write in place.",
        )
    changed: list[str] = []
    errors: list[ProtogenError] = []
    for path in paths:
        try:
            document = prototxt.read(path, prototxt.kind_of(path), strict=strict)
        except ProtogenError as error:  # the other files are formatted all the same
            errors.append(error)
            continue
        before = document.source.text
        after = prototxt.write(document)
        if before != after or document.source.bom:
            changed.append(path)
            if as_diff:
                _print_diff(path, before, after)
        if check or as_diff:
            continue
        if path == files.STDIN and target is None:
            click.echo(after.encode("utf-8", "surrogateescape"), nl=False)
        elif target or path in changed:
            with files.replacing(target or path) as file:
                file.write(after.encode("utf-8", "surrogateescape"))
    if errors:
        raise InputError.of(*(one for error in errors for one in error.diagnostics))
    if check and changed:
        raise MismatchError(
            f"{len(changed)} of {quantity(len(paths), 'file')} would change: {', '.join(changed)}",
            advice="Run protogen fmt on them.",
        )
    if not as_diff:
        output.note(f"{len(changed)} of {quantity(len(paths), 'file')} changed", err=True)


def _print_diff(path: str, before: str, after: str) -> None:
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(), after.splitlines(), path, "formatted", lineterm="")
    for line in lines:
        click.echo(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
