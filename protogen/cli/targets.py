"""``protogen targets``."""

from __future__ import annotations

from dataclasses import asdict

import click

from protogen.cli import options, output


@click.command("targets")
@click.argument("names", nargs=-1, metavar="[NAME|FILE.toml]...")
@options.as_json
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List toolchains and their limits.

    Without a name all toolchains are listed; with names the rules of each, with their sources.
    Other commands take these names with --target.

    \b
    Examples:
      protogen targets
      protogen targets horizon-x3
    """
    from protogen.toolchains.limits import WORDS, load_target, targets

    chosen = [load_target(name) for name in names] if names else list(targets())
    if as_json:
        output.print_json("targets", targets=[asdict(one) for one in chosen])
        return
    if not names:
        width = max(len(one.name) for one in chosen)
        for one in chosen:
            click.echo(f"{one.name:<{width}}  {one.title}")
        output.note(f"Rules may use {', '.join(WORDS)}.")
        return
    for one in chosen:
        click.echo(f"{one.name}: {one.title}")
        for rule in one.rules:
            layers = ", ".join(rule.layers) or "every layer"
            limit = rule.must or f"no {rule.feature}"
            source = f"  ({rule.source})" if rule.source else ""
            click.echo(f"  {layers}: {limit}{source}")
        for note in one.notes:
            click.echo(f"  note: {note}")
