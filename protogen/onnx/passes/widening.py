"""Replaces bfloat16 by float32 in a model: numpy and onnxruntime have almost no operators for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    numpy_helper,
)

from protogen.onnx.passes.sorting import inner_graphs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BFLOAT16 = TensorProto.BFLOAT16
NOTE = "the model computes in bfloat16; here it is computed in float32, with fewer roundings"
_TYPES = ("to", "dtype", "stash_type")  # attributes whose value is an element type


def widen(model: ModelProto) -> bool:
    """Replace bfloat16 by float32 in place; return whether the model has any.

    float32 holds every bfloat16 value. A constant that the model casts to bfloat16 is rounded to it. A
    computed value is not rounded, so the results are closer to the real numbers than the model's own.
    """
    changed = _widen_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            changed |= _widen_node(node)
        for value in function.value_info:
            changed |= _widen_type(value.type)
    return changed


def has_bfloat16(model: ModelProto) -> bool:
    """Return whether ``widen`` would change a model, which may lack the values of constants."""
    copy = ModelProto()
    copy.CopyFrom(model)
    # The other initializers do not matter, and ``widen`` would read the values of some of them.
    held = [one for one in model.graph.initializer if one.data_type == BFLOAT16]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(held)
    return widen(copy)


def _widen_graph(graph: GraphProto) -> bool:
    _round_constants(graph)
    changed = False
    for tensor in graph.initializer:
        changed |= _widen_tensor(tensor)
    for node in graph.node:
        changed |= _widen_node(node)
    for value in (*graph.input, *graph.output, *graph.value_info):
        changed |= _widen_type(value.type)
    return changed


def _widen_node(node: NodeProto) -> bool:
    changed = False
    for item in node.attribute:
        if item.type == AttributeProto.INT and item.name in _TYPES and item.i == BFLOAT16:
            item.i, changed = TensorProto.FLOAT, True
        for tensor in (*([item.t] if item.HasField("t") else []), *item.tensors):
            changed |= _widen_tensor(tensor)
    for graph in inner_graphs(node):
        changed |= _widen_graph(graph)
    return changed


def _widen_type(type_: TypeProto) -> bool:
    if type_.HasField("tensor_type") and type_.tensor_type.elem_type == BFLOAT16:
        type_.tensor_type.elem_type = TensorProto.FLOAT
        return True
    return False


def _widen_tensor(tensor: TensorProto) -> bool:
    if tensor.data_type != BFLOAT16:
        return False
    _store(tensor, numpy_helper.to_array(tensor))
    return True


def _round_constants(graph: GraphProto) -> None:
    """Replace each Cast of a constant to bfloat16 by the rounded constant."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for item in node.attribute:
                if item.name == "value":
                    constants[node.output[0]] = item.t
    for node in graph.node:
        if node.op_type != "Cast" or not _is_to_bfloat16(node.attribute):
            continue
        source = constants.get(node.input[0])
        if source is None:
            continue
        values = numpy_helper.to_array(source)
        rounded = TensorProto(name=node.output[0], dims=source.dims)
        _store(rounded, values.astype(_bfloat16()))
        del node.input[:]
        del node.attribute[:]
        node.op_type = "Constant"
        node.attribute.add(name="value", type=AttributeProto.TENSOR, t=rounded)
        constants[node.output[0]] = rounded


def _is_to_bfloat16(attributes: Iterable[AttributeProto]) -> bool:
    return any(item.name == "to" and item.i == BFLOAT16 for item in attributes)


def _bfloat16() -> np.dtype[np.generic]:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(BFLOAT16)


def _store(tensor: TensorProto, values: NDArray[np.generic]) -> None:
    """Write values into a TensorProto as float32."""
    import numpy as np

    wide = TensorProto(name=tensor.name, dims=tensor.dims, data_type=TensorProto.FLOAT)
    wide.raw_data = values.astype(np.float32).astype("<f4").tobytes()
    tensor.CopyFrom(wide)
