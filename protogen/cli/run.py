"""``protogen run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options
from protogen.cli.convert import preprocessing, preprocessing_options
from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.net.net import Net


@click.command("run")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[BLOB=]FILE",
    help="A picture, .npy or .npz; may repeat, and pictures then make a batch.",
)
@click.option("--random", type=int, metavar="SEED", help="Random inputs where none are given.")
@click.option("--input-shape", metavar="[BLOB=]N,C,H,W", help="Run at another size.")
@preprocessing_options
@options.identity
@options.ignored_fields
@options.dialect
@options.state("TEST")
@click.option("--blob", "blobs", multiple=True, metavar="BLOB", help="Show this one; may repeat.")
@click.option("--labels", metavar="FILE.txt", help="A name for each class, a line each.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes.")
@click.option("--save", metavar="FILE.npz", help="Write every blob (or those of --blob).")
@click.option("--plot", metavar="FILE.png|svg", help="Draw the blobs' maps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(net: str, caffemodel: str | None, **given: Any) -> None:
    """Run a Caffe net on pictures or arrays with onnxruntime.

    Pictures are resized to the input, with values 0 to 255 and channels blue, green, red as Caffe
    has them; --mean-value, --scale and --swap-channels do the rest. Class scores are shown as the
    --top best, other blobs by their range.

    \b
    Examples:
      protogen run deploy.prototxt net.caffemodel --input cat.jpg --mean-value 104,117,123 \\
          --labels synset_words.txt
      protogen run deploy.prototxt net.caffemodel --input data=x.npy --save blobs.npz
      protogen run deploy.prototxt net.caffemodel --random 0 --blob conv1 --plot conv1.png
    """
    from protogen.net.net import load, unassuming
    from protogen.running.runtime import run

    read = [path for _, path in options.named_files(given["inputs"])]
    files.distinct(((f"--{key}", given[key]) for key in ("save", "plot")), [net, caffemodel, *read])
    if given["plot"] and Path(given["plot"]).suffix not in (".png", ".svg"):
        raise InputError(
            "is no picture that can be drawn", where=given["plot"], advice="Use .png or .svg."
        )
    how = preprocessing(given)
    if how is not None and (how.nhwc or how.uint8):
        raise InputError(
            "--nhwc-input and --uint8-input are for convert",
            advice="Pictures and arrays are given in the net's own layout here.",
        )
    with unassuming():  # what is given says more than what would be assumed
        loaded = load(
            net,
            caffemodel,
            identities=given["identities"],
            ignored_fields=given["ignored_fields"],
            dialect=given["dialect"],
            **options.state_of(given),
        )
    if given["input_shape"]:
        loaded = loaded.with_inputs(options.one_input(loaded.inputs, given["input_shape"]))
    loaded, feeds = _feeds(loaded, given["inputs"], given["random"], how)
    loaded.tell_assumed()
    wanted = list(given["blobs"])
    every = [n for x in loaded.layers for n in x.writes if n not in loaded.inputs]
    outputs = [name for name in loaded.outputs if name not in loaded.inputs]
    asked = wanted or (every if given["save"] or given["plot"] else outputs)
    found = run(loaded, feeds, asked)
    shown = {name: found[name] for name in wanted or outputs}
    if given["save"]:
        _save(found, given["save"])
    if given["plot"]:
        _plot(
            {name: found[name] for name in wanted or found if name in loaded.shapes}, given["plot"]
        )
    labels = _labels(given["labels"]) if given["labels"] else []
    _show(shown, labels, given["top"], given["as_json"])
    for key in ("save", "plot"):
        if given[key] and not given["as_json"]:
            click.echo(f"wrote {given[key]}")


def _feeds(
    net: Net, inputs: tuple[str, ...], random: int | None, how: Any
) -> tuple[Net, dict[str, Any]]:
    """Arrays for the inputs; the net's batch becomes the number of pictures."""
    from protogen.formats.arrayfiles import read_arrays
    from protogen.running.drawing import random_inputs, wanted_inputs
    from protogen.running.pictures import ARRAYS, read_pictures
    from protogen.running.runtime import check_room

    feeds: dict[str, Any] = {}
    pictures: dict[str, list[str]] = {}
    for name, path in options.named_files(inputs):
        if Path(path).suffix.lower() in ARRAYS:
            for key, array in read_arrays(path).items():
                feeds[name or key or options.only(net.inputs)] = array
        else:
            pictures.setdefault(name or options.only(net.inputs), []).append(path)
    for name, paths in pictures.items():
        options.known(name, net.inputs)
        feeds[name] = read_pictures(paths, net.graph.shapes[name] or ())
    if how is not None:
        for name in [n for n in feeds if feeds[n].ndim == 4][:1]:
            feeds[name] = how.apply(feeds[name])
    for name, array in feeds.items():
        options.known(name, net.inputs)
        if array.shape != net.graph.shapes[name]:
            net = net.with_inputs({name: array.shape})
    missing = {n: net.graph.shapes[n] or () for n in net.inputs if n not in feeds}
    if missing and random is None:
        raise InputError(
            f"nothing is given for {', '.join(missing)}",
            subject="--input",
            advice="Give a picture or an array, or --random SEED.",
        )
    check_room(net.graph)
    wanted = wanted_inputs(net.graph, random or 0) if missing else {}
    return net, random_inputs(missing, random or 0, wanted) | feeds


def _labels(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None


def _save(found: dict[str, Any], path: str) -> None:
    from protogen.formats.weightfiles import write_npz

    with files.replacing(path) as file:
        write_npz(file, found)


def _plot(found: dict[str, Any], path: str) -> None:
    from protogen.report.maps import draw

    maps = {
        name: array for name, array in found.items() if array.ndim == 4 and array[0, 0].size > 1
    }
    if not maps:
        raise InputError("no blob has height and width to draw", subject="--plot")
    with files.replacing(path) as file:
        draw(maps, file, "png" if path.endswith(".png") else "svg")


def _show(found: dict[str, Any], labels: list[str], top: int, as_json: bool) -> None:
    from protogen.cli import tables

    rows: dict[str, Any] = {}
    for name, array in found.items():
        scores = array.reshape(len(array), -1) if _is_scores(array) else None
        rows[name] = _best(scores, labels, top) if scores is not None else _range(array)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        if isinstance(row, dict):
            low, mean, high = (f"{row[k]:.4g}" for k in ("min", "mean", "max"))
            shape = tables.shape(row["shape"])
            click.echo(f"{tables.printable(name)}  {shape}  from {low} to {high}, mean {mean}")
            continue
        for i, best in enumerate(row):
            of = f" of picture {i}" if len(row) > 1 else ""
            click.echo(f"{tables.printable(name)}{of}")
            tables.show(
                ["score", "class", ""][: 3 if labels else 2],
                [
                    (f"{x['score']:.4f}", str(x["class"]), x.get("label", ""))[: 3 if labels else 2]
                    for x in best
                ],
                right=(0, 1),
            )


def _is_scores(array: Any) -> bool:
    """N x K, or N x K x 1 x 1, of more than one class."""
    return bool(array.ndim >= 2 and array.shape[1] > 1 and array[0].size == array.shape[1])


def _best(scores: Any, labels: list[str], top: int) -> list[list[dict[str, Any]]]:
    made = []
    for row in scores:
        order = (-row).argsort(kind="stable")[:top]
        best = []
        for i in map(int, order):
            item: dict[str, Any] = {"class": i, "score": float(row[i])}
            best.append(item | ({"label": labels[i]} if i < len(labels) else {}))
        made.append(best)
    return made


def _range(array: Any) -> dict[str, Any]:
    if not array.size:
        return {"shape": list(array.shape), "min": 0.0, "mean": 0.0, "max": 0.0}
    return {
        "shape": list(array.shape),
        "min": float(array.min()),
        "mean": float(array.mean()),
        "max": float(array.max()),
    }
