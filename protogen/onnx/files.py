"""Reading and inspecting ONNX model files of any producer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from protogen.errors import InputError
from protogen.onnx.constants import check_embedded
from protogen.onnx.memory_mapped import fill_in, read_memory_mapped
from protogen.onnx.passes.widening import has_bfloat16, widen
from protogen.onnx.soundness import check_sound

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_model(path: str | Path) -> ModelProto:
    """Read a model file, including weights that are stored as external data. bfloat16 becomes float32.

    Raises:
        InputError: the file cannot be read, or is not a valid ONNX model.
    """
    model, arrays = load_mapped(path)
    fill_in(model, arrays)
    return model


def load_mapped(path: str | Path) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Read a model as ``load_model`` does, but leave the values of large constants in the file.

    Returns:
        The model without the values of some of its initializers, and these as arrays by name: views of
        the memory-mapped file. A model in bfloat16 has all its values.

    Raises:
        InputError: see ``load_model``.
    """
    model, arrays = read_memory_mapped(path)
    check_sound(model, str(path))
    if has_bfloat16(model):
        fill_in(model, arrays)
        widen(model)
        return model, {}
    return model, arrays


def runs_as_file(path: str | Path) -> bool:
    """Return whether onnxruntime can run a model's file as it is: not a model in bfloat16, whose outputs
    numpy cannot hold.

    Raises:
        InputError: external data is outside of the model's folder, which onnxruntime would open; also
            for the reasons of ``read_memory_mapped``.
    """
    return not has_bfloat16(read_memory_mapped(path)[0])


def input_shapes(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the inputs that are not constants; None means a free axis."""
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
    """Return the names of the outputs in order."""
    return [value.name for value in model.graph.output]


def values(model: ModelProto) -> list[str]:
    """Return the names of all operator outputs, in order."""
    return [name for node in model.graph.node for name in node.output if name]


def exposed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """Return the model with the named inner values as additional outputs.

    Raises:
        InputError: no operator of the model produces a value of such a name, or the model's constants
            are in other files.
    """
    check_embedded(model)
    known = set(output_names(model)) | set(input_shapes(model))
    computed = set(values(model))
    added = [name for name in dict.fromkeys(names) if name not in known]
    for name in added:
        if name not in computed:
            raise InputError("unknown value", subject=f'"{name}"')
    if not added:
        return model
    extended = ModelProto()
    extended.CopyFrom(model)
    for name in added:
        extended.graph.output.add(name=name)  # onnxruntime infers the element type
    return extended


def with_inputs(
    source: ModelProto | str | Path, shapes: Mapping[str, Sequence[int]]
) -> ModelProto | str | Path:
    """Return a model, or the model of a file, with these input shapes; ``source`` itself if there are
    none."""
    if not shapes:
        return source
    model = ModelProto()
    model.CopyFrom(source if isinstance(source, ModelProto) else load_model(source))
    for value in model.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            tensor.shape.Clear()
            for length in shapes[value.name]:
                tensor.shape.dim.add(dim_value=int(length))
    # Shapes that were inferred for the old inputs would contradict the new ones.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model
