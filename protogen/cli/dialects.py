"""``protogen dialects``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError, quantity
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.toolchains.detection import Detection, Found

MOST = 3  # things that a dialect lacks, in the text
MOST_OTHERS = 5  # other dialects, in the text


@click.command("dialects")
@options.proto
@options.plugin
@click.argument("nets", nargs=-1, type=filetypes.INPUT, metavar="[NET]...")
@click.option("--all", "everything", is_flag=True, help="Say what every other dialect lacks.")
@options.as_json
def command(nets: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """List dialects of Caffe, or those that a net can be of.

    A dialect is a published Caffe. A net can be of a dialect that registers all of its layer types, and
    whose parser has all of its fields and values. The best is listed first: BVLC Caffe, then the fork
    with the fewest differences from it. "why" are the types and fields that exclude the other dialects,
    "lacks" the first ones that each of them lacks. NET is a prototxt, or a caffemodel that holds the
    parameters of its layers: forks gave the same numbers to different fields.

    The exit code is 1 if a net can be of no known dialect.

    \b
    Examples:
      protogen dialects
      protogen dialects deploy.prototxt
      protogen dialects ssd.prototxt ssd.caffemodel --all
    """
    if not nets:
        _list(as_json)
        return
    from protogen.net.dialects import dialects_of

    _check_names(nets)
    answers = {net: dialects_of(net) for net in nets}
    if as_json:
        output.print_json("dialects", nets=[_plain(net, one) for net, one in answers.items()])
    else:
        for net, one in answers.items():
            _show(net, one, everything)
    if not all(one.possible for one in answers.values()):
        click.get_current_context().exit(1)


def _check_names(nets: tuple[str, ...]) -> None:
    """Raise InputError for a name of a dialect where a net is expected."""
    from protogen.errors import did_you_mean
    from protogen.formats.schema.dialect import dialects

    for net in nets:
        if "." not in net and net != files.STDIN and not Path(net).exists():
            advice = did_you_mean(net, dialects())
            more = f" {advice}" if advice and net not in dialects() else ""
            raise InputError(
                "there is no such file",
                where=net,
                advice=f"NET is a prototxt or a caffemodel; protogen dialects lists the dialects.{more}",
            )


def _list(as_json: bool) -> None:
    from protogen.cli import tables
    from protogen.formats.schema.dialect import dialects
    from protogen.toolchains.dialects import forks_of, lacks_of

    rows = [
        (one, sorted(forks_of(one.name)), sorted(lacks_of(one.name))) for one in dialects().values()
    ]
    if as_json:
        output.print_json(
            "dialects",
            dialects=[
                {
                    "name": one.name,
                    "repository": one.repository,
                    "revision": one.revision,
                    "base": one.base,
                    "description": one.description,
                    "types": more,
                    "lacks": fewer,
                }
                for one, more, fewer in rows
            ],
        )
        return
    tables.show(
        ["dialect", "repository", "types beyond BVLC", "types lacking", "description"],
        [
            (one.name, one.repository, str(len(more)), str(len(fewer)), one.description)
            for one, more, fewer in rows
        ],
    )
    output.note(f"{quantity(len(rows), 'dialect')}; protogen dialects NET finds those of a net.")


def _show(net: str, one: Detection, everything: bool) -> None:
    from protogen.formats.schema.dialect import in_words

    click.echo(f"{output.printable(net)}: {', '.join(one.possible) or 'no known dialect'}")
    for evidence in one.why:
        has = in_words(evidence.dialects) or "no known dialect"
        output.say(f"  why: {evidence.use}: {has}")
    others = sorted(one.lacks, key=lambda name: len(one.lacks[name]))
    shown = others if everything else others[:MOST_OTHERS]
    for name in shown:
        lacks = one.lacks[name]
        more = f" and {len(lacks) - MOST} more" if len(lacks) > MOST else ""
        output.say(f"  {name} lacks {', '.join(map(str, lacks[:MOST]))}{more}")
    if len(shown) < len(others):
        output.note(f"  {len(others) - len(shown)} more dialects lack something (--all).")


def _plain(net: str, one: Detection) -> dict[str, Any]:
    def plain(use: Found) -> dict[str, Any]:
        line = getattr(use.place, "line", 0)
        return {"text": use.text, "line": line or None, "layer": use.layer}

    return {
        "net": net,
        "possible": list(one.possible),
        "why": [{**plain(e.use), "dialects": list(e.dialects)} for e in one.why],
        "lacks": {name: [plain(each) for each in lacks] for name, lacks in one.lacks.items()},
    }
