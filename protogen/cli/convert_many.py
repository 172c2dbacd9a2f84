"""``protogen convert`` with many nets, or with folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protogen.cli import convert_options, output, tables
from protogen.converting.many import Outcome, convert_all
from protogen.converting.sources import Source
from protogen.errors import InputError, ProtogenWarning, quantity, warn
from protogen.formats import files

# Options that name a file, or that describe one net.
_FOR_ONE = ("weights", "names", "scales", "receipt", "dry_run", "explain", "half_check")


def convert_many(sources: Sequence[Source], flags: dict[str, Any]) -> bool:
    """Convert the nets and print a table; returns whether all of them were converted.

    Raises:
        InputError: an option belongs to a single net, or the output is not a folder.
    """
    arguments = _arguments(sources, flags)
    folder = flags["target"]
    if folder is not None and (folder == files.STDOUT or Path(folder).is_file()):
        raise InputError(
            f"{quantity(len(sources), 'net')} cannot be written to one file",
            where=folder,
            advice="Name a folder with -o.",
        )
    if folder is not None and Path(folder).suffix in (".onnx", ".prototxt", ".caffemodel"):
        raise InputError(f"-o must name a folder for {quantity(len(sources), 'net')}", where=folder)
    done = 0

    def count(_: Outcome) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(sources))

    with tables.counting("nets") as progress:
        outcomes = convert_all(
            sources,
            folder,
            overwrite=flags["overwrite"],
            jobs=flags["jobs"],
            progress=count,
            **arguments,
        )
    if flags["as_json"]:
        output.print_json("convert", nets=[_plain(one) for one in outcomes])
    else:
        _show(outcomes, flags["verify"])
    return not any(one.problem for one in outcomes)


def _arguments(sources: Sequence[Source], flags: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``convert_all`` for both directions."""
    import click

    from protogen.cli import options

    for key in _FOR_ONE:
        if flags[key]:
            raise InputError(
                f"{convert_options.flag_of(key)} applies to one net, but "
                f"{quantity(len(sources), 'net')} would be converted",
                advice="Convert that net by itself.",
            )
    convert_options.check_together(flags, True)
    directions = {source.onnx for source in sources}
    if len(directions) == 1 and (wrong := convert_options.differing(flags, directions == {True})):
        direction = "from ONNX to Caffe" if directions == {True} else "from Caffe to ONNX"
        raise InputError(f"{wrong[0]} does not apply {direction}")
    if False in directions and flags["toolchain"]:
        raise InputError(
            convert_options.NO_TARGET,
            advice="To write a net for a toolchain, use protogen rewrite.",
        )
    ctx = click.get_current_context()
    return {
        "to_caffe": convert_options.to_caffe_options(None, dict(flags)),
        "to_onnx": convert_options.to_onnx_options(None, dict(flags)),
        "protos": ctx.meta.get(options.PROTOS, ()),
        "plugins": ctx.meta.get(options.PLUGINS, ()),
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        **asdict(outcome),
        "source": {"net": outcome.source.net, "weights": outcome.source.weights},
    }


def _show(outcomes: Sequence[Outcome], verified: bool) -> None:
    for one in outcomes:
        for text in one.warned:
            warn(ProtogenWarning(f"{one.source.net}: {text}"))
    timed = sys.stdout.isatty()  # elsewhere equal nets give equal lines
    columns: list[tuple[str, Callable[[Outcome], str]]] = [
        ("net", lambda one: one.source.net),
        ("result", lambda one: one.written[0] if one.written else "failed"),
        ("layers", lambda one: str(one.layers) if one.written else ""),
    ]
    if verified:
        columns.append(("largest error", lambda one: _number(one.error)))
    if timed:
        columns.append(("time", lambda one: f"{one.seconds:.1f} s"))
    rows = [[text(one) for _, text in columns] for one in outcomes]
    right = tuple(range(2, len(columns)))
    tables.show([name for name, _ in columns], rows, right, {"failed": "red"})
    failed = [one for one in outcomes if one.problem]
    for one in failed:
        output.note(output.printable(_with_name(one)))
    total = quantity(len(outcomes), "net")
    output.note(f"{total}: {len(outcomes) - len(failed)} converted, {len(failed)} failed")


def _number(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}" if error else "0"


def _with_name(outcome: Outcome) -> str:
    text = " ".join(outcome.problem.split())
    return text if outcome.source.net in text else f"{outcome.source.net}: {text}"
