"""Validation of the strings and operator set versions of an untrusted ONNX model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto

from protogen.errors import InputError
from protogen.onnx.passes.sorting import inner_graphs


def check_texts(model: ModelProto, where: str) -> None:
    """Check that each name of a model is text. Anything else that reads names needs this first.

    Raises:
        InputError: a name is not valid UTF-8, or an operator set has an impossible version.
    """
    for text in _texts(model):
        if not isinstance(text, str):  # protobuf returns bytes if they are not UTF-8
            raise InputError(f"the name {text!r} is not valid UTF-8", where=where)
    for opset in model.opset_import:
        if not 0 < opset.version < 2**31:
            raise InputError(f"invalid operator set version {opset.version}", where=where)


def _texts(model: ModelProto) -> Iterator[Any]:
    """Yield every string of the model that protogen uses."""
    yield from (model.producer_name, model.producer_version)
    yield from (text for prop in model.metadata_props for text in (prop.key, prop.value))
    yield from (opset.domain for opset in model.opset_import)
    yield from _texts_of_graph(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from (opset.domain for opset in function.opset_import)
        yield from (one.name for one in (*function.attribute_proto, *function.value_info))
        yield from _texts_of_nodes(function.node)


def _texts_of_graph(graph: GraphProto) -> Iterator[Any]:
    yield graph.name
    yield from _texts_of_nodes(graph.node)
    for tensor in (*graph.initializer, *(one.values for one in graph.sparse_initializer)):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _texts_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[Any]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        yield from (text for one in node.attribute for text in (one.name, one.ref_attr_name))
        for graph in inner_graphs(node):
            yield from _texts_of_graph(graph)
