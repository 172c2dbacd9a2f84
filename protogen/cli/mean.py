"""``protogen mean``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from protogen.cli import filetypes, options, output, tables
from protogen.errors import InputError, quantity
from protogen.formats import files


@click.group("mean", cls=output.Group)
def command() -> None:
    """Compute and convert mean files.

    \b
    Examples:
      protogen mean compute pictures/ -o mean.binaryproto
      protogen mean convert mean.binaryproto -o mean.npy
    """


def _size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of ``256``, ``256x320`` or ``256,320``."""
    if text is None:
        return None
    error = InputError(f"{text!r} is not a size", subject="--size", advice="Write 256x256.")
    try:
        numbers = options.numbers(text.replace("x", ","), "--size")
    except InputError:
        raise error from None
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or any(n < 1 or n != int(n) for n in numbers):
        raise error
    return int(numbers[0]), int(numbers[1])


@command.command("compute")
@click.argument("images", nargs=-1, required=True, type=filetypes.INPUT, metavar="IMAGE|DIR...")
@click.option(
    "-o", "--output", "targets", multiple=True, type=filetypes.OUTPUT, metavar="FILE",
    help="Write the mean image as .binaryproto, .npy (C, H, W) or .png. Repeatable.",
)  # fmt: skip
@click.option("--size", metavar="HxW", help="Resize all images.  [default: one size required]")
@click.option("--grey", is_flag=True, help="Read images with one channel.")
@options.as_json
def compute(
    images: tuple[str, ...], targets: tuple[str, ...], size: str | None, grey: bool, as_json: bool
) -> None:
    """Compute the mean image, and the mean and deviation of each channel.

    One image is in memory at a time. Values are 0 to 255; the channels are blue, green, red, as in
    Caffe. Reading images needs the extra picture.

    \b
    Examples:
      protogen mean compute pictures/ -o mean.binaryproto
      protogen mean compute pictures/ --size 256x256 -o mean.binaryproto -o mean.png
    """
    from protogen.preprocessing import meanfiles
    from protogen.preprocessing.statistics import picture_statistics

    files.distinct([("--output", path) for path in targets], images)
    for path in targets:
        meanfiles.check_suffix(path)
    with tables.counting("images") as progress:
        statistics = picture_statistics(images, _size(size), grey, progress)
    with ExitStack() as stack:
        for path in targets:
            file = stack.enter_context(files.replacing(path))
            meanfiles.write(file, statistics.mean, Path(path).suffix)
    if as_json:
        output.print_json("mean compute", **statistics.plain())
        return
    order = "blue, green, red" if len(statistics.mean) == 3 else "grey"
    output.note(f"{quantity(statistics.count, 'image')} of {tables.shape(statistics.mean.shape)}")
    for label, values in (("mean", statistics.channel_mean), ("std ", statistics.channel_std)):
        output.say(f"{label} {','.join(f'{v:.3f}' for v in values)} ({order})")
    output.wrote(*targets)


@command.command("convert")
@click.argument("source", type=filetypes.INPUT, metavar="FILE")
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.OUTPUT,
    required=True,
    metavar="FILE",
    help="Write this file.",
)
def convert(source: str, target: str) -> None:
    """Convert a mean file to .binaryproto, .npy or .png, by the file extension.

    Arrays are (C, H, W); the channels are blue, green, red, as in Caffe. A PNG has 8 bits: values are
    rounded and must be 0 to 255. PNG needs the extra picture.

    \b
    Examples:
      protogen mean convert mean.binaryproto -o mean.npy
      protogen mean convert mean.binaryproto -o mean.png
    """
    from protogen.preprocessing import meanfiles

    files.distinct([("--output", target)], [source])
    meanfiles.check_suffix(target)
    array = meanfiles.read(source)
    with files.replacing(target) as file:
        meanfiles.write(file, array, Path(target).suffix)
    output.wrote(target)
