"""Options that several commands have."""

from __future__ import annotations

import click


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
