"""Replaces calls of functions by their operators: the model's own functions, and those that ONNX defines."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
import onnx.shape_inference
from onnx import FunctionProto, ModelProto, NodeProto, helper
from onnx.inliner import inline_local_functions, inline_selected_functions

from protogen.errors import InputError
from protogen.onnx.passes.sorting import inner_graphs

MOST_OPERATORS = 1_000_000
MOST_LEVELS = 4  # of functions that ONNX defines by other functions
_OWN = ("", "ai.onnx")
# Functions of loops and of random values, and windows: their results are constants, or no layers can be
# written.
_NOT_EXPANDED = {
    "Bernoulli", "BlackmanWindow", "HammingWindow", "HannWindow", "Range", "SequenceMap",
}  # fmt: skip
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


def expanded(model: ModelProto, known: Collection[str]) -> ModelProto:
    """Return the model with the operators that are not in ``known`` written out, where ONNX defines them by
    other operators: Attention, RotaryEmbedding, SwiGLU and others."""
    for _ in range(MOST_LEVELS):
        opset = next((o.version for o in model.opset_import if o.domain in _OWN), 1)
        types = {type_ for domain, type_, _ in _calls(model.graph.node) if domain in _OWN}
        chosen = [
            ("", type_)
            for type_ in sorted(types - set(known) - _NOT_EXPANDED)
            if _is_function(type_, opset)
        ]
        if not chosen:
            break
        try:
            typed = _with_types(model)
            model = inline_selected_functions(typed, chosen, inline_schema_functions=True)
        except (RuntimeError, onnx.shape_inference.InferenceError):
            break  # the operators stay, and are refused by their names
    return model


def _with_types(model: ModelProto) -> ModelProto:
    """Return the model with the types of all values, on which some of ONNX's definitions depend."""
    typed = onnx.shape_inference.infer_shapes(model)
    known = {value.name for value in (*typed.graph.input, *typed.graph.value_info)}
    for tensor in typed.graph.initializer:
        if tensor.name not in known:
            typed.graph.value_info.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return typed


def _is_function(type_: str, opset: int) -> bool:
    if not onnx.defs.has(type_, opset, ""):
        return False
    schema = onnx.defs.get_schema(type_, opset, "")
    # The stubs of the onnx package lack these attributes.
    kinds = ("has_function", "has_context_dependent_function")
    return any(getattr(schema, kind) for kind in kinds)


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
