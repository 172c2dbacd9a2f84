"""``--target``: options of commands that write a net for a toolchain, and what they print about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, output

if TYPE_CHECKING:
    from protogen.legalization.legalize import Legalized
    from protogen.legalization.rounds import Change
    from protogen.net.net import Net
    from protogen.onnx.importer.net import ImportedNet
    from protogen.toolchains.toolchain import Toolchain


write_for = click.option(
    "--target",
    "toolchain",
    shell_complete=completions.targets,
    metavar="NAME|FILE.toml",
    help="Write the net for this toolchain (see protogen targets).",
)
from_blobs = click.option(
    "--from-blob",
    "from_blobs",
    shell_complete=completions.blobs,
    multiple=True,
    metavar="BLOB",
    help="Make this blob an input, and leave out what only it depends on. Repeatable.",
)
to_blobs = click.option(
    "--to-blob",
    "to_blobs",
    shell_complete=completions.blobs,
    multiple=True,
    metavar="BLOB",
    help="Make this blob an output, and leave out what it does not depend on. Repeatable.",
)
explain = click.option(
    "--explain",
    is_flag=True,
    help="Say why each layer is there; with --target, list the forms that were possible and their cost.",
)


def show_reasons(imported: ImportedNet) -> None:
    """Print for each layer of an imported net which operator it comes from, and why."""
    layers = imported.net.layers
    width = max((len(layer.type) for layer in layers), default=0)
    last = ""
    for layer in layers:
        reason = imported.reasons.get(layer.name, "")
        own = f'operator "{layer.name}" ('
        if reason.startswith(own):  # the layer has the name of its operator
            reason = reason.removeprefix(own).replace(")", "", 1)
        shown = output.printable(reason) if reason != last else "  the same"
        output.note(f"{layer.type:{width}}  {output.printable(layer.name)}: {shown}")
        last = reason


def show(legalized: Legalized, explain: bool = False, *, err: bool = False) -> None:
    """Print what was replaced, one line for each kind of layer and form; all forms that were tried
    with ``explain``."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Change]] = {}
    for one in legalized.changes:
        groups.setdefault((one.type, one.form, one.becomes), []).append(one)
    for (type_, form, becomes), changes in groups.items():
        text = parts(becomes)
        output.note(f"{len(changes):>4} x {type_} -> {text}  ({form})", err=err)
    if not legalized.changes and not legalized.unknown:
        output.note("nothing to replace: the toolchain takes every layer", err=err)
    if legalized.unknown:
        counts = Counter(legalized.unknown.values())
        types = ", ".join(f"{count} {type_}" for type_, count in counts.items())
        names = ", ".join(one.name for one in legalized.toolchains)
        output.note(f"no source says whether {names} takes these layers: {types}", err=err)
    if legalized.error:
        error = f"{legalized.error:g} of the largest value"
        output.note(f"these forms have an error of up to {error}", err=err)
    if explain:
        for changes in groups.values():
            _explain(changes[0], len(changes) - 1, err)


def parts(becomes: tuple[str, ...]) -> str:
    """Return the types of layers as a short list."""
    if not becomes:
        return "nothing"
    counts = Counter(becomes)
    types = [type_ if count == 1 else f"{count} {type_}" for type_, count in counts.items()]
    return ", ".join(types) if len(becomes) <= 12 else f"{len(becomes)} layers"


def _explain(change: Change, others: int, err: bool) -> None:
    """Print the forms that fit a layer, with layers, multiply-adds and written values, and why the
    others were not chosen."""
    more = f" and {others} more" if others else ""
    name = output.printable(change.layer)
    output.note("", err=err)
    output.note(f'layer "{name}" ({change.type}){more}: {change.reason}', err=err)
    fitting = [one for one in change.tried if one.cost is not None]
    width = max((len(one.text) for one in fitting), default=0)
    for one in fitting:
        if one.chosen:
            reason = "chosen"
        elif one.legal:
            reason = one.reason or "more work"
        else:
            same = one.reason == change.reason
            reason = "not legal for the same reason" if same else f"not legal: {one.reason}"
        cost = one.cost
        work = (
            f"{cost.layers:>3} layers {cost.multiply_adds:>12,} {cost.values:>10,}" if cost else ""
        )
        line = f"  {one.text:<{width}}  {work:<35}  {output.printable(reason)}"
        output.note(line.rstrip(), err=err)


def next_steps(
    toolchain: Toolchain, net: Net, prototxt: str | Path, caffemodel: str | Path | None
) -> str:
    """Return what the user types next in the toolchain; empty if its data file does not say so."""
    if not toolchain.next:
        return ""
    shapes = {name: net.graph.shapes.get(name) or () for name in net.inputs}
    first = next(iter(shapes), "")
    channels = {name: (*shape, 1, 1)[1] for name, shape in shapes.items()}
    _, count, height, width = (*shapes.get(first, ()), 1, 1, 1, 1)[:4]
    texts = {name: ",".join(map(str, shape)) for name, shape in shapes.items()}
    words: dict[str, Any] = {
        "prototxt": prototxt,
        "caffemodel": caffemodel or f"{Path(prototxt).stem}.caffemodel",
        "name": Path(prototxt).stem,
        "input": first,
        "inputs": ",".join(shapes),
        "shape": texts.get(first, ""),
        "dims": texts.get(first, "").replace(",", "x"),
        "channels": count,
        "height": height,
        "width": width,
        "shapes": _lists(texts.values()),
        "inputs_with_shapes": ";".join(f"{name}:{text}" for name, text in texts.items()),
        "zeros": _repeated("0", count),
        "ones": _repeated("1", count),
        "zero_lists": _lists(_repeated("0", n) for n in channels.values()),
        "one_lists": _lists(_repeated("1", n) for n in channels.values()),
        "outputs": ",".join(net.outputs),
    }
    return Template(toolchain.next).substitute(words)


def _repeated(number: str, count: int) -> str:
    return ",".join([number] * count)


def _lists(texts: Iterable[str]) -> str:
    return "[" + ",".join(f"[{text}]" for text in texts) + "]"


def show_next(
    toolchain: Toolchain,
    net: Net,
    prototxt: str | Path,
    caffemodel: str | Path | None,
    *,
    err: bool = False,
) -> None:
    """Print what the user types next in the toolchain."""
    text = next_steps(toolchain, net, prototxt, caffemodel)
    if text:
        title = toolchain.title or toolchain.name
        output.note(f"next, in {title}:", err=err)
        for line in text.splitlines():
            output.note(f"  {output.printable(line)}".rstrip(), err=err)


def plain(legalized: Legalized) -> dict[str, Any]:
    """Return the replacements as data for JSON."""
    return {
        "target": legalized.toolchains[0].name,
        "replaced": [
            {
                "layer": one.layer,
                "type": one.type,
                "reason": one.reason,
                "form": one.form,
                "becomes": list(one.becomes),
            }
            for one in legalized.changes
        ],
        "unknown": dict(legalized.unknown),
    }


def half_check(net: Net, seed: int, verbose: bool) -> bool:
    """Print the ranges of a net for float16 and int8; returns whether all values fit into float16."""
    from protogen.cli import ranges
    from protogen.running import ranges as measured

    check = measured.half_check(net, seed=seed)
    ranges.show(check, verbose)
    return check.passed
