"""``protogen fmt``, ``upgrade``, ``downgrade`` and ``diff``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import click

from protogen.cli import options
from protogen.errors import InputError
from protogen.formats import files

_BINARY = (".caffemodel", ".binaryproto")


@click.command("fmt")
@options.proto
@click.argument("paths", nargs=-1, required=True, metavar="FILES...")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", "show", is_flag=True, help="Write nothing; print what would change.")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of in place.")
@click.option("--strict", is_flag=True, help="Unknown fields are errors.")
def fmt(paths: tuple[str, ...], check: bool, show: bool, output: str | None, strict: bool) -> None:
    """Lay prototxt files out in one way: a field a line, two spaces a level; comments are kept.

    Nets and solvers. Values, their order and unknown fields stay as they are.

    \b
    Examples:
      protogen fmt net.prototxt solver.prototxt
      protogen fmt --check *.prototxt
      protogen fmt --diff net.prototxt
    """
    from protogen.errors import MismatchError
    from protogen.formats import prototxt

    if output and len(paths) > 1:
        raise InputError("-o takes one file in", advice="Leave it out to write in place.")
    changed = []
    with ExitStack() as stack:
        for path in paths:
            document = prototxt.read(path, prototxt.kind_of(path), strict=strict)
            before = document.source.text
            after = prototxt.write(document)
            if before != after or document.source.bom:
                changed.append(path)
                if show:
                    _show_diff(path, before, after)
            if not (check or show) and (output or path in changed):
                file = stack.enter_context(files.replacing(output or path))
                file.write(after.encode("utf-8", "surrogateescape"))
    if check and changed:
        raise MismatchError(
            f"{len(changed)} of {len(paths)} files would change: {', '.join(changed)}",
            advice="Run protogen fmt on them.",
        )
    if not show:
        click.echo(f"{len(changed)} of {len(paths)} files changed", err=True)


def _show_diff(path: str, before: str, after: str) -> None:
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(), after.splitlines(), path, "laid out", lineterm="")
    for line in lines:
        click.echo(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


@click.command("upgrade")
@options.proto
@click.argument("old", metavar="OLD")
@click.option("-o", "--output", metavar="NEW", help="Write here, not to stdout.")
def upgrade(old: str, output: str | None) -> None:
    """Bring an old net (V0, V1, legacy inputs) or caffemodel to today's form, as Caffe does.

    Comments stay. What was changed is told on stderr.

    \b
    Examples:
      protogen upgrade old.prototxt -o new.prototxt
      protogen upgrade old.caffemodel -o new.caffemodel
    """
    files.distinct([("-o", output)], [old])
    changes: list[str] = []
    if old.endswith(_BINARY):
        _need_output(output)
        from protogen.formats.caffemodel import read_weights, write_weights
        from protogen.net.binary import upgraded_entries

        model = read_weights(old)
        entries = upgraded_entries(model, changes)
        with files.replacing(output or "") as file:
            write_weights(file, model.name, entries)
    else:
        from protogen.formats import prototxt
        from protogen.net.upgrade import upgrade as upgrade_net

        net = upgrade_net(prototxt.read(old), changes)
        _write_text(prototxt.write(net), output)
    for change in changes or ["nothing to change: it has today's form"]:
        click.echo(change, err=True)


@click.command("downgrade")
@options.proto
@click.argument("new", metavar="NEW")
@click.option("-o", "--output", metavar="OLD", help="Write here, not to stdout.")
def downgrade(new: str, output: str | None) -> None:
    """Write a net or caffemodel in the V1 form (`layers`, `input_dim`) that old vendor kits read.

    What V1 cannot say is refused, every layer by name (exit code 3).

    \b
    Examples:
      protogen downgrade net.prototxt -o old.prototxt
      protogen downgrade net.caffemodel -o old.caffemodel
    """
    files.distinct([("-o", output)], [new])
    if new.endswith(_BINARY):
        _need_output(output)
        from protogen.formats.caffemodel import read_weights, write_weights
        from protogen.net.downgrade import v1_entries

        model = read_weights(new)
        entries = v1_entries(model)
        with files.replacing(output or "") as file:
            write_weights(file, model.name, entries, legacy=True)
        return
    from protogen.formats import prototxt
    from protogen.net.downgrade import downgrade as downgrade_net
    from protogen.net.upgrade import upgrade as upgrade_net

    net = downgrade_net(upgrade_net(prototxt.read(new)))
    _write_text(prototxt.write(net), output)


@click.command("diff")
@options.proto
@click.argument("a", metavar="A.prototxt")
@click.argument("b", metavar="B.prototxt")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, a: str, b: str, as_json: bool) -> None:
    """Show how two nets differ, as layers and parameters.

    Old forms are upgraded first; a default that is written out equals one that is not; the order
    of fields does not count. Exits 1 where there is a difference.

    \b
    Example:
      protogen diff deploy.prototxt mine.prototxt
    """
    from dataclasses import asdict

    from protogen.cli import tables
    from protogen.formats import prototxt
    from protogen.net.differences import diff as compare
    from protogen.net.upgrade import upgrade as upgrade_net

    found = compare(upgrade_net(prototxt.read(a)), upgrade_net(prototxt.read(b)))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            click.echo(tables.printable(str(one)))
    ctx.exit(1 if found else 0)


def _need_output(output: str | None) -> None:
    if output is None:
        raise InputError("binary files do not go to the terminal", advice="Say -o FILE.")


def _write_text(text: str, output: str | None) -> None:
    raw: Any = text.encode("utf-8", "surrogateescape")
    if output is None:
        click.echo(raw, nl=False)
        return
    with files.replacing(output) as file:
        file.write(raw)
