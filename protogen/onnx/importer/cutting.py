"""The part of a model that is imported: from some values, up to some values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.errors import InputError, did_you_mean
from protogen.layers.graph import free_name
from protogen.onnx.files import input_shapes
from protogen.onnx.parts import (
    constant_error,
    cut_model,
    new_inputs,
    unknown_shape_error,
    unneeded_error,
)

if TYPE_CHECKING:
    from onnx import ModelProto

    from protogen.onnx.importer.source import OnnxGraph, Operator

    Shapes = Mapping[str, Sequence[int]]


def begin(
    model: ModelProto, inputs: Sequence[str], outputs: Sequence[str], shapes: Shapes, path: str
) -> tuple[ModelProto, list[str], Shapes]:
    """Cut a model at the values of ``inputs`` whose shapes the user gives, before any shape is inferred. The
    others are cut by ``cut``, when their shapes are known and the constants are folded.

    Returns:
        The model, the values of ``inputs`` that are not inputs of the model, and the given shapes of what
        are inputs now.

    Raises:
        InputError: a value is unknown or a constant, or no output depends on it.
    """
    if not inputs:
        return model, [], shapes
    begins = new_inputs(model, inputs, outputs, path)
    early = [name for name in begins if name in shapes]
    if not early:
        return model, begins, shapes
    whole = input_shapes(model)
    part = cut_model(model, inputs=early, outputs=outputs, shapes=shapes, where=path).model
    left = input_shapes(part)
    return part, begins, {k: shape for k, shape in shapes.items() if k in left or k not in whole}


def cut(source: OnnxGraph, begins: Sequence[str], outputs: Sequence[str]) -> None:
    """Leave only the operators and inputs between the values.

    Args:
        begins: values that become inputs; see ``begin``.
        outputs: values that become outputs; by default those of the model.

    Raises:
        InputError: a value is unknown, or a value of ``begins`` is a constant, has no known shape, or no
            output depends on it.
    """
    values = [*source.inputs, *(name for one in source.operators for name in one.outputs if name)]
    for name in begins:
        if name in source.constants:
            raise constant_error(name, source.path)
    _check_known(source, values, (*begins, *outputs))
    for name in begins:
        if name not in source.shapes:
            raise unknown_shape_error(name, source.path)
    new = [name for name in begins if name not in source.inputs]
    chosen = tuple(dict.fromkeys(outputs or source.outputs))
    needed, read = set(chosen), set[str]()
    operators: list[Operator] = []
    for operator in reversed(source.operators):
        if needed.difference(new).intersection(operator.outputs):
            needed.update(operator.inputs)
            read.update(operator.inputs)
            operators.append(_without_outputs(source, operator, new))
    for name in begins:
        if name not in read:
            raise unneeded_error(name, chosen, source.path)
    source.operators = tuple(reversed(operators))
    source.outputs = tuple(name for name in chosen if name not in new)
    source.inputs = {name: shape for name, shape in source.inputs.items() if name in needed}
    source.inputs |= {name: source.shapes[name] for name in new}


def _check_known(source: OnnxGraph, values: Sequence[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in values:
            raise InputError(
                "unknown value",
                where=source.path,
                subject=f'"{name}"',
                advice=did_you_mean(name, values),
            )


def _without_outputs(source: OnnxGraph, operator: Operator, cut_values: Sequence[str]) -> Operator:
    """Return the operator with other names for outputs that are inputs of the part."""
    if not set(cut_values).intersection(operator.outputs):
        return operator
    used, names = set(source.shapes), []
    for name in operator.outputs:
        new = free_name(f"{name}_cut", used) if name in cut_values else name
        if new != name:
            source.shapes[new] = source.shapes[name]
        if name in source.kinds:
            source.kinds[new] = source.kinds[name]
        names.append(new)
    return replace(operator, outputs=tuple(names))
