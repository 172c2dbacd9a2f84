"""``protogen templates``."""

from __future__ import annotations

import click

from protogen.errors import InputError

_directory = click.option(
    "--templates", "directory", metavar="DIR", help="Your own templates, which override by name."
)


@click.group("templates")
def command() -> None:
    """List and show the templates that prototxt is made from.

    \b
    Examples:
      protogen templates list
      protogen templates show deconvolution > mine/deconvolution.prototxt.j2
    """


@command.command("list")
@_directory
def list_(directory: str | None) -> None:
    """Name every template and say where it stands.

    \b
    Example:
      protogen templates list --templates mine
    """
    from protogen.formats import render

    for name, path in render.names(directory):
        own = path.parent == render.own_templates()
        click.echo(f"{name:<16}{'built in' if own else path}")


@command.command("show")
@click.argument("name")
@_directory
def show(name: str, directory: str | None) -> None:
    """Print the template NAME.

    \b
    Example:
      protogen templates show upsample
    """
    from protogen.formats import render

    found = dict(render.names(directory))
    if name not in found:
        known = f"Known are {', '.join(found)}."
        raise InputError("there is no such template", subject=name, advice=known)
    click.echo(found[name].read_text(encoding="utf-8"), nl=False)
