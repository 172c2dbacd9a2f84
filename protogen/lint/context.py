"""A net as rules see it: its text, its layers with their places, its graph where it has one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic, Edit, Fix, InputError, Place, ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Source
from protogen.geometry import Shape
from protogen.layers import LayerType
from protogen.layers.graph import Graph, Layer
from protogen.lint.rule import Rule
from protogen.net.build import Misfit, Refused, build
from protogen.net.rules import included
from protogen.net.upgrade import upgrade

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel
    from protogen.toolchains.limits import Limits

LOSSES = ("Loss",)  # how types of losses end
FEEDS = frozenset(n for n, kind in LayerType.registry.items() if kind.feeds) | {"DummyData"}


@dataclass(frozen=True)
class Settings:
    """What the user chose: whose layers there are, where the net goes, the phase and sizes."""

    dialect: str = ""
    target: Limits | None = None
    exact: bool = False
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """A layer's wiring, read once: rules ask for little else."""

    field: Field
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @property
    def value(self) -> Message:
        """The LayerParameter."""
        found: Message = self.field.value
        return found


class Context:
    """One file. ``items`` are its layers as fields of the text, of the old form brought to today's;
    then ``old`` is set, and nothing can be mended."""

    def __init__(
        self,
        text: str,
        filename: str,
        settings: Settings | None = None,
        weights: CaffeModel | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.weights = weights
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ProtogenWarning)  # rules say the same, with their place
            self.document = prototxt.parse(text, filename)
        self.source: Source = self.document.source
        self.modern = upgrade(self.document)
        self.old = self.modern is not self.document

    @property
    def filename(self) -> str:
        return self.source.filename

    @cached_property
    def items(self) -> list[Field]:
        return self.modern.all("layer")

    @cached_property
    def wires(self) -> list[Wire]:
        """The wiring of every layer."""
        return [
            Wire(
                item,
                item.value.name,
                str(item.value.type),
                tuple(item.value.bottom),
                tuple(item.value.top),
            )
            for item in self.items
        ]

    @cached_property
    def is_training(self) -> bool:
        """Whether it has a loss."""
        return any(one.type.endswith(LOSSES) for one in self.wires)

    @cached_property
    def has_fillers(self) -> bool:
        """Whether the text says how any weights begin."""
        return "_filler" in self.source.text

    @cached_property
    def is_deploy(self) -> bool:
        """Whether data comes from whoever runs it."""
        kinds = {one.type for one in self.wires}
        return not self.is_training and not (kinds & (FEEDS - {"Input"}))

    def in_phase(self, phase: str) -> list[Wire]:
        """The layers that take part in a phase."""
        return self._phases[phase]

    @cached_property
    def _phases(self) -> dict[str, list[Wire]]:
        return {
            phase: [one for one in self.wires if included(one.value, phase)]
            for phase in ("TEST", "TRAIN")
        }

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """TRAIN and TEST where they differ; one of them else."""
        return ("TEST",) if self._phases["TEST"] == self._phases["TRAIN"] else ("TEST", "TRAIN")

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """A graph for each phase whose wiring is sound."""
        made = {}
        self.misfits: list[Diagnostic] = []
        for phase in self.phases:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", ProtogenWarning)
                for net in (self.modern, self._sound(phase)):
                    try:
                        made[phase] = build(
                            net,
                            self.source,
                            phase=phase,
                            tolerant=True,
                            input_shapes=self.settings.input_shapes,
                            dialect=self.settings.dialect,
                        )
                        break
                    except InputError:
                        continue  # the rules on wiring say what is wrong
            for one in told:
                if isinstance(one.message, Misfit | Refused):
                    self.misfits.append(one.message.diagnostic)
        return made

    def _sound(self, phase: str) -> Message:
        """The net without layers whose wiring is wrong, so that the others can be looked at."""
        made: set[str] = set()
        kept = set()
        for one in self.in_phase(phase):
            own = set(one.tops)
            if made.issuperset(one.bottoms) and not (own - set(one.bottoms)) & made:
                made |= own
                kept.add(id(one.field))
        fields = [f for f in self.modern.fields if f.name != "layer" or id(f) in kept]
        return Message(self.modern.kind, fields)

    @cached_property
    def layers(self) -> list[Layer]:
        """Every layer once, with the graph of the first phase that has it."""
        seen: dict[int, Layer] = {}
        for graph in self.graphs.values():
            for layer in graph.layers:
                seen.setdefault(id(layer.params), layer)
        return list(seen.values())

    def shape(self, layer: Layer, index: int = 0) -> Shape | None:
        """The shape of a bottom."""
        if index >= len(layer.reads):
            return None
        return self._shapes.get((id(layer), index))

    def top_shape(self, layer: Layer) -> Shape | None:
        """The shape of the first top."""
        for graph in self.graphs.values():
            if layer.writes and layer.writes[0] in graph.shapes:
                return graph.shapes[layer.writes[0]]
        return None

    @cached_property
    def _shapes(self) -> dict[tuple[int, int], Shape | None]:
        return {
            (id(layer), i): graph.shapes.get(read)
            for graph in self.graphs.values()
            for layer in graph.layers
            for i, read in enumerate(layer.reads)
        }

    def blobs(self, layer: Layer) -> tuple[Shape, ...]:
        """The shapes of a layer's parameter blobs; none where they are not known."""
        return self.known_blobs(layer) or ()

    def known_blobs(self, layer: Layer) -> tuple[Shape, ...] | None:
        """The shapes of a layer's parameter blobs; None where they are not known."""
        for graph in self.graphs.values():
            if layer.name in graph.parameter_shapes:
                return graph.parameter_shapes[layer.name]
        return None

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        """Layers that read each value, of all phases."""
        made: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for read in layer.reads:
                made.setdefault(read, []).append(layer)
        return made

    def readers_of(self, layer: Layer) -> list[Layer]:
        """The layers that read a layer's first top."""
        return self.readers.get(layer.writes[0], []) if layer.writes else []

    @cached_property
    def makers(self) -> dict[str, Layer]:
        """The layer that makes each value."""
        return {write: layer for layer in self.layers for write in layer.writes}

    # what rules give

    def diagnostic(
        self, rule: Rule, at: Field | Wire | Layer | None, problem: str, *edits: Edit | None
    ) -> Diagnostic:
        """A finding at a field or a layer; edits are dropped where the text is of the old form."""
        layer = ""
        at = at.field if isinstance(at, Wire) else at
        if isinstance(at, Layer):
            layer = at.name
            at = self._field_of.get(id(at.params))
        elif at is not None and at.name == "layer" and isinstance(at.value, Message):
            layer = str(at.value.name) if at.value.kind is not None else ""
        made = () if self.old or None in edits else tuple(one for one in edits if one is not None)
        return Diagnostic(
            problem,
            self.place(at),
            subject=f'layer "{layer}"' if layer else "",
            code=rule.code,
            severity=rule.severity,
            fix=Fix(made, rule.safe) if made else None,
            layer=layer,
        )

    def place(self, at: Field | None) -> Place:
        """Where a field stands; the beginning of the file for one that stands nowhere."""
        if at is None or at.start < 0:
            return Place(self.filename, 1, 1)
        return self.source.place(at.start, at.end)

    @cached_property
    def _field_of(self) -> dict[int, Field]:
        return {id(item.value): item for item in self.items}

    def walk(self) -> Iterator[tuple[Field, Message, Field]]:
        """(layer, message, field) of every field at every depth of every layer."""
        for item in self.document.all("layer"):
            for holder, inner in item.value.walk():
                yield item, holder, inner


def frozen(layer: Layer) -> bool:
    """Whether a layer's weights have no learning rate."""
    specs = layer.params.param
    return bool(specs) and bool(specs[0].lr_mult == 0)
