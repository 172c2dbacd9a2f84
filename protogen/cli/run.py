"""``protogen run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, options, output
from protogen.cli.convert_options import pixel_options, preprocessing
from protogen.errors import InputError, quantity
from protogen.formats import contents, files
from protogen.geometry import shape_text

_MOST_LABELS = 1 << 24  # bytes

if TYPE_CHECKING:
    from protogen.net.net import Net


@click.command("run")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("caffemodel", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@options.input_files("Input data: an image, .npy or .npz; several images make a batch.")
@click.option("--random", is_flag=True, help="Use random data for inputs without a file.")
@options.seed
@options.input_shapes
@pixel_options
@options.identity
@options.ignored_fields
@options.dialect
@options.state("TEST")
@click.option(
    "--blob",
    "blobs",
    shell_complete=completions.blobs,
    multiple=True,
    metavar="BLOB",
    help="Show this blob. Repeatable.  [default: the outputs]",
)
@click.option(
    "--labels", type=filetypes.INPUT, metavar="FILE.txt", help="Names of the classes, one per line."
)
@click.option(
    "--top-k",
    "count",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Number of best classes to show.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.Writable("npz"),
    metavar="FILE.npz",
    help="Write every blob, or those of --blob.",
)
@options.plot("the feature maps")
@options.half_check
@options.verbose
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, net: str, caffemodel: str | None, **flags: Any) -> None:
    """Run a Caffe net on images or arrays.

    The net runs in onnxruntime. Images are resized to the input's size; their values are 0 to 255
    and their channels blue, green, red, as in Caffe. --mean, --scale and --swap-channels are applied
    to them. Class scores are shown as the best --top-k classes, other blobs as their range.

    --half-check shows the range of every blob and weight instead, and what float16 and int8 do to the
    values. The exit code is 1 if a value overflows float16, is infinite or NaN.

    \b
    Examples:
      protogen run deploy.prototxt net.caffemodel --input cat.jpg --mean 104,117,123 \\
          --labels synset_words.txt
      protogen run deploy.prototxt net.caffemodel --input data=x.npy -o blobs.npz
      protogen run deploy.prototxt net.caffemodel --random --blob conv1 --plot conv1.png
      protogen run deploy.prototxt net.caffemodel --input cat.jpg --half-check
    """
    from protogen.running.runtime import run

    read = [path for _, path in options.named_files(flags["inputs"])]
    files.distinct(
        [("--output", flags["target"]), ("--plot", flags["plot"])], [net, caffemodel, *read]
    )
    _check_combination(flags)
    loaded, feeds = _inputs(_load(net, caffemodel, flags), flags, preprocessing(flags))
    loaded.tell_assumed()
    if flags["half_check"]:
        ctx.exit(_half_check(loaded, feeds, flags))
    feeds = _complete(loaded, feeds, flags["seed"])
    chosen = list(flags["blobs"])
    every = [n for x in loaded.layers for n in x.writes if n not in loaded.inputs]
    outputs = [name for name in loaded.outputs if name not in loaded.inputs]
    blobs = run(loaded, feeds, chosen or (every if flags["target"] or flags["plot"] else outputs))
    if flags["target"]:
        _save(blobs, flags["target"])
    if flags["plot"]:
        _plot(
            {name: blobs[name] for name in chosen or blobs if name in loaded.shapes}, flags["plot"]
        )
    labels = _labels(flags["labels"]) if flags["labels"] else []
    rows = _rows({name: blobs[name] for name in chosen or outputs}, labels, flags["count"])
    if flags["as_json"]:
        output.print_json("run", blobs=rows)
        return
    _show(rows, bool(labels))
    output.wrote(flags["target"], flags["plot"])


def _load(net: str, caffemodel: str | None, flags: dict[str, Any]) -> Net:
    from protogen.net.net import load, unassuming

    with unassuming():  # the shapes of the input data replace assumed shapes
        loaded = load(
            net,
            caffemodel,
            identities=flags["identities"],
            ignored_fields=flags["ignored_fields"],
            dialect=flags["dialect"],
            **options.state_of(flags),
        )
    shapes = options.shapes(flags["input_shapes"], lambda: loaded.inputs)
    for name in shapes:
        options.check_input(name, loaded.inputs)
    return loaded.with_inputs(shapes) if shapes else loaded


def _inputs(net: Net, flags: dict[str, Any], how: Any) -> tuple[Net, dict[str, Any]]:
    """The net with the batch size of the data, and an array for each input that has a file.

    Raises:
        InputError: an input has neither a file nor --random.
    """
    from protogen.formats.arrayfiles import read_arrays
    from protogen.running.pictures import ARRAYS, read_pictures

    feeds: dict[str, Any] = {}
    pictures: dict[str, list[str]] = {}
    paths_of: dict[str, str] = {}
    for name, path in options.named_files(flags["inputs"]):
        if contents.kind_of(path) in ("npy", "npz") or Path(path).suffix.lower() in ARRAYS:
            for key, array in read_arrays(path).items():
                blob = name or key or options.only(net.inputs)
                feeds[blob], paths_of[blob] = array, path
        else:
            pictures.setdefault(name or options.only(net.inputs), []).append(path)
    for name, paths in pictures.items():
        options.check_input(name, net.inputs)
        feeds[name] = read_pictures(paths, net.graph.shapes[name] or ())
    if how is not None:
        for name in [n for n in feeds if feeds[n].ndim == 4][:1]:
            feeds[name] = how.apply(feeds[name])
    for name, array in feeds.items():
        options.check_input(name, net.inputs)
        declared = net.graph.shapes[name]
        if declared and array.ndim != len(declared):
            raise InputError(
                f"has the shape {shape_text(array.shape)}, but the input {name} has "
                f"{quantity(len(declared), 'axis', 'axes')}: {shape_text(declared)}",
                subject="--input",
                where=paths_of.get(name, ""),
            )
        if array.shape != declared:
            net = net.with_inputs({name: array.shape})
    missing = [name for name in net.inputs if name not in feeds]
    if missing and not flags["random"]:
        raise InputError(
            f"missing data for {', '.join(missing)}",
            subject="--input",
            advice="Give an image or an array, or use --random.",
        )
    return net, feeds


def _complete(net: Net, feeds: dict[str, Any], seed: int) -> dict[str, Any]:
    """An array for each input; those without one are random."""
    from protogen.running.drawing import random_inputs, wanted_inputs
    from protogen.running.runtime import check_room

    check_room(net.graph)
    missing = {n: net.graph.shapes[n] or () for n in net.inputs if n not in feeds}
    wanted = wanted_inputs(net.graph, seed) if missing else {}
    return random_inputs(missing, seed, wanted) | feeds


def _check_combination(flags: dict[str, Any]) -> None:
    """Raise InputError for options without effect."""
    if not flags["half_check"]:
        if flags["verbose"]:
            raise InputError("applies to --half-check only", subject="--verbose")
        return
    names = {"blobs": "--blob", "labels": "--labels", "target": "--output", "plot": "--plot"}
    for key, name in names.items():
        if flags[key]:
            raise InputError(
                "has no effect with --half-check", subject=name, advice="Leave it out."
            )


def _half_check(net: Net, feeds: dict[str, Any], flags: dict[str, Any]) -> int:
    """Print the ranges of all blobs and weights; return the exit code."""
    from protogen.cli import ranges
    from protogen.running.ranges import half_check

    check = half_check(net, inputs=feeds, seed=flags["seed"])
    if flags["as_json"]:
        output.print_json("run", **check.plain())
    else:
        ranges.show(check, flags["verbose"])
    return 0 if check.passed else 1


def _labels(path: str) -> list[str]:
    try:
        contents.check_file(path, "labels")
        with files.opened(path) as file:
            raw = file.read(_MOST_LABELS + 1)
    except OSError as error:
        raise files.unreadable(path, error) from None
    if len(raw) > _MOST_LABELS:
        raise InputError(f"has more than {_MOST_LABELS} bytes", where=path)
    return raw.decode("utf-8", "replace").splitlines()


def _save(blobs: dict[str, Any], path: str) -> None:
    from protogen.formats.weightfiles import write_npz

    with files.replacing(path) as file:
        write_npz(file, blobs)


def _plot(blobs: dict[str, Any], path: str) -> None:
    from protogen.report.maps import draw

    maps = {
        name: array for name, array in blobs.items() if array.ndim == 4 and array[0, 0].size > 1
    }
    if not maps:
        raise InputError("no blob has a height and a width to draw", subject="--plot")
    with files.replacing(path) as file:
        draw(maps, file, options.picture_format(path))


def _rows(blobs: dict[str, Any], labels: list[str], count: int) -> dict[str, Any]:
    """For each blob its best classes in each sample, or its range."""
    rows: dict[str, Any] = {}
    for name, array in blobs.items():
        if _is_scores(array):
            rows[name] = _best(array.reshape(len(array), -1), labels, count)
        else:
            rows[name] = _range(array)
    return rows


def _show(rows: dict[str, Any], labelled: bool) -> None:
    from protogen.cli import tables

    columns = 3 if labelled else 2
    for name, row in rows.items():
        if isinstance(row, dict):
            low, mean, high = (f"{row[k]:.4g}" for k in ("min", "mean", "max"))
            shape = tables.shape(row["shape"])
            click.echo(f"{output.printable(name)}  {shape}  from {low} to {high}, mean {mean}")
            continue
        for i, best in enumerate(row):
            of = f" of image {i}" if len(row) > 1 else ""
            click.echo(f"{output.printable(name)}{of}")
            tables.show(
                ["score", "class", ""][:columns],
                [
                    (f"{x['score']:.4f}", str(x["class"]), x.get("label", ""))[:columns]
                    for x in best
                ],
                right=(0, 1),
            )


def _is_scores(array: Any) -> bool:
    """Whether the array is N x K, or N x K x 1 x 1, with more than one class."""
    return bool(array.ndim >= 2 and array.shape[1] > 1 and array[0].size == array.shape[1])


def _best(scores: Any, labels: list[str], count: int) -> list[list[dict[str, Any]]]:
    samples = []
    for row in scores:
        order = (-row).argsort(kind="stable")[:count]
        best = []
        for i in map(int, order):
            item: dict[str, Any] = {"class": i, "score": float(row[i])}
            best.append(item | ({"label": labels[i]} if i < len(labels) else {}))
        samples.append(best)
    return samples


def _range(array: Any) -> dict[str, Any]:
    if not array.size:
        return {"shape": list(array.shape), "min": 0.0, "mean": 0.0, "max": 0.0}
    return {
        "shape": list(array.shape),
        "min": float(array.min()),
        "mean": float(array.mean()),
        "max": float(array.max()),
    }
