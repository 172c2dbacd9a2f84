"""``protogen rescue``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, for_target, options, output
from protogen.errors import quantity

if TYPE_CHECKING:
    from protogen.generate.rescuing import Rescued


@click.command("rescue")
@options.proto
@options.plugin
@options.identity
@options.ignored_fields
@click.argument("net", type=filetypes.INPUT, metavar="NET.prototxt")
@click.argument("weights", type=filetypes.INPUT, metavar="[NET.caffemodel]", required=False)
@click.option(
    "-o",
    "--output",
    "target",
    type=filetypes.PROTOTXT,
    metavar="FILE.prototxt",
    help="Write the net here; the caffemodel and the model get the same name.  [default: NET_stock.prototxt, or"
    " NET_TARGET.prototxt]",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files that -o does not name.")
@for_target.write_for
@options.dialect
@options.input_shapes
@options.state("TEST")
@options.seed
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, net: str, weights: str | None, **flags: Any) -> None:
    """Make an old net run today: upgrade, rewrite, convert, prove.

    The net may be in any format and for any fork of Caffe that protogen knows. It is written in the
    current format and in layers of BVLC Caffe, or for a toolchain with --target, and as an ONNX model.
    The results run on random data and are compared with the original, blob by blob. The last lines
    are the commands that run the net.

    What is not possible is said, the rest is written, and the exit code is 1.

    \b
    Examples:
      protogen rescue old.prototxt old.caffemodel
      protogen rescue old.prototxt old.caffemodel --target rknn2
      protogen rescue train_val.prototxt net.caffemodel --input-shape data=1,3,227,227
    """
    from protogen.generate.rescuing import rescue

    reading = options.reading_of(flags)
    rescued = rescue(
        net,
        weights,
        flags["target"],
        target=flags["toolchain"],
        overwrite=flags["overwrite"],
        input_shapes=options.shapes_for(net, flags["input_shapes"], **reading),
        seed=flags["seed"],
        ignored_fields=flags["ignored_fields"],
        **reading,
    )
    if flags["as_json"]:
        _print_json(rescued)
    else:
        _show(net, weights, rescued)
    if rescued.problems:
        ctx.exit(1)


def _print_json(rescued: Rescued) -> None:
    checked = rescued.checked.plain() if rescued.checked else None
    output.print_json(
        "rescue",
        prototxt=str(rescued.prototxt),
        caffemodel=str(rescued.caffemodel) if rescued.caffemodel else None,
        model=str(rescued.model) if rescued.model else None,
        upgraded=list(rescued.upgraded),
        dialects=list(rescued.dialects.possible),
        replaced=[
            {"layer": one.layer, "type": one.type, "becomes": list(one.becomes)}
            for one in _changes(rescued)
        ],
        checked=checked,
        problems=list(rescued.problems),
    )


def _changes(rescued: Rescued) -> Any:
    if rescued.rewritten is not None:
        return rescued.rewritten.replaced
    assert rescued.written is not None
    return rescued.written.changes


def _show(net: str, weights: str | None, rescued: Rescued) -> None:
    from protogen.net.forks import in_a_sentence

    output.note(f"{output.printable(net)}: {in_a_sentence(rescued.dialects)}")
    for change in rescued.upgraded:
        output.note(f"  {output.printable(change)}")
    groups: dict[tuple[str, tuple[str, ...]], int] = {}
    for one in _changes(rescued):
        groups[one.type, one.becomes] = groups.get((one.type, one.becomes), 0) + 1
    for (type_, becomes), count in groups.items():
        output.note(f"  {count} x {type_} -> {for_target.parts(becomes)}")
    if not rescued.upgraded and not groups:
        output.note("  nothing to change: it has the current format, and stock layers")
    output.wrote(rescued.prototxt, rescued.caffemodel, rescued.model)
    if rescued.checked is not None:
        rows = quantity(len(rescued.checked.rows), "blob")
        worst = f"{rescued.checked.worst:.1e}" if rescued.checked.worst else "0"
        output.note(
            f"proved: {rows} of the written net agree with the ONNX model, and the model agrees with the "
            f"original net; largest relative error {worst}"
        )
    for problem in rescued.problems:
        output.note(f"not possible: {output.printable(problem)}", err=True)
    if weights is None and rescued.caffemodel is not None:
        output.note(
            f"note: {rescued.caffemodel} holds only the weights of the new layers: name the net's "
            "caffemodel to get all",
            err=True,
        )
    _show_next(rescued)


def _show_next(rescued: Rescued) -> None:
    """Print the lines that run the net."""
    if rescued.written is not None:
        for_target.show_next(
            rescued.written.toolchain,
            rescued.written.net,
            rescued.prototxt,
            rescued.caffemodel,
        )
    if rescued.model is None or rescued.converted is None:
        return
    net = rescued.converted.net
    feeds = ", ".join(
        f"{name!r}: np.zeros({tuple(net.graph.shapes[name] or ())}, 'f')" for name in net.inputs
    )
    output.note("run it in protogen:")
    pair = " ".join(str(path) for path in (rescued.prototxt, rescued.caffemodel) if path)
    output.note(output.printable(f"  protogen run {pair} --random"))
    output.note("run the ONNX model in Python:")
    output.note("  import numpy as np, onnxruntime as ort")
    output.note(output.printable(f"  session = ort.InferenceSession({str(rescued.model)!r})"))
    output.note(output.printable(f"  session.run(None, {{{feeds}}})"))
