"""``protogen completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell completion script.

    \b
    Example:
      protogen completion bash > ~/.local/share/bash-completion/completions/protogen
    """
    kind = get_completion_class(shell)
    assert kind is not None  # SHELL is one of the shells that click knows
    click.echo(
        kind(
            click.get_current_context().find_root().command, {}, "protogen", "_PROTOGEN_COMPLETE"
        ).source()
    )
