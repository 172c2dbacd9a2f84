"""``protogen convert``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options, tables, verify
from protogen.errors import InputError, MismatchError, ProtogenWarning

if TYPE_CHECKING:
    from protogen.onnx import Preprocessing


def preprocessing_options(function: Any) -> Any:
    """The options that put a picture's way to the net into the model."""
    for option in (
        click.option("--uint8-input", is_flag=True, help="The input is bytes (uint8)."),
        click.option("--nhwc-input", is_flag=True, help="The input is N, H, W, C."),
        click.option("--swap-channels", is_flag=True, help="Reverse channels: RGB to BGR."),
        click.option("--scale", type=float, help="Multiply after the mean is subtracted."),
        click.option("--mean-value", metavar="B,G,R", help="Subtract a value for each channel."),
        click.option("--mean", metavar="FILE", help="Subtract a .binaryproto or .npy mean."),
    ):
        function = option(function)
    return function


def preprocessing(given: dict[str, Any]) -> Preprocessing | None:
    """The options taken out of ``given``; None where there are none.

    Raises:
        InputError: two means, or text that is no number.
    """
    keys = ("mean", "mean_value", "scale", "swap_channels", "nhwc_input", "uint8_input")
    found = {key: given.pop(key) for key in keys}
    if not any(value is not None and value is not False for value in found.values()):
        return None
    import numpy as np

    from protogen.onnx import Preprocessing
    from protogen.preprocessing import meanfiles

    if found["mean"] and found["mean_value"]:
        raise InputError("--mean and --mean-value are both given", advice="Keep one.")
    mean = None
    if found["mean"]:
        mean = meanfiles.read(found["mean"])
    elif found["mean_value"]:
        mean = np.array(options.numbers(found["mean_value"], "--mean-value"), np.float32)
    return Preprocessing(
        mean=mean,
        scale=1.0 if found["scale"] is None else found["scale"],
        swap_channels=found["swap_channels"],
        nhwc=found["nhwc_input"],
        uint8=found["uint8_input"],
    )


@click.command("convert")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt|MODEL.onnx")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@click.option("-o", "path", required=True, metavar="FILE", help="Write the model (or net) here.")
@click.option("--opset", type=int, default=18, show_default=True, help="ONNX operator set.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="BLOB=N,C,H,W",
    help="A blob's shape; data layers become inputs so. May repeat.",
)
@click.option("--input-shape", metavar="N,C,H,W", help="The shape of the net's one input.")
@click.option("--dynamic-batch", is_flag=True, help="Leave the inputs' first axis free.")
@click.option(
    "--output", "outputs", multiple=True, metavar="BLOB", help="End the net here. May repeat."
)
@click.option(
    "--fold/--no-fold",
    default=None,
    help="Merge BatchNorm and Scale into convolutions.  [default: to ONNX yes, to Caffe no]",
)
@click.option("--half", is_flag=True, help="Weights as float16.")
@click.option(
    "--external-data/--no-external-data",
    default=None,
    help="Weights in FILE.onnx.data.  [default: above 2 GB]",
)
@options.identity
@options.ignored_fields
@options.state("TEST")
@preprocessing_options
@click.option(
    "--caffemodel", "weights", metavar="FILE.caffemodel", help="To Caffe: write the weights here."
)
@click.option(
    "--dialect",
    metavar="NAME",
    help="The fork that the net was written for; to Caffe: that it is written for (bvlc).",
)
@click.option("--names", metavar="FILE.json", help="To Caffe: write what became of the names.")
@click.option("--verify", is_flag=True, help="Run the result against the source; exit 1 if off.")
@click.option(
    "--tolerance",
    type=float,
    help="Of --verify: largest error, as a part of a blob's largest magnitude."
    "  [default: 0.0001; with --half 0.02]",
)
@click.option("--receipt", metavar="FILE.json", help="Write how the model came to be.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def command(net: str, caffemodel: str | None, **given: Any) -> None:
    """Convert a Caffe net to ONNX, or an ONNX model to Caffe.

    Every layer is written in standard ONNX operators, every operator in layers of BVLC Caffe, and
    names are kept. Weights go from file to file without passing through memory. What has no exact
    form is refused by name (exit code 3), never converted wrongly.

    \b
    Examples:
      protogen convert deploy.prototxt net.caffemodel -o net.onnx
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --dynamic-batch --verify
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --output fc7 --half
      protogen convert deploy.prototxt net.caffemodel -o camera.onnx \\
          --mean-value 104,117,123 --swap-channels --nhwc-input --uint8-input
      protogen convert train_val.prototxt net.caffemodel -o net.onnx \\
          --input data=1,3,227,227 --output fc8
      protogen convert all_in_one.prototxt net.caffemodel -o net.onnx --stage deploy
      protogen convert model.onnx -o net.prototxt --caffemodel net.caffemodel --verify
      protogen convert model.onnx -o net.prototxt --caffemodel net.caffemodel \\
          --input images=1,3,640,640 --dialect ssd --fold
    """
    if given["tolerance"] is not None and not (given["verify"] or given["receipt"]):
        raise InputError("--tolerance is for --verify, which is not given")
    if Path(net).suffix == ".onnx":
        _to_caffe(net, caffemodel, given)
        return
    from protogen.converting.caffe_to_onnx import convert

    for key, option in (
        ("weights", "--caffemodel"),
        ("names", "--names"),
    ):
        if given.pop(key) is not None:
            raise InputError(
                f"{option} is for ONNX to Caffe, and {net} is no .onnx file",
                advice="Give the caffemodel as the second argument." if key == "weights" else "",
            )
    given["fold"] = given["fold"] is not False
    given["dialect"] = given["dialect"] or ""
    as_json, path, verify = given.pop("as_json"), given.pop("path"), given.pop("verify")
    inputs = options.parse_inputs(given.pop("inputs"))
    one, state = given.pop("input_shape"), options.state_of(given)
    if one:
        from protogen.net.net import load, unassuming

        with unassuming():
            names = load(
                net,
                tolerant=True,
                identities=given["identities"],
                dialect=given["dialect"],
                **state,
            ).inputs
        inputs |= options.one_input(names, one)
    how = preprocessing(given)
    with tables.bar() as progress:
        made = convert(
            net,
            caffemodel,
            path,
            input_shapes=inputs,
            preprocessing=how,
            verify=verify,
            progress=progress,
            **given,
            **state,
        )
    if as_json:
        click.echo(json.dumps(made.receipt, indent=2))
        return
    _tell(made)


# Options of the way to ONNX, with what they are when nobody gives them.
_ONLY_TO_ONNX: dict[str, Any] = {
    "opset": 18, "outputs": (), "dynamic_batch": False, "half": False, "external_data": None,
    "identities": (), "ignored_fields": (), "mean": None, "mean_value": None, "scale": None,
    "swap_channels": False, "nhwc_input": False, "uint8_input": False, "receipt": None,
    "phase": "TEST", "level": 0, "stages": (),
}  # fmt: skip


def _to_caffe(model: str, second: str | None, given: dict[str, Any]) -> None:
    from protogen.converting.onnx_to_caffe import convert_onnx

    if second is not None:
        raise InputError(
            "a second file is given",
            where=second,
            advice=f"The weights are an output here: --caffemodel {second}.",
        )
    for key, default in _ONLY_TO_ONNX.items():
        if given.pop(key) != default:
            flags = {
                "outputs": "output",
                "identities": "layer-as-identity",
                "ignored_fields": "ignore-field",
                "stages": "stage",
            }
            flag = flags.get(key, key)
            raise InputError(
                f"--{flag.replace('_', '-')} is for Caffe to ONNX, and {model} is ONNX"
            )
    if Path(given["path"]).suffix == ".onnx":
        raise InputError(
            f"{model} is ONNX already",
            where=given["path"],
            advice="Write the net as text: -o net.prototxt.",
        )
    shapes = options.parse_inputs(given.pop("inputs"))
    one = given.pop("input_shape")
    if one:
        from protogen.onnx import input_shapes, load_model

        names = () if "=" in one else tuple(input_shapes(load_model(model)))
        shapes |= options.one_input(names, one)
    as_json = given.pop("as_json")
    try:
        with tables.bar() as progress:
            made = convert_onnx(
                model,
                given["path"],
                given["weights"],
                dialect=given["dialect"] or "bvlc",
                fold=bool(given["fold"]),
                input_shapes=shapes,
                names=given["names"],
                verify=given["verify"],
                tolerance=given["tolerance"],
                progress=progress,
            )
    except MismatchError as error:
        if not as_json:
            verify.show(error.table, True)
        raise
    for sentence in made.lifted.approximated:
        warnings.warn(sentence, ProtogenWarning, stacklevel=1)
    if as_json:
        checked = made.checked.plain() if made.checked else None
        click.echo(json.dumps(made.lifted.names() | {"checked": checked}, indent=2))
        return
    _tell_net(made)


def _tell_net(made: Any) -> None:
    net = made.lifted.net
    for kind, blobs in (("in ", net.inputs), ("out", net.outputs)):
        for name in blobs:
            shape = tables.shape(net.graph.shapes[name] or ())
            click.echo(f"{kind} {tables.printable(name)}  {shape}")
    if made.checked is not None:
        verify.show(made.checked, True)
    operators = len(made.lifted.source.operators)
    weights = f"{tables.size(made.weight_bytes)} of weights"
    click.echo(f"{operators} operators, {len(net.layers)} layers, {weights}")
    for name in made.lifted.renamed:
        click.echo(f"renamed {tables.printable(name)}")
    for written in filter(None, (made.prototxt, made.caffemodel, made.names)):
        click.echo(f"wrote {written}")


def _tell(made: Any) -> None:
    program = made.program
    for kind, values in (("in ", program.inputs), ("out", program.outputs)):
        for value in values:
            click.echo(f"{kind} {tables.printable(value.name)}  {value.text}")
    for line in _checks(made.receipt.get("checked", {})):
        click.echo(line)
    weights = f"{tables.size(made.weight_bytes)} of weights"
    click.echo(f"{len(made.net.layers)} layers, {len(program.nodes)} operators, {weights}")
    for written in filter(None, (made.path, made.external)):
        click.echo(f"wrote {Path(written)}")


def _checks(checked: dict[str, Any]) -> Iterator[str]:
    """What --verify found, a line for each witness."""
    for witness, found in checked.items():
        if isinstance(found, str):
            yield f"{witness}: {found}"
        else:
            blobs, unproved = found["compared"], len(found["unproved"])
            worst = f"{found['worst']:.1e}" if found["worst"] else "0"
            told = f"{unproved} of them unproved, " if unproved else ""
            yield f"{witness}: {blobs} blobs agree, {told}largest relative error {worst}"
