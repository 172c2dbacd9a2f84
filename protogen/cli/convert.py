"""``protogen convert``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from protogen.cli import (
    completions,
    convert_options,
    filetypes,
    for_target,
    options,
    output,
    shown,
    tables,
)
from protogen.converting.sources import Source, sources_of
from protogen.errors import InputError, MismatchError, ProtogenWarning, quantity, warn
from protogen.formats import files


@click.command("convert")
@options.proto
@options.plugin
@click.argument("paths", type=filetypes.INPUT, nargs=-1, required=True, metavar="FILE|DIR...")
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.OUTPUT,
    metavar="FILE|DIR",
    help="Write the ONNX model or the prototxt here; of many nets, into this folder.  [default: beside the"
    " input, with its name]",
)
@click.option(
    "--caffemodel",
    "weights",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="To Caffe: write the weights here.  [default: beside the prototxt]",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files that -o does not name.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of many nets: how many are converted at a time.",
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
    shell_complete=completions.dialects,
    metavar="NAME",
    help="The fork that the net is read as or written for.  [default to Caffe: bvlc]",
)
@click.option("--opset", type=int, default=18, show_default=True, help="To ONNX: operator set.")
@click.option("--dynamic-batch", is_flag=True, help="To ONNX: leave the batch size free.")
@click.option(
    "--expand",
    is_flag=True,
    help="To ONNX: write LRN and PReLU as operators that onnxruntime computes faster.",
)
@click.option("--half", is_flag=True, help="To ONNX: store the weights as float16.")
@click.option(
    "--external-data/--no-external-data",
    default=None,
    help="To ONNX: store the weights in FILE.onnx.data.  [default: above 2 GB]",
)
@options.identity
@options.ignored_fields
@options.state("TEST")
@convert_options.pixel_options
@convert_options.layout_options
@click.option(
    "--names", type=filetypes.JSON, metavar="FILE.json", help="To Caffe: write the map of names."
)
@click.option(
    "--drop-quantisation",
    is_flag=True,
    help="To Caffe: convert a quantised model in float32, and write its scales as JSON.",
)
@click.option(
    "--scales",
    type=filetypes.JSON,
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
    "--receipt",
    type=filetypes.JSON,
    metavar="FILE.json",
    help="To ONNX: write hashes, versions, options and the proof.",
)
@options.verbose
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], **flags: Any) -> None:
    """Convert Caffe to ONNX, or ONNX to Caffe.

    The files are a net with its weights, or an ONNX model, in any order: each is recognised by its
    content. Many nets, or folders of nets, are converted by one command; a table shows each result, and
    the exit code is 1 if one failed. The standard input and output are written as -.

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
      protogen convert deploy.prototxt net.caffemodel
      protogen convert model.onnx -o net.prototxt
      protogen convert models/ -o converted/ --jobs 2 --verify
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --dynamic-batch --verify
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --to-blob fc7 --half
      protogen convert deploy.prototxt net.caffemodel -o camera.onnx \\
          --mean 104,117,123 --swap-channels --nhwc-input --uint8-input
      protogen convert train_val.prototxt net.caffemodel -o net.onnx \\
          --input-shape data=1,3,227,227 --to-blob fc8
      protogen convert model.onnx -o net.prototxt --input-shape images=1,3,640,640 \\
          --dialect ssd --fold --verify
      protogen convert model.onnx -o net.prototxt --target rknn2
      protogen convert model.onnx --dry-run --target rknn2
    """
    sources = sources_of(paths, flags["target"])
    if len(sources) > 1 or any(os.path.isdir(path) for path in paths):
        from protogen.cli.convert_many import convert_many

        if not convert_many(sources, flags):
            ctx.exit(1)
        return
    (source,) = sources
    convert_options.check_options(source, flags)
    if flags.pop("dry_run"):
        from protogen.cli.dry_run import dry_run

        if dry_run(source.net, source.weights, source.onnx, flags):
            ctx.exit(1)
        return
    flags["target"] = _output(source, flags["target"], flags["overwrite"])
    if not source.onnx:
        _to_onnx(source, flags)
    elif not _to_caffe(source.net, flags):
        ctx.exit(1)


def _output(source: Source, target: str | None, overwrite: bool) -> str:
    """Return the file of ``-o``, which may be a folder. A file whose name was not typed must not exist.

    Raises:
        InputError: it exists, or its ending is that of another format.
    """
    if target is not None and not Path(target).is_dir():
        if target.endswith(("/", os.sep)):
            raise InputError("there is no such folder", where=target, advice="Create it first.")
        own = "prototxt" if source.onnx else "an ONNX model"
        if target != files.STDOUT:
            filetypes.check_ending(target, "--output", own)
        return target
    output = source.result(target)
    if output.exists() and not overwrite:
        raise InputError(
            "the file exists",
            where=str(output),
            advice="Name the output with -o, or replace the file with --overwrite.",
        )
    return str(output)


def _to_onnx(source: Source, flags: dict[str, Any]) -> None:
    from protogen.converting.caffe_to_onnx import convert

    arguments = convert_options.to_onnx_options(source.net, flags)
    with tables.bar() as progress:
        converted = convert(
            source.net, source.weights, flags["target"], progress=progress, **arguments
        )
    if flags["as_json"]:
        shown.print_exported(converted)
        return
    program = converted.program
    for label, values in (("in ", program.inputs), ("out", program.outputs)):
        for value in values:
            output.note(f"{label} {output.printable(value.name)}  {value.text}")
    for line in shown.checks(converted.receipt.get("checked", {})):
        output.say(line)
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
                progress=progress,
                **convert_options.to_caffe_options(model, flags),
            )
    except MismatchError as error:
        if not flags["as_json"]:
            from protogen.cli import verify  # it takes a tenth of a second, and few need it

            verify.show(error.table, True)
        raise
    for sentence in converted.imported.approximated:
        warn(ProtogenWarning(sentence))
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
