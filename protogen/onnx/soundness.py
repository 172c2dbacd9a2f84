"""Validation of untrusted ONNX models: operators, constants and names.

A model is validated before anything is computed from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from protogen.errors import InputError
from protogen.formats.mapped import FileMap, map_file
from protogen.onnx.integer_inputs import float_constants, integers_missing
from protogen.onnx.lengths import with_nodes_of, with_onnxruntime_lengths
from protogen.onnx.passes.sorting import inner_graphs, sort_operators
from protogen.onnx.texts import check_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

OWN_DOMAINS = ("", "ai.onnx")
Known = Mapping[str, object]


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


def check_sound(model: ModelProto, where: str, large: Known | None = None) -> None:
    """Check a model: operators against their ONNX schemas, names, and the shapes of constants.

    Each name must have exactly one definition. Operators that are not in order are sorted.

    Args:
        large: constants by name whose values are not in the model.

    Raises:
        InputError: the model is invalid. The error names the operator or the constant.
    """
    check_texts(model, where)
    sort_operators(model.graph)
    held = {tensor.name for tensor in model.graph.initializer} & set(large or ())
    for tensor, owner in tensors(model):
        if owner or tensor.name not in held:
            constant(tensor, where, owner)
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


def tensors(model: ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """Yield every TensorProto of a model, each with the name of its owner: the operator that has it, or
    the inner graph; empty for the initializers of the model's own graph.

    These are all places where ONNX allows one: initializers (sparse ones too), attributes, inner
    graphs of any depth, functions, and graphs for training.
    """
    yield from _of_graph(model.graph, "")
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto, f'function "{function.name}"')
    for part in model.training_info:
        for graph in (part.initialization, part.algorithm):
            yield from _of_graph(graph, "the graph for training")


def _of_graph(graph: GraphProto, owner: str) -> Iterator[tuple[TensorProto, str]]:
    yield from ((tensor, owner) for tensor in graph.initializer)
    for sparse in graph.sparse_initializer:
        yield from ((tensor, "a sparse constant") for tensor in (sparse.values, sparse.indices))
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[tuple[TensorProto, str]]:
    for node in nodes:
        yield from _of_attributes(node.attribute, _subject(node))


def _of_attributes(
    attributes: Iterable[AttributeProto], owner: str
) -> Iterator[tuple[TensorProto, str]]:
    for one in attributes:
        # A field that does not match the attribute's type has no effect, but is read by some programs.
        held = [*([one.t] if one.HasField("t") else []), *one.tensors]
        for sparse in (*([one.sparse_tensor] if one.HasField("sparse_tensor") else []),
                       *one.sparse_tensors):  # fmt: skip
            held += [sparse.values, sparse.indices]
        yield from ((tensor, owner) for tensor in held)
        for graph in (*([one.g] if one.HasField("g") else []), *one.graphs):
            yield from _of_graph(graph, f'graph "{graph.name}" of {owner}')


def check_embedded(model: ModelProto) -> None:
    """Check that a model in memory has all its values: onnxruntime would look for a file of external data
    in the current folder.

    Raises:
        InputError: a constant is external data.
    """
    for tensor, owner in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            constant(tensor, "", owner)


def constant(tensor: TensorProto, where: str, owner: str = "") -> NDArray[Any]:
    """Return the values of a constant that are stored in the model itself. ``owner`` names in messages
    what has the constant.

    Raises:
        InputError: the type is unknown, the number of values does not match the shape, or the values
            are in an external file.
    """
    subject = f'constant "{tensor.name}"' + (f" of {owner}" if owner else "")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InputError(
            "its values are in an external file, which needs the path of the model's own file",
            where=where,
            subject=subject,
        )
    if any(length < 0 for length in tensor.dims):
        raise InputError(f"invalid shape {list(tensor.dims)}", where=where, subject=subject)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"cannot read its values ({error})", where=where, subject=subject
        ) from None


def element_type(number: int, name: str, where: str) -> str:
    """Return ONNX's name of an element type.

    Raises:
        InputError: ONNX has no element type of this number.
    """
    if number not in TensorProto.DataType.values():
        raise InputError(f"unknown element type {number}", where=where, subject=f'value "{name}"')
    return str(TensorProto.DataType.Name(number))


def inferred(model: ModelProto, where: str) -> GraphProto:
    """Return the graph with inferred shapes; a value whose shape cannot be inferred has none.

    The lengths of resized values are those of onnxruntime.

    Raises:
        InputError: the declared shapes contradict the operators.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        changed = with_onnxruntime_lengths(model, graph)
        if changed is None:
            return graph
        while changed is not None:
            graph = onnx.shape_inference.infer_shapes(changed, data_prop=True).graph
            changed = with_onnxruntime_lengths(changed, graph)
        return with_nodes_of(graph, model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"the declared shapes contradict the operators: {text}", where=where
        ) from None


# External data


def external_constant(
    tensor: TensorProto, folder: Path, maps: dict[str, FileMap | bytes]
) -> NDArray[Any]:
    """Return a constant whose values are external data: a view of the memory-mapped file. The constant
    of a type that numpy lacks is returned as its bytes.

    Args:
        maps: memory-mapped files by location; a new file is added.

    Raises:
        InputError: the file is not in the model's folder, is missing or too short.
    """
    import numpy as np

    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    subject = f'constant "{tensor.name}"'
    parts = Path(location).parts
    path = "" if "\0" in location else os.path.realpath(folder / location)
    in_folder = Path(path).is_relative_to(os.path.realpath(folder)) and path
    if not parts or Path(location).is_absolute() or ".." in parts or not in_folder:
        raise InputError(
            f"its external data {location!r} is not a file in the model's folder",
            subject=subject,
            advice="Put the file itself, not a link, in the folder of the model.",
        )
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError("not a regular file", where=str(folder / location), subject=subject)
    if location not in maps:
        maps[location] = map_file(path)
    start = entries.get("offset", "0")
    if not (start.isascii() and start.isdigit()) or any(length < 0 for length in tensor.dims):
        raise InputError(f"invalid offset {start!r} or shape {list(tensor.dims)}", subject=subject)
    count = prod(tensor.dims)
    type_name = element_type(tensor.data_type, tensor.name, "")
    if type_name.startswith(SHORT):  # the bytes, which the onnx package decodes
        dtype, count = np.dtype(np.uint8), -(-count * _bits(type_name) // 8)
    else:
        dtype = dtype_of(tensor)
    if int(start) + count * dtype.itemsize > len(maps[location]):
        raise InputError(
            "the file ends before the values of the constant",
            where=str(folder / location),
            subject=subject,
            advice="The file is truncated, or belongs to another model.",
        )
    values: NDArray[Any] = np.frombuffer(maps[location], dtype, count, int(start))
    return values if type_name.startswith(SHORT) else values.reshape(tuple(tensor.dims))


def dtype_of(tensor: TensorProto) -> Any:
    """Return the numpy dtype of a constant, little-endian.

    Raises:
        InputError: numpy has no such type.
    """
    type_name = element_type(tensor.data_type, tensor.name, "")
    if type_name in ("UNDEFINED", "STRING") or type_name.startswith(SHORT):
        raise InputError(
            f"unsupported element type {type_name}", subject=f'constant "{tensor.name}"'
        )
    return helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")


def _bits(type_name: str) -> int:
    """Return the size of a short type: the number in its name."""
    return int(re.sub(r"\D*(\d+).*", r"\1", type_name))


SHORT = ("BFLOAT16", "FLOAT8", "INT4", "UINT4", "FLOAT4", "INT2", "UINT2")  # types that numpy lacks


def _subject(node: NodeProto) -> str:
    name = node.name or next(iter(node.output), "")
    return f'operator "{name}" ({node.op_type})'


def _operator_error(node: NodeProto, where: str, problem: str) -> InputError:
    return InputError(problem, where=where, subject=_subject(node))
