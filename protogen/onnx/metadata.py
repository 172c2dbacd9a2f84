"""Caffe layers that a model remembers: those whose ONNX form is a whole group of operators.

The model's metadata holds such a layer's text, its bottoms and a digest of the group. On the way
back the layer takes the group's place, but only while the group is what it was written as.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, NodeProto, helper

from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.layers import kind_of
from protogen.onnx.soundness import constant

if TYPE_CHECKING:
    from protogen.layers.graph import Graph, Layer
    from protogen.onnx.program import Program

KEY = "caffe_layer:"  # and the name of the layer's top
DOMAIN = "protogen.caffe"  # of operators that stand for a remembered layer
SMALL = 256  # values of constants that count for the digest: thresholds, limits, axes


def remembered(graph: Graph, program: Program) -> dict[str, str]:
    """Metadata for the layers of the graph that are to be remembered."""
    protos: list[NodeProto] | None = None
    made = {}
    for layer in graph.layers:
        kind = kind_of(layer)
        if kind is None or not kind.has_round_trip_metadata or len(layer.writes) != 1:
            continue
        if protos is None:
            protos = [node.proto("") for node in program.nodes]
        bottoms = _bottoms(graph, program, layer)
        if bottoms is None:
            continue
        values = {n: t.array().tobytes() for n, t in program.tensors.items() if t.size <= 8 * SMALL}
        digest = digest_of(protos, layer.writes[0], bottoms, values.get)
        text = Message.make("LayerParameter", **_fields(layer.params))
        made[KEY + layer.writes[0]] = json.dumps(
            {
                "layer": prototxt.write(Message.make("NetParameter", layer=[text])),
                "bottoms": bottoms,
                "shapes": [list(graph.shapes[name] or ()) for name in layer.reads],
                "digest": digest,
            }
        )
    return made


def _fields(params: Message) -> dict[str, Any]:
    """Name, type and parameters, without the wiring, which the model has."""
    found = {item.name: item.value for item in params.fields}
    return {
        key: value
        for key, value in found.items()
        if key in ("name", "type") or key.endswith("_param")
    }


def _bottoms(graph: Graph, program: Program, layer: Layer) -> list[str] | None:
    """The values that the layer's group reads, in the order of its bottoms. Tidying may have taken
    the last Reshape to one of them into the group; None where they cannot be told."""
    group = [node for node in program.nodes if node.layer == layer.name]
    made = {name for node in group for name in node.writes}
    outside = dict.fromkeys(
        name
        for node in group
        for name in node.reads
        if name in layer.reads or (name and name not in made and name not in program.tensors)
    )
    strange = [name for name in outside if name not in layer.reads]
    bottoms = []
    for name in layer.reads:
        found = [name] if name in outside else []
        if not found:  # the value before the Reshape has as many numbers
            found = [one for one in strange if _count(graph, one) == _count(graph, name)]
        if len(found) != 1:
            return None
        bottoms += found
    return bottoms if len(set(bottoms)) == len(layer.reads) else None


def _count(graph: Graph, name: str) -> int | None:
    shape = graph.shapes.get(name)
    return None if shape is None else prod(shape)


def digest_of(
    nodes: Iterable[NodeProto],
    top: str,
    bottoms: Sequence[str],
    constant: Callable[[str], bytes | None],
) -> str:
    """SHA-256 of the operators between bottoms and top: their types, attributes, wiring and small
    constants; not of names."""
    group: list[NodeProto] = []
    needed = {top}
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            needed.update(name for name in node.input if name not in bottoms)
            group.append(node)
    hashed = hashlib.sha256()
    places = {name: f"bottom {i}" for i, name in enumerate(bottoms)}
    for at, node in enumerate(reversed(group)):
        hashed.update(f"{node.op_type}\n".encode())
        for attribute in sorted(node.attribute, key=lambda one: one.name):
            hashed.update(attribute.SerializeToString(deterministic=True))
        for name in node.input:
            value = constant(name) if name not in places else None
            hashed.update(value if value is not None else places.get(name, "large").encode())
        places |= {name: f"{at} {i}" for i, name in enumerate(node.output)}
    return hashed.hexdigest()


def _layer(text: str) -> Mapping[str, Any] | None:
    """What a model says of a layer; None where it is not of the form that ``remembered`` writes."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = (
        isinstance(told, dict)
        and isinstance(told.get("layer"), str)
        and _all(told.get("bottoms"), str)
        and _all(told.get("shapes"), list)
        and all(_all(shape, int) and len(shape) < 32 for shape in told["shapes"])
        and all(0 <= n < 2**31 for shape in told["shapes"] for n in shape)
    )
    return told if fits else None


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)


def recall(model: ModelProto) -> None:
    """Puts one operator of ``DOMAIN`` in the place of each remembered layer's last operator; the
    others of its group are then read by nobody."""
    told = {
        prop.key.removeprefix(KEY): layer
        for prop in model.metadata_props
        if prop.key.startswith(KEY) and (layer := _layer(prop.value)) is not None
    }
    if not told:
        return
    values = {
        tensor.name: constant(tensor, "").tobytes()
        for tensor in model.graph.initializer
        if tensor.raw_data and len(tensor.raw_data) <= 8 * SMALL
    }
    nodes = list(model.graph.node)
    found = False
    for at, node in enumerate(nodes):
        one: Mapping[str, Any] | None = next((told[n] for n in node.output if n in told), None)
        if one is None:
            continue
        if digest_of(nodes, node.output[0], one["bottoms"], values.get) == one.get("digest"):
            shapes = [n for shape in one["shapes"] for n in (len(shape), *shape)]
            nodes[at] = helper.make_node(
                "Layer",
                one["bottoms"],
                list(node.output),
                name=node.name,
                domain=DOMAIN,
                layer=one["layer"],
                shapes=shapes,
            )
            found = True
    if found:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
