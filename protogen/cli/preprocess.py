"""``protogen mean`` and ``protogen preprocess``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, tables
from protogen.errors import InputError

if TYPE_CHECKING:
    from protogen.preprocessing.proving import Preprocessed
    from protogen.preprocessing.statistics import Statistics
    from protogen.preprocessing.transforms import Transform


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = options.numbers(text, "--size")
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or any(n < 1 or n != int(n) for n in numbers):
        raise InputError(f"{text!r} is no size", subject="--size", advice="Write 256,256.")
    return int(numbers[0]), int(numbers[1])


@click.command("mean")
@click.argument("images", nargs=-1, required=True, metavar="PICTURE|DIR...")
@click.option("-o", "path", metavar="FILE.binaryproto", help="Write the mean picture for Caffe.")
@click.option("--npy", metavar="FILE.npy", help="Write it as an array (C, H, W).")
@click.option("--png", metavar="FILE.png", help="Write it as a picture.")
@click.option("--size", metavar="H,W", help="Resize all pictures; else they must have one size.")
@click.option("--grey", is_flag=True, help="One channel.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def mean(images: tuple[str, ...], **given: Any) -> None:
    """Compute the mean picture of a data set, and mean and deviation of each channel.

    Pictures are read one after the other, values 0 to 255, channels blue, green, red as Caffe has
    them.

    \b
    Examples:
      protogen mean pictures/ -o mean.binaryproto
      protogen mean pictures/ --size 256,256 -o mean.binaryproto --png mean.png
    """
    from protogen.formats import files
    from protogen.preprocessing import meanfiles
    from protogen.preprocessing.statistics import picture_statistics

    targets = {".binaryproto": given["path"], ".npy": given["npy"], ".png": given["png"]}
    files.distinct(
        [("-o", given["path"]), ("--npy", given["npy"]), ("--png", given["png"])], images
    )
    with tables.counting("pictures") as progress:
        found = picture_statistics(images, _size(given["size"]), given["grey"], progress)
    with ExitStack() as stack:
        for suffix, path in targets.items():
            if path:
                meanfiles.write(stack.enter_context(files.replacing(path)), found.mean, suffix)
    if given["as_json"]:
        click.echo(json.dumps(found.plain(), indent=2))
        return
    shape = tables.shape(found.mean.shape)
    order = "blue, green, red" if len(found.mean) == 3 else "grey"
    click.echo(f"{found.count} pictures of {shape}")
    for what, values in (("mean", found.channel_mean), ("std ", found.channel_std)):
        click.echo(f"{what} {','.join(f'{v:.3f}' for v in values)} ({order})")
    for path in filter(None, targets.values()):
        click.echo(f"wrote {path}")


@click.command("preprocess")
@options.proto
@click.argument("net", metavar="NET.prototxt")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@click.option("-o", "path", metavar="FILE.prototxt", help="Write the net here.")
@click.option("--caffemodel", "weights", metavar="FILE.caffemodel", help="Write the weights here.")
@click.option("--mean", metavar="B,G,R|FILE", help="Subtract numbers, or a .binaryproto or .npy.")
@click.option("--std", metavar="B,G,R", help="Divide by these.")
@click.option("--scale", type=float, help="Multiply by this.")
@click.option("--swap-channels", is_flag=True, help="The data is red, green, blue.")
@click.option("--whiten", metavar="zca|pca|rotate", help="Decorrelate channels; needs --images.")
@click.option("--images", metavar="DIR", help="Pictures to take mean and covariance from.")
@click.option("--from", "training", metavar="TRAIN.prototxt", help="What its transform_param says.")
@click.option("--fold", is_flag=True, help="Into the first layer's weights, not layers in front.")
@click.option("--blob", metavar="NAME", help="The input, where there are several.")
@click.option("--verify", is_flag=True, help="Run both nets, and compare.")
@click.option("--plot", metavar="FILE.png", help="Draw the data before and after (.png, .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preprocess(net: str, caffemodel: str | None, **given: Any) -> None:
    """Put preprocessing into a net, so that it eats raw pictures.

    Channels are swapped first, the mean is subtracted, then all is scaled, or whitened. It becomes
    stock layers in front of the net, exactly; or with --fold it goes into the first layer's weights,
    which is exact where that layer does not pad: where it does, the border that changes is measured.

    \b
    Examples:
      protogen preprocess deploy.prototxt net.caffemodel --mean 104,117,123 --fold \\
          -o raw.prototxt --caffemodel raw.caffemodel --verify
      protogen preprocess deploy.prototxt net.caffemodel --from train_val.prototxt -o raw.prototxt \\
          --caffemodel raw.caffemodel
      protogen preprocess deploy.prototxt net.caffemodel --whiten zca --images pictures/ \\
          -o raw.prototxt --caffemodel raw.caffemodel --plot data.png
    """
    from protogen.formats import files, prototxt
    from protogen.formats.caffemodel import write_weights
    from protogen.net.net import load
    from protogen.preprocessing.insertion import preprocess as run
    from protogen.preprocessing.insertion import without_weights

    form = options.picture_form(given["plot"]) if given["plot"] else None
    files.distinct(
        [("-o", given["path"]), ("--caffemodel", given["weights"]), ("--plot", given["plot"])],
        [net, caffemodel],
    )
    loaded = load(net, caffemodel)
    shape = loaded.graph.shapes.get(given["blob"] or next(iter(loaded.inputs), ""))
    found = None
    if given["images"]:
        from protogen.preprocessing.statistics import picture_statistics

        size = (shape[2], shape[3]) if shape and len(shape) == 4 else None
        grey = bool(shape and len(shape) == 4 and shape[1] == 1)
        with tables.counting("pictures") as progress:
            found = picture_statistics([given["images"]], size, grey, progress)
    transform = _transform(given, found)
    made = run(loaded, transform, blob=given["blob"], fold=given["fold"], verify=given["verify"])
    if given["weights"] is None:
        without_weights(made)
    with ExitStack() as stack:
        if given["path"]:
            text = prototxt.write(made.net.message).encode("utf-8", "surrogateescape")
            stack.enter_context(files.replacing(given["path"])).write(text)
        if given["weights"]:
            file = stack.enter_context(files.replacing(given["weights"]))
            write_weights(file, made.net.name, made.net.entries())
        if form:
            from protogen.report import scatter

            file = stack.enter_context(files.replacing(given["plot"]))
            scatter.draw(_panels(transform, found, shape), file, form)
    if not given["path"] and not given["as_json"]:
        click.echo(prototxt.write(made.net.message), nl=False)
    _tell(made, given)


def _tell(made: Preprocessed, given: dict[str, Any]) -> None:
    from dataclasses import asdict

    if given["as_json"]:
        plain = {
            "layers": list(made.layers),
            "folded": list(made.folded),
            "border": [asdict(one) for one in made.border],
            "error": made.error,
        }
        click.echo(json.dumps(plain, indent=2))
        return
    err = not given["path"]  # what is piped is prototxt alone
    if made.layers:
        click.echo(f"in front: {', '.join(made.layers)}", err=err)
    if made.folded:
        click.echo(f"folded into {', '.join(made.folded)}", err=err)
    for one in made.border:
        click.echo(
            f"border: {one.layer} pads, and its zeros now stand for black instead of the mean: {one.ring} "
            f"px at each border of its output differ by up to {one.error:.3g}, where values reach "
            f"{one.largest:.3g}. Exact without --fold.",
            err=err,
        )
    if made.error is not None:
        told = f"{made.error:.1e}" if made.error else "0"
        click.echo(f"outputs differ by {told} of their largest value", err=err)
    for written in filter(None, (given["path"], given["weights"], given["plot"])):
        click.echo(f"wrote {written}", err=err)


def _transform(given: dict[str, Any], found: Statistics | None) -> Transform:
    import numpy as np

    from protogen.formats import prototxt
    from protogen.net.upgrade import upgrade
    from protogen.preprocessing import meanfiles
    from protogen.preprocessing.statistics import whitening
    from protogen.preprocessing.transforms import Transform, transform_of

    if given["training"]:
        if any(given[key] for key in ("mean", "std", "scale", "whiten")):
            raise InputError("--from and other numbers are both given", advice="Keep one.")
        training = upgrade(prototxt.read(given["training"]))
        read = transform_of(training, Path(given["training"]).parent)
        if read is None:
            raise InputError(
                "no layer has a transform_param with a mean or a scale", where=given["training"]
            )
        return Transform(read.mean, read.matrix, given["swap_channels"])
    mean: Any = None
    if given["mean"]:
        if given["mean"].endswith((".binaryproto", ".npy", ".png")):
            mean = meanfiles.read(given["mean"]).astype(np.float64)
        else:
            mean = np.array(options.numbers(given["mean"], "--mean"))
        if not np.isfinite(mean).all():
            raise InputError("the mean holds NaN or infinities", where=given["mean"])
    elif found is not None:
        mean = found.channel_mean
    matrix: Any = None
    if given["whiten"]:
        if found is None:
            raise InputError(
                "nothing says how channels depend on each other",
                subject="--whiten",
                advice="Give --images DIR.",
            )
        if given["std"]:
            raise InputError("--whiten and --std are both given", advice="Keep one.")
        matrix = whitening(found.covariance, given["whiten"])
    if given["std"]:
        std = np.array(options.numbers(given["std"], "--std"))
        if not (std > 0).all():
            raise InputError("must be above 0", subject="--std")
        matrix = np.diag(1 / std) if std.size > 1 else np.array([[1 / std[0]]])
    if given["scale"] is not None:
        matrix = np.array([[given["scale"]]]) if matrix is None else matrix * given["scale"]
    made = Transform(mean, matrix, given["swap_channels"])
    if made.does_nothing:
        raise InputError(
            "nothing is to be done",
            advice="Give --mean, --std, --scale, --swap-channels, --whiten or --from.",
        )
    return made


def _panels(transform: Transform, found: Statistics | None, shape: Any) -> list[Any]:
    """Raw, centred, and the whole transform."""
    import numpy as np

    from protogen.report.scatter import Panel

    channels = shape[1]
    if found is not None:
        points = found.pixels.astype(np.float64)
    else:  # colours of nature depend on each other: one brightness, and a little of each
        generator = np.random.default_rng(0)
        light = generator.normal(120, 55, (4000, 1))
        points = np.clip(light + generator.normal(0, 18, (4000, channels)), 0, 255)
    names = ("blue", "red") if channels == 3 else ("grey", "grey")
    panels = [Panel("as it is", points, names)]
    points = points[:, ::-1] if transform.swap else points
    mean = transform.mean
    if mean is not None:
        points = points - mean.reshape(len(mean), -1).mean(axis=1)
        panels.append(Panel("mean subtracted", points, names))
    if transform.matrix is not None:
        matrix = transform.matrix_for(points.shape[1])
        mixed = bool(np.any(matrix - np.diag(np.diag(matrix))))
        turned = np.allclose(matrix @ matrix.T, np.eye(len(matrix)))
        title = ("decorrelated" if turned else "whitened") if mixed else "scaled"
        axes = ("first channel", "last channel") if mixed else names
        panels.append(Panel(title, points @ matrix.T, axes))
    return panels
