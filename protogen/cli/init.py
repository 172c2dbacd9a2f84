"""``protogen init``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output, tables
from protogen.errors import InputError, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protogen.training.initialisation import FilledBlob


@click.command("init")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights here.",
)
@options.seed
@options.fan
@options.set_fillers
@options.recommend
@click.option("--fill", is_flag=True, help="Choose a filler where the net has none.")
@click.option(
    "--write-net",
    type=filetypes.PROTOTXT,
    metavar="FILE.prototxt",
    help="Write the net with these fillers.",
)
@options.dialect
@options.state("TRAIN")
@options.input_shapes
@options.input_files("Data for lsuv: .npy or .npz.  [default: random]")
@options.as_json
def command(net: str, target: str | None, **flags: Any) -> None:
    """Create initial weights from a net's fillers.

    The weights are those that Caffe creates before training: constant, uniform, gaussian,
    positive_unitball, xavier, msra and bilinear follow Caffe's definitions; orthogonal, identity, icnr
    and lsuv exist only here. The same seed gives the same weights on every machine, in any order of
    layers.

    \b
    Examples:
      protogen init train_val.prototxt -o start.caffemodel --input-shape data=1,3,224,224
      protogen init net.prototxt -o start.caffemodel --fill
      protogen init net.prototxt --recommend
      protogen init net.prototxt -o start.caffemodel --recommend --write-net better.prototxt
      protogen init net.prototxt -o start.caffemodel --set 'conv*=msra' --set fc8=gaussian:0.01
    """
    from protogen.formats import files
    from protogen.net.net import load
    from protogen.training.filling import with_fillers
    from protogen.training.initialisation import blobs_of, parse_rules, write_initial

    if target is None and not (flags["recommend"] or flags["write_net"] or flags["as_json"]):
        raise InputError(
            "missing output file",
            advice="Name it with -o, or list the fillers with --recommend.",
        )
    files.distinct([("--output", target), ("--write-net", flags["write_net"])], [net])
    reading = options.reading_of(flags)
    shapes = options.shapes_for(net, flags["input_shapes"], **reading)
    loaded = load(net, input_shapes=shapes, **reading)
    rules = parse_rules(flags["rules"])
    blobs = blobs_of(loaded, rules, flags["recommend"], flags["fill"])
    text = None
    if flags["write_net"]:
        from protogen.formats import prototxt

        text = prototxt.write(with_fillers(loaded, blobs)).encode("utf-8", "surrogateescape")
    if target is not None:
        with tables.bar() as progress:
            write_initial(
                loaded,
                target,
                flags["seed"],
                fan=flags["fan"],
                rules=rules,
                recommend=flags["recommend"],
                fill=flags["fill"],
                feeds=options.arrays(flags["inputs"], loaded.inputs),
                text=(flags["write_net"], text) if text is not None else None,
                progress=progress,
            )
    elif text is not None:
        with files.replacing(flags["write_net"]) as file:
            file.write(text)
    if flags["as_json"]:
        output.print_json("init", blobs=[_plain(blob, flags["fan"]) for blob in blobs])
        return
    _show_all(blobs) if flags["fill"] else _show(blobs, flags["fan"])
    count = sum(blob.values(0).size for blob in blobs)
    output.note(
        f"{tables.count(count)} parameter{'' if count == 1 else 's'} in "
        f"{quantity(len(blobs), 'blob')}"
    )
    output.wrote(target, flags["write_net"])


def _show(blobs: Sequence[FilledBlob], fan: str) -> None:
    """The fillers of the weights."""
    tables.show(
        ["layer", "weights", "filler", "inputs", "std", ""],
        [
            (
                blob.layer.name,
                tables.shape(blob.shape),
                blob.filler.type,
                f"{blob.true.fan_in:g}",
                _number(blob.deviation(fan)),
                blob.reason,
            )
            for blob in blobs
            if blob.is_weight
        ],
        right=(3, 4),
    )


def _show_all(blobs: Sequence[FilledBlob]) -> None:
    """The fillers of all blobs, with the reasons."""
    from protogen.training.initialisation import filler_text

    tables.show(
        ["blob", "shape", "filler", "reason"],
        [
            (f"{b.layer.name}.{b.name}", tables.shape(b.shape), filler_text(b.filler), b.why)
            for b in blobs
        ],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plain(blob: FilledBlob, fan: str) -> dict[str, Any]:
    chosen = blob.true if fan == "true" else blob.caffes
    return {
        "layer": blob.layer.name,
        "blob": blob.index,
        "shape": list(blob.shape),
        "filler": blob.filler.numbers(),
        "fan_in": chosen.fan_in,
        "fan_out": chosen.fan_out,
        "true_fan_in": blob.true.fan_in if blob.is_weight else None,
        "std": blob.deviation(fan),
        "reason": blob.reason,
        "why": blob.why,
    }
