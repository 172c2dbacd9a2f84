"""Round-trip metadata: restores Caffe layers that were exported as a whole group of operators.

The model's metadata holds the prototxt of such a layer, its bottoms and a digest of the group. The
import replaces the group by the layer, but only if the group still has the same digest. A bottom that does
not depend on inputs, such as the priors of SSD, may be folded into the group. Then the metadata holds it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.layers import kind_of
from protogen.onnx.constants import constant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.graph import Graph, Layer
    from protogen.onnx.program import Node, Program, Tensor

KEY = "caffe_layer:"  # prefix of a metadata key; the name of the layer's top follows
DOMAIN = "protogen.caffe"  # operator domain of restored layers
_OVERLAP = 4  # the groups of a model have at most this many times its operators
SMALL = 256  # values: the digest covers constants up to this size (thresholds, limits, axes)


def roundtrip_metadata(
    graph: Graph, program: Program, constants: Mapping[str, Tensor]
) -> dict[str, str]:
    """Return the metadata entries of the layers whose type is marked for a round trip.

    ``constants`` are the values that do not depend on inputs. Those among a layer's bottoms may be folded
    into its operators, so the entry holds their numbers.
    """
    marked = [layer for layer in graph.layers if _is_marked(layer)]
    if not marked:
        return {}
    makers = makers_of(node.proto("") for node in program.nodes)
    values = {n: t.array().tobytes() for n, t in program.tensors.items() if t.size <= 8 * SMALL}
    nodes_of: dict[str, list[Node]] = {}
    for node in program.nodes:
        nodes_of.setdefault(node.layer, []).append(node)
    entries = {}
    for layer in marked:
        bottoms = _bottoms(graph, program, layer, nodes_of.get(layer.name, ()), constants)
        if bottoms is None:
            continue
        folded = [n for n in bottoms if n in constants and n not in program.tensors]
        group = group_of(makers, layer.writes[0], bottoms)
        digest = digest_of(group, bottoms, values.get)
        text = Message.make("LayerParameter", **_fields(layer.params))
        entry: dict[str, object] = {
            "layer": prototxt.write(Message.make("NetParameter", layer=[text])),
            "bottoms": bottoms,
            "shapes": [list(graph.shapes[name] or ()) for name in layer.reads],
            "digest": digest,
        }
        if folded:
            entry["constants"] = {name: _text(constants[name].array()) for name in folded}
        entries[KEY + layer.writes[0]] = json.dumps(entry)
    return entries


def _is_marked(layer: Layer) -> bool:
    kind = kind_of(layer)
    return kind is not None and kind.has_round_trip_metadata and len(layer.writes) == 1


def _text(array: NDArray[Any]) -> str:
    """Return the float32 numbers of a constant as text."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _array(text: str, shape: Sequence[int]) -> NDArray[np.float32] | None:
    """Return the numbers that ``_text`` wrote; None if there are not as many as the shape has."""
    import numpy as np

    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return np.frombuffer(raw, "<f4").reshape(shape) if len(raw) == 4 * prod(shape) else None


def _fields(params: Message) -> dict[str, Any]:
    """Return name, type and parameters. Bottoms and tops are left out: the model has them."""
    fields = {item.name: item.value for item in params.fields}
    return {
        key: value
        for key, value in fields.items()
        if key in ("name", "type") or key.endswith("_param")
    }


def _bottoms(
    graph: Graph,
    program: Program,
    layer: Layer,
    group: Sequence[Node],
    constants: Mapping[str, Tensor],
) -> list[str] | None:
    """Return the values that the layer's group of operators reads, in the order of its bottoms. The group
    need not read ``constants`` any more.

    Tidying may have moved the last Reshape of a bottom into the group. Then the group reads a value
    of the same size instead. None if the values are not unique.
    """
    produced = {name for node in group for name in node.writes}
    outside = dict.fromkeys(
        name
        for node in group
        for name in node.reads
        if name in layer.reads or (name and name not in produced and name not in program.tensors)
    )
    others = [name for name in outside if name not in layer.reads]
    bottoms = []
    for name in layer.reads:
        candidates = [name] if name in outside or name in constants else []
        if not candidates:  # the input of the moved Reshape has the same number of values
            candidates = [other for other in others if _count(graph, other) == _count(graph, name)]
        if len(candidates) != 1:
            return None
        bottoms += candidates
    return bottoms if len(set(bottoms)) == len(layer.reads) else None


def _count(graph: Graph, name: str) -> int | None:
    """Return the number of values; None if the shape is unknown."""
    shape = graph.shapes.get(name)
    return None if shape is None else prod(shape)


Makers = Mapping[str, tuple[int, NodeProto]]


def makers_of(nodes: Iterable[NodeProto]) -> Makers:
    """Return the operator that computes each value, with its position."""
    return {
        name: (position, node)
        for position, node in enumerate(nodes)
        for name in node.output
        if name
    }


def group_of(makers: Makers, top: str, bottoms: Collection[str]) -> list[NodeProto]:
    """Return the operators between bottoms and top, in order."""
    group: dict[int, NodeProto] = {}
    open_names = [top]
    while open_names:
        position, node = makers.get(open_names.pop(), (-1, None))
        if node is not None and position not in group:
            group[position] = node
            open_names += (name for name in node.input if name not in bottoms)
    return [group[position] for position in sorted(group)]


def digest_of(
    group: Iterable[NodeProto],
    bottoms: Sequence[str],
    constant_bytes: Callable[[str], bytes | None],
) -> str:
    """Return the SHA-256 of the operators of a group.

    It covers their types, attributes, connections and small constants, but no names.
    """
    digest = hashlib.sha256()
    labels = {name: f"bottom {i}" for i, name in enumerate(bottoms)}
    for number, node in enumerate(group):
        digest.update(f"{node.op_type}\n".encode())
        for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
            digest.update(attribute.SerializeToString(deterministic=True))
        for name in node.input:
            value = constant_bytes(name) if name not in labels else None
            digest.update(value if value is not None else labels.get(name, "large").encode())
        labels |= {name: f"{number} {i}" for i, name in enumerate(node.output)}
    return digest.hexdigest()


def _parsed_entry(text: str) -> Mapping[str, Any] | None:
    """Parse a metadata entry; None if it is not of the form that ``roundtrip_metadata`` writes."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    valid = (
        isinstance(entry, dict)
        and isinstance(entry.get("layer"), str)
        and _is_list_of(entry.get("bottoms"), str)
        and _is_list_of(entry.get("shapes"), list)
        and all(_is_list_of(shape, int) and len(shape) < 32 for shape in entry["shapes"])
        and all(0 <= n < 2**31 for shape in entry["shapes"] for n in shape)
        and len(entry["shapes"]) == len(entry["bottoms"])
        and isinstance(entry.setdefault("constants", {}), dict)
        and all(isinstance(text, str) for text in entry["constants"].values())
    )
    return entry if valid else None


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _constants(entry: Mapping[str, Any]) -> list[TensorProto] | None:
    """Return the bottoms that were folded into an exported group; None if the entry is invalid."""
    shapes = dict(zip(entry["bottoms"], entry["shapes"], strict=True))
    arrays = {
        name: _array(text, shapes[name])
        for name, text in entry["constants"].items()
        if name in shapes
    }
    protos = [numpy_helper.from_array(a, name) for name, a in arrays.items() if a is not None]
    return protos if len(protos) == len(entry["constants"]) else None


def restore_layers(model: ModelProto) -> None:
    """Replace the last operator of each exported group by one operator of ``DOMAIN``.

    The outputs of the group's other operators are then unused.
    """
    entries = {
        prop.key.removeprefix(KEY): layer
        for prop in model.metadata_props
        if prop.key.startswith(KEY) and (layer := _parsed_entry(prop.value)) is not None
    }
    if not entries:
        return
    values = {
        tensor.name: constant(tensor, "").tobytes()
        for tensor in model.graph.initializer
        if tensor.raw_data and len(tensor.raw_data) <= 8 * SMALL
    }
    nodes = list(model.graph.node)
    makers, left = makers_of(nodes), _OVERLAP * len(nodes)
    taken = {one.name for one in (*model.graph.initializer, *model.graph.input)}
    taken.update(name for node in nodes for name in node.output)
    changed = False
    for index, node in enumerate(nodes):
        entry: Mapping[str, Any] | None = next(
            (entries[n] for n in node.output if n in entries), None
        )
        if entry is None:
            continue
        constants = _constants(entry)
        if constants is None or taken.intersection(entry["constants"]):
            continue
        group = group_of(makers, node.output[0], frozenset(entry["bottoms"]))
        left -= len(group)
        if (
            left < 0
        ):  # groups of our own files do not overlap; reading these would take quadratic time
            break
        if digest_of(group, entry["bottoms"], values.get) == entry.get("digest"):
            model.graph.initializer.extend(constants)
            taken.update(entry["constants"])
            shapes = [n for shape in entry["shapes"] for n in (len(shape), *shape)]
            nodes[index] = helper.make_node(
                "Layer",
                entry["bottoms"],
                list(node.output),
                name=node.name,
                domain=DOMAIN,
                layer=entry["layer"],
                shapes=shapes,
            )
            changed = True
    if changed:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
