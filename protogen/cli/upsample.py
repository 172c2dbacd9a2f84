"""``protogen upsample``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from protogen.cli.asked import Asked, check_files, say_files, say_rewired, write_files
from protogen.cli.resize import MODES, PLANNING, output_options, plan_options, run
from protogen.errors import InputError
from protogen.generate.specification import KERNELS
from protogen.generate.upsampling import Upsampling, classic

if TYPE_CHECKING:
    from protogen.generate.splicing import Spliced
    from protogen.generate.verification import Check


@click.command("upsample")
@click.option("--factor", metavar="N|HxW", help="Factor, or one for each axis: 2, 2x4, 1.5.")
@click.option(
    "--channels",
    type=int,
    help="Channels C; num_output and group are C.  [default: the input shape's, or 3]",
)
@click.option("--name", help="The layer's name.  [default: upsample]")
@click.option("--bottom", help="The blob to read.  [default: data]")
@click.option("--top", help="The blob to make.  [default: the name]")
@click.option("--mode", type=click.Choice(MODES), help="How to fill in.  [default: bilinear]")
@click.option("--input-shape", metavar="N,C,H,W", help="Make a whole net with an Input layer.")
@click.option("--trainable", is_flag=True, help="Learning rate on; weights are only the start.")
@click.option(
    "--weights",
    type=click.Choice(KERNELS),
    help="One kernel a channel, or C x C with the diagonal filled.  [default: channelwise]",
)
@click.option("--exact", is_flag=True, help="Exact at the border too: plan layers, as resize does.")
@plan_options
@click.option("--spec", metavar="FILE.toml", help="Many layers, as the file says.")
@click.option("--into", metavar="NET", help="Put the layer into this net's text.")
@click.option("--after", metavar="BLOB", help="With --into: the blob to upsample.")
@click.option("--rewire", is_flag=True, help="With --into: readers of BLOB read the new top.")
@click.option("--template", metavar="FILE", help="A template of your own for the whole output.")
@click.option("--templates", metavar="DIR", help="Your own templates, which override by name.")
@click.option("--verify", is_flag=True, help="Run the ONNX and compare it with Resize.")
@output_options
def command(**given: Any) -> None:
    """Upsample with a Deconvolution layer, or exactly with a plan of stock layers.

    The classic layer: kernel_size 2f - f mod 2, stride f, pad ceil((f - 1) / 2). Inside it equals
    half-pixel linear interpolation; in a ring of floor(f / 2) pixels at each border it does not,
    because the outside counts as 0. --verify and --plot show by how much.

    --exact plans layers that are right at the border too; so do --size, --like, --align,
    --target, other modes and factors such as 1.5. What they mean: protogen resize --help.

    With --into, the other outputs (--caffemodel, --onnx, --plot) hold the new layer alone.

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
    options = Asked(**given)
    check_files(options)
    if _plans(options):
        for key in ("spec", "template", "trainable", "weights", "verify"):
            if getattr(options, key):
                raise InputError(
                    f"--{key} is of the classic layer, but a plan is asked for",
                    advice="Leave one of the two out.",
                )
        run(options._replace(name=options.name or "upsample"))
        return
    place = options.spliced_at()
    spliced = _spliced(options, place) if place else None
    up: Any = spliced.upsampling if spliced else _upsampling(options)
    text = spliced.encode() if spliced else up.prototxt.encode("utf-8", "surrogateescape")

    checks = None
    if options.verify:
        from protogen.generate.verification import verify_upsampling

        checks = verify_upsampling(up)
    write_files(options, up, text, lambda file, form: _draw(up, file, form))
    if options.as_json:
        click.echo(json.dumps(_as_json(up, spliced, text, checks), indent=2))
        return
    if not options.output:
        click.echo(text, nl=False)
    _say(up, spliced, checks, options)


def _plans(options: Asked) -> bool:
    """Whether anything is asked for that the classic layer is not."""
    if any(getattr(options, key) for key in PLANNING) or options.mode in (
        "cubic",
        "lanczos",
        "area",
    ):
        return True
    return "." in (options.factor or "") or "/" in (options.factor or "")


def _upsampling(options: Asked) -> Upsampling:
    templates = {key: getattr(options, key) for key in ("template", "templates")}
    layer = options.given(
        "factor",
        "channels",
        "name",
        "bottom",
        "top",
        "mode",
        "weights",
        "input_shape",
        "trainable",
    )
    if options.spec:
        if layer:
            option = f"--{next(iter(layer)).replace('_', '-')}"
            raise InputError(
                f"{option} and --spec exclude each other", advice="Write it in the file."
            )
        from protogen.generate.specfile import load_spec

        return load_spec(options.spec, **templates)
    if "factor" not in layer:
        raise InputError("no factor is given", advice="Say --factor 2, or --spec FILE.toml.")
    return classic(**layer, **templates)


def _spliced(options: Asked, place: tuple[str, str]) -> Spliced:
    from protogen.generate.splicing import splice

    if not options.factor:
        raise InputError("no factor is given", advice="Say --factor 2.")
    layer = options.given(
        "factor",
        "channels",
        "name",
        "top",
        "mode",
        "weights",
        "rewire",
        "trainable",
        "template",
        "templates",
    )
    return splice(*place, **layer)


def _draw(up: Upsampling, file: Any, form: Any) -> None:
    from protogen.report import kernel

    kernel.draw(_pictures(up), file, form)


def _pictures(up: Upsampling) -> list[Any]:
    """One picture for each kernel that differs."""
    from protogen.generate.upsampling import kernel_picture

    different = {(spec.factor, spec.mode): spec for spec in up.specs}
    if len(different) > 12:
        raise InputError(
            f"{len(different)} different kernels do not fit one picture",
            subject="--plot",
            advice="12 do.",
        )
    made = []
    for (factor, _), spec in different.items():
        if max(factor) > 256:
            raise InputError(
                f"a kernel of {spec.kernel[0]}x{spec.kernel[1]} is too large for a picture",
                subject="--plot",
                advice="Factors up to 256 can be drawn.",
            )
        made.append(kernel_picture(spec))
    return made


def _as_json(
    up: Upsampling, spliced: Spliced | None, text: bytes, checks: list[Check] | None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "layers": up.describe(),
        "weights_needed": list(up.weights_needed),
        "prototxt": text.decode("utf-8", "replace"),
    }
    if spliced:
        made["rewired"] = list(spliced.rewired)
    if checks is not None:
        made["verify"] = [check.plain() for check in checks]
    return made


def _say(
    up: Upsampling, spliced: Spliced | None, checks: list[Check] | None, options: Asked
) -> None:
    """What a person should know. It goes to stderr while stdout carries the prototxt."""
    err = not options.output
    say_files(options)
    if up.weights_needed:
        where = (
            f"they are in {options.caffemodel}"
            if options.caffemodel
            else "write them with --caffemodel FILE"
        )
        some = ", ".join(up.weights_needed[:3]) + (", ..." if len(up.weights_needed) > 3 else "")
        click.echo(
            f"note: Caffe's fillers cannot make the weights of {some} (bilinear takes square, "
            f"channel-wise kernels only), so the filler is constant 0; {where}.",
            err=True,
        )
    say_rewired(options, spliced)
    if checks is not None:
        for line in _table(checks):
            click.echo(line, err=err)


def _table(checks: list[Check]) -> list[str]:
    width = max(5, *(len(check.layer) for check in checks))
    lines = [f"{'layer':<{width}}  data    inside    border    ring"]
    for c in checks:
        ring = f"{c.ring[0]} px" if c.ring[0] == c.ring[1] else f"{c.ring[0]}x{c.ring[1]} px"
        lines.append(f"{c.layer:<{width}}  {c.data:<6}  {c.inside:<8.2g}  {c.border:<8.2g}  {ring}")
    lines.append("largest errors against onnxruntime's Resize of the same data")
    if any(max(check.ring) for check in checks):
        lines.append(
            "Inside, the layer is interpolation to rounding. In the ring at each border it is "
            "not: the outside counts as 0, so values fade by up to the size of the data."
        )
    else:
        lines.append("The layer is exact everywhere.")
    return lines
