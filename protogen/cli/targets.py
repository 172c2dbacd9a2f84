"""``protogen targets``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, options, output
from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.toolchains.toolchain import Statement, Toolchain


@click.command("targets")
@click.argument(
    "names", shell_complete=completions.targets, nargs=-1, metavar="[NAME|FILE.toml]..."
)
@click.option("--words", is_flag=True, help="List the words that conditions of a file may use.")
@options.as_json
def command(names: tuple[str, ...], words: bool, as_json: bool) -> None:
    """List toolchains, and what each takes and limits.

    Without a name all toolchains are listed; with names the statements about each: the types that
    it takes, and what it refuses, ignores and computes wrongly, with the sources. Other commands take
    these names with --target.

    \b
    Examples:
      protogen targets
      protogen targets horizon-x3
      protogen targets --words
    """
    from protogen.toolchains.toolchain import load_toolchain, toolchains

    if words:
        _show_words(as_json)
        return
    chosen = [load_toolchain(name) for name in names] if names else list(toolchains())
    if as_json:
        output.print_json("targets", targets=[_plain(one) for one in chosen])
        return
    if not names:
        _list(chosen)
        return
    for one in chosen:
        _describe(one)


def _list(chosen: list[Toolchain]) -> None:
    width = max(len(one.name) for one in chosen)
    for one in chosen:
        types = quantity(len(one.types), "type") if one.types else "types unknown"
        if one.types and not one.types_complete:
            types += " at least"
        version = f" {one.version}" if one.version else ""
        output.say(f"{one.name:<{width}}  {one.title}{version}: {types}")
    output.note("protogen targets NAME shows the statements about one of them.")


def _describe(one: Toolchain) -> None:
    version = f" {one.version}" if one.version else ""
    output.say(f"{one.name}: {one.title}{version}")
    if one.types:
        more = "" if one.types_complete else " (others: not known)"
        output.say(f"  types{more}: {', '.join(sorted(sorted(one.types), key=str.lower))}")
    for statement in (*one.net, *one.rules):
        output.say(f"  {_sentence(one, statement, statement in one.net)}")
    if one.schema.lacks:
        output.say(f"  its parser lacks: {', '.join(sorted(one.schema.lacks))}")
    for note in one.notes:
        output.say(f"  note: {note}")
    for id_, count in Counter(_sources(one)).items():
        output.say(f"  source {id_}: {one.source(id_)} ({quantity(count, 'statement')})")


def _sources(one: Toolchain) -> list[str]:
    used = [statement.source for statement in (*one.net, *one.rules) if statement.source]
    return [id_ for id_ in (*one.types.values(), *used) if id_ in one.sources]


def _sentence(one: Toolchain, statement: Statement, whole: bool) -> str:
    layers = "the net" if whole else ", ".join(statement.layers) or "every layer"
    if statement.must:
        text = statement.must
    elif statement.without:
        text = f"no {statement.without}"
    else:
        field = f" {statement.field}:" if statement.field else ""
        text = f"{statement.verdict}:{field} {statement.text}".rstrip(" :")
        text += f" [if {statement.when}]" if statement.when else ""
    source = f"  ({statement.source})" if statement.source else ""
    return f"{layers}: {text}{source}"


def _plain(one: Toolchain) -> dict[str, Any]:
    def plain(statement: Statement) -> dict[str, Any]:
        return {
            "layers": list(statement.layers),
            "when": statement.when,
            "must": statement.must,
            "without": statement.without,
            "is": statement.verdict,
            "field": statement.field,
            "text": statement.text,
            "source": one.source(statement.source),
        }

    return {
        "name": one.name,
        "title": one.title,
        "version": one.version,
        "types": sorted(one.types),
        "types_complete": one.types_complete,
        "adapter": one.adapter,
        "tolerance": one.tolerance,
        "net": [plain(statement) for statement in one.net],
        "rules": [plain(statement) for statement in one.rules],
        "lacks": sorted(one.schema.lacks),
        "fields": dict(one.schema.fields),
        "notes": list(one.notes),
        "sources": dict(one.sources),
    }


def _show_words(as_json: bool) -> None:
    from protogen.toolchains.limits import WORDS
    from protogen.toolchains.words import LAYER_WORDS, NET_MEANINGS, STRUCTURED_WORDS

    layer = {name: meaning for name, (_, meaning) in LAYER_WORDS.items()}
    groups = {
        "when of [[rule]]": layer | dict(STRUCTURED_WORDS),
        "when of [[net]]": dict(NET_MEANINGS),
        "must of [[rule]]": dict(WORDS),
    }
    if as_json:
        output.print_json("targets", words=groups)
        return
    for title, words in groups.items():
        click.echo(f"{title}:")
        width = max(map(len, words))
        for name, meaning in words.items():
            click.echo(f"  {name:<{width}}  {meaning}")
