"""``protogen dense`` and ``protogen mlp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import tables
from protogen.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command("dense")
@click.option("--weights", required=True, metavar="W.npy", help="The matrix W.")
@click.option(
    "--orientation",
    required=True,
    metavar="xw|wx",
    help="xw: Y = XW, W is inputs x outputs. wx: Y = WX, W is outputs x inputs.",
)
@click.option("--bias", metavar="b.npy", help="One number for each output.")
@click.option("--name", default="ip", show_default=True, help="The layer's name.")
@click.option("--bottom", default="data", show_default=True)
@click.option("--top", help="The output's name.  [default: the layer's]")
@click.option("--inputs", type=click.IntRange(1), help="How many it must have (checked).")
@click.option("--input-shape", metavar="N,K", help="Write a whole net with this input.")
@click.option("-o", "path", metavar="FILE.prototxt", help="Write the text here, not to stdout.")
@click.option("--caffemodel", metavar="FILE", help="Write the weights here.")
@click.option("--verify", is_flag=True, help="Run the layer against the product of the matrices.")
def dense(weights: str, bias: str | None, orientation: str, **given: Any) -> None:
    """Make an InnerProduct layer of a weight matrix of either orientation.

    Samples in rows and Y = XW want W as inputs x outputs; samples in columns and Y = WX want it as
    outputs x inputs. Caffe's "transpose" is set so that the numbers stay as they are in memory.

    \b
    Examples:
      protogen dense --weights W.npy --orientation xw --caffemodel ip.caffemodel
      protogen dense --weights W.npy --bias b.npy --orientation wx --name fc8 -o fc8.prototxt \\
          --caffemodel fc8.caffemodel --verify
    """
    from protogen.formats import files
    from protogen.generate.dense import dense as make

    files.distinct([("-o", given["path"]), ("--caffemodel", given["caffemodel"])], [weights, bias])
    shape = None
    if given["input_shape"]:
        from protogen.cli import options

        shape = options.parse_inputs((f"data={given['input_shape']}",))["data"]
    w = _read(weights)
    b = _read(bias) if bias else None
    layer = make(
        w,
        orientation,
        b,
        name=given["name"],
        bottom=given["bottom"],
        top=given["top"],
        inputs=given["inputs"],
        input_shape=shape,
    )
    error = layer.verify(w, b) if given["verify"] else None
    layer.save(given["path"], given["caffemodel"])
    if given["path"] is None:
        click.echo(layer.prototxt, nl=False)
    err = given["path"] is None  # what is piped is prototxt alone
    if error is not None:
        told = f"{error:.1e}" if error else "0"
        click.echo(
            f"{layer.inputs} inputs, {layer.outputs} outputs, largest relative error {told}",
            err=err,
        )
    for written in filter(None, (given["path"], given["caffemodel"])):
        click.echo(f"wrote {written}", err=err)


def _read(path: str) -> NDArray[Any]:
    """The array of an .npy, mapped."""
    import numpy as np

    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=path, advice="Check the path."
        ) from None
    except (ValueError, EOFError) as error:
        raise InputError(f"is no array file: {error}", where=path) from None
    if not isinstance(found, np.ndarray):
        raise InputError("holds several arrays", where=path, advice="Give an .npy file.")
    return found


@click.command("mlp")
@click.argument("sizes", metavar="784-300-100-10")
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    metavar="NAME",
    help="tanh, relu, sigmoid, elu or swish.",
)
@click.option("-o", "path", metavar="FILE.prototxt", help="Write the deploy net here.")
@click.option("--train-val", metavar="FILE.prototxt", help="Write the training net here.")
@click.option("--solver", metavar="FILE.prototxt", help="Write its solver here.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--source",
    default="data",
    show_default=True,
    help="Prefix of the databases: SOURCE_train, SOURCE_test.",
)
@click.option("--templates", metavar="DIR", help="Your own templates, which override by name.")
def mlp(sizes: str, activation: str, **given: Any) -> None:
    """Write a net of dense layers, with fillers that suit its activation.

    \b
    Examples:
      protogen mlp 784-300-100-10
      protogen mlp 784-300-100-10 --activation tanh -o deploy.prototxt \\
          --train-val train_val.prototxt --solver solver.prototxt --source mnist
    """
    from protogen.formats import files
    from protogen.generate.dense import perceptron

    files.distinct(
        [("-o", given["path"]), ("--train-val", given["train_val"]), ("--solver", given["solver"])]
    )
    made = perceptron(
        sizes,
        activation,
        batch=given["batch"],
        source=given["source"],
        net_file=given["train_val"] or "train_val.prototxt",
        templates=given["templates"],
    )
    texts = (
        (given["path"], made.deploy),
        (given["train_val"], made.train_val),
        (given["solver"], made.solver),
    )
    if not any(path for path, _ in texts):
        click.echo(made.deploy, nl=False)
        return
    for path, text in texts:
        if path:
            with files.replacing(path) as file:
                file.write(text.encode())
            click.echo(f"wrote {tables.printable(path)}")
