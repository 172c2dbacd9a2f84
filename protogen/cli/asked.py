"""What ``upsample`` and ``resize`` were asked for, and the files that both write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.generate.splicing import Spliced
    from protogen.generate.upsampling import Upsampling

PICTURES = (".png", ".svg")
_FILES = ("output", "caffemodel", "onnx", "plot")


class Asked(NamedTuple):
    """What ``upsample`` or ``resize`` was asked for, option by option: None, False or empty where an
    option was not given or the command has none of this name."""

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
    weights: str | None = None
    verify: bool = False
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

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the options that were given, by name."""
        values = {name: getattr(self, name) for name in names}
        return {name: v for name, v in values.items() if v is not None and v is not False}

    def spliced_at(self) -> tuple[str, str] | None:
        """The net that the layers go into and the blob behind which they stand; None where they
        are a net of their own.

        Raises:
            InputError: options that do not go together.
        """
        if not (self.into or self.after):
            if self.rewire:
                raise InputError("--rewire needs --into NET and --after BLOB")
            return None
        if not (self.into and self.after):
            raise InputError("--into NET and --after BLOB go together")
        for key in ("spec", "input_shape", "bottom"):
            if getattr(self, key):
                option = f"--{key.replace('_', '-')}"
                raise InputError(f"{option} and --into exclude each other")
        return self.into, self.after


def check_files(options: Asked) -> None:
    """Refuses two outputs that are one file, and a picture of another kind."""
    read = [getattr(options, key) for key in ("spec", "template")]
    files.distinct(((f"--{key}", getattr(options, key)) for key in _FILES), read)
    # The net that a layer goes into may be the one that is written: it is the same net.
    files.distinct(
        ((f"--{key}", getattr(options, key)) for key in _FILES if key != "output"), [options.into]
    )
    if options.plot and Path(options.plot).suffix not in PICTURES:
        raise InputError(
            "is no picture that can be drawn", where=options.plot, advice="End it in .png or .svg."
        )


def write_files(
    options: Asked, made: Plan | Upsampling, text: bytes, draw: Callable[[Any, Any], object]
) -> None:
    """Writes every file that was asked for; none is replaced before all are whole. ``draw`` takes
    the picture's file, and png or svg."""
    with ExitStack() as stack:

        def out(path: str) -> Any:
            return stack.enter_context(files.replacing(path))

        if options.caffemodel:
            from protogen.formats.caffemodel import write_weights

            write_weights(out(options.caffemodel), made.name, made.net.entries())
        if options.onnx:
            from protogen.onnx import encode

            out(options.onnx).write(encode(made.to_onnx(opset=options.opset)))
        if options.plot:
            draw(out(options.plot), Path(options.plot).suffix[1:])
        if options.output:
            out(options.output).write(text)


def say_files(options: Asked) -> None:
    """A line for each file that was written; on stderr while stdout carries the prototxt."""
    for key in _FILES:
        if getattr(options, key):
            click.echo(f"wrote {getattr(options, key)}", err=not options.output)


def say_rewired(options: Asked, spliced: Spliced | None) -> None:
    """Which layers read the new blob now."""
    if spliced and options.rewire:
        readers = ", ".join(spliced.rewired) or "nobody reads the blob"
        click.echo(f"note: rewired: {readers}", err=True)
