"""``protogen upsample``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, output
from protogen.cli.requested import (
    PLAN_ARGUMENTS,
    Requested,
    check_files,
    layer_options,
    output_options,
    plan_options,
    report_files,
    report_rewired,
    splice_options,
    write_files,
)
from protogen.cli.resize import run, some
from protogen.errors import InputError
from protogen.formats import files
from protogen.generate.specification import KERNELS
from protogen.generate.upsampling import Upsampling, classic

if TYPE_CHECKING:
    from protogen.generate.splicing import Spliced
    from protogen.generate.verification import Check

# Options that the classic layer does not have: with one of them, a plan is made as in ``resize``.
_PLANNING = ("exact", *PLAN_ARGUMENTS, "keep_aspect", "roi", "explain", "target", "limit")
_CLASSIC = ("spec", "template", "trainable", "kernels")


def _readable(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Copy a template from a stream now: the process that renders it opens no files but the template."""
    return files.regular(path) if path == files.STDIN else path


@click.command("upsample")
@layer_options("upsample")
@click.option("--exact", is_flag=True, help="Exact at the border too: write a plan, as resize.")
@click.option("--trainable", is_flag=True, help="Classic layer: let training change the weights.")
@click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    help="Classic layer: one kernel per channel, or C x C kernels of which only the diagonal is not "
    "0.  [default: channelwise]",
)
@click.option(
    "--spec",
    type=filetypes.INPUT,
    metavar="FILE.toml",
    help="Classic layer: write the layers of this file.",
)
@click.option(
    "--template",
    type=filetypes.INPUT,
    metavar="FILE",
    callback=_readable,
    help="Classic layer: template of the whole output.",
)
@plan_options
@splice_options
@output_options
def command(**flags: Any) -> None:
    """Write an upsampling layer, or an exact plan of layers.

    The classic layer is a Deconvolution with kernel_size 2f - f mod 2, stride f and pad
    ceil((f - 1) / 2). Inside it equals half-pixel linear interpolation. In a ring of floor(f / 2)
    pixels at each border it does not, because Caffe pads with 0; --verify and --plot show the error.

    --exact writes a plan of layers that is exact at the border too, as protogen resize does. So do
    --size, --like, --align, --target, the modes cubic, lanczos and area, and factors such as 1.5.

    With --into, the other outputs (--caffemodel, --onnx, --plot) contain only the new layers.

    \b
    Examples:
      protogen upsample --factor 2
      protogen upsample --factor 2x4 --mode nearest --channels 64
      protogen upsample --factor 4 --channels 21 --input-shape 1,21,16,16 \\
          -o up.prototxt --caffemodel up.caffemodel --onnx up.onnx --verify --plot up.png
      protogen upsample --factor 2 --into net.prototxt --after conv2 --rewire -o net.prototxt
      protogen upsample --factor 2 --exact --input-shape 1,21,16,16 --explain
      protogen upsample --factor 1.5 --mode cubic --like torch --input-shape 1,3,32,32
      protogen upsample --spec head.toml --caffemodel head.caffemodel
    """
    options = Requested(**flags)
    check_files(options)
    if (planning := _needs_plan(options)) is not None:
        for key in _CLASSIC:
            if getattr(options, key):
                raise InputError(
                    f"--{key} belongs to the classic layer, but {planning} needs a plan",
                    advice="Leave out one of them.",
                )
        run(options._replace(name=options.name or "upsample"), "upsample")
        return
    place = options.splice_point()
    spliced = _splice(options, place) if place else None
    up: Any = spliced.upsampling if spliced else _upsampling(options)
    text = spliced.encode() if spliced else up.prototxt.encode("utf-8", "surrogateescape")

    checks = None
    if options.verify:
        from protogen.generate.verification import verify_upsampling

        checks = verify_upsampling(up, seed=options.seed)
    write_files(options, up, text, lambda file, form: _draw(up, file, form))
    if options.as_json:
        output.print_json("upsample", **_fields(up, spliced, text, checks))
        return
    if not options.output:
        click.echo(text, nl=False)
    _report(up, spliced, checks, options)


def _needs_plan(options: Requested) -> str | None:
    """The option that the classic layer does not have; None if the classic layer is enough."""
    for key in _PLANNING:
        if getattr(options, key):
            return f"--{key.replace('_', '-')}"
    if options.mode in ("nearest-exact", "cubic", "lanczos", "area"):
        return f"--mode {options.mode}"
    factor = options.factor or ""
    return f"--factor {factor}" if "." in factor or "/" in factor else None


_LAYER = ("factor", "channels", "name", "top", "mode", "trainable")


def _layer(options: Requested, *more: str) -> dict[str, Any]:
    """The options as arguments of ``pg.upsample``."""
    layer = options.specified(*_LAYER, *more)
    return layer | ({"weights": options.kernels} if options.kernels else {})


def _upsampling(options: Requested) -> Upsampling:
    templates = {key: getattr(options, key) for key in ("template", "templates")}
    layer = options.specified(*_LAYER, "bottom", "input_shape", "kernels")
    if options.spec:
        if layer:
            option = f"--{next(iter(layer)).replace('_', '-')}"
            raise InputError(
                f"{option} and --spec exclude each other", advice="Write it in the file."
            )
        from protogen.generate.specfile import load_spec

        return load_spec(options.spec, **templates)
    if "factor" not in layer:
        raise InputError("missing factor", advice="Give --factor 2, or --spec FILE.toml.")
    return classic(**_layer(options, "bottom", "input_shape"), **templates)


def _splice(options: Requested, place: tuple[str, str]) -> Spliced:
    from protogen.generate.splicing import splice

    if not options.factor:
        raise InputError("missing factor", advice="Give --factor 2.")
    return splice(*place, **_layer(options, "rewire", "template", "templates"))


def _draw(up: Upsampling, file: Any, form: Any) -> None:
    from protogen.report import kernel

    kernel.draw(up.pictures(), file, form)


def _fields(
    up: Upsampling, spliced: Spliced | None, text: bytes, checks: list[Check] | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "layers": up.describe(),
        "weights_needed": list(up.weights_needed),
        "prototxt": text.decode("utf-8", "replace"),
    }
    if spliced:
        fields["rewired"] = list(spliced.rewired)
    if checks is not None:
        fields["verify"] = [check.plain() for check in checks]
    return fields


def _report(
    up: Upsampling, spliced: Spliced | None, checks: list[Check] | None, options: Requested
) -> None:
    """Print notes and errors; on stderr while stdout carries the prototxt."""
    report_files(options)
    if up.weights_needed:
        where = (
            f"they are in {options.caffemodel}"
            if options.caffemodel
            else "write them with --caffemodel FILE"
        )
        output.note(
            f"note: Caffe's fillers cannot create the weights of {some(up.weights_needed)} (bilinear "
            f"needs square kernels, one per channel), so the filler is constant 0; {where}.",
            err=True,
        )
    report_rewired(options, spliced)
    if checks is not None:
        for line in _table(checks):
            output.say(line, err=not options.output)


def _table(checks: list[Check]) -> list[str]:
    width = max(5, *(len(check.layer) for check in checks))
    lines = [f"{'layer':<{width}}  data    inside    border    ring"]
    for c in checks:
        ring = f"{c.ring[0]} px" if c.ring[0] == c.ring[1] else f"{c.ring[0]}x{c.ring[1]} px"
        lines.append(f"{c.layer:<{width}}  {c.data:<6}  {c.inside:<8.2g}  {c.border:<8.2g}  {ring}")
    lines.append("largest errors, compared with onnxruntime's Resize on the same data")
    if any(max(check.ring) for check in checks):
        lines.append(
            "Inside, the layer equals interpolation up to rounding. In the ring at each border it "
            "does not: Caffe pads with 0, so the error is as large as the data."
        )
    else:
        lines.append("The layer is exact everywhere.")
    return lines
