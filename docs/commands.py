"""The reference of commands, as click prints it: MkDocs calls this while it builds the site."""

from __future__ import annotations

from typing import Any

import click

from protogen.cli import cli

MARK = "@commands@"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the help of every command in place of its mark."""
    return markdown.replace(MARK, _commands()) if MARK in markdown else markdown


def _commands() -> str:
    top = click.Context(cli, info_name="protogen", terminal_width=80, **cli.context_settings)
    made = [f"```text\n{cli.get_help(top)}\n```"]
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is None:
            raise KeyError(name)
        made += _help(click.Context(command, top, info_name=name), "##")
    return "\n\n".join(made)


def _help(context: click.Context, level: str) -> list[str]:
    """A command's section, and those of its own commands."""
    path = context.command_path.removeprefix("protogen ")
    made = [f"{level} {path}", f"```text\n{context.get_help()}\n```"]
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is None:
                raise KeyError(name)
            made += _help(click.Context(inner, context, info_name=name), level + "#")
    return made
