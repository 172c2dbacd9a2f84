"""Computes the words of conditions (see ``words``) for the layers of a net."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.base import Window
from protogen.layers.graph import Graph, Layer
from protogen.toolchains.means import reorders
from protogen.toolchains.walks import Walks
from protogen.toolchains.words import (
    NEIGHBOUR,
    AnyField,
    Text,
    Values,
    counts,
    parameters,
    safe,
    written,
)

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel, StoredLayer

_SMALL = 4096  # values of a blob that is examined; larger blobs are weights
_PAIRS = ("kernel_size", "stride", "pad", "dilation")


@dataclass
class Words:
    """The words of the layers of a net.

    Args:
        graph: the net.
        weights: its caffemodel; None without one.
    """

    graph: Graph
    weights: CaffeModel | None = None

    @cached_property
    def producers(self) -> dict[str, Layer]:
        return {value: layer for layer in self.graph.layers for value in layer.writes}

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        readers: dict[str, list[Layer]] = {}
        for layer in self.graph.layers:
            for value in dict.fromkeys(layer.reads):
                readers.setdefault(value, []).append(layer)
        return readers

    @cached_property
    def _walks(self) -> Walks:
        return Walks(self.graph, self.producers, self.readers)

    @cached_property
    def _inputs(self) -> frozenset[str]:
        return frozenset(self.graph.inputs)

    @cached_property
    def _outputs_written(self) -> dict[str, int]:
        layers, values, count = self.graph.layers, set(self.graph.outputs), 0
        pairs = (
            (top, value) for one in layers for top, value in zip(one.tops, one.writes, strict=True)
        )
        outputs = {top for top, value in pairs if value in values}
        written_before: dict[str, int] = {}
        for layer in layers:
            written_before[layer.name] = count
            count += sum(top in outputs for top in layer.tops)
        return written_before

    @cached_property
    def _stored(self) -> dict[str, StoredLayer]:
        stored = self.weights.layers if self.weights is not None else ()
        return {layer.name: layer for layer in stored}

    def of(self, layer: Layer) -> dict[str, Any] | None:
        """Return the words of a layer; None if the shape of a bottom is unknown."""
        shapes = [self.graph.shapes.get(value) for value in layer.reads]
        tops = [self.graph.shapes.get(value) for value in layer.writes]
        known = [shape for shape in shapes if shape is not None]
        known_tops = [shape for shape in tops if shape is not None]
        if len(known) < len(shapes):
            return None
        if tops and not known_tops:  # Caffe refuses the layer; a toolchain may take it
            known_tops = known[:1]
            if not known:
                return None
        words = {
            **self._sizes(known, known_tops),
            **_window_words(layer, known, known_tops),
            **self._wiring(layer),
            **self._weight_words(layer),
            "type": Text(layer.type),
            "bottoms": len(layer.bottoms),
            "tops": len(layer.tops),
            "name_endings": self._name_endings(layer.name),
            "included_by_phase": _included_by_phase(layer),
            "param": self._parameters(layer),
            "written": written(layer.params),
        }
        words["axis_length"] = _axis_length(words)
        words["counts"] = counts(words["param"])
        words["point_sum"] = sum(words["param"].get("slice_point", ()))
        return words

    @cached_property
    def _blob_names(self) -> list[str]:
        return sorted({*self.graph.inputs, *(top for one in self.graph.layers for top in one.tops)})

    def _name_endings(self, name: str) -> Values:
        endings, names = [], self._blob_names
        for index in range(bisect_right(names, name), len(names)):
            if not names[index].startswith(name):
                break
            endings.append(Text(names[index][len(name) :]))
        return Values(endings)

    def _sizes(self, shapes: Sequence[Shape], tops: Sequence[Shape]) -> dict[str, Any]:
        first, top = shapes[0] if shapes else (), tops[0] if tops else ()
        full, full_top = (*first, 1, 1, 1, 1), (*top, 1, 1, 1, 1)
        return {
            "batch": full[0], "channels": full[1], "height": full[2], "width": full[3],
            "rank": len(first), "shape": safe(first), "shapes": safe(shapes),
            "ranks": Values(len(shape) for shape in shapes),
            "second_channels": (*shapes[1], 1, 1)[1] if len(shapes) > 1 else 0,
            "equal_shapes": len(set(shapes)) <= 1,
            "num_output": full_top[1], "out_height": full_top[2], "out_width": full_top[3],
            "out_rank": len(top), "out_shape": safe(top),
        }  # fmt: skip

    def _wiring(self, layer: Layer) -> dict[str, Any]:
        inputs, walks = self._inputs, self._walks
        writers = [self.producers[v] for v in layer.reads if v in self.producers]
        readers = [one for value in layer.writes for one in self.readers.get(value, ())]
        in_place = set(layer.tops) & set(layer.bottoms)
        first = self.producers.get(layer.reads[0]) if layer.reads else None
        siblings = self.readers.get(layer.reads[0], []) if layer.reads else []
        unused = [value for value in layer.writes if not self.readers.get(value)]
        return {
            "in_place": bool(in_place),
            "in_place_on_input": any(value in inputs for value in layer.reads) and bool(in_place),
            "is_output": bool(unused),
            "unused_tops": len(unused),
            "computed_by": Text(walks.computed_by(layer)),
            "mean_batch": walks.mean_batch(layer),
            "reorders": reorders(layer, self.graph),
            "computed_from": _types(walks.computed_from(layer)),
            "used_by": _types(walks.used_by(layer)),
            "from_types": Values(Text(one.type) for one in writers),
            "from_input": any(value in inputs for value in layer.reads),
            "bottom_readers": len(siblings),
            "read_before_by": _types(walks.read_before(layer)),
            "read_by": Values(Text(one.type) for one in readers),
            "net_outputs": len(self.graph.outputs),
            "outputs_written": self._outputs_written.get(layer.name, 0),
            "constant": bool(layer.reads) and all(v in walks.constants for v in layer.reads),
            "nonnegative": bool(layer.reads) and layer.reads[0] in walks.nonnegative,
            "previous": self._neighbour(first),
            "next": self._neighbour(readers[0] if len(readers) == 1 else None),
            "origin": self._neighbour(walks.origin(layer)),
        }

    def _neighbour(self, layer: Layer | None) -> dict[str, Any]:
        if layer is None:
            return {**NEIGHBOUR, "param": AnyField()}
        if id(layer) not in self._neighbours:
            self._neighbours[id(layer)] = self._neighbour_words(layer)
        return self._neighbours[id(layer)]

    @cached_property
    def _neighbours(self) -> dict[int, dict[str, Any]]:
        return {}

    def _neighbour_words(self, layer: Layer) -> dict[str, Any]:
        shapes = [self.graph.shapes.get(value) or () for value in layer.reads[:1]]
        tops = [self.graph.shapes.get(value) or () for value in layer.writes[:1]]
        sizes = self._sizes(shapes, tops)
        window = _window_words(layer, shapes, tops)
        return {
            "type": Text(layer.type),
            "param": AnyField(self._parameters(layer)),
            "written": written(layer.params),
            "rank": sizes["rank"],
            "batch": sizes["batch"],
            "channels": sizes["channels"],
            "height": sizes["height"],
            "num_output": sizes["num_output"],
            "bottoms": len(layer.bottoms),
            "in_place": bool(set(layer.tops) & set(layer.bottoms)),
            "bottom_readers": len(self.readers.get(layer.reads[0], ())) if layer.reads else 0,
            "group": window["group"],
            "depthwise": window["depthwise"],
            "blobs": len(self.graph.parameter_shapes.get(layer.name) or ()),
            "renamed": layer.tops[:1] != (layer.name,),
            "is_output": any(not self.readers.get(value) for value in layer.writes),
            "from_types": Values(
                Text(self.producers[v].type) for v in layer.reads if v in self.producers
            ),
        }

    def _parameters(self, layer: Layer) -> dict[str, Any]:
        """Return the parameters of a layer; of a type unknown to protogen, a field that is not set is 0."""
        if id(layer) not in self._known_parameters:
            kind = kind_of(layer)
            param = parameters(layer.params, kind)
            self._known_parameters[id(layer)] = AnyField(param) if kind is None else param
        return self._known_parameters[id(layer)]

    @cached_property
    def _known_parameters(self) -> dict[int, dict[str, Any]]:
        return {}

    def _weight_words(self, layer: Layer) -> dict[str, Any]:
        shapes = self.graph.parameter_shapes.get(layer.name) or ()
        count = math.prod(shapes[0]) if shapes else 0
        stored = self._stored.get(layer.name)
        if self.weights is None or stored is None:
            return {
                "blobs": len(shapes),
                "blob_values": count,
                "in_caffemodel": self.weights is None,
                "in_caffemodel_with_parameters": self.weights is None,
                "zero_blobs": Values(),
            }
        small = [(i, blob) for i, blob in enumerate(stored.blobs) if 0 < blob.count <= _SMALL]
        return {
            "blobs": len(stored.blobs),
            "blob_values": count,
            "in_caffemodel": True,
            "in_caffemodel_with_parameters": stored.has_parameters,
            "zero_blobs": Values(i for i, blob in small if not blob.array().any()),
        }


def _types(types: Iterable[str]) -> Values:
    return Values(map(Text, sorted(types)))


def _axis_length(words: Mapping[str, Any]) -> int:
    """Return the length of the first bottom along the axis of a layer; 0 without one."""
    param, shape = words["param"], words["shape"]
    old = next((name for name in ("slice_dim", "concat_dim") if name in words["written"]), "axis")
    axis = param.get(old)
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        return 0
    return int(shape[axis])


def _window_words(layer: Layer, shapes: Sequence[Shape], tops: Sequence[Shape]) -> dict[str, Any]:
    kind = kind_of(layer)
    window = None
    if kind is not None and shapes and layer.type != "SPP":
        try:
            window = kind.window(layer, shapes)
        except (InputError, IndexError):
            window = None  # the layer is invalid; other checks say so
    window = window or Window((), (), (), ())
    kernel, stride = (*window.kernel, 1, 1)[:2], (*window.stride, 1, 1)[:2]
    pad, dilation = (*window.pad, 0, 0)[:2], (*window.dilation, 1, 1)[:2]
    ends = (*window.ends, 0, 0)[:2]
    shape = (*shapes[0], 1, 1, 1, 1) if shapes else (1, 1, 1, 1)
    top = (*tops[0], 1, 1, 1, 1) if tops else (1, 1, 1, 1)
    group = _group(layer, shape[1])
    pooling = "Pooling" in layer.type
    cut = pooling and any(
        (top[2 + i] - 1) * stride[i] + kernel[i] > shape[2 + i] + pad[i] + ends[i] for i in (0, 1)
    )
    block = layer.params.pooling_param if pooling else layer.params.convolution_param
    lists = [getattr(block, name) for name in _PAIRS] if not pooling else []
    return {
        "kernel": max(kernel), "kernel_h": kernel[0], "kernel_w": kernel[1],
        "stride": max(stride), "stride_h": stride[0], "stride_w": stride[1],
        "pad": max(pad), "pad_h": pad[0], "pad_w": pad[1],
        "dilation": max(dilation), "dilation_h": dilation[0], "dilation_w": dilation[1],
        "group": group,
        "depthwise": group > 1 and group == shape[1],
        "cut_window": cut,
        "repeated": any(len(values) > 1 for values in lists),
        "repeated_pair": any(len(set(values)) > 1 for values in lists),
        "global_pool": pooling and (
            bool(block.global_pooling) or (kernel == tuple(shape[2:4]) and not any(pad))
        ),
    }  # fmt: skip


def _group(layer: Layer, channels: int) -> int:
    if "epthwise" in layer.type:
        return channels
    return int(layer.params.convolution_param.group)


def net_words(graph: Graph, document: Message, weights: CaffeModel | None = None) -> dict[str, Any]:
    """Return the words of a whole net; ``document`` is its text before any upgrade."""
    layers = graph.layers
    sources = [layer for layer in layers if layer.type == "Input"]
    shapes = [graph.shapes.get(name) or () for name in graph.inputs]
    items = [item.value for item in document.all("layer")]
    written_inputs = sum(isinstance(one, Message) and one.type == "Input" for one in items)
    added = len(sources) - written_inputs if document.has("input") else 0
    texts = len(items) + len(list(document.all("layers")))
    return {
        "v1": document.has("layers"),
        "legacy_input": document.has("input"),
        "legacy_dims": document.has("input_dim"),
        "legacy_shape": document.has("input_shape"),
        "inputs": len(graph.inputs),
        "outputs": len(graph.outputs),
        "batch": (*(shapes[0] if shapes else ()), 1)[0],
        "input_ranks": Values(len(shape) for shape in shapes),
        "types": Values(dict.fromkeys(Text(layer.type) for layer in layers)),
        "renamed_inputs": 0
        if document.has("input")
        else sum(one.tops != (one.name,) for one in sources),
        "input_layers": len(sources),
        "shared_weights": bool(graph.owners),
        "phase_rules": _sets_rules(items, ("include", "exclude", "phase")),
        "exclude_rules": _sets_rules(items, ("exclude",)),
        "excluded": Values(_excluded(items, {layer.name for layer in layers})),
        "left_out": texts - len(layers) + added,
        "left_out_types": _left_out_types(items, layers),
        "caffemodel": weights is not None,
        "empty_caffemodel": weights is not None and not weights.layers,
        "input_is_output": any(name in graph.outputs for name in graph.inputs),
        "computing_layers": len(layers) - len(sources),
        "in_place_on_input": any(
            set(layer.tops) & set(layer.bottoms) & set(graph.inputs) and layer.type != "Dropout"
            for layer in layers
        ),
    }


def _included_by_phase(layer: Layer) -> bool:
    rules = layer.params.include
    return not rules or any(rule.has("phase") and rule.phase == layer.phase for rule in rules)


def _excluded(items: Iterable[Any], names: Container[str]) -> Iterator[Text]:
    """Yield the types of the layers with an exclude rule that are not in the net."""
    for item in items:
        if isinstance(item, Message) and item.has("exclude") and item.name not in names:
            yield Text(item.type)


def _left_out_types(items: Iterable[Any], layers: Iterable[Layer]) -> Values:
    """Return the types of the layers of the text that the net does not have."""
    texts = [(one.name, one.type) for one in items if isinstance(one, Message)]
    left = Counter(texts) - Counter((layer.name, layer.type) for layer in layers)
    return Values(dict.fromkeys(Text(type_) for _, type_ in left))


def _sets_rules(items: Iterable[Any], names: Sequence[str]) -> bool:
    return any(item.has(name) for item in items if isinstance(item, Message) for name in names)
