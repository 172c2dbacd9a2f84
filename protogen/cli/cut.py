"""``protogen cut``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, for_target, options, output, tables, verify
from protogen.errors import InputError, MismatchError, quantity
from protogen.geometry import shape_text
from protogen.net.rules import is_usual

if TYPE_CHECKING:
    from protogen.converting.parts import Cut, PartFile


@click.command("cut")
@options.proto
@options.plugin
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt|MODEL.onnx")
@click.argument("weights", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@click.option(
    "-o",
    "--output",
    type=filetypes.OUTPUT,
    metavar="FILE",
    help="Write the part here: a prototxt or a model.",
)
@click.option(
    "--caffemodel",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights of the part here.",
)
@for_target.from_blobs
@for_target.to_blobs
@click.option(
    "--rest",
    type=filetypes.OUTPUT,
    metavar="FILE",
    help="Write what comes after the --to-blob here: these blobs are its inputs.",
)
@click.option(
    "--rest-caffemodel",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="Write the weights of the rest here.",
)
@click.option(
    "--external-data/--no-external-data",
    default=None,
    help="Store the weights of a model in FILE.onnx.data.  [default: above 2 GB]",
)
@options.identity
@options.ignored_fields
@options.dialect
@options.input_shapes
@options.state("TEST")
@click.option(
    "--verify",
    is_flag=True,
    help="Run the whole, and the part and the rest; exit 1 if they differ.",
)
@options.seed
@click.option(
    "--tolerance",
    type=float,
    help="With --verify: largest error relative to a blob's largest magnitude.  [default: 0.0001]",
)
@options.verbose
@options.as_json
def command(net: str, weights: str | None, **flags: Any) -> None:
    """Write a part of a net or model, and the rest.

    The part is what the blobs of --to-blob depend on, up to those of --from-blob, which become
    inputs. By default it begins at the inputs of the net and ends at its outputs. --rest writes what
    comes after the part. Running the part and then the rest gives the values of the whole, which
    --verify proves. An input of the whole stays an input where a blob still depends on it.

    The text of the layers that stay, their comments and all weights are copied. A Caffe net is
    written in the current format, for the phase, level and stages that select its layers. Its inputs
    become Input layers; a blob that nobody reads gets a Silence layer; a blob of --to-blob that the part
    reads itself is copied by a Split layer. An ONNX model keeps its metadata, operator sets and
    functions.

    \b
    Examples:
      protogen cut deploy.prototxt net.caffemodel --to-blob conv5 \\
          -o features.prototxt --caffemodel features.caffemodel
      protogen cut deploy.prototxt net.caffemodel --to-blob conv5 --verify \\
          -o front.prototxt --caffemodel front.caffemodel \\
          --rest head.prototxt --rest-caffemodel head.caffemodel
      protogen cut yolo.onnx --to-blob p3 --to-blob p4 -o backbone.onnx --rest head.onnx
      protogen cut net.onnx --from-blob features -o classifier.onnx
    """
    from protogen.converting.comparison import TOLERANCE
    from protogen.converting.cutting import cut_file, is_onnx

    target, tolerance = flags.pop("output"), flags.pop("tolerance")
    if tolerance is not None and not flags["verify"]:
        raise InputError("--tolerance needs --verify")
    if target is None:
        raise InputError("missing output file", advice="Name it with -o.")
    reading = options.reading_of(flags)
    texts, verbose, as_json = (flags.pop(x) for x in ("input_shapes", "verbose", "as_json"))
    if is_onnx(net):
        _check_reading(flags | reading)
        shapes = options.onnx_shapes(net, texts)
    else:
        shapes = options.shapes_for(net, texts, **reading)
    try:
        with tables.bar() as progress:
            written = cut_file(
                net,
                weights,
                target,
                flags.pop("caffemodel"),
                inputs=flags.pop("from_blobs"),
                outputs=flags.pop("to_blobs"),
                input_shapes=shapes,
                tolerance=TOLERANCE if tolerance is None else tolerance,
                progress=progress,
                **flags,
                **reading,
            )
    except MismatchError as error:
        if not as_json:
            verify.show(error.table, True)
        raise
    if as_json:
        _print_json(written)
    else:
        _show(written, verbose)


def _check_reading(flags: dict[str, Any]) -> None:
    """Refuse options about Caffe layers for an ONNX model: they would be ignored in silence otherwise."""
    for key, flag in (
        ("identities", "layer-as-identity"),
        ("ignored_fields", "ignore-field"),
        ("dialect", "dialect"),
    ):
        if flags[key]:
            raise InputError(f"--{flag} does not apply to an ONNX model: it has no Caffe layers")
    if not is_usual(options.state_of(flags)):
        raise InputError("--phase, --level and --stage do not apply to an ONNX model")


def _show(written: Cut, verbose: bool) -> None:
    _show_part(written, written.part)
    if written.rest is not None:
        output.note("rest:")
        _show_part(written, written.rest)
        if written.twice:
            count = quantity(len(written.shared), _what(written))
            blobs = " ".join(f"--to-blob {output.printable(name)}" for name in written.twice[:8])
            output.note(f"{count} in both files; to compute all of them once, add {blobs}")
    if written.checked is not None:
        verify.show(written.checked, verbose)
    for one in (written.part, written.rest):
        if one is not None:
            output.wrote(one.path, one.weights)


def _show_part(written: Cut, part: PartFile) -> None:
    for label, values in (("in ", part.inputs), ("out", part.outputs)):
        for name, shape in values:
            output.note(f"{label} {output.printable(name)}  {_text(shape)}")
    for name in part.silenced:
        output.note(f"not read: {output.printable(name)}")
    parts = [f"{len(part.layers)} of {quantity(written.layers, _what(written))}"]
    if part.multiply_adds is not None and written.multiply_adds is not None:
        some, whole = tables.count(part.multiply_adds), tables.count(written.multiply_adds)
        parts.append(f"{some} of {whole} multiply-adds")
    output.note(", ".join([*parts, f"{tables.size(part.weight_bytes)} of weights"]))


def _text(shape: Sequence[int | str] | None) -> str:
    return "?" if shape is None else shape_text(shape, "scalar")


def _what(written: Cut) -> str:
    return "operator" if written.is_model else "layer"


def _print_json(written: Cut) -> None:
    output.print_json(
        "cut",
        part=_plain(written.part),
        rest=_plain(written.rest) if written.rest else None,
        layers=written.layers,
        multiply_adds=written.multiply_adds,
        shared=list(written.shared),
        twice=list(written.twice),
        checked=written.checked.plain() if written.checked else None,
    )


def _plain(part: PartFile) -> dict[str, Any]:
    return {
        "file": str(part.path),
        "weights": str(part.weights) if part.weights else None,
        "inputs": [{"name": name, "shape": shape} for name, shape in part.inputs],
        "outputs": [{"name": name, "shape": shape} for name, shape in part.outputs],
        "layers": list(part.layers),
        "multiply_adds": part.multiply_adds,
        "weight_bytes": part.weight_bytes,
        "silenced": list(part.silenced),
    }
