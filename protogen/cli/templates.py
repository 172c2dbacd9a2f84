"""``protogen templates``."""

from __future__ import annotations

import click

from protogen.cli import completions, options, output
from protogen.errors import InputError, did_you_mean


@click.group("templates", cls=output.Group)
def command() -> None:
    """List and show the prototxt templates.

    \b
    Examples:
      protogen templates list
      protogen templates show deconvolution > mine/deconvolution.prototxt.j2
    """


@command.command("list")
@options.templates
def list_(templates: str | None) -> None:
    """List the templates and their folders.

    \b
    Example:
      protogen templates list --templates mine
    """
    from protogen.formats import render

    for name, path in render.names(templates):
        own = path.parent == render.own_templates()
        output.say(f"{name:<16}{'built in' if own else path}")


@command.command("show")
@click.argument("name", shell_complete=completions.templates)
@options.templates
def show(name: str, templates: str | None) -> None:
    """Print the template NAME.

    \b
    Example:
      protogen templates show upsample
    """
    from protogen.formats import render

    paths = dict(render.names(templates))
    if name not in paths:
        raise InputError(
            "unknown template",
            subject=name,
            advice=did_you_mean(name, paths) or f"Known templates: {', '.join(paths)}.",
        )
    click.echo(paths[name].read_text(encoding="utf-8"), nl=False)
