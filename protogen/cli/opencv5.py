"""``protogen check --opencv5``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from protogen.cli import output
from protogen.errors import InputError, quantity


def examine(folders: Sequence[str], form: str) -> int:
    """Print the uses of Caffe nets in source folders and return how many there are.

    Raises:
        InputError: a path is not a folder, or ``form`` is not text or json.
    """
    from protogen.cli.output import printable
    from protogen.lint.opencv5 import examine as examine_folder

    if form not in ("text", "json"):
        raise InputError(
            f"--format {form} and --opencv5 exclude each other",
            advice="Use --json or leave it out.",
        )
    uses = [use for folder in folders for use in examine_folder(folder)]
    if form == "json":
        output.print_json("check", uses=[asdict(use) for use in uses])
        return len(uses)
    for use in uses:
        click.echo(printable(f"{use.place}: {use.code}"))
        for line in (use.verdict, *use.advice):
            click.echo(f"    {printable(line)}")
    nets = {(use.prototxt, use.caffemodel): use.converts for use in uses}
    output.note(
        f"{quantity(len(uses), 'use')} of {quantity(len(nets), 'net')}; "
        f"convertible to ONNX: {quantity(sum(nets.values()), 'net')}"
        if uses
        else "no uses of Caffe nets"
    )
    return len(uses)
