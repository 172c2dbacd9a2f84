"""Parts of ONNX models as models of their own: from some values, up to some values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.layers.graph import free_name
from protogen.onnx.constants import constant
from protogen.onnx.files import input_shapes, load_model, output_names, values
from protogen.onnx.memory_mapped import fill_in
from protogen.onnx.passes.sorting import reads
from protogen.onnx.passes.widening import widen
from protogen.onnx.types import clear_shapes, copy_fields, set_shape, types_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, eq=False)
class ModelPart:
    """A part of a model.

    Attributes:
        model: the part. It has the metadata, operator sets and functions of the whole model.
        begins: the values of the whole model that are inputs of the part but not of the whole model.
        ends: the values that are its outputs.
        operators: the operators of the whole model that it has, by their first output.
    """

    model: ModelProto
    begins: tuple[str, ...]
    ends: tuple[str, ...]
    operators: tuple[str, ...]


def cut_model(
    model: ModelProto,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    shapes: Shapes | None = None,
    where: str = "",
) -> ModelPart:
    """Return the part of a model from some values to others.

    Operators, inputs and constants that the outputs do not depend on are left out, and so are graphs for
    training. The values of constants are not read: a model may lack those of large ones.

    Args:
        inputs: values that become inputs, with their types and shapes. For an input of the model this
            has no effect.
        outputs: values that become the outputs; by default the outputs of the model.
        shapes: shapes of values in ``inputs``, where the model does not define them.
        where: the name of the model in messages.

    Raises:
        InputError: a value is unknown or a constant, no output depends on a value of ``inputs``, its type
            or shape is unknown, an output is an input or depends on no input.
        UnsupportedError: a value of ``inputs`` is not a tensor.
    """
    flow = _Flow(model)
    begins = _checked(flow, model, inputs, outputs, where)
    ends = [name for name in dict.fromkeys(outputs or output_names(model)) if name not in begins]
    return _built(model, flow, begins, ends, shapes or {}, where)


def begun(
    model: ModelProto | str | Path, inputs: Sequence[str], outputs: Sequence[str], shapes: Shapes
) -> ModelProto | str | Path:
    """Return the part of a model from the values of ``inputs``, see ``cut_model``; the model itself if there
    are none."""
    if not inputs:
        return model
    loaded = load_model(model) if isinstance(model, (str, Path)) else model
    return cut_model(loaded, inputs=inputs, outputs=outputs, shapes=shapes).model


def rest_of_model(
    model: ModelProto,
    *,
    outputs: Sequence[str],
    inputs: Sequence[str] = (),
    shapes: Shapes | None = None,
    where: str = "",
) -> ModelPart:
    """Return what ``cut_model`` leaves out after its outputs: a part whose inputs are these values, and
    whose outputs are the other outputs of the model.

    It reads a value of ``inputs`` or an input of the model where it needs it besides, and then computes
    again what both parts need.

    Raises:
        InputError: a value is unknown, or nothing is left: every output of the model is in ``outputs``.
        UnsupportedError: see ``cut_model``.
    """
    ends = [name for name in output_names(model) if name not in outputs]
    if not ends:
        raise InputError(
            "no output of the model is left after these values",
            where=where,
            subject=", ".join(outputs),
        )
    flow = _Flow(model)
    _check_ends(flow, (), outputs, where)
    begins = _begins(flow, model, [*outputs, *inputs], where)
    return _built(model, flow, begins, ends, shapes or {}, where)


def new_inputs(
    model: ModelProto, inputs: Sequence[str], outputs: Sequence[str], where: str
) -> list[str]:
    """Return the values of ``inputs`` that are not inputs of the model, after the checks of ``cut_model`` that
    need no types.

    Raises:
        InputError: see ``cut_model``.
    """
    return _checked(_Flow(model), model, inputs, outputs, where)


def computed_twice(model: ModelProto, part: ModelPart, rest: ModelPart) -> tuple[str, ...]:
    """Return the values that operators of both parts compute and that other operators of the rest read.
    As outputs of the part they are computed once."""
    both = set(part.operators).intersection(rest.operators)
    written: set[str] = set()
    read: dict[str, None] = {}
    for node in model.graph.node:
        name = next(filter(None, node.output))
        if name in both:
            written.update(node.output)
        elif name in rest.operators:
            read |= dict.fromkeys(sorted(reads(node)))
    return tuple(name for name in read if name in written and name not in rest.begins)


def unneeded_error(
    name: str, outputs: Iterable[str], where: str, alone: bool = False
) -> InputError:
    """Return the error for a new input that no output depends on; ``alone``: it would be needed without the
    other new inputs."""
    but = " except through other new inputs" if alone else ""
    return InputError(
        f"no output depends on it{but} (outputs: {', '.join(outputs)})",
        where=where,
        subject=f'"{name}"',
        advice="Leave it out, or name an output after it with --to-blob.",
    )


def unknown_shape_error(name: str, where: str) -> InputError:
    """Return the error for a new input without a known shape."""
    return InputError(
        "its shape is unknown",
        where=where,
        subject=f'value "{name}"',
        advice=f"Give it with --input-shape {name}=N,C,H,W.",
    )


def constant_error(name: str, where: str) -> InputError:
    """Return the error for a new input that is a constant."""
    return InputError(
        "is a constant: it depends on no input, so it cannot become one",
        where=where,
        subject=f'"{name}"',
    )


class _Flow:
    """Which operators of a model compute what. The operators need not be in order."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.inputs = list(input_shapes(model))
        self.values = [*self.inputs, *values(model)]
        self._maker = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._reads: dict[int, set[str]] = {}

    def reads(self, place: int) -> set[str]:
        """Return the values that an operator reads, also in its inner graphs."""
        if place not in self._reads:
            self._reads[place] = reads(self.nodes[place])
        return self._reads[place]

    def before(self, outputs: Iterable[str], begins: Iterable[str]) -> list[int]:
        """Return the places of the operators between the values, in the order of the model."""
        cut = set(begins)
        places: set[int] = set()
        waiting = [name for name in outputs if name not in cut]
        while waiting:
            place = self._maker.get(waiting.pop())
            if place is not None and place not in places:
                places.add(place)
                waiting += self.reads(place) - cut
        return sorted(places)

    def read(self, outputs: Iterable[str], begins: Iterable[str]) -> set[str]:
        """Return the values that the operators between the values read."""
        return set[str]().union(*map(self.reads, self.before(outputs, begins)))

    def is_fed(self, name: str, begins: Iterable[str] = ()) -> bool:
        """Return whether a value depends on an input, or on a value of ``begins``."""
        read = {name} | self.read([name], begins)
        return not read.isdisjoint({*self.inputs, *begins})


def _checked(
    flow: _Flow, model: ModelProto, inputs: Sequence[str], outputs: Sequence[str], where: str
) -> list[str]:
    """Return the values at which a part begins, after all checks that need no types."""
    begins = _begins(flow, model, inputs, where)
    _check_ends(flow, begins, outputs, where)
    listed = list(outputs) or output_names(model)
    read = flow.read(listed, begins)
    for name in begins:
        if name not in read:
            raise unneeded_error(name, listed, where, name in flow.read(listed, [name]))
    return begins


def _begins(flow: _Flow, model: ModelProto, inputs: Sequence[str], where: str) -> list[str]:
    """Return the values at which a part begins, without the inputs of the model.

    Raises:
        InputError: a value is unknown or a constant.
    """
    constants = constants_of(model.graph)
    begins = [name for name in dict.fromkeys(inputs) if name not in flow.inputs]
    for name in begins:
        if name not in constants:
            _check_known(flow, name, where)
        if name in constants or not flow.is_fed(name):
            raise constant_error(name, where)
    return begins


def _check_known(flow: _Flow, name: str, where: str) -> None:
    if name not in flow.values:
        advice = did_you_mean(name, flow.values)
        raise InputError("unknown value", where=where, subject=f'"{name}"', advice=advice)


def _check_ends(flow: _Flow, begins: Sequence[str], outputs: Sequence[str], where: str) -> None:
    """Check the outputs that the user named: each is computed from an input."""
    for name in outputs:
        _check_known(flow, name, where)
        if name in begins or name in flow.inputs:
            raise InputError(
                "is an input of the part, so that no operator computes it",
                where=where,
                subject=f'"{name}"',
                advice="Name a value after it with --to-blob.",
            )
        if not flow.is_fed(name, begins):
            raise InputError("depends on no input of the part", where=where, subject=f'"{name}"')


def constants_of(graph: GraphProto) -> set[str]:
    """Return the names of the constants of a graph."""
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    return {tensor.name for tensor in graph.initializer} | sparse


def _built(
    model: ModelProto,
    flow: _Flow,
    begins: Sequence[str],
    ends: Sequence[str],
    shapes: Shapes,
    where: str,
) -> ModelPart:
    """Return the part of a model between the values.

    Raises:
        InputError: the type or the shape of an input is unknown.
        UnsupportedError: an input is not a tensor.
    """
    places = flow.before(ends, begins)
    read = set(ends).union(*map(flow.reads, places))
    types = types_of(model, [*begins, *ends], where)
    infos = [_input(types, name, shapes, where) for name in begins if name in read]
    whole = [flow.nodes[place] for place in places]
    nodes = _without_outputs(whole, set(begins), set(flow.values))
    produced = {name for node in nodes for name in node.output}
    part = ModelProto()
    copy_fields(model, part, ("graph", "training_info"))
    old, graph = model.graph, part.graph
    own = ("node", "initializer", "sparse_initializer", "input", "output", "value_info")
    copy_fields(old, graph, (*own, "quantization_annotation"))
    graph.node.extend(nodes)
    graph.initializer.extend(one for one in old.initializer if one.name in read)
    graph.sparse_initializer.extend(
        one for one in old.sparse_initializer if one.values.name in read
    )
    graph.input.extend(one for one in old.input if one.name in read)
    graph.input.extend(infos)
    declared = {one.name: one for one in old.output}
    graph.output.extend(declared.get(name) or ValueInfoProto(name=name) for name in ends)
    graph.value_info.extend(
        one for one in old.value_info if one.name in produced and one.name not in ends
    )
    graph.quantization_annotation.extend(
        one for one in old.quantization_annotation if one.tensor_name in produced | read
    )
    if not shapes.keys().isdisjoint(begins):
        clear_shapes(graph)
        types = types_of(part, ends, where)
    for one in graph.output:
        if one.name in types and not one.type.tensor_type.HasField("shape"):
            one.type.CopyFrom(types[one.name])
    operators = tuple(next(filter(None, node.output)) for node in whole)
    return ModelPart(part, tuple(one.name for one in infos), tuple(ends), operators)


def _without_outputs(nodes: Iterable[NodeProto], cut: set[str], used: set[str]) -> list[NodeProto]:
    """Return operators whose outputs of these names have other names: an input has the name now."""
    result = []
    for node in nodes:
        if cut.intersection(node.output):
            changed = NodeProto()
            changed.CopyFrom(node)
            for i, name in enumerate(node.output):
                if name in cut:
                    changed.output[i] = free_name(f"{name}_cut", used)
            node = changed
        result.append(node)
    return result


def _input(types: Mapping[str, TypeProto], name: str, shapes: Shapes, where: str) -> ValueInfoProto:
    """Return a new input with its type and shape."""
    kind = types.get(name)
    if kind is None:
        raise InputError(
            "its element type is unknown, because it depends on an operator of another domain",
            where=where,
            subject=f'value "{name}"',
            advice="Cut the model somewhere else.",
        )
    if not kind.HasField("tensor_type"):
        raise UnsupportedError(
            "it is not a tensor, so it cannot become an input",
            where=where,
            subject=f'value "{name}"',
        )
    info = ValueInfoProto(name=name, type=kind)
    if name in shapes:
        set_shape(info.type, shapes[name])
    if not info.type.tensor_type.HasField("shape"):
        raise unknown_shape_error(name, where)
    return info


def weight_bytes(model: ModelProto, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the size of all constants; ``arrays`` has the values that the model lacks."""
    return sum(
        arrays[tensor.name].nbytes if tensor.name in arrays else constant(tensor, "").nbytes
        for tensor in model.graph.initializer
    )


def embedded(model: ModelProto, arrays: Mapping[str, NDArray[Any]]) -> ModelProto:
    """Return the model with all its constants, and with float32 instead of bfloat16, as ``load_model``
    reads it."""
    whole = ModelProto()
    whole.CopyFrom(model)
    fill_in(whole, arrays)
    widen(whole)
    return whole
