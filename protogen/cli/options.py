"""Options that several commands have."""

from __future__ import annotations

import click

from protogen.errors import InputError, layout


def _add_protos(_: click.Context, __: click.Parameter, paths: tuple[str, ...]) -> None:
    if paths:
        from protogen.schema import add_proto

        for path in paths:
            add_proto(path)


proto = click.option(
    "--proto",
    multiple=True,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_add_protos,
    help="A vendor's .proto (or descriptor set), added by name; may repeat.",
)
plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    is_eager=True,
    expose_value=False,
    callback=lambda _, __, paths: _run_plugins(paths),
    help="Run a file of yours that registers layers with pg.layer; may repeat.",
)
identity = click.option(
    "--layer-as-identity",
    "identities",
    multiple=True,
    metavar="NAME|TYPE",
    help="A layer that hands on its first bottom, whatever it is; may repeat.",
)


def _run_plugins(paths: tuple[str, ...]) -> None:
    """Runs files that the user names; nothing in a net can name one."""
    if paths:
        from protogen.plugins import run_plugin

        for path in paths:
            run_plugin(path)


def parse_inputs(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """``BLOB=1,3,224,224`` as a name and a shape.

    Raises:
        InputError: the text has another form.
    """
    made = {}
    for text in given:
        name, equals, dims = text.rpartition("=")
        lengths = dims.split(",")
        if not name or not equals or not all(n.isascii() and n.isdigit() for n in lengths):
            raise InputError(
                layout(f"{text!r} is no BLOB=N,C,H,W", subject="--input",
                       advice="Write it like data=1,3,224,224.")
            )  # fmt: skip
        made[name] = tuple(map(int, lengths))
    return made


def numbers(given: str, option: str) -> tuple[float, ...]:
    """``104,117,123`` as numbers.

    Raises:
        InputError: the text is no such list.
    """
    try:
        return tuple(float(word) for word in given.split(","))
    except ValueError:
        raise InputError(
            layout(f"{given!r} is no list of numbers", subject=option, advice="Write 104,117,123.")
        ) from None
