"""Constants of an ONNX model: every place where one can be, their checks, and external data.

A model is checked as a whole when it is read, before anything else uses a value of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from protogen.errors import InputError
from protogen.formats.mapped import FileMap, map_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT = ("BFLOAT16", "FLOAT8", "INT4", "UINT4", "FLOAT4", "INT2", "UINT2")  # types that numpy lacks


def check_constants(model: ModelProto, where: str, elsewhere: Collection[str] = ()) -> None:
    """Check every constant of a model, wherever it is. A model that is read or that a user passes needs
    this before anything else reads its values: onnxruntime, for one, would look for external data in the
    current folder.

    Args:
        elsewhere: names of initializers of the model's own graph whose values are not in the model.

    Raises:
        InputError: see ``constant``; also if indices of a sparse constant are invalid.
    """
    elsewhere = set(elsewhere)
    for one, owner in _constants(model):
        if isinstance(one, SparseTensorProto):
            for tensor in (one.values, one.indices):
                constant(tensor, where, owner)
            try:
                onnx.checker.check_sparse_tensor(one)
            except onnx.checker.ValidationError as error:
                subject = f'constant "{one.values.name}" of {owner}'
                text = " ".join(str(error).split())
                raise InputError(text, where=where, subject=subject) from None
        elif owner or one.name not in elsewhere:
            constant(one, where, owner)


def check_embedded(model: ModelProto) -> None:
    """Check that no constant is external data. A model of protogen's own can lack values that it gets as
    inputs.

    Raises:
        InputError: a constant is external data.
    """
    for tensor, owner in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            constant(tensor, "", owner)


def tensors(model: ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """Yield every TensorProto of a model, each with the name of its owner: the operator that has it, or
    the inner graph; empty for the initializers of the model's own graph.

    These are all places where ONNX allows one: initializers (sparse ones too), attributes, inner
    graphs of any depth, functions, and graphs for training.
    """
    for one, owner in _constants(model):
        parts = (one.values, one.indices) if isinstance(one, SparseTensorProto) else (one,)
        yield from ((tensor, owner) for tensor in parts)


def _constants(model: ModelProto) -> Iterator[tuple[TensorProto | SparseTensorProto, str]]:
    """Yield what ``tensors`` yields, with sparse constants as a whole."""
    yield from _of_graph(model.graph, "")
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto, f'function "{function.name}"')
    for part in model.training_info:
        for graph in (part.initialization, part.algorithm):
            yield from _of_graph(graph, "the graph for training")


def _of_graph(
    graph: GraphProto, owner: str
) -> Iterator[tuple[TensorProto | SparseTensorProto, str]]:
    yield from ((tensor, owner) for tensor in graph.initializer)
    yield from ((sparse, owner or "the graph") for sparse in graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_nodes(
    nodes: Iterable[NodeProto],
) -> Iterator[tuple[TensorProto | SparseTensorProto, str]]:
    for node in nodes:
        yield from _of_attributes(node.attribute, subject_of(node))


def _of_attributes(
    attributes: Iterable[AttributeProto], owner: str
) -> Iterator[tuple[TensorProto | SparseTensorProto, str]]:
    for one in attributes:
        # A field that does not match the attribute's type has no effect, but is read by some programs.
        yield from ((one.t, owner) for _ in range(one.HasField("t")))
        yield from ((tensor, owner) for tensor in one.tensors)
        yield from ((one.sparse_tensor, owner) for _ in range(one.HasField("sparse_tensor")))
        yield from ((sparse, owner) for sparse in one.sparse_tensors)
        for graph in (*([one.g] if one.HasField("g") else []), *one.graphs):
            yield from _of_graph(graph, f'graph "{graph.name}" of {owner}')


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


def subject_of(node: NodeProto) -> str:
    """Return the name that a message uses for an operator."""
    name = node.name or next(iter(node.output), "")
    return f'operator "{name}" ({node.op_type})'


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
