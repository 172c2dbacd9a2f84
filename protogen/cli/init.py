"""``protogen init``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, tables
from protogen.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protogen.training.initialisation import FilledBlob


@click.command("init")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.option("-o", "path", metavar="FILE.caffemodel", help="Write the weights here.")
@options.seed
@click.option(
    "--fan",
    type=click.Choice(["caffe", "true"]),
    default="caffe",
    show_default=True,
    help="Count a layer's inputs as Caffe does, or as they are (they differ on Deconvolution).",
)
@click.option(
    "--set",
    "rules",
    multiple=True,
    metavar="PATTERN=FILLER",
    help="The filler of layers by name: 'conv*=msra', fc8=gaussian:0.01. May repeat.",
)
@click.option("--recommend", is_flag=True, help="Fillers that suit each layer's activation.")
@click.option("--fill", is_flag=True, help="What suits blobs for which the net has no filler.")
@click.option("--write-net", metavar="FILE.prototxt", help="Write the net with these fillers.")
@options.state("TRAIN")
@options.inputs
@click.option("--data", multiple=True, metavar="[BLOB=]FILE.npy", help="Data for lsuv.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(net: str, path: str | None, **given: Any) -> None:
    """Make real weights from a net's fillers, as Caffe does before training.

    The same seed gives the same weights, whatever the order of layers or the machine. Fillers:
    constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear as Caffe has them, and for
    weights that are made here also orthogonal, identity, icnr and lsuv.

    \b
    Examples:
      protogen init train_val.prototxt -o start.caffemodel --input data=1,3,224,224
      protogen init net.prototxt -o start.caffemodel --fill
      protogen init net.prototxt --recommend
      protogen init net.prototxt -o start.caffemodel --recommend --write-net better.prototxt
      protogen init net.prototxt -o start.caffemodel --set 'conv*=msra' --set fc8=gaussian:0.01
    """
    from protogen.formats import files
    from protogen.net.net import load
    from protogen.training.initialisation import blobs_of, parse_rules, with_fillers, write_initial

    if path is None and not (given["recommend"] or given["write_net"] or given["as_json"]):
        raise InputError(
            "nothing is to be written", advice="Name a file with -o, or look with --recommend."
        )
    files.distinct([("-o", path), ("--write-net", given["write_net"])], [net])
    shapes = options.parse_inputs(given["inputs"])
    loaded = load(net, input_shapes=shapes, **options.state_of(given))
    rules = parse_rules(given["rules"])
    found = blobs_of(loaded, rules, given["recommend"], given["fill"])
    text = None
    if given["write_net"]:
        from protogen.formats import prototxt

        text = prototxt.write(with_fillers(loaded, found)).encode("utf-8", "surrogateescape")
    if path is not None:
        with tables.bar() as progress:
            write_initial(
                loaded,
                path,
                given["seed"],
                fan=given["fan"],
                rules=rules,
                recommend=given["recommend"],
                fill=given["fill"],
                feeds=options.arrays(given["data"]),
                progress=progress,
            )
    if text is not None:
        with files.replacing(given["write_net"]) as file:
            file.write(text)
    _tell(found, given)
    for written in filter(None, (path, given["write_net"])):
        if not given["as_json"]:
            click.echo(f"wrote {written}")


def _tell(found: Sequence[FilledBlob], given: dict[str, Any]) -> None:
    if given["as_json"]:
        click.echo(json.dumps([_plain(blob, given["fan"]) for blob in found], indent=2))
        return
    if given["fill"]:
        _tell_all(found)
        return
    shown = [blob for blob in found if blob.is_weight]
    tables.show(
        ["layer", "weights", "filler", "inputs", "std", ""],
        [
            (
                blob.layer.name,
                tables.shape(blob.shape),
                blob.filler.type,
                f"{blob.true.into:g}",
                _number(blob.deviation(given["fan"])),
                blob.reason,
            )
            for blob in shown
        ],
        right=(3, 4),
    )
    _count(found)


def _tell_all(found: Sequence[FilledBlob]) -> None:
    """Every blob with what fills it, and why."""
    from protogen.training.initialisation import filler_text

    tables.show(
        ["blob", "shape", "filler", "why"],
        [
            (f"{b.layer.name}.{b.name}", tables.shape(b.shape), filler_text(b.filler), b.why)
            for b in found
        ],
    )
    _count(found)


def _count(found: Sequence[FilledBlob]) -> None:
    count = sum(blob.made(0).size for blob in found)
    click.echo(f"{tables.count(count)} parameters in {len(found)} blobs")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plain(blob: FilledBlob, fan: str) -> dict[str, Any]:
    chosen = blob.true if fan == "true" else blob.caffes
    return {
        "layer": blob.layer.name,
        "blob": blob.index,
        "shape": list(blob.shape),
        "filler": blob.filler.numbers(),
        "fan_in": chosen.into,
        "fan_out": chosen.out,
        "true_fan_in": blob.true.into if blob.is_weight else None,
        "std": blob.deviation(fan),
        "reason": blob.reason,
        "why": blob.why,
    }
