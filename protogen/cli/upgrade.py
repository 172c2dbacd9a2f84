"""``protogen upgrade``."""

from __future__ import annotations

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError
from protogen.formats import contents, files

_BINARY = (".caffemodel", ".binaryproto")


@click.command("upgrade")
@options.proto
@click.argument("path", type=filetypes.INPUT, metavar="FILE")
@click.option(
    "--to",
    "form",
    type=click.Choice(["current", "v1"]),
    default="current",
    show_default=True,
    help="current: `layer` and Input layers. v1: `layers` and input_dim, for old vendor tools.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.OUTPUT,
    metavar="FILE",
    help="Write here.  [default: stdout]",
)
def command(path: str, form: str, target: str | None) -> None:
    """Convert a net or caffemodel between Caffe's formats.

    The current format is written from any older one (V0, V1, input fields), as Caffe itself does it.
    The V1 format is written from any other; what it cannot express is refused with the names of
    the layers (exit code 3). Comments are kept. Changes are listed on stderr.

    \b
    Examples:
      protogen upgrade old.prototxt -o new.prototxt
      protogen upgrade old.caffemodel -o new.caffemodel
      protogen upgrade net.prototxt --to v1 -o old.prototxt
      protogen upgrade net.caffemodel --to v1 -o old.caffemodel
    """
    files.distinct([("--output", target)], [path])
    changes: list[str] = []
    if contents.kind_of(path) in ("caffemodel", "mean") or path.endswith(_BINARY):
        _weights(path, form, target, changes)
    else:
        _text(path, form, target, changes)
    output.wrote(target)
    if form == "current":
        for change in changes or ["nothing to change: the file has the current format"]:
            output.note(change, err=True)


def _weights(path: str, form: str, target: str | None, changes: list[str]) -> None:
    from protogen.formats.caffemodel import read_weights, write_weights

    if target is None:
        raise InputError(
            "a binary file is not written to the terminal", advice="Name a file with -o."
        )
    model = read_weights(path)
    if form == "v1":
        from protogen.net.downgrade import v1_entries

        entries = v1_entries(model)
    else:
        from protogen.net.binary import upgraded_entries

        entries = upgraded_entries(model, changes)
    with files.replacing(target) as file:
        write_weights(file, model.name, entries, legacy=form == "v1", pair=model.pair)


def _text(path: str, form: str, target: str | None, changes: list[str]) -> None:
    from protogen.formats import prototxt
    from protogen.net.upgrade import upgrade

    net = upgrade(prototxt.read(path), changes)
    if form == "v1":
        from protogen.net.downgrade import downgrade

        net = downgrade(net)
    raw = prototxt.write(net).encode("utf-8", "surrogateescape")
    if target is None:
        click.echo(raw, nl=False)
        return
    with files.replacing(target) as file:
        file.write(raw)
