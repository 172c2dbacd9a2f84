"""ONNX models of others: reading them, and looking into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onnx import ModelProto

from protogen.errors import InputError
from protogen.onnx.memory_mapped import read_hollow
from protogen.onnx.soundness import check_sound


def load_model(path: str | Path) -> ModelProto:
    """The model of a file, with weights that stand beside it.

    Raises:
        InputError: it cannot be read, or is no ONNX model.
    """
    model, arrays = read_hollow(path)
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            tensor.raw_data = arrays[tensor.name].tobytes()
    check_sound(model, str(path), arrays)
    return model


def input_shapes(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the inputs that are no constants; None for a free axis."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in model.graph.input
        if value.name not in constants
    }


def output_names(model: ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]


def values(model: ModelProto) -> list[str]:
    """Names of all values that operators make, in order."""
    return [name for node in model.graph.node for name in node.output if name]


def exposed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """The model with inner values as outputs too.

    Raises:
        InputError: it makes no value of such a name.
    """
    known = set(output_names(model)) | set(input_shapes(model))
    made = set(values(model))
    more = [name for name in dict.fromkeys(names) if name not in known]
    for name in more:
        if name not in made:
            raise InputError("the model makes no such value", subject=f'"{name}"')
    if not more:
        return model
    wider = ModelProto()
    wider.CopyFrom(model)
    for name in more:
        wider.graph.output.add(name=name)  # onnxruntime finds out its element type
    return wider


def with_inputs(path: str | Path, shapes: Mapping[str, Sequence[int]]) -> ModelProto | str | Path:
    """The model of a file with other shapes of inputs; the path itself where there are none."""
    if not shapes:
        return path
    model = load_model(path)
    for value in model.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            tensor.shape.Clear()
            for length in shapes[value.name]:
                tensor.shape.dim.add(dim_value=int(length))
    # What was inferred for the old shapes would contradict the new ones.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model
