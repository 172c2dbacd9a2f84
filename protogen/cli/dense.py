"""``protogen dense``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output
from protogen.errors import InputError, quantity
from protogen.formats import files

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command("dense")
@click.option(
    "--weights", required=True, type=filetypes.INPUT, metavar="W.npy", help="The matrix W."
)
@click.option(
    "--orientation",
    required=True,
    metavar="xw|wx",
    help="xw: Y = XW, W is inputs x outputs. wx: Y = WX, W is outputs x inputs.",
)
@click.option(
    "--bias", type=filetypes.INPUT, metavar="b.npy", help="The bias: one number per output."
)
@click.option("--name", default="ip", show_default=True, help="Name of the layer.")
@click.option(
    "--bottom", metavar="BLOB", default="data", show_default=True, help="The blob to read."
)
@click.option("--top", metavar="BLOB", help="The blob to write.  [default: the name]")
@click.option("--inputs", type=click.IntRange(1), help="Expected number of inputs.")
@click.option("--input-shape", metavar="N,K", help="Shape of the input; writes a whole net.")
@options.output_text
@click.option(
    "--caffemodel",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights here.",
)
@click.option(
    "--verify", is_flag=True, help="Run the layer; exit 1 if it differs from the product."
)
@options.seed
@options.as_json
def command(weights: str, bias: str | None, orientation: str, **flags: Any) -> None:
    """Write an InnerProduct layer from a weight matrix.

    For samples in rows, Y = XW, the matrix is inputs x outputs. For samples in columns, Y = WX, it is
    outputs x inputs. Caffe's field transpose is set so that the weights keep their order in memory.

    \b
    Examples:
      protogen dense --weights W.npy --orientation xw --caffemodel ip.caffemodel
      protogen dense --weights W.npy --bias b.npy --orientation wx --name fc8 -o fc8.prototxt \\
          --caffemodel fc8.caffemodel --verify
    """
    from protogen.generate.dense import dense

    files.distinct(
        [("--output", flags["output"]), ("--caffemodel", flags["caffemodel"])], [weights, bias]
    )
    w = _read(weights)
    b = _read(bias) if bias else None
    layer = dense(
        w,
        orientation,
        b,
        name=flags["name"],
        bottom=flags["bottom"],
        top=flags["top"],
        inputs=flags["inputs"],
        input_shape=options.lengths(flags["input_shape"]) if flags["input_shape"] else None,
    )
    error = layer.verify(w, b, flags["seed"]) if flags["verify"] else None
    layer.save(flags["output"], flags["caffemodel"])
    if flags["as_json"]:
        output.print_json(
            "dense",
            inputs=layer.inputs,
            outputs=layer.outputs,
            prototxt=layer.prototxt,
            error=error,
        )
        return
    if flags["output"] is None:
        click.echo(layer.prototxt, nl=False)
    err = flags["output"] is None  # stdout carries only the prototxt then
    if error is not None:
        output.say(
            f"{quantity(layer.inputs, 'input')}, {quantity(layer.outputs, 'output')}, "
            f"largest relative error {f'{error:.1e}' if error else '0'}",
            err=err,
        )
    output.wrote(flags["output"], flags["caffemodel"], err=err)


def _read(path: str) -> NDArray[Any]:
    """The array of an .npy file, or the only one of an .npz file."""
    from protogen.formats.arrayfiles import read_arrays

    arrays = read_arrays(path)
    if len(arrays) != 1:
        raise InputError(
            f"holds {quantity(len(arrays), 'array')}, expected one",
            where=path,
            advice="Save the matrix alone, with numpy.save.",
        )
    return next(iter(arrays.values()))
