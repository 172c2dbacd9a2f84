"""Replaces calls of a model's own functions by the operators of the functions."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import FunctionProto, ModelProto, NodeProto
from onnx.inliner import inline_local_functions

from protogen.errors import InputError
from protogen.onnx.passes.sorting import inner_graphs

MOST_OPERATORS = 1_000_000
Key = tuple[str, str, str]  # domain, name, overload


def inlined(model: ModelProto, where: str) -> ModelProto:
    """Return the model without functions; the model itself if it has none.

    Raises:
        InputError: a function calls itself, or there would be more than ``MOST_OPERATORS`` operators.
    """
    if not model.functions:
        return model
    functions = {(one.domain, one.name, one.overload): one for one in model.functions}
    sizes: dict[Key, int] = {}
    for key in functions:
        _measure(key, functions, sizes, (), where)
    if _total(model.graph.node, sizes) > MOST_OPERATORS:
        raise InputError(
            f"with the operators of its functions it has more than {MOST_OPERATORS} operators",
            where=where,
        )
    return inline_local_functions(model)


def _measure(
    key: Key,
    functions: dict[Key, FunctionProto],
    sizes: dict[Key, int],
    callers: tuple[Key, ...],
    where: str,
) -> None:
    """Store the number of operators of a function, with those of the functions that it calls."""
    if key in sizes:
        return
    if key in callers or len(callers) > 100:
        raise InputError("calls itself", where=where, subject=f'function "{key[1]}"')
    nodes = functions[key].node
    for called in _calls(nodes):
        if called in functions:
            _measure(called, functions, sizes, (*callers, key), where)
    sizes[key] = min(_total(nodes, sizes), MOST_OPERATORS + 1)


def _total(nodes: Iterable[NodeProto], sizes: dict[Key, int]) -> int:
    return sum(1 + sizes.get(key, 0) for key in _calls(nodes))


def _calls(nodes: Iterable[NodeProto]) -> list[Key]:
    """Return the types of the operators, those of inner graphs too."""
    keys = []
    for node in nodes:
        keys.append((node.domain, node.op_type, node.overload))
        for graph in inner_graphs(node):
            keys += _calls(graph.node)
    return keys
