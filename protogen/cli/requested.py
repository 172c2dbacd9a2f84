"""The options of ``upsample`` and ``resize``, and the files that both commands write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from protogen.cli import completions, filetypes, output
from protogen.cli import options as shared
from protogen.errors import InputError
from protogen.formats import files
from protogen.resampling.sampling import ALIGNS, POLICIES, ROUNDINGS

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.generate.splicing import Spliced
    from protogen.generate.upsampling import Upsampling

MODES = ("bilinear", "nearest", "nearest-exact", "cubic", "lanczos", "area")
LIKE = ("keras", "tf1", "tf2", "torch", "torch-align", "opencv", "pillow")
# Options of ``pg.resize`` that the classic layer does not have, under the same name.
PLAN_ARGUMENTS = (
    "size",
    "align",
    "like",
    "antialias",
    "rounding",
    "cubic_a",
    "exclude_outside",
    "extrapolation",
    "strategy",
    "approximate",
)
_FILES = ("output", "caffemodel", "onnx", "plot")


class Requested(NamedTuple):
    """The values of the options: None, False or empty if an option is not given or does not belong
    to the command."""

    factor: str | None = None
    size: str | None = None
    channels: int | None = None
    input_shape: str | None = None
    name: str | None = None
    bottom: str | None = None
    top: str | None = None
    mode: str | None = None
    align: str | None = None
    like: str | None = None
    rounding: str | None = None
    cubic_a: float | None = None
    antialias: bool = False
    exclude_outside: bool = False
    keep_aspect: str | None = None
    roi: str | None = None
    extrapolation: float | None = None
    strategy: str | None = None
    target: tuple[str, ...] = ()
    limit: str | None = None
    approximate: bool = False
    exact: bool = False
    explain: bool = False
    trainable: bool = False
    kernels: str | None = None
    verify: bool = False
    seed: int = 0
    spec: str | None = None
    into: str | None = None
    after: str | None = None
    rewire: bool = False
    template: str | None = None
    templates: str | None = None
    output: str | None = None
    caffemodel: str | None = None
    onnx: str | None = None
    opset: int = 18
    plot: str | None = None
    as_json: bool = False

    def specified(self, *names: str) -> dict[str, Any]:
        """The options of these names that have a value, by name."""
        values = {name: getattr(self, name) for name in names}
        return {name: v for name, v in values.items() if v is not None and v is not False}

    def splice_point(self) -> tuple[str, str] | None:
        """The net and the blob of ``--into`` and ``--after``; None without ``--into``.

        Raises:
            InputError: options exclude each other, or one of the two is missing.
        """
        if not (self.into or self.after):
            if self.rewire:
                raise InputError("--rewire needs --into NET and --after BLOB")
            return None
        if not (self.into and self.after):
            raise InputError("--into NET and --after BLOB must be given together")
        for key in ("spec", "input_shape", "bottom"):
            if getattr(self, key):
                option = f"--{key.replace('_', '-')}"
                raise InputError(f"{option} and --into exclude each other", advice="Keep one.")
        return self.into, self.after


def _decorated(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(decorators):
            command = option(command)
        return command

    return add


def layer_options(name: str) -> Callable[[Any], Any]:
    """Options of the layers; ``name`` is their default name."""
    return _decorated(
        click.option(
            "--factor",
            metavar="F|HxW",
            help="Output pixels per input pixel, or one factor per axis: 2, 1.5, 3/2, 2x4.",
        ),
        click.option("--size", metavar="HxW", help="Output size, instead of a factor."),
        click.option(
            "--input-shape", metavar="N,C,H,W", help="Shape of the input; writes a whole net."
        ),
        click.option(
            "--channels", type=int, help="Number of channels.  [default: that of the input, or 3]"
        ),
        click.option("--name", help=f"Name of the layers.  [default: {name}]"),
        click.option("--bottom", metavar="BLOB", help="The blob to read.  [default: data]"),
        click.option("--top", metavar="BLOB", help="The blob to write.  [default: the name]"),
        click.option(
            "--mode",
            type=click.Choice(MODES),
            help="Interpolation; nearest-exact is PyTorch's.  [default: bilinear]",
        ),
    )


plan_options = _decorated(
    click.option(
        "--align",
        type=click.Choice(ALIGNS),
        metavar="RULE",
        help="Coordinate rule: half_pixel, align_corners, asymmetric, or another "
        "coordinate_transformation_mode of ONNX.  [default: half_pixel]",
    ),
    click.option("--like", type=click.Choice(LIKE), help="Compute the same as this software."),
    click.option("--antialias", is_flag=True, help="Widen the kernel when the output is smaller."),
    click.option(
        "--rounding",
        type=click.Choice(ROUNDINGS),
        metavar="RULE",
        help="For nearest: floor, ceil, round_prefer_floor or round_prefer_ceil.  "
        "[default: round_prefer_floor]",
    ),
    click.option(
        "--cubic-a", type=float, metavar="A", help="For cubic: coefficient a.  [default: -0.75]"
    ),
    click.option(
        "--exclude-outside",
        is_flag=True,
        help="Give pixels outside the input weight 0, instead of repeating the edge.",
    ),
    click.option(
        "--keep-aspect", type=click.Choice(POLICIES[1:]), help="With --size: keep the aspect ratio."
    ),
    click.option(
        "--roi",
        metavar="T,L,B,R",
        help="With --align tf_crop_and_resize: the region, as fractions of the input.",
    ),
    click.option(
        "--extrapolation",
        type=float,
        metavar="VALUE",
        help="With --align tf_crop_and_resize: value outside the input.  [default: 0]",
    ),
    click.option("--strategy", metavar="NAME", help="Use only this strategy, such as matrix."),
    click.option(
        "--explain", is_flag=True, help="List the forms that were possible, with their cost."
    ),
    click.option(
        "--target",
        multiple=True,
        metavar="NAME|FILE.toml",
        help="Write layers that this toolchain takes (see protogen targets). Repeatable.",
    ),
    click.option(
        "--limit", metavar="RULES", help="Stay within these limits, such as kernel<=7,no-group."
    ),
    click.option("--approximate", is_flag=True, help="Allow a plan that is not exact, if none is."),
)

splice_options = _decorated(
    click.option(
        "--into", type=filetypes.INPUT, metavar="NET", help="Insert the layers into this net."
    ),
    click.option(
        "--after",
        shell_complete=completions.blobs,
        metavar="BLOB",
        help="With --into: the blob to read.",
    ),
    click.option(
        "--rewire",
        is_flag=True,
        help="With --into: let the layers that read the blob read the new one.",
    ),
)

output_options = _decorated(
    shared.templates,
    click.option(
        "--verify",
        is_flag=True,
        help="Run the layers; exit 1 if they are not exact (classic layer: inside the border).",
    ),
    shared.seed,
    shared.output_text,
    click.option(
        "--caffemodel",
        type=filetypes.CAFFEMODEL,
        metavar="FILE.caffemodel",
        help="Write the weights here.",
    ),
    click.option(
        "--onnx",
        type=filetypes.ONNX,
        metavar="FILE.onnx",
        help="Write the layers as an ONNX model.",
    ),
    click.option(
        "--opset", type=int, default=18, show_default=True, help="With --onnx: operator set."
    ),
    shared.plot("the kernels and the error"),
    shared.as_json,
)


def check_files(options: Requested) -> None:
    """Refuse an output that is also an input or another output."""
    read = [getattr(options, key) for key in ("spec", "template")]
    files.distinct(((f"--{key}", getattr(options, key)) for key in _FILES), read)
    # The net of --into may be written by --output: that edits it in place.
    files.distinct(
        ((f"--{key}", getattr(options, key)) for key in _FILES if key != "output"), [options.into]
    )


def write_files(
    options: Requested,
    result: Plan | Upsampling,
    text: bytes,
    draw: Callable[[Any, Any], object],
) -> None:
    """Write every requested file; none is replaced before all are complete. ``draw`` takes the open
    picture and its format, png or svg."""
    with ExitStack() as stack:

        def out(path: str) -> Any:
            return stack.enter_context(files.replacing(path))

        if options.onnx:
            from protogen.onnx import encode

            out(options.onnx).write(encode(result.to_onnx(opset=options.opset)))
        if options.plot:
            draw(out(options.plot), shared.picture_format(options.plot))
        if options.caffemodel and not options.into:
            from protogen.formats.caffemodel import write_pair

            entries = result.net.entries()
            write_pair(stack, (options.output, text), options.caffemodel, result.name, entries)
            return
        if options.caffemodel:  # only the new layers: the net has its own weights, with their id
            from protogen.formats.caffemodel import write_weights

            write_weights(out(options.caffemodel), result.name, result.net.entries())
        if options.output:
            out(options.output).write(text)


def report_files(options: Requested) -> None:
    """Name the written files; on stderr while stdout carries the prototxt."""
    output.wrote(*(getattr(options, key) for key in _FILES), err=not options.output)


def report_rewired(options: Requested, spliced: Spliced | None) -> None:
    """Name the layers that read the new blob."""
    if spliced and options.rewire:
        readers = ", ".join(spliced.rewired) or "no layer reads the blob"
        output.note(f"note: rewired: {readers}", err=True)
