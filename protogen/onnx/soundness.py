"""Validation of untrusted ONNX models: operators, constants and names.

A model is validated before anything is computed from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
)

from protogen.errors import InputError
from protogen.onnx.constants import subject_of
from protogen.onnx.integer_inputs import float_constants, integers_missing
from protogen.onnx.lengths import with_nodes_of, with_onnxruntime_lengths
from protogen.onnx.passes.sorting import inner_graphs, sort_operators
from protogen.onnx.propagation import has_short_vectors
from protogen.onnx.texts import check_texts

OWN_DOMAINS = ("", "ai.onnx")


def parsed(raw: bytes, where: str) -> ModelProto:
    """Parse an encoded model.

    Raises:
        InputError: the bytes are not a valid ONNX model.
    """
    model = ModelProto()
    try:
        model.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not a valid ONNX model ({error})", where=where) from None
    if not model.graph.node:
        raise InputError("not a valid ONNX model, or a model without operators", where=where)
    return model


def check_sound(model: ModelProto, where: str) -> None:
    """Check a model whose constants are valid (see ``check_constants``): operators against their ONNX
    schemas, and names.

    Each name must have exactly one definition. Operators that are not in order are sorted.

    Raises:
        InputError: the model is invalid. The error names the operator or the constant.
    """
    check_texts(model, where)
    sort_operators(model.graph)
    if len({opset.domain for opset in model.opset_import}) < len(model.opset_import):
        raise InputError(
            "the model imports the operator set of one domain more than once", where=where
        )
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            # Some exporters write a free axis as a negative length, on which shape inference fails.
            if dim.dim_value < 0:
                dim.ClearField("dim_value")
    context = onnx.checker.C.CheckerContext()
    context.ir_version = max(3, min(model.ir_version, onnx.IR_VERSION))
    newest = onnx.defs.onnx_opset_version()
    imports = {opset.domain: opset.version for opset in model.opset_import}
    imports = {d: min(v, newest) if d in OWN_DOMAINS else v for d, v in imports.items()}
    imports.setdefault("", imports.get("ai.onnx", 1))
    context.opset_imports = imports
    defined = {value.name for value in model.graph.input}
    defined |= {tensor.name for tensor in model.graph.initializer}
    defined |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    floats = float_constants(model)
    for node in model.graph.node:
        _check_node(node, context, imports[""], where)
        if node.domain in OWN_DOMAINS and (problem := integers_missing(node, floats, imports[""])):
            raise _operator_error(node, where, problem)
    check_order(model.graph.node, defined, where)
    for value in model.graph.output:
        if value.name not in defined:
            raise InputError(
                "no operator, input or constant defines it",
                where=where,
                subject=f'output "{value.name}"',
            )


def check_order(nodes: Sequence[NodeProto], defined: set[str], where: str) -> None:
    """Check that each operator reads what is defined before it, and that each name is defined once.

    Args:
        defined: the names that are defined before the operators; theirs are added.

    Raises:
        InputError: an operator reads another name, or defines one again.
    """
    outputs = {name for node in nodes for name in node.output}
    for node in nodes:
        for name in node.input:
            if name and name not in defined:
                raise _operator_error(
                    node,
                    where,
                    f'reads "{name}", which no input, constant or other operator defines'
                    if name not in outputs
                    else f'reads "{name}", which depends on the output of this operator',
                )
        for name in filter(None, node.output):
            if name in defined:
                raise _operator_error(node, where, f'output "{name}" is already defined')
            defined.add(name)


def _check_node(node: NodeProto, context: Any, opset: int, where: str) -> None:
    if not any(node.output):
        raise _operator_error(node, where, "has no output")
    if len({attribute.name for attribute in node.attribute}) < len(node.attribute):
        raise _operator_error(node, where, "has a duplicate attribute")
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.UNDEFINED:
            raise _operator_error(node, where, f"attribute {attribute.name} has no type")
    inner = any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for attribute in node.attribute
    )
    for graph in inner_graphs(node):
        for one in graph.node:
            _check_node(one, context, opset, where)
    # The onnx package has no schemas for other domains. An inner graph may read names of the outer
    # graph, which the check of a single operator does not know.
    if node.domain not in OWN_DOMAINS or inner or not onnx.defs.has(node.op_type, opset, ""):
        return
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).split("==>")[0].split())
        raise _operator_error(node, where, f"does not match the ONNX schema: {text}") from None


def schema_error(
    node: NodeProto,
    shapes: Mapping[str, Sequence[int]],
    element_types: Mapping[str, str],
    opset: int,
) -> str:
    """Return why an operator on inputs of these shapes violates its ONNX schema; empty if valid."""
    if not onnx.defs.has(node.op_type, opset, ""):
        return f"unknown operator in operator set {opset}"
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.DataType.Value(element_types.get(name, "FLOAT")), shapes.get(name)
        )
        for name in dict.fromkeys(filter(None, node.input))
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        return " ".join(str(error).split())
    return ""


def inferred(model: ModelProto, where: str) -> GraphProto:
    """Return the graph with inferred shapes; a value whose shape cannot be inferred has none.

    The lengths of resized values are those of onnxruntime.

    Raises:
        InputError: the declared shapes contradict the operators.
    """
    with_values = has_short_vectors(model.graph)
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=with_values).graph
        changed = with_onnxruntime_lengths(model, graph)
        if changed is None:
            return graph
        while changed is not None:
            graph = onnx.shape_inference.infer_shapes(changed, data_prop=with_values).graph
            changed = with_onnxruntime_lengths(changed, graph)
        return with_nodes_of(graph, model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"the declared shapes contradict the operators: {text}", where=where
        ) from None


def _operator_error(node: NodeProto, where: str, problem: str) -> InputError:
    return InputError(problem, where=where, subject=subject_of(node))
