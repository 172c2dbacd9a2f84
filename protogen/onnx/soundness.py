"""Whether an ONNX model is one: what operators, constants and names of a stranger's file must hold
before anything is computed from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from protogen.errors import InputError
from protogen.formats.mapped import FileMap, map_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OWN = ("", "ai.onnx")
Known = Mapping[str, object]


def parsed(raw: bytes, where: str) -> ModelProto:
    """The model of these bytes.

    Raises:
        InputError: they are none.
    """
    model = ModelProto()
    try:
        model.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is no ONNX model ({error})", where=where) from None
    if not model.graph.node:
        raise InputError("is no ONNX model, or one without operators", where=where)
    return model


def check_sound(model: ModelProto, where: str, large: Known | None = None) -> None:
    """Refuses what is no model: operators that ONNX's own definition of them does not allow, names
    that nobody makes or two make, constants whose values are not those of their shape.

    Args:
        large: constants by name whose values were taken out.

    Raises:
        InputError: naming the operator or the constant.
    """
    for text in _texts(model):
        if not isinstance(text, str):  # protobuf gives bytes where they are no text
            raise InputError(f"the name {text!r} is no UTF-8 text", where=where)
    for tensor in model.graph.initializer:
        if large is None or tensor.name not in large:
            constant(tensor, where)
    if len({one.domain for one in model.opset_import}) < len(model.opset_import):
        raise InputError("says twice which operator set it has", where=where)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:  # some write so that an axis is free; ONNX's inference ends at it
                dim.ClearField("dim_value")
    context = onnx.checker.C.CheckerContext()
    context.ir_version = max(3, min(model.ir_version, onnx.IR_VERSION))
    for one in model.opset_import:
        if not 0 < one.version < 2**31:
            raise InputError(f"operator set {one.version} is none", where=where)
    newest = onnx.defs.onnx_opset_version()
    imports = {one.domain: one.version for one in model.opset_import}
    imports = {d: min(v, newest) if d in _OWN else v for d, v in imports.items()}
    imports.setdefault("", imports.get("ai.onnx", 1))
    context.opset_imports = imports
    made = {value.name for value in model.graph.input}
    made |= {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        for name in node.input:
            if name and name not in made:
                raise _refused(node, where, f'reads "{name}", which nothing before it makes')
        _check_node(node, context, imports[""], where)
        for name in filter(None, node.output):
            if name in made:
                raise _refused(node, where, f'makes "{name}", which is made already')
            made.add(name)
    for value in model.graph.output:
        if value.name not in made:
            raise InputError("nothing makes it", where=where, subject=f'output "{value.name}"')


def _check_node(node: NodeProto, context: Any, opset: int, where: str) -> None:
    if not any(node.output):
        raise _refused(node, where, "has no output")
    if len({one.name for one in node.attribute}) < len(node.attribute):
        raise _refused(node, where, "has an attribute twice")
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.UNDEFINED:
            raise _refused(node, where, f"does not say what its attribute {attribute.name} is")
        for tensor in (attribute.t, *attribute.tensors) if attribute.type in (4, 9) else ():
            constant(tensor, where)
    inner = any(
        one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for one in node.attribute
    )
    # Operators of others have no definition here; a graph inside one needs the names around it.
    if node.domain not in _OWN or inner or not onnx.defs.has(node.op_type, opset, ""):
        return
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).split("==>")[0].split())
        raise _refused(node, where, f"is not as ONNX defines it: {text}") from None


def objection(
    node: NodeProto, shapes: Mapping[str, Sequence[int]], kinds: Mapping[str, str], opset: int
) -> str:
    """What ONNX's own definition has against an operator on operands of these shapes; empty where
    it has nothing."""
    if not onnx.defs.has(node.op_type, opset, ""):
        return f"operator set {opset} has none of this name"
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.DataType.Value(kinds.get(name, "FLOAT")), shapes.get(name)
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


def constant(tensor: TensorProto, where: str) -> NDArray[Any]:
    """The values of a constant that stand with it.

    Raises:
        InputError: they are of no known type, not as many as its shape says, or in another file.
    """
    subject = f'constant "{tensor.name}"'
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InputError(
            "its values are in another file, which only weights may be",
            where=where,
            subject=subject,
        )
    if any(length < 0 for length in tensor.dims):
        raise InputError(f"its shape is {list(tensor.dims)}", where=where, subject=subject)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"its values cannot be read ({error})", where=where, subject=subject
        ) from None


def element_type(number: int, name: str, where: str) -> str:
    """ONNX's name of an element type.

    Raises:
        InputError: it has none of this number.
    """
    if number not in TensorProto.DataType.values():
        raise InputError(
            f"ONNX has no element type {number}", where=where, subject=f'value "{name}"'
        )
    return str(TensorProto.DataType.Name(number))


def inferred(model: ModelProto, where: str) -> GraphProto:
    """The graph with the shapes of what it makes; what cannot be inferred has none.

    Raises:
        InputError: what the model says of shapes contradicts its operators.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"what it says of shapes is not so: {text}", where=where) from None


# Weights in another file


def beside(tensor: TensorProto, folder: Path, maps: dict[str, FileMap | bytes]) -> NDArray[Any]:
    """A constant whose values stand in a file beside the model: a view of the mapped file.

    Args:
        maps: files that are mapped already, by location; grows.

    Raises:
        InputError: the file is not in the model's folder, is missing or too short.
    """
    import numpy as np

    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    subject = f'constant "{tensor.name}"'
    parts = Path(location).parts
    real = "" if "\0" in location else os.path.realpath(folder / location)
    inside = Path(real).is_relative_to(os.path.realpath(folder)) and real
    if not parts or Path(location).is_absolute() or ".." in parts or not inside:
        raise InputError(
            f"its values are in {location!r}, which is no file in the model's folder",
            subject=subject,
            advice="Put the file itself beside the model.",
        )
    if os.path.exists(real) and not os.path.isfile(real):
        raise InputError("is no file", where=str(folder / location), subject=subject)
    if location not in maps:
        maps[location] = map_file(real)
    dtype = dtype_of(tensor)
    start = told.get("offset", "0")
    if not (start.isascii() and start.isdigit()) or any(length < 0 for length in tensor.dims):
        raise InputError(f"its place is {start!r}", subject=subject)
    count = prod(tensor.dims)
    if int(start) + count * dtype.itemsize > len(maps[location]):
        raise InputError(
            "ends before the values of the constant",
            where=str(folder / location),
            subject=subject,
            advice="It is cut short, or belongs to another model.",
        )
    made: NDArray[Any] = np.frombuffer(maps[location], dtype, count, int(start))
    return made.reshape(tuple(tensor.dims))


def dtype_of(tensor: TensorProto) -> Any:
    """A constant's numpy type, little-endian.

    Raises:
        InputError: numpy has no such type.
    """
    kind = element_type(tensor.data_type, tensor.name, "")
    if kind in ("UNDEFINED", "STRING") or kind.startswith(SHORT):
        raise InputError(f"its values are of type {kind}", subject=f'constant "{tensor.name}"')
    return helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")


SHORT = ("BFLOAT16", "FLOAT8", "INT4", "UINT4", "FLOAT4", "INT2", "UINT2")  # not numpy's


def _texts(model: ModelProto) -> Iterator[Any]:
    """Every text that is looked at."""
    graph = model.graph
    yield from (model.producer_name, model.producer_version, graph.name)
    yield from (text for prop in model.metadata_props for text in (prop.key, prop.value))
    yield from (one.domain for one in model.opset_import)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for one in tensor.external_data for text in (one.key, one.value))
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _refused(node: NodeProto, where: str, problem: str) -> InputError:
    name = node.name or next(iter(node.output), "")
    return InputError(problem, where=where, subject=f'operator "{name}" ({node.op_type})')
