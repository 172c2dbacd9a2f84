"""Nets, and results that are mainly a net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from protogen.errors import quantity
from protogen.formats import tables
from protogen.geometry import shape_text
from protogen.net.cost import costs
from protogen.net.summary import HEADINGS, RIGHT, Summary
from protogen.notebook.page import (
    OPEN,
    fields,
    fold,
    items,
    join,
    paragraph,
    strong,
    table,
    text_fold,
)

if TYPE_CHECKING:
    from protogen.generate.dense import Dense, Perceptron
    from protogen.generate.rewriting import Rewritten
    from protogen.net.net import Net
    from protogen.preprocessing.proving import Preprocessed

_MOST = 3  # names that a line lists


def some(names: Sequence[str]) -> str:
    """Return the first three names."""
    return ", ".join(names[:_MOST]) + (", ..." if names[_MOST:] else "")


def number(value: float | None) -> str:
    """Return an error in a short form; empty if it is unknown."""
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def ends(net: Net) -> str:
    """Return the inputs and outputs of a net with their shapes: ``data 1x3x8x8 -> prob 1x10``."""

    def shaped(names: Sequence[str]) -> str:
        shapes = net.graph.shapes
        return some([f"{name} {tables.shape(shapes.get(name))}" for name in names]) or "none"

    return f"{shaped(net.inputs)} -> {shaped(net.outputs)}"


def net_line(net: Net) -> str:
    """Return name, size, inputs and outputs of a net."""
    if not hasattr(net, "graph"):  # the net is not valid, and a traceback shows it
        return "that is not built"
    count = sum(cost.parameters or 0 for cost in costs(net.graph))
    without = ", no weights" if count and not net.weights else ""
    size = f"{quantity(len(net.layers), 'layer')}, {quantity(count, 'parameter', form=',')}"
    return f"{net.name or 'without a name'}: {size}{without}; {ends(net)}"


def summary_table(summary: Summary, title: str = "", is_open: bool | None = None) -> Markup:
    """Return the table of a net with its totals; a long one is folded."""
    totals, blobs = summary.total_lines()
    heading = join(
        strong(title or summary.name or "net"), Markup(": "), Markup("{}").format(totals)
    )
    content = join(
        table(HEADINGS, summary.cells(), RIGHT),
        paragraph(blobs),
        items(f"note: {note}" for note in summary.notes),
    )
    return fold(heading, content, len(summary.rows) <= OPEN if is_open is None else is_open)


def net_table(net: Net, title: str = "", is_open: bool | None = None) -> Markup:
    """Return the table of a net."""
    return summary_table(net.summary(), title, is_open)


def _net(net: Net) -> Markup:
    summary = net.summary()
    missing = summary.totals["parameters"] and not net.weights
    return join(summary_table(summary), paragraph("The net has no weights." if missing else ""))


def _dense(layer: Dense) -> str:
    size = f"{quantity(layer.inputs, 'input')}, {quantity(layer.outputs, 'output')}"
    formula = "Y = XW" if layer.orientation == "xw" else "Y = WX"
    return f"{layer.name}: {formula}, {size}"


def _dense_table(layer: Dense) -> Markup:
    blobs = [shape_text(blob.shape) for blob in layer.weights[layer.name]]
    return join(
        paragraph(_dense(layer)),
        fields({"blobs": ", ".join(blobs)}),
        text_fold("prototxt", layer.prototxt),
    )


def _perceptron(texts: Perceptron) -> str:
    return f"{_layers(texts.deploy)} to deploy, {_layers(texts.train_val)} to train"


def _layers(text: str) -> str:
    return quantity(text.count("\nlayer {"), "layer")


def _perceptron_table(texts: Perceptron) -> Markup:
    return join(
        paragraph(_perceptron(texts)),
        text_fold("deploy.prototxt", texts.deploy),
        text_fold("train_val.prototxt", texts.train_val),
        text_fold("solver.prototxt", texts.solver),
    )


def _preprocessed(result: Preprocessed) -> str:
    parts = []
    if result.layers:
        parts.append(f"new layers {some(result.layers)}")
    if result.folded:
        parts.append(f"folded into {some(result.folded)}")
    if result.error is not None:
        parts.append(f"outputs differ by {number(result.error)} of their largest value")
    return f"{result.net.name}: {', '.join(parts) or 'nothing changed'}"


def _preprocessed_table(result: Preprocessed) -> Markup:
    borders = [f"the border of {_border(one)}" for one in result.border]
    return join(paragraph(_preprocessed(result)), items(borders), net_table(result.net))


def _border(one: Any) -> str:
    return (
        f"{one.layer} ({one.ring} px) differs by up to {one.error:.3g}, where values reach "
        f"{one.largest:.3g}"
    )


def _rewritten(result: Rewritten) -> str:
    replaced = quantity(len(result.replaced), "layer")
    return f"{result.net.name}: {replaced} replaced, {len(result.retained)} left"


def _rewritten_table(result: Rewritten) -> Markup:
    rows = [
        (one.layer, one.type, ", ".join(one.becomes), number(one.error)) for one in result.replaced
    ]
    left = [(one.layer, one.type, one.reason) for one in result.retained]
    return join(
        paragraph(_rewritten(result)),
        table(("layer", "type", "becomes", "error"), rows, (3,)) if rows else Markup(""),
        table(("layer", "type", "why it is left"), left) if left else Markup(""),
        net_table(result.net, is_open=False),
        text_fold("prototxt", result.text),
    )


LINES: dict[str, Callable[[Any], str]] = {
    "Net": net_line,
    "Dense": _dense,
    "Perceptron": _perceptron,
    "Preprocessed": _preprocessed,
    "Rewritten": _rewritten,
}
TABLES: dict[str, Callable[[Any], Markup]] = {
    "Net": _net,
    "Summary": summary_table,
    "Dense": _dense_table,
    "Perceptron": _perceptron_table,
    "Preprocessed": _preprocessed_table,
    "Rewritten": _rewritten_table,
}
