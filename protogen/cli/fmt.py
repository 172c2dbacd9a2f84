"""``protogen fmt``."""

from __future__ import annotations

from contextlib import ExitStack

import click

from protogen.cli import options, output
from protogen.errors import InputError, MismatchError, quantity
from protogen.formats import files


@click.command("fmt")
@options.proto
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", "as_diff", is_flag=True, help="Write nothing; print what would change.")
@click.option("-o", "--output", "target", metavar="FILE", help="Write here instead of in place.")
@options.strict
def command(
    paths: tuple[str, ...], check: bool, as_diff: bool, target: str | None, strict: bool
) -> None:
    """Format prototxt files.

    Each field gets its own line and each level two spaces. Nets and solvers are read. Values, their
    order, comments and unknown fields stay as they are.

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
    changed = []
    with ExitStack() as stack:
        for path in paths:
            document = prototxt.read(path, prototxt.kind_of(path), strict=strict)
            before = document.source.text
            after = prototxt.write(document)
            if before != after or document.source.bom:
                changed.append(path)
                if as_diff:
                    _print_diff(path, before, after)
            if not (check or as_diff) and (target or path in changed):
                file = stack.enter_context(files.replacing(target or path))
                file.write(after.encode("utf-8", "surrogateescape"))
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
