"""``protogen activations``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from protogen.cli import completions, options, output, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protogen.training.activations import Activation


@click.command("activations")
@click.argument("names", shell_complete=completions.functions, nargs=-1, metavar="[NAME]...")
@options.plot("the functions and their derivatives")
@click.option("--time/--no-time", "timed", default=True, help="Measure the time per element.")
@options.as_json
def command(names: tuple[str, ...], plot: str | None, timed: bool, as_json: bool) -> None:
    """Compare activation functions.

    Every number is measured by running the layers: the range of the outputs, their mean for normally
    distributed inputs, the gain of the weights before the function, the inputs where the slope is
    below 0.01, the largest slope, the slopes on both sides of 0, and the time per element in
    onnxruntime on this machine, in nanoseconds.

    \b
    Examples:
      protogen activations
      protogen activations TanH Sigmoid ReLU --plot curves.png
      protogen activations Mish --json
    """
    from protogen.formats import files
    from protogen.training.activations import activations, sampled

    functions = activations(names, timed=timed)
    if plot:
        from protogen.report import activations as picture

        curves = [picture.Curve(one.name, _note(one), *sampled(one.name)) for one in functions]
        with files.replacing(plot) as file:
            picture.draw(curves, file, options.picture_format(plot))
    if as_json:
        output.print_json("activations", activations=[one.plain() for one in functions])
        return
    _show(functions)
    output.wrote(plot)


def _note(one: Activation) -> str:
    text = f"largest slope {one.largest_slope:.2f}, mean {one.mean:.2f}, gain {one.gain:.2f}"
    return text.replace("-0.00", "0.00")


def _show(functions: Sequence[Activation]) -> None:
    from protogen.training.activations import written

    def flat(one: Activation) -> str:
        parts = []
        if one.flat_below is not None:
            parts.append(f"below {one.flat_below:.2g}")
        if one.flat_above is not None:
            parts.append(f"above {one.flat_above:.2g}")
        return ", ".join(parts) or "nowhere"

    def slopes(one: Activation) -> str:
        left, right = one.slopes_at_0
        return f"{right:.2g}" if abs(left - right) < 0.02 else f"{left:.2g} to {right:.2g}"

    timed = any(one.nanoseconds is not None for one in functions)
    tables.show(
        [
            "",
            "from",
            "to",
            "mean",
            "gain",
            "centred",
            "flat",
            "slope at 0",
            "largest",
            *(["ns"] if timed else []),
            "suits",
        ],
        [
            (
                one.name,
                written(one.low),
                written(one.high),
                f"{one.mean + 0.0:.2f}".replace("-0.00", "0.00"),
                f"{one.gain:.2f}",
                "yes" if one.zero_centred else "no",
                flat(one),
                slopes(one),
                f"{one.largest_slope:.3g}",
                *([f"{one.nanoseconds or 0:.2f}"] if timed else []),
                one.suits,
            )
            for one in functions
        ],
        right=(1, 2, 3, 4, 8, 9) if timed else (1, 2, 3, 4, 8),
    )
