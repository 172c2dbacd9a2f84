"""``protogen preprocess``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, for_target, options, output, tables
from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.generate.targeting import TargetNet
    from protogen.preprocessing.proving import Preprocessed
    from protogen.preprocessing.statistics import Statistics
    from protogen.preprocessing.transforms import Transform


@click.command("preprocess")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("caffemodel", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@options.output_text
@click.option(
    "--caffemodel",
    "weights",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights here.",
)
@click.option("--mean", metavar="B,G,R|FILE", help="Subtract numbers, or a mean file.")
@click.option("--std", metavar="B,G,R", help="Divide by these numbers.")
@click.option("--scale", type=float, help="Multiply after the mean is subtracted.")
@click.option("--swap-channels", is_flag=True, help="Reverse the channels: RGB to BGR.")
@click.option(
    "--whiten", metavar="zca|pca|rotate", help="Decorrelate the channels; needs --images."
)
@click.option("--images", metavar="DIR", help="Compute mean and covariance from these images.")
@click.option(
    "--from",
    "training",
    type=filetypes.INPUT,
    metavar="TRAIN.prototxt",
    help="Use its transform_param.",
)
@click.option("--fold", is_flag=True, help="Change the first layer's weights, add no layers.")
@click.option(
    "--bottom",
    shell_complete=completions.inputs_alone,
    metavar="BLOB",
    help="The input, if the net has several.",
)
@options.dialect
@for_target.write_for
@for_target.explain
@options.input_shapes
@click.option("--verify", is_flag=True, help="Run both nets and compare the outputs.")
@options.seed
@options.plot("the data before and after")
@options.as_json
def command(net: str, caffemodel: str | None, **flags: Any) -> None:
    """Add preprocessing to a net.

    The new net reads raw images. First the channels are swapped, then the mean is subtracted, then
    the result is scaled or whitened. By default this is done exactly by stock layers before the net.
    With --fold it is done by the first layer's weights: that is exact if the layer has no padding;
    otherwise the error at the border is measured and reported. With --target the net is written for a
    toolchain (see protogen rewrite).

    \b
    Examples:
      protogen preprocess deploy.prototxt net.caffemodel --mean 104,117,123 --fold \\
          -o raw.prototxt --caffemodel raw.caffemodel --verify
      protogen preprocess deploy.prototxt net.caffemodel --from train_val.prototxt -o raw.prototxt \\
          --caffemodel raw.caffemodel
      protogen preprocess deploy.prototxt net.caffemodel --whiten zca --images pictures/ \\
          -o raw.prototxt --caffemodel raw.caffemodel --plot data.png
    """
    from protogen.net.net import load
    from protogen.preprocessing.insertion import preprocess, without_weights

    files.distinct(
        [
            ("--output", flags["output"]),
            ("--caffemodel", flags["weights"]),
            ("--plot", flags["plot"]),
        ],
        [net, caffemodel],
    )
    shapes = options.shapes_for(net, flags["input_shapes"], dialect=flags["dialect"])
    loaded = load(net, caffemodel, input_shapes=shapes, dialect=flags["dialect"])
    shape = loaded.graph.shapes.get(flags["bottom"] or next(iter(loaded.inputs), ""))
    statistics = _statistics(flags["images"], shape)
    transform = _transform(flags, statistics)
    result = preprocess(
        loaded,
        transform,
        blob=flags["bottom"],
        fold=flags["fold"],
        verify=flags["verify"],
        seed=flags["seed"],
    )
    if flags["weights"] is None:
        without_weights(result)
    if flags["explain"] and not flags["toolchain"]:
        raise InputError("--explain needs --target")
    target = _for_target(result, flags, bool(caffemodel)) if flags["toolchain"] else None
    if target is not None:
        result = replace(result, net=target.net)
    text = _write(result, flags, transform, statistics, shape)
    if flags["as_json"]:
        output.print_json(
            "preprocess",
            layers=list(result.layers),
            folded=list(result.folded),
            border=[asdict(one) for one in result.border],
            error=result.error,
            prototxt=text,
            **(for_target.plain(target.legalized) if target else {}),
        )
        return
    if not flags["output"]:
        click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
    _report(result, flags)
    if target is not None:
        err = not flags["output"]
        for_target.show(target.legalized, flags["explain"], err=err)
        if flags["output"]:
            files_written = (flags["output"], flags["weights"])
            for_target.show_next(target.toolchain, target.net, *files_written)


def _for_target(result: Preprocessed, flags: dict[str, Any], has_weights: bool) -> TargetNet:
    """Return the net with its preprocessing in the forms of a toolchain."""
    from protogen.generate.targeting import target_net
    from protogen.toolchains.toolchain import load_toolchain

    toolchain = load_toolchain(flags["toolchain"])
    return target_net(result.net, toolchain, seed=flags["seed"], has_weights=has_weights)


def _statistics(images: str | None, shape: Any) -> Statistics | None:
    """Mean and covariance of a folder of images at the net's input size."""
    if not images:
        return None
    from protogen.preprocessing.statistics import picture_statistics

    size = (shape[2], shape[3]) if shape and len(shape) == 4 else None
    grey = bool(shape and len(shape) == 4 and shape[1] == 1)
    with tables.counting("images") as progress:
        return picture_statistics([images], size, grey, progress)


def _write(
    result: Preprocessed,
    flags: dict[str, Any],
    transform: Transform,
    statistics: Statistics | None,
    shape: Any,
) -> str:
    """Write the requested files; returns the prototxt."""
    from protogen.formats import prototxt
    from protogen.formats.caffemodel import write_pair
    from protogen.toolchains.toolchain import load_toolchain

    text = prototxt.write(result.net.message)
    with ExitStack() as stack:
        schema = load_toolchain(flags["toolchain"]).schema if flags["toolchain"] else None
        entries, raw = result.net.entries(schema), text.encode("utf-8", "surrogateescape")
        write_pair(stack, (flags["output"], raw), flags["weights"], result.net.name, entries)
        if flags["plot"]:
            from protogen.report import scatter

            file = stack.enter_context(files.replacing(flags["plot"]))
            picture = options.picture_format(flags["plot"])
            scatter.draw(_panels(transform, statistics, shape), file, picture)
    return text


def _report(result: Preprocessed, flags: dict[str, Any]) -> None:
    err = not flags["output"]  # stdout carries only the prototxt then
    if result.layers:
        output.note(f"new layers: {', '.join(result.layers)}", err=err)
    if result.folded:
        output.note(f"folded into {', '.join(result.folded)}", err=err)
    for one in result.border:
        output.say(
            f"note: {one.layer} has padding, and its zeros now mean black instead of the mean: "
            f"{one.ring} px at each border of its output differ by up to {one.error:.3g}, where "
            f"values reach {one.largest:.3g}. Without --fold the result is exact.",
            err=err,
        )
    if result.error is not None:
        error = f"{result.error:.1e}" if result.error else "0"
        output.say(f"outputs differ by {error} of their largest value", err=err)
    output.wrote(flags["output"], flags["weights"], flags["plot"], err=err)


def _transform(flags: dict[str, Any], statistics: Statistics | None) -> Transform:
    import numpy as np

    from protogen.preprocessing.transforms import Transform

    if flags["training"]:
        return _trained_transform(flags)
    mean: Any = None
    if flags["mean"]:
        mean = options.mean(flags["mean"]).astype(np.float64)
    elif statistics is not None:
        mean = statistics.channel_mean
    transform = Transform(mean, _matrix(flags, statistics), flags["swap_channels"])
    if transform.does_nothing:
        raise InputError(
            "no preprocessing is requested",
            advice="Give --mean, --std, --scale, --swap-channels, --whiten or --from.",
        )
    return transform


def _trained_transform(flags: dict[str, Any]) -> Transform:
    """The transform_param of a training net."""
    from protogen.formats import prototxt
    from protogen.net.upgrade import upgrade
    from protogen.preprocessing.transforms import Transform, transform_of

    for key in ("mean", "std", "scale", "whiten"):
        if flags[key]:
            raise InputError(f"--from and --{key} exclude each other", advice="Keep one.")
    training = upgrade(prototxt.read(flags["training"]))
    read = transform_of(training, Path(flags["training"]).parent)
    if read is None:
        raise InputError(
            "no layer has a transform_param with a mean or a scale", where=flags["training"]
        )
    return Transform(read.mean, read.matrix, flags["swap_channels"])


def _matrix(flags: dict[str, Any], statistics: Statistics | None) -> Any:
    """The matrix that multiplies the channels; None for the identity."""
    import numpy as np

    from protogen.preprocessing.statistics import whitening

    matrix: Any = None
    if flags["whiten"]:
        if statistics is None:
            raise InputError(
                "the covariance of the channels is missing",
                subject="--whiten",
                advice="Give images with --images DIR.",
            )
        if flags["std"]:
            raise InputError("--whiten and --std exclude each other", advice="Keep one.")
        matrix = whitening(statistics.covariance, flags["whiten"])
    if flags["std"]:
        std = np.array(options.numbers(flags["std"], "--std"))
        if not (std > 0).all():
            raise InputError("every number must be above 0", subject="--std")
        matrix = np.diag(1 / std) if std.size > 1 else np.array([[1 / std[0]]])
    if flags["scale"] is not None:
        matrix = np.array([[flags["scale"]]]) if matrix is None else matrix * flags["scale"]
    return matrix


def _panels(transform: Transform, statistics: Statistics | None, shape: Any) -> list[Any]:
    """The panels of the picture: raw data, data without mean, transformed data."""
    import numpy as np

    from protogen.report.scatter import Panel

    channels = shape[1]
    if statistics is not None:
        points = statistics.pixels.astype(np.float64)
    else:  # as in photographs, the channels share a brightness and differ a little
        generator = np.random.default_rng(0)
        light = generator.normal(120, 55, (4000, 1))
        points = np.clip(light + generator.normal(0, 18, (4000, channels)), 0, 255)
    names = ("blue", "red") if channels == 3 else ("grey", "grey")
    panels = [Panel("raw", points, names)]
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
