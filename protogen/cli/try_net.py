"""``protogen try``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, options, output
from protogen.errors import InputError, MismatchError, quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protogen.running.trying import Trial


@click.command("try")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt", required=False)
@click.argument("caffemodel", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@click.option(
    "--with",
    "names",
    shell_complete=completions.toolchains,
    multiple=True,
    metavar="NAME|FILE,...",
    help="Toolchains, adapters (.py) or data files (.toml) of your own. Repeatable.  "
    "[default: all that are installed]",
)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Python of the environment in which a toolchain is installed. Repeatable.",
)
@options.input_files("Input data: .npy or .npz.  [default: random]")
@options.seed
@options.input_shapes
@options.dialect
@click.option(
    "--tolerance",
    type=float,
    help="Largest error relative to a blob's largest magnitude.  [default: the toolchain's own]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Limit of time for a net, for the start of a toolchain, and for the search of a layer.",
)
@click.option("--how", metavar="NAME", help="Print the commands that install a toolchain.")
@options.as_json
def command(net: str | None, caffemodel: str | None, **flags: Any) -> None:
    """Run a net in vendors' toolchains and compare.

    Each toolchain converts the net and runs it, in the Python of its own environment, with limits of
    time and output. Every output is compared with what protogen computes on the same inputs. If it
    is wrong, refused or crashed, the first layer with that problem is searched, and the toolchain's own
    words are shown. The exit code is 1 if a toolchain does not compute the net as Caffe does.

    The environment is the one of --python, of [try] in protogen.toml, NAME in the folder
    $PROTOGEN_TOOLCHAINS (~/.cache/protogen/toolchains), or the one in which protogen runs.

    \b
    Examples:
      protogen try deploy.prototxt net.caffemodel --with mnn,rknn2
      protogen try deploy.prototxt net.caffemodel --with mnn --python ~/mnn/bin/python
      protogen try deploy.prototxt net.caffemodel --with ./acme.py --input x.npy
      protogen try --how mnn
    """
    if flags["how"]:
        _show_how(flags["how"], flags["as_json"])
        return
    if net is None:
        raise InputError("missing net", subject="try", advice="Give NET.prototxt, or --how NAME.")
    from protogen.running.trying import try_net

    names = [name for text in flags["names"] for name in filter(None, text.split(","))]
    with _progress() as progress:
        trials = try_net(
            net,
            caffemodel,
            names,
            pythons=_pythons(flags["pythons"], names),
            feeds=options.arrays(flags["inputs"], _inputs(net, flags)),
            input_shapes=options.shapes_for(net, flags["input_shapes"], dialect=flags["dialect"]),
            seed=flags["seed"],
            tolerance=flags["tolerance"],
            seconds=flags["seconds"],
            progress=progress,
            dialect=flags["dialect"],
        )
    if flags["as_json"]:
        output.print_json("try", trials=[trial.plain() for trial in trials])
    else:
        _show(trials)
    wrong = [trial for trial in trials if not trial.right]
    if wrong:
        verb = "does" if len(wrong) == 1 else "do"
        which = ", ".join(f"{trial.toolchain} ({trial.outcome})" for trial in wrong)
        raise MismatchError(
            f"{len(wrong)} of {quantity(len(trials), 'toolchain')} {verb} not compute the net as "
            f"Caffe does: {which}",
            table=trials,
        )


def _inputs(net: str, flags: dict[str, Any]) -> list[str] | None:
    """The inputs of the net, if a file of ``--input`` needs them."""
    if not flags["inputs"]:
        return None
    from protogen.net.net import load, unassuming

    with unassuming():
        return list(load(net, tolerant=True, dialect=flags["dialect"]).inputs)


def _pythons(texts: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """The paths of ``--python`` by the name of the toolchain."""
    from pathlib import Path

    result = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            if len(names) != 1:
                raise InputError(
                    f"{text!r} does not name its toolchain",
                    subject="--python",
                    advice=f"Write NAME={text}.",
                )
            name, path = Path(names[0]).stem if "." in names[0][1:] else names[0], text
        result[name] = path
    return result


def _show_how(name: str, as_json: bool) -> None:
    from protogen.running import environments

    lines = environments.commands(environments.toolchain(name))
    if as_json:
        output.print_json("try", how=lines)
    else:
        output.say("\n".join(lines))


@contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """A line on a terminal with what runs now."""
    if not sys.stderr.isatty() or output.is_quiet():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(output.printable(text))


def _show(trials: list[Trial]) -> None:
    from protogen.cli import tables

    tables.show(
        ["toolchain", "version", "result", "error", "first layer", "detail"],
        [
            (
                trial.toolchain,
                trial.version,
                trial.outcome,
                "" if trial.error is None else "0" if trial.error == 0 else f"{trial.error:.1e}",
                f"{trial.layer} ({trial.type})" if trial.type else trial.layer,
                trial.detail,
            )
            for trial in trials
        ],
        right=(3,),
    )
    if all(trial.right for trial in trials):
        verb = "computes" if len(trials) == 1 else "compute"
        output.note(f"{quantity(len(trials), 'toolchain')} {verb} the net as Caffe does")
