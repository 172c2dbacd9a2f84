"""MkDocs hook that inserts the help text of all commands into a page."""

from __future__ import annotations

from typing import Any

import click

from protogen.cli import cli

MARK = "@commands@"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in a page by the help text of every command."""
    return markdown.replace(MARK, _commands()) if MARK in markdown else markdown


def _commands() -> str:
    """Return the help texts of all commands as Markdown."""
    top = click.Context(cli, info_name="protogen", terminal_width=80, **cli.context_settings)
    sections = [f"```text\n{cli.get_help(top)}\n```"]
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is None:
            raise KeyError(name)
        sections += _help(click.Context(command, top, info_name=name), "##")
    return "\n\n".join(sections)


def _help(context: click.Context, level: str) -> list[str]:
    """Return the section of a command, and the sections of its subcommands."""
    path = context.command_path.removeprefix("protogen ")
    sections = [f"{level} {path}", f"```text\n{context.get_help()}\n```"]
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is None:
                raise KeyError(name)
            sections += _help(click.Context(inner, context, info_name=name), level + "#")
    return sections
