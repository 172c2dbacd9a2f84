"""A net as the rules see it: its text, its layers with their places, and its graphs."""

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
from protogen.net.build import BuildOptions, Misfit, Refused, build
from protogen.net.rules import included
from protogen.net.upgrade import upgrade

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel
    from protogen.net.targets import TargetReport
    from protogen.toolchains.toolchain import Toolchain

LOSSES = ("Loss",)  # suffixes of the types of losses


def is_feed(type_: str) -> bool:
    """Return whether layers of a type bring data into the net."""
    kind = LayerType.registry.get(type_)
    return type_ == "DummyData" or (kind is not None and kind.is_source)


@dataclass(frozen=True)
class Settings:
    """Options of the user.

    Attributes:
        dialect: the fork whose layer types are allowed; empty for all.
        target: the data of a toolchain; None for none.
        exact: whether exact interpolation is required.
        input_shapes: shapes of inputs by blob name.
    """

    dialect: str = ""
    target: Toolchain | None = None
    exact: bool = False
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """Name, type, bottoms and tops of a layer, read once because most rules need only these."""

    field: Field
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @property
    def value(self) -> Message:
        """The LayerParameter."""
        message: Message = self.field.value
        return message


class Context:
    """One net file as the rules see it.

    Attributes:
        settings: the options of the user.
        weights: the weights of the net; None without a caffemodel.
        document: the parsed text.
        source: the text with its file name.
        modern: the net in the current format.
        old: whether the text is in an old format. Then no finding has a fix.
    """

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
            warnings.simplefilter("ignore", ProtogenWarning)  # Rules report the same, with places.
            self.document = prototxt.parse(text, filename)
        self.source: Source = self.document.source
        self.modern = upgrade(self.document)
        self.old = self.modern is not self.document

    @property
    def filename(self) -> str:
        """The name of the file."""
        return self.source.filename

    @cached_property
    def items(self) -> list[Field]:
        """The layers in the current format, as fields of the net."""
        return self.modern.all("layer")

    @cached_property
    def wires(self) -> list[Wire]:
        """Name, type, bottoms and tops of every layer."""
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
        """Whether the net has a loss."""
        return any(one.type.endswith(LOSSES) for one in self.wires)

    @cached_property
    def has_fillers(self) -> bool:
        """Whether the text sets a filler anywhere."""
        return "_filler" in self.source.text

    @cached_property
    def is_deploy(self) -> bool:
        """Whether the net is a deploy net: no loss, and no data layers except Input."""
        types = {one.type for one in self.wires}
        return not self.is_training and not any(is_feed(type_) for type_ in types - {"Input"})

    def in_phase(self, phase: str) -> list[Wire]:
        """Return the layers that are active in a phase."""
        return self._phases[phase]

    @cached_property
    def _phases(self) -> dict[str, list[Wire]]:
        return {
            phase: [one for one in self.wires if included(one.value, phase)]
            for phase in ("TEST", "TRAIN")
        }

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """TEST and TRAIN if their layers differ; only TEST otherwise."""
        return ("TEST",) if self._phases["TEST"] == self._phases["TRAIN"] else ("TEST", "TRAIN")

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """A graph for each phase in which the net, or its part with valid wiring, can be built.

        Also sets ``misfits``: the findings on shapes, of all phases.
        """
        graphs = {}
        self.misfits: list[Diagnostic] = []
        for phase in self.phases:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ProtogenWarning)
                for net in (self.modern, self._valid_part(phase)):
                    try:
                        graphs[phase] = build(
                            net,
                            self.source,
                            phase=phase,
                            tolerant=True,
                            input_shapes=self.settings.input_shapes,
                            dialect=self.settings.dialect,
                        )
                        break
                    except InputError:
                        continue  # The rules on wiring report what is wrong.
            for warning in caught:
                if isinstance(warning.message, Misfit | Refused):
                    self.misfits.append(warning.message.diagnostic)
        return graphs

    @cached_property
    def target_report(self) -> TargetReport | InputError | None:
        """What the target does with the net; the error if the net cannot be built; None without a
        target."""
        from protogen.net.targets import judge, tolerant_graph

        if self.settings.target is None:
            return None
        options: BuildOptions = {
            "input_shapes": self.settings.input_shapes,
            "dialect": self.settings.dialect,
        }
        try:
            graph, invalid = tolerant_graph(self.modern, self.source, options)
        except InputError as error:
            return error
        return judge(self.settings.target, graph, self.document, self.weights, invalid)

    def _valid_part(self, phase: str) -> Message:
        """Return the net without layers whose wiring is invalid, so that the others can be checked."""
        produced: set[str] = set()
        valid = set()
        for one in self.in_phase(phase):
            tops = set(one.tops)
            if produced.issuperset(one.bottoms) and not (tops - set(one.bottoms)) & produced:
                produced |= tops
                valid.add(id(one.field))
        fields = [f for f in self.modern.fields if f.name != "layer" or id(f) in valid]
        return Message(self.modern.kind, fields)

    @cached_property
    def layers(self) -> list[Layer]:
        """Every layer once: that of the graph of the first phase that has it."""
        seen: dict[int, Layer] = {}
        for graph in self.graphs.values():
            for layer in graph.layers:
                seen.setdefault(id(layer.params), layer)
        return list(seen.values())

    def shape(self, layer: Layer, index: int = 0) -> Shape | None:
        """Return the shape of a bottom; None if it is unknown."""
        if index >= len(layer.reads):
            return None
        return self._shapes.get((id(layer), index))

    def top_shape(self, layer: Layer) -> Shape | None:
        """Return the shape of the first top; None if it is unknown."""
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
        """Return the shapes of a layer's parameter blobs; empty if they are unknown."""
        return self.known_blobs(layer) or ()

    def known_blobs(self, layer: Layer) -> tuple[Shape, ...] | None:
        """Return the shapes of a layer's parameter blobs; None if they are unknown."""
        for graph in self.graphs.values():
            if layer.name in graph.parameter_shapes:
                return graph.parameter_shapes[layer.name]
        return None

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        """The layers that read each value, of all phases."""
        readers: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for read in layer.reads:
                readers.setdefault(read, []).append(layer)
        return readers

    def readers_of(self, layer: Layer) -> list[Layer]:
        """Return the layers that read a layer's first top."""
        return self.readers.get(layer.writes[0], []) if layer.writes else []

    @cached_property
    def producers(self) -> dict[str, Layer]:
        """The layer that produces each value."""
        return {write: layer for layer in self.layers for write in layer.writes}

    # Findings

    def diagnostic(
        self, rule: Rule, at: Field | Wire | Layer | None, problem: str, *edits: Edit | None
    ) -> Diagnostic:
        """Return a finding at a field or a layer, or at the beginning of the file.

        It has no fix if the text is in an old format, or if one of the edits is None.
        """
        layer = ""
        at = at.field if isinstance(at, Wire) else at
        if isinstance(at, Layer):
            layer = at.name
            at = self._field_of.get(id(at.params))
        elif at is not None and at.name == "layer" and isinstance(at.value, Message):
            layer = str(at.value.name) if at.value.kind is not None else ""
        possible = not self.old and None not in edits
        fix_edits = tuple(edit for edit in edits if edit is not None) if possible else ()
        return Diagnostic(
            problem,
            self.place(at),
            subject=f'layer "{layer}"' if layer else "",
            code=rule.code,
            severity=rule.severity,
            fix=Fix(fix_edits, rule.safe) if fix_edits else None,
            layer=layer,
        )

    def place(self, at: Field | None) -> Place:
        """Return the place of a field; the beginning of the file if the field has no place."""
        if at is None or at.start < 0:
            return Place(self.filename, 1, 1)
        return self.source.place(at.start, at.end)

    @cached_property
    def _field_of(self) -> dict[int, Field]:
        return {id(item.value): item for item in self.items}

    def walk(self) -> Iterator[tuple[Field, Message, Field]]:
        """Yield (layer, message, field) for every field at every depth of every layer."""
        for item in self.document.all("layer"):
            for holder, inner in item.value.walk():
                yield item, holder, inner


def frozen(layer: Layer) -> bool:
    """Return whether a layer's weights have lr_mult 0."""
    specs = layer.params.param
    return bool(specs) and bool(specs[0].lr_mult == 0)
