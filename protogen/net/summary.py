"""The table of a net: layers, shapes, parameters and cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protogen._late import Shown
from protogen.errors import printable, quantity
from protogen.formats import tables
from protogen.formats.message import Message
from protogen.geometry import shape_text
from protogen.layers import layer_type
from protogen.layers.graph import Graph
from protogen.net.cost import Cost, costs
from protogen.net.forks import in_a_sentence, of_forks

HEADINGS = ("layer", "type", "output", "parameters", "multiply-adds", "field", "stride")
RIGHT = (3, 4, 5, 6)  # the right-aligned columns


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """The layers of a net with their shapes and cost. Its text is what ``protogen summary`` prints.

    Attributes:
        name: the name of the net.
        rows: a dictionary for each layer, as in the JSON of ``protogen summary``.
        inputs, outputs: names of blobs.
        notes: what was assumed or is not known, one sentence each.
    """

    name: str
    rows: tuple[dict[str, Any], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def totals(self) -> dict[str, int]:
        """The numbers of layers, parameters, multiply-adds and bytes; ``unknown`` is the number of layers
        of unknown shape, which the others leave out."""
        return {
            "layers": len(self.rows),
            "parameters": self._total("parameters"),
            "multiply_adds": self._total("multiply_adds"),
            "parameter_bytes": self._total("parameters") * 4,
            "activation_bytes": self._total("activations") * 4,
            "unknown": sum(row["output"] is None for row in self.rows),
        }

    def _total(self, key: str) -> int:
        return sum(row[key] or 0 for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows of the table as texts, in the order of ``HEADINGS``."""
        return [
            (
                row["name"],
                row["type"],
                tables.shape(row["output"]),
                tables.count(row["parameters"]),
                tables.count(row["multiply_adds"]),
                _field(row),
                row["stride"] or "",
            )
            for row in self.rows
        ]

    def total_lines(self) -> tuple[str, str]:
        """Return the two lines below the table: the totals, and the inputs and outputs."""
        totals = self.totals
        ends = (", ".join(map(printable, names)) or "none" for names in (self.inputs, self.outputs))
        return (
            f"{quantity(totals['layers'], 'layer')}, "
            f"{quantity(totals['parameters'], 'parameter', form=',')} "
            f"({tables.size(totals['parameter_bytes'])}), {tables.count(totals['multiply_adds'])} "
            f"multiply-adds, activations {tables.size(totals['activation_bytes'])}",
            "inputs: {}; outputs: {}".format(*ends),
        )

    def __str__(self) -> str:
        table = tables.text(HEADINGS, self.cells(), RIGHT)
        notes = (printable(f"note: {note}") for note in self.notes)
        return "\n".join((table, *self.total_lines(), *notes))

    __repr__ = __str__


def summarise(graph: Graph, message: Message) -> Summary:
    """Return the table of a net."""
    rows = tuple(_row(cost) for cost in costs(graph))
    notes = tuple(_notes(graph, message, rows))
    return Summary(graph.name, rows, graph.inputs, graph.outputs, notes)


def _notes(graph: Graph, message: Message, rows: Iterable[dict[str, Any]]) -> Iterable[str]:
    if (detection := of_forks(message)) is not None:
        yield f"{in_a_sentence(detection)} (protogen dialects says why)."
    yield from map(str, graph.assumed)
    if unknown := sum(row["output"] is None for row in rows):
        yield (
            f"the totals leave out {quantity(unknown, 'layer')} of unknown shape. Give the shapes of "
            "the inputs (--input-shape BLOB=N,C,H,W, in Python input_shapes)."
        )


def _row(cost: Cost) -> dict[str, Any]:
    return {
        "name": cost.layer.name,
        "type": cost.layer.type,
        "output": None if cost.output is None else list(cost.output),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "activations": cost.activations,
        "receptive_field": None if cost.receptive_field is None else list(cost.receptive_field),
        "stride": None if cost.stride is None else "x".join(dict.fromkeys(map(str, cost.stride))),
    }


def _field(row: dict[str, Any]) -> str:
    if row["output"] is None:
        return ""
    if row["receptive_field"] is None:
        kind = layer_type(row["type"])
        return "" if kind is not None and kind.is_source else "all"
    return shape_text(dict.fromkeys(row["receptive_field"]))
