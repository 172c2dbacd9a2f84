"""Element types and shapes of the values of a model, without the values of its large constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, ModelProto, TypeProto, helper, numpy_helper

from protogen.errors import InputError, ProtogenError, did_you_mean
from protogen.onnx.constants import constant
from protogen.onnx.files import input_shapes
from protogen.onnx.passes.constant_folding import LAZY, Budget, fold
from protogen.onnx.soundness import inferred

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape


def types_of(model: ModelProto, names: Iterable[str], where: str) -> dict[str, TypeProto]:
    """Return the types of values by name, where they are known: as the model declares them, or inferred. A
    type has a shape if the number of axes is known.

    Args:
        model: a model that may lack the values of large constants.
        where: its name in messages.

    Raises:
        InputError: the declared shapes contradict the operators.
    """
    names = list(names)
    known = _types(model.graph)
    if not all(_is_complete(known.get(name)) for name in names):
        known |= _inferred(model, names, where)
    return {name: known[name] for name in names if name in known}


def reshaped(
    model: ModelProto, shapes: Mapping[str, Sequence[int]], new: Iterable[str], where: str
) -> ModelProto:
    """Return the model with these shapes of its inputs; the model itself if there are none.

    Args:
        shapes: shapes by name. Names in ``new`` are not inputs yet.

    Raises:
        InputError: the model has no such input.
    """
    declared = input_shapes(model)
    for name in shapes:
        if name not in declared and name not in new:
            raise InputError(
                f"unknown input (inputs: {', '.join(declared) or 'none'})",
                where=where,
                subject=f'"{name}"',
                advice=did_you_mean(name, declared),
            )
    own = {name: shape for name, shape in shapes.items() if name in declared}
    if not own:
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    for value in changed.graph.input:
        if value.name in own:
            set_shape(value.type, own[value.name])
    clear_shapes(changed.graph)
    return changed


def clear_shapes(graph: GraphProto) -> None:
    """Remove the shapes that are declared for values that operators compute: for other inputs they would be
    wrong."""
    for value in (*graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def set_shape(kind: TypeProto, shape: Sequence[int]) -> None:
    """Replace the shape of a tensor's type."""
    kind.tensor_type.shape.Clear()
    for length in shape:
        kind.tensor_type.shape.dim.add(dim_value=int(length))


def shapes_of(model: ModelProto, outputs: bool = False) -> dict[str, tuple[int | str, ...] | None]:
    """Return the shapes of a model's inputs or outputs: lengths, names of free axes, ? for a free axis
    without a name. The shape is None if the number of axes is unknown."""
    inputs = input_shapes(model)
    values = model.graph.output if outputs else model.graph.input
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
            for dim in value.type.tensor_type.shape.dim
        )
        if value.type.tensor_type.HasField("shape")
        else None
        for value in values
        if outputs or value.name in inputs
    }


def copy_fields(old: Any, new: Any, without: Iterable[str]) -> None:
    """Copy the fields of a protobuf message to a new one, except some."""
    left = set(without)
    for descriptor, value in old.ListFields():
        if descriptor.name in left:
            continue
        if descriptor.is_repeated:
            getattr(new, descriptor.name).MergeFrom(value)
        elif descriptor.message_type is not None:
            getattr(new, descriptor.name).CopyFrom(value)
        else:
            setattr(new, descriptor.name, value)


def _types(graph: GraphProto) -> dict[str, TypeProto]:
    """Return the declared types, without those that state no element type."""
    return {
        one.name: one.type
        for one in (*graph.input, *graph.value_info, *graph.output)
        if one.type.WhichOneof("value") is not None
        and (not one.type.HasField("tensor_type") or one.type.tensor_type.elem_type)
    }


def _has_shape(kind: TypeProto | None) -> bool:
    return kind is not None and (
        not kind.HasField("tensor_type") or kind.tensor_type.HasField("shape")
    )


def _is_complete(kind: TypeProto | None) -> bool:
    """Return whether inference can add nothing to a type."""
    return (
        kind is not None
        and _has_shape(kind)
        and all(dim.HasField("dim_value") for dim in kind.tensor_type.shape.dim)
    )


def _inferred(model: ModelProto, names: Iterable[str], where: str) -> dict[str, TypeProto]:
    """Infer types. Where a shape depends on constants, these are computed first, as often as this gives
    more of them."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    constants = {
        tensor.name: constant(tensor, where)
        for tensor in model.graph.initializer
        if prod(tensor.dims) <= LAZY
    }
    graph = _graph(model, constants, where)
    budget = Budget(constants)
    while True:
        known = _types(graph)
        _forget_names(known)
        if all(map(_is_complete, map(known.get, names))):
            return known
        count = len(graph.node)
        try:
            nodes = fold(graph.node, constants, _shapes(known), opset, budget)
        except ProtogenError:  # onnxruntime cannot compute the constants
            return known
        if len(nodes) == count:
            return known
        small = ModelProto()
        copy_fields(model, small, ("graph", "training_info"))
        small.graph.CopyFrom(model.graph)
        del small.graph.node[:]
        small.graph.node.extend(nodes)
        graph = _graph(small, constants, where)


def _forget_names(types: Mapping[str, TypeProto]) -> None:
    """Remove the names that ONNX's inference gives to unknown axes."""
    for kind in types.values():
        for dim in kind.tensor_type.shape.dim if kind.HasField("tensor_type") else ():
            if dim.dim_param.startswith("unk__"):
                dim.ClearField("dim_param")


def _graph(model: ModelProto, constants: Mapping[str, NDArray[Any]], where: str) -> GraphProto:
    """Infer types from those that the model declares; from none if they contradict the operators."""
    small = _with(model, constants)
    try:
        return inferred(small, where)
    except InputError:
        del small.graph.value_info[:]
        return inferred(small, where)


def _shapes(types: Mapping[str, TypeProto]) -> dict[str, Shape]:
    return {
        name: tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)
        for name, kind in types.items()
        if kind.HasField("tensor_type") and _is_complete(kind)
    }


def _with(model: ModelProto, constants: Mapping[str, NDArray[Any]]) -> ModelProto:
    """Return a model for the inference of types: with these small constants, and with the large ones as
    inputs."""
    small = ModelProto()
    copy_fields(model, small, ("graph", "training_info"))
    graph = GraphProto()
    copy_fields(model.graph, graph, ("initializer",))
    declared = {one.name for one in graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in constants and tensor.name not in declared:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    for name, array in constants.items():
        if array.size <= LAZY:
            graph.initializer.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    small.graph.CopyFrom(graph)
    small.ir_version = max(small.ir_version, 4)  # below 4, initializers must be inputs too
    return small
