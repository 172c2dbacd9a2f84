"""``protogen convert``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import for_target, options, output, shown, tables, verify
from protogen.errors import InputError, MismatchError, ProtogenWarning, quantity

if TYPE_CHECKING:
    from protogen.onnx import Preprocessing


def pixel_options(function: Any) -> Any:
    """The options for arithmetic on pixels: mean, scale and the order of channels."""
    for option in (
        click.option("--swap-channels", is_flag=True, help="Reverse the channels: RGB to BGR."),
        click.option("--scale", type=float, help="Multiply after the mean is subtracted."),
        click.option("--mean", metavar="B,G,R|FILE", help="Subtract numbers, or a mean file."),
    ):
        function = option(function)
    return function


def layout_options(function: Any) -> Any:
    """The options for the layout and the dtype of the model's input."""
    for option in (
        click.option("--uint8-input", is_flag=True, help="To ONNX: the input is uint8."),
        click.option("--nhwc-input", is_flag=True, help="To ONNX: the input is N, H, W, C."),
    ):
        function = option(function)
    return function


def preprocessing(flags: dict[str, Any]) -> Preprocessing | None:
    """Remove the preprocessing options from ``flags``; None if none of them is set.

    Raises:
        InputError: the mean is neither numbers nor a mean file.
    """
    keys = ("mean", "scale", "swap_channels", "nhwc_input", "uint8_input")
    chosen = {key: flags.pop(key, None) for key in keys}
    if not any(value is not None and value is not False for value in chosen.values()):
        return None
    import numpy as np

    from protogen.onnx import Preprocessing

    mean = options.mean(chosen["mean"]).astype(np.float32) if chosen["mean"] else None
    return Preprocessing(
        mean=mean,
        scale=1.0 if chosen["scale"] is None else chosen["scale"],
        swap_channels=chosen["swap_channels"],
        nhwc=bool(chosen["nhwc_input"]),
        uint8=bool(chosen["uint8_input"]),
    )


@click.command("convert")
@options.proto
@options.plugin
@click.argument("net", metavar="NET.prototxt|MODEL.onnx")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@click.option(
    "-o", "--output", "target", metavar="FILE", help="Write the ONNX model or the prototxt here."
)
@click.option(
    "--caffemodel", "weights", metavar="FILE.caffemodel", help="To Caffe: write the weights here."
)
@click.option("--dry-run", is_flag=True, help="Write nothing; list what does not convert.")
@for_target.write_for
@for_target.explain
@options.input_shapes
@for_target.from_blobs
@for_target.to_blobs
@click.option(
    "--fold/--no-fold",
    default=None,
    help="Fold BatchNorm, Scale and Bias into convolutions.  [default: to ONNX yes, to Caffe no]",
)
@click.option(
    "--dialect",
    metavar="NAME",
    help="The fork that the net is read as or written for.  [default to Caffe: bvlc]",
)
@click.option("--opset", type=int, default=18, show_default=True, help="To ONNX: operator set.")
@click.option("--dynamic-batch", is_flag=True, help="To ONNX: leave the batch size free.")
@click.option("--half", is_flag=True, help="To ONNX: store the weights as float16.")
@click.option(
    "--external-data/--no-external-data",
    default=None,
    help="To ONNX: store the weights in FILE.onnx.data.  [default: above 2 GB]",
)
@options.identity
@options.ignored_fields
@options.state("TEST")
@pixel_options
@layout_options
@click.option("--names", metavar="FILE.json", help="To Caffe: write the map of names.")
@click.option(
    "--drop-quantisation",
    is_flag=True,
    help="To Caffe: convert a quantised model in float32, and write its scales as JSON.",
)
@click.option(
    "--scales",
    metavar="FILE.json",
    help="With --drop-quantisation: write the scales here.  [default: OUTPUT.scales.json]",
)
@click.option(
    "--verify", is_flag=True, help="Run the result and the source; exit 1 if they differ."
)
@options.seed
@options.half_check
@click.option(
    "--tolerance",
    type=float,
    help="With --verify: largest error relative to a blob's largest magnitude."
    "  [default: 0.0001; with --half 0.02]",
)
@click.option(
    "--receipt", metavar="FILE.json", help="To ONNX: write hashes, versions, options and the proof."
)
@options.verbose
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, net: str, caffemodel: str | None, **flags: Any) -> None:
    """Convert Caffe to ONNX, or ONNX to Caffe.

    A Caffe net becomes standard ONNX operators; an ONNX model becomes layers of BVLC Caffe, or of a
    fork with --dialect. Blob names are kept. Weights are copied from file to file and are never all
    in memory. What cannot be converted exactly is refused with its name (exit code 3).

    With --target the Caffe net is written for a toolchain (see protogen targets): in layers that it
    takes and computes rightly, with its fields only. A layer without such a form is an error, and
    nothing is written (exit code 3).

    --dry-run lists the layers or operators that do not convert, with the reason, and exits 1 if there
    are any. With --target it also says what this toolchain does with each layer of the Caffe net.

    \b
    Examples:
      protogen convert deploy.prototxt net.caffemodel -o net.onnx
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --dynamic-batch --verify
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --to-blob fc7 --half
      protogen convert deploy.prototxt net.caffemodel -o camera.onnx \\
          --mean 104,117,123 --swap-channels --nhwc-input --uint8-input
      protogen convert train_val.prototxt net.caffemodel -o net.onnx \\
          --input-shape data=1,3,227,227 --to-blob fc8
      protogen convert model.onnx -o net.prototxt --caffemodel net.caffemodel --verify
      protogen convert model.onnx -o net.prototxt --caffemodel net.caffemodel \\
          --input-shape images=1,3,640,640 --dialect ssd --fold
      protogen convert model.onnx -o net.prototxt --caffemodel net.caffemodel --target rknn2
      protogen convert model.onnx --dry-run --target rknn2
    """
    from_onnx = Path(net).suffix == ".onnx"
    _check_options(net, caffemodel, from_onnx, flags)
    if flags.pop("dry_run"):
        from protogen.cli.dry_run import dry_run

        if dry_run(net, caffemodel, from_onnx, flags):
            ctx.exit(1)
    elif from_onnx:
        if not _to_caffe(net, flags):
            ctx.exit(1)
    else:
        _to_onnx(net, caffemodel, flags)


# Options of one direction: their default, and why the other direction does not have them.
_ONLY_TO_ONNX: dict[str, tuple[Any, str]] = {
    "opset": (18, "a Caffe net has no operator set"),
    "dynamic_batch": (False, "a Caffe net has a fixed batch size"),
    "half": (False, "Caffe's weights are float32"),
    "external_data": (None, "Caffe's weights are always in a caffemodel"),
    "identities": ((), "an ONNX model has no Caffe layers"),
    "ignored_fields": ((), "an ONNX model has no Caffe layers"),
    "phase": ("TEST", "an ONNX model has no phases"),
    "level": (0, "an ONNX model has no levels"),
    "stages": ((), "an ONNX model has no stages"),
    "mean": (None, "use protogen preprocess on the result"),
    "scale": (None, "use protogen preprocess on the result"),
    "swap_channels": (False, "use protogen preprocess on the result"),
    "nhwc_input": (False, "Caffe's layout is N, C, H, W"),
    "uint8_input": (False, "Caffe's blobs are float32"),
    "receipt": (None, "a Caffe net has no receipt"),
}
_ONLY_TO_CAFFE: dict[str, tuple[Any, str]] = {
    "half_check": (False, "use protogen run --half-check on the net"),
    "weights": (None, "the weights are in the ONNX model"),
    "names": (None, "the ONNX model has the names of the blobs"),
    "drop_quantisation": (False, "a Caffe net is not quantised"),
    "scales": (None, "a Caffe net is not quantised"),
}
_FLAGS = {
    "identities": "layer-as-identity",
    "ignored_fields": "ignore-field",
    "stages": "stage",
    "weights": "caffemodel",
}


def _check_options(
    net: str, caffemodel: str | None, from_onnx: bool, flags: dict[str, Any]
) -> None:
    """Refuse options that have no effect: each would be ignored in silence otherwise."""
    if flags["tolerance"] is not None and not (flags["verify"] or flags["receipt"]):
        raise InputError("--tolerance needs --verify")
    if flags["half_check"] and (flags["dry_run"] or flags["as_json"]):
        raise InputError("--half-check does not apply with --dry-run or --json")
    if flags["explain"] and (flags["dry_run"] or not from_onnx):
        raise InputError("--explain applies from ONNX to Caffe only, and without --dry-run")
    if flags["toolchain"] and not (flags["dry_run"] or from_onnx):
        raise InputError(
            "--target does not apply from Caffe to ONNX: no toolchain for Caffe reads the model",
            advice=f"To write the net for a toolchain: protogen rewrite {net} --target "
            f"{flags['toolchain']}",
        )
    if flags["target"] is None and not flags["dry_run"]:
        raise InputError("missing output file", advice="Name it with -o, or look with --dry-run.")
    if from_onnx and caffemodel is not None:
        raise InputError(
            "an ONNX model needs no second file",
            where=caffemodel,
            advice=f"To write the weights there, use --caffemodel {caffemodel}.",
        )
    direction = "from ONNX to Caffe" if from_onnx else "from Caffe to ONNX"
    for key, (default, reason) in (_ONLY_TO_ONNX if from_onnx else _ONLY_TO_CAFFE).items():
        if flags[key] != default:
            flag = _FLAGS.get(key, key).replace("_", "-")
            raise InputError(
                f"--{flag} does not apply {direction}: {reason}",
                advice=f"Write protogen convert {net} {flags[key]}, without the option."
                if key == "weights" and caffemodel is None
                else "",
            )
    if from_onnx and flags["target"] and Path(flags["target"]).suffix == ".onnx":
        raise InputError(
            f"{net} is already an ONNX model",
            where=flags["target"],
            advice="Write a prototxt: -o net.prototxt.",
        )


def _to_onnx(net: str, caffemodel: str | None, flags: dict[str, Any]) -> None:
    from protogen.converting.caffe_to_onnx import convert

    how = preprocessing(flags)
    reading = options.reading_of(flags)
    shapes = options.shapes_for(net, flags["input_shapes"], **reading)
    with tables.bar() as progress:
        converted = convert(
            net,
            caffemodel,
            flags["target"],
            opset=flags["opset"],
            inputs=flags["from_blobs"],
            outputs=flags["to_blobs"],
            input_shapes=shapes,
            dynamic_batch=flags["dynamic_batch"],
            fold=flags["fold"] is not False,
            half=flags["half"],
            external_data=flags["external_data"],
            preprocessing=how,
            receipt=flags["receipt"],
            verify=flags["verify"],
            seed=flags["seed"],
            tolerance=flags["tolerance"],
            progress=progress,
            ignored_fields=flags["ignored_fields"],
            **reading,
        )
    if flags["as_json"]:
        shown.print_exported(converted)
        return
    program = converted.program
    for label, values in (("in ", program.inputs), ("out", program.outputs)):
        for value in values:
            output.note(f"{label} {output.printable(value.name)}  {value.text}")
    for line in shown.checks(converted.receipt.get("checked", {})):
        click.echo(line)
    weights = f"{tables.size(converted.weight_bytes)} of weights"
    output.note(
        f"{quantity(len(converted.net.layers), 'layer')}, "
        f"{quantity(len(program.nodes), 'operator')}, {weights}"
    )
    output.wrote(converted.path, converted.external, flags["receipt"])


def _to_caffe(model: str, flags: dict[str, Any]) -> bool:
    """Convert to Caffe; returns False if a value does not fit into float16, with --half-check."""
    from protogen.converting.onnx_to_caffe import convert_onnx

    try:
        with tables.bar() as progress:
            converted = convert_onnx(
                model,
                flags["target"],
                flags["weights"],
                dialect=flags["dialect"] or "",
                target=flags["toolchain"],
                fold=bool(flags["fold"]),
                inputs=flags["from_blobs"],
                outputs=flags["to_blobs"],
                input_shapes=options.onnx_shapes(model, flags["input_shapes"]),
                names=flags["names"],
                drop_quantisation=flags["drop_quantisation"],
                scales=flags["scales"],
                verify=flags["verify"],
                seed=flags["seed"],
                tolerance=flags["tolerance"],
                progress=progress,
            )
    except MismatchError as error:
        if not flags["as_json"]:
            verify.show(error.table, True)
        raise
    for sentence in converted.imported.approximated:
        warnings.warn(sentence, ProtogenWarning, stacklevel=1)
    if flags["as_json"]:
        shown.print_imported(converted)
        return True
    shown.show_imported(converted, flags["verbose"])
    if flags["explain"] and converted.legalized is None:
        for_target.show_reasons(converted.imported)
    if converted.legalized is not None:
        for_target.show(converted.legalized, flags["explain"])
        toolchain = converted.legalized.toolchains[0]
        net = converted.imported.net
        for_target.show_next(toolchain, net, converted.prototxt, converted.caffemodel)
    if flags["half_check"]:
        return for_target.half_check(converted.imported.net, flags["seed"], flags["verbose"])
    return True
