"""What a toolchain does with a net, before the net is fed to it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from protogen._late import Shown
from protogen.errors import Diagnostic, ProtogenWarning, quantity
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Source
from protogen.geometry import Shape
from protogen.layers.graph import Graph, Layer
from protogen.net.build import BuildOptions, Misfit, Refused, build
from protogen.net.upgrade import upgrade
from protogen.toolchains.toolchain import Toolchain, load_toolchain
from protogen.toolchains.verdicts import BAD, TargetVerdict, verdicts, worst

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel


@dataclass(frozen=True, repr=False)
class TargetReport(Shown):
    """What a toolchain does with a net.

    Attributes:
        toolchain: the data of the toolchain.
        net: its verdict on the net as a whole: forms of inputs, the old format.
        layers: its verdict on each layer, in execution order.
    """

    toolchain: Toolchain
    net: TargetVerdict
    layers: tuple[TargetVerdict, ...]

    @property
    def verdict(self) -> str:
        """The worst verdict: refused, wrong, ignored, unknown or taken."""
        return worst([self.net.verdict, *(one.verdict for one in self.layers)])

    @property
    def usable(self) -> bool:
        """Whether the toolchain neither refuses the net nor computes something else, as far as is
        known."""
        return self.verdict not in BAD

    @property
    def rows(self) -> tuple[TargetVerdict, ...]:
        """The verdicts to show: on the net as a whole only if there is something to say."""
        return (self.net, *self.layers) if self.net.reasons else self.layers

    def counts(self) -> Mapping[str, int]:
        """Return the number of layers with each verdict."""
        return Counter(one.verdict for one in self.layers)

    def sentence(self) -> str:
        """Return one line about the net: its verdict, and how many layers have each verdict."""
        version = f" {self.toolchain.version}" if self.toolchain.version else ""
        counts = self.counts()
        parts = [
            f"{counts[verdict]} {verdict}"
            for verdict in ("taken", "ignored", "unknown", "wrong", "refused")
            if counts[verdict]
        ]
        layers = quantity(len(self.layers), "layer")
        return f"{self.toolchain.name}{version}: {self.verdict}; {layers}: {', '.join(parts)}"


def check_target(
    net: str | Path,
    target: str | Path | Toolchain,
    caffemodel: str | Path | None = None,
    **options: Unpack[BuildOptions],
) -> TargetReport:
    """Return what a toolchain does with each layer of a net, by the data of ``protogen targets``.

    Args:
        net: a prototxt in any format. It is read in phase TEST.
        target: the name of a toolchain, or a user's .toml file.
        caffemodel: the weights. Some toolchains read parameters there, or need every layer.
        options: those of ``build``, such as input_shapes and dialect.

    Raises:
        InputError: the toolchain is unknown, a file cannot be read, or the net has no order of
            execution.
    """
    toolchain = target if isinstance(target, Toolchain) else load_toolchain(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        document = prototxt.read(net)
        modern = upgrade(document)
    weights = None
    if caffemodel is not None:
        from protogen.formats.caffemodel import read_weights

        weights = read_weights(caffemodel, allow_empty=True, net=document.source)
    graph, invalid = tolerant_graph(modern, document.source, options)
    return judge(toolchain, graph, document, weights, invalid)


def tolerant_graph(
    net: Message, source: Source | None, options: BuildOptions
) -> tuple[Graph, list[Diagnostic]]:
    """Build a net although Caffe refuses layers of it, and return these layers too."""
    options = options.copy()
    options["tolerant"] = True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtogenWarning)
        graph = _with_broadcasts(net, source, options)
    messages = (warning.message for warning in caught)
    return graph, [one.diagnostic for one in messages if isinstance(one, Misfit | Refused)]


def _with_broadcasts(net: Message, source: Source | None, options: BuildOptions) -> Graph:
    """Build a net with the shapes behind an Eltwise layer of unequal bottoms too. Caffe refuses it,
    other toolchains broadcast."""
    graph = build(net, source, **options)
    broadcast = {
        layer.tops[0]: shape
        for layer in graph.layers
        if layer.type == "Eltwise"
        and layer.tops
        and (shape := _broadcast_shape(graph, layer)) is not None
    }
    if not broadcast:
        return graph
    fields = [
        Field(item.name, _of_unknown_type(item.value), item.type, item.start)
        if item.name == "layer" and set(item.value.top) & broadcast.keys()
        else item
        for item in net.fields
    ]
    widened = options.copy()
    widened["input_shapes"] = {**(options.get("input_shapes") or {}), **broadcast}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        again = build(Message(net.kind, fields), source, **widened)
    shapes = {name: again.shapes.get(name) if s is None else s for name, s in graph.shapes.items()}
    parameters = {
        **again.parameter_shapes,
        **{k: v for k, v in graph.parameter_shapes.items() if v},
    }
    return replace(graph, shapes=shapes, parameter_shapes=parameters)


def _broadcast_shape(graph: Graph, layer: Layer) -> Shape | None:
    """Return the shape to which the bottoms of a layer of unknown shape can be broadcast."""
    shapes = [graph.shapes.get(value) for value in layer.reads]
    known = [shape for shape in shapes if shape]
    if graph.shapes.get(layer.writes[0]) is not None or len(known) < len(shapes):
        return None
    if len({len(shape) for shape in known}) != 1:
        return None
    axes = [set(lengths) - {1} for lengths in zip(*known, strict=True)]
    return tuple(max(axis, default=1) for axis in axes) if all(len(a) < 2 for a in axes) else None


def _of_unknown_type(layer: Message) -> Message:
    """Return a layer whose shapes ``build`` takes from its options."""
    fields = [
        Field(item.name, "Broadcast", item.type, item.start) if item.name == "type" else item
        for item in layer.fields
    ]
    return Message(layer.kind, fields)


def judge(
    toolchain: Toolchain,
    graph: Graph,
    document: Message,
    weights: CaffeModel | None = None,
    invalid: Iterable[Diagnostic] = (),
) -> TargetReport:
    """Return what a toolchain does with a built net; see ``verdicts``. ``invalid``: layers that
    Caffe refuses."""
    by_layer = {one.layer: one.message for one in invalid}
    whole, *layers = verdicts(toolchain, graph, document, weights, by_layer)
    return TargetReport(toolchain, whole, tuple(layers))
