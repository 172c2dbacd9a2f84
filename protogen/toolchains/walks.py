"""What is before and behind each layer of a net, for the words of conditions (see ``words``).

Each table has an entry for each value, computed from those of its neighbours. A walk from every layer would
take a time that grows with the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from protogen.layers.graph import Graph, Layer
from protogen.toolchains.means import is_linear, length_of_mean

PASS_ON = frozenset(("Permute", "Reshape", "Flatten", "Split", "Dropout"))
# Layers whose tops have the axes of their bottoms, and no number from another place of an image.
_SAME_AXES = frozenset(
    ("Permute", "Split", "Dropout", "ReLU", "ReLU6", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal",
     "Power", "Exp", "Log", "Clip", "Swish", "Mish", "Eltwise", "Scale", "Bias", "BatchNorm",
     "Softmax", "Concat", "Slice")
)  # fmt: skip
_CHANGE_EACH = (_SAME_AXES | {"Reshape", "Flatten"}) - {"Permute"}
# Layers whose tops are never below 0, or never where their bottom is not.
_NONNEGATIVE = frozenset(("Sigmoid", "AbsVal", "BNLL", "Exp", "Softmax", "ReLU6", "HardSigmoid"))
_KEEP_SIGN = frozenset(
    ("Pooling", "Dropout", "Split", "Flatten", "Reshape", "Permute", "Concat", "Slice", "Crop",
     "ShuffleChannel", "Upsample", "Interp", "Reorg", "Tile", "LRN")
)  # fmt: skip

Types = frozenset[str]
_NONE: Types = frozenset()


@dataclass
class Walks:
    """What is before and behind the layers of a net.

    Args:
        producers: the layer that writes each value.
        readers: the layers that read each value, in order.
    """

    graph: Graph
    producers: Mapping[str, Layer]
    readers: Mapping[str, list[Layer]]

    def computed_by(self, layer: Layer) -> str:
        """Return the type of the layer that computes the first bottom; empty for an input."""
        return self._computed_by.get(layer.reads[0], "") if layer.reads else ""

    def computed_from(self, layer: Layer) -> Types:
        """Return the types of the layers before a layer, up to those whose tops have other axes."""
        return _joined(self._computed_from.get(value, _NONE) for value in layer.reads)

    def used_by(self, layer: Layer) -> Types:
        """Return the types of the layers that read a layer's tops, or what is only passed on of them."""
        return _joined(self._used_by.get(value, _NONE) for value in layer.writes)

    def origin(self, layer: Layer) -> Layer | None:
        """Return the layer that computes what layers of one bottom change, reshape or pass on."""
        return self._origins.get(layer.reads[0]) if layer.reads else None

    def mean_batch(self, layer: Layer) -> int:
        """Return the first length of the global mean that the first bottom of a layer is, behind linear
        layers that are each read once; 0 without one."""
        return self._means.get(layer.reads[0], 0) if layer.reads else 0

    def read_before(self, layer: Layer) -> Types:
        """Return the types of the layers that read the first bottom before this layer."""
        return self._read_before.get(id(layer), _NONE)

    @cached_property
    def _computed_by(self) -> dict[str, str]:
        types: dict[str, str] = {}
        for layer in self.graph.layers:
            own = "" if layer.type == "Input" else layer.type
            passes_on = layer.type in PASS_ON and layer.reads
            type_ = types.get(layer.reads[0], "") if passes_on else own
            types.update(dict.fromkeys(layer.writes, type_))
        return types

    @cached_property
    def _computed_from(self) -> dict[str, Types]:
        types: dict[str, Types] = {}
        for layer in self.graph.layers:
            before = self._before(layer, types) if layer.type in _SAME_AXES else _NONE
            types.update(dict.fromkeys(layer.writes, before | {layer.type}))
        return types

    @staticmethod
    def _before(layer: Layer, types: Mapping[str, Types]) -> Types:
        return _joined(types.get(value, _NONE) for value in layer.reads)

    @cached_property
    def _used_by(self) -> dict[str, Types]:
        types: dict[str, set[str]] = {}
        for layer in reversed(self.graph.layers):
            behind = {layer.type}
            if layer.type in PASS_ON:
                behind.update(*(types.get(value, ()) for value in layer.writes))
            for value in layer.reads:
                types.setdefault(value, set()).update(behind)
        return {value: frozenset(used) for value, used in types.items()}

    @cached_property
    def _origins(self) -> dict[str, Layer | None]:
        origins: dict[str, Layer | None] = {}
        for layer in self.graph.layers:
            changes = len(layer.reads) == 1 and layer.type in _CHANGE_EACH
            origin = origins.get(layer.reads[0]) if changes else layer
            origins.update(dict.fromkeys(layer.writes, origin))
        return origins

    @cached_property
    def _means(self) -> dict[str, int]:
        means: dict[str, int] = {}
        for layer in self.graph.layers:
            for value in layer.writes:
                if len(layer.reads) == 1 == len(self.readers.get(value, ())):
                    length = length_of_mean(layer, self.graph.shapes.get(layer.reads[0]) or ())
                    if not length and is_linear(layer):
                        length = means.get(layer.reads[0], 0)
                    means[value] = length
        return means

    @cached_property
    def _read_before(self) -> dict[int, Types]:
        before: dict[int, Types] = {}
        so_far: dict[str, Types] = {}
        for layer in self.graph.layers:
            for value in dict.fromkeys(layer.reads):
                types = so_far.get(value, _NONE)
                if value == layer.reads[0]:
                    before[id(layer)] = types
                if layer.type not in types:  # most layers share the set of the one before
                    so_far[value] = types | {layer.type}
        return before

    @cached_property
    def constants(self) -> set[str]:
        """The values that do not depend on the numbers of the inputs."""
        constants: set[str] = set()
        for layer in self.graph.layers:
            follows = bool(layer.reads) and all(value in constants for value in layer.reads)
            if follows or layer.type in ("PriorBox", "DummyData", "Parameter"):
                constants.update(layer.writes)
        return constants

    @cached_property
    def nonnegative(self) -> set[str]:
        """The values of which no number can be below 0."""
        values: set[str] = set()
        for layer in self.graph.layers:
            keeps = layer.type in _KEEP_SIGN or (
                layer.type == "Eltwise" and not any(c < 0 for c in layer.params.eltwise_param.coeff)
            )
            rectifies = layer.type == "ReLU" and not layer.params.relu_param.negative_slope
            if (
                layer.type in _NONNEGATIVE
                or rectifies
                or (keeps and all(value in values for value in layer.reads))
            ):
                values.update(layer.writes)
        return values


def _joined(types: Iterable[Types]) -> Types:
    joined: Types = _NONE
    for one in types:
        if not one <= joined:
            joined = joined | one
    return joined
